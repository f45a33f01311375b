/* What is left of a store when the power fails while a broker writes: made again from the log of what the broker did to
 * its files, at many moments, and judged by what its publishers had been told by then. parties.py has the same
 * knowledge of what was published. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "history.h"
#include "image.h"
#include "wire.h"

#define PUBLISHERS 4
#define STREAMS 2
#define LARGE_BYTES 9000u
#define TOLD_MAX 8 /* sentences about what is wrong */
#define RECORD_PUBLISHER 8

/* ---- what was published ------------------------------------------------------------------------------------- */

#define EXPECTED_MAX (5 + LARGE_BYTES)

static uint32_t payload_of(uint32_t publisher, uint32_t number, uint8_t *bytes)
{
    uint32_t size = number % 97 == 0 ? LARGE_BYTES : number * 37 % 300, at = (publisher * 31 + number * 7) & 255;
    bytes[0] = (uint8_t)publisher;
    for (uint32_t i = 0; i < 4; i++) bytes[1 + i] = (uint8_t)(number >> (24 - 8 * i));
    for (uint32_t i = 0; i < size; i++) bytes[5 + i] = (uint8_t)((at + i) * 13);
    return 5 + size;
}

/* Every tenth goes to a stream that keeps only the last ones. */
static bool is_kept(uint32_t number)
{
    return number % 10 != 9;
}

static bool is_as_published(const struct mps_msg *msg, uint32_t *publisher, uint32_t *number)
{
    char topic[40];
    uint8_t expected[EXPECTED_MAX];
    if (msg->payload.len < 5 || msg->props.ptr != NULL) return false;
    const uint8_t *p = msg->payload.ptr;
    *publisher = p[0];
    *number = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    uint32_t len = payload_of(*publisher, *number, expected);
    snprintf(topic, sizeof topic, "%s/%u/%u", is_kept(*number) ? "orders" : "few", *publisher, *number % 5);
    return *publisher < PUBLISHERS && mps_view_equal(msg->payload, (mps_view){expected, len}) &&
           mps_view_equal(msg->topic, mps_text(topic));
}

/* ---- what publishers were told ------------------------------------------------------------------------------ */

struct told {
    unsigned long long time_ns, stream, position; /* stream 0: not said */
    unsigned publisher, first, last;              /* of these numbers */
    unsigned code; /* 0: all but those that were refused are stored; 225: none is; 100: nobody knows */
};

struct tale {
    struct told *told;
    size_t count;
};

static int by_time(const void *a, const void *b)
{
    const struct told *x = a, *y = b;
    return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

static bool tale_read(struct tale *tale, const char *path)
{
    FILE *file = fopen(path, "r");
    struct told t;
    size_t room = 0;
    if (file == NULL) {
        fprintf(stderr, "can't read %s: %s\n", path, strerror(errno));
        return false;
    }
    while (fscanf(file, "%llu %u %u %u %llu %llu %u", &t.time_ns, &t.publisher, &t.first, &t.last, &t.stream,
                  &t.position, &t.code) == 7) {
        if (t.publisher >= PUBLISHERS) abort();
        if (tale->count == room) tale->told = realloc(tale->told, (room = 2 * room + 1024) * sizeof t);
        if (tale->told == NULL) abort();
        tale->told[tale->count++] = t;
    }
    bool whole = feof(file);
    fclose(file);
    if (tale->count > 0) qsort(tale->told, tale->count, sizeof t, by_time);
    return whole;
}

/* ---- what is found ------------------------------------------------------------------------------------------ */

struct place {
    uint64_t stream, position; /* 0: not found */
    bool refused;
};

struct found {
    struct place *places[PUBLISHERS]; /* of each number */
    uint32_t room[PUBLISHERS];
    uint32_t highest[PUBLISHERS];
    uint64_t stored[PUBLISHERS]; /* what the publisher's record says */
    uint64_t end[STREAMS];       /* behind the last position of each stream */
    bool is_refusing;            /* a group was not stored: then others of it may have kept their positions */
};

struct verdict {
    uint64_t images, refused, lost, twice, out_of_order, altered, holes, disagreeing, damaged;
    uint32_t sentences;
    char where[100];
};

static void __attribute__((format(printf, 3, 4)))
wrong(struct verdict *verdict, uint64_t *count, const char *format, ...)
{
    va_list arguments;
    (*count)++;
    if (verdict->sentences++ >= TOLD_MAX) return;
    fprintf(stderr, "%s: ", verdict->where);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static struct place *place_of(struct found *found, uint32_t publisher, uint32_t number)
{
    if (number >= found->room[publisher]) {
        uint32_t room = number + number / 2 + 1024, old = found->room[publisher];
        found->places[publisher] = realloc(found->places[publisher], room * sizeof(struct place));
        if (found->places[publisher] == NULL) abort();
        memset(found->places[publisher] + old, 0, (room - old) * sizeof(struct place));
        found->room[publisher] = room;
    }
    return &found->places[publisher][number];
}

static void take_message(struct verdict *verdict, struct found *found, mps_view frame, uint64_t stream,
                         uint64_t position, uint32_t last[PUBLISHERS])
{
    struct mps_msg msg;
    const char *what;
    uint32_t publisher = 0, number = 0;
    if (mps_decode_msg(frame, &msg, &what) != MPS_OK || !is_as_published(&msg, &publisher, &number)) {
        wrong(verdict, &verdict->altered, "%llu of stream %llu is not as it was published",
              (unsigned long long)position, (unsigned long long)stream);
        return;
    }
    struct place *place = place_of(found, publisher, number);
    if (place->stream != 0)
        wrong(verdict, &verdict->twice, "message %u of publisher %u is there twice", number, publisher);
    place->stream = stream;
    place->position = position;
    if (number > found->highest[publisher]) found->highest[publisher] = number;
    if (number < last[publisher])
        wrong(verdict, &verdict->out_of_order, "message %u of publisher %u is behind %u", number, publisher,
              last[publisher]);
    last[publisher] = number;
}

static void take_block(struct verdict *verdict, struct found *found, const struct store_block *block,
                       uint32_t last[PUBLISHERS])
{
    const uint8_t *p = block->bytes, *end = block->bytes + block->len;
    for (uint32_t i = 0; i < block->count && p < end; i++) {
        uint32_t len = mps_msg_frame_len(p);
        take_message(verdict, found, (mps_view){p, len}, block->stream, block->first + i, last);
        p += len;
    }
}

/* Reads a stream from its beginning, without a hole. */
static void read_stream(struct verdict *verdict, struct found *found, struct patient *patient, uint32_t stream)
{
    uint32_t last[PUBLISHERS] = {0};
    uint64_t end = found->end[stream - STORE_STREAM_FIRST];
    for (uint64_t from = 1, before = 0; from < end;) {
        struct store_read *read = patient_read(patient, stream, from, end, 1 << 20);
        if (read->code != STORE_OK || read->damaged_first != 0)
            wrong(verdict, &verdict->damaged, "stream %u can't be read from %llu on: %s", stream,
                  (unsigned long long)from, read->text);
        bool more = read->damaged_first == 0 && read->code == STORE_OK && read->bytes != NULL;
        if (more && before != 0 && read->block.first != from && !found->is_refusing)
            wrong(verdict, &verdict->holes, "stream %u has nothing between %llu and %llu", stream,
                  (unsigned long long)before, (unsigned long long)read->block.first);
        if (more) take_block(verdict, found, &read->block, last);
        from = before = read->block.first + read->block.count;
        free(read->bytes);
        free(read);
        if (!more) return;
    }
}

struct visit {
    struct verdict *verdict;
    struct found *found;
};

static void on_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    struct visit *visit = arg;
    static const char name[] = "publisher-";
    size_t name_len = sizeof name - 1;
    if (kind != RECORD_PUBLISHER || key.len != name_len + 1 || memcmp(key.ptr, name, name_len) != 0) return;
    unsigned publisher = key.ptr[name_len] - (unsigned)'0';
    struct mps_reader r = mps_reader_open(value);
    mps_read_array(&r, "publisher");
    mps_read_uint(&r, UINT64_MAX, "boot");
    uint64_t stored = mps_read_uint(&r, MPS_NUMBER_MAX, "pid");
    if (r.bad != NULL || publisher >= PUBLISHERS)
        wrong(visit->verdict, &visit->verdict->disagreeing, "a publisher's record means nothing");
    else visit->found->stored[publisher] = stored;
}

static void on_block(void *arg, const struct store_block *block)
{
    struct visit *visit = arg;
    if (block->stream - STORE_STREAM_FIRST >= STREAMS)
        wrong(visit->verdict, &visit->verdict->altered, "there is a stream %u", block->stream);
    else visit->found->end[block->stream - STORE_STREAM_FIRST] = block->first + block->count;
}

static void on_damaged(void *arg, const char *text)
{
    struct visit *visit = arg;
    wrong(visit->verdict, &visit->verdict->damaged, "%s", text);
}

/* ---- the judgement ------------------------------------------------------------------------------------------ */

/* Refused then or later. */
static void note_refusals(struct found *found, const struct tale *tale)
{
    for (size_t i = 0; i < tale->count; i++) {
        const struct told *told = &tale->told[i];
        if (told->code != 0) found->is_refusing = true;
        for (uint32_t number = told->first; told->code != 0 && number <= told->last; number++)
            place_of(found, told->publisher, number)->refused = true;
    }
}

static bool is_missing(struct found *found, uint32_t publisher, uint32_t number)
{
    const struct place *place = place_of(found, publisher, number);
    return place->stream == 0 && is_kept(number) && !place->refused;
}

/* All that its record counts is there, and nothing else: messages and records are of one transaction. */
static void compare_record(struct verdict *verdict, struct found *found, uint32_t publisher)
{
    uint64_t stored = found->stored[publisher];
    if (found->highest[publisher] > stored)
        wrong(verdict, &verdict->disagreeing, "publisher %u: message %u is there, but %llu is noted as the last",
              publisher, found->highest[publisher], (unsigned long long)stored);
    for (uint32_t number = 1; number <= stored; number++)
        if (is_missing(found, publisher, number))
            wrong(verdict, &verdict->disagreeing,
                  "publisher %u: message %u is not there, but %llu is noted as the last", publisher, number,
                  (unsigned long long)stored);
}

static void compare_told(struct verdict *verdict, struct found *found, const struct told *told)
{
    for (uint32_t number = told->first; number <= told->last; number++) {
        if (told->code == 0 && is_missing(found, told->publisher, number))
            wrong(verdict, &verdict->lost, "message %u of publisher %u was acknowledged, and is not there", number,
                  told->publisher);
        if (told->code == 225 && place_of(found, told->publisher, number)->stream != 0)
            wrong(verdict, &verdict->disagreeing, "message %u of publisher %u was refused, and is there", number,
                  told->publisher);
    }
    const struct place *place = place_of(found, told->publisher, told->last);
    if (told->code != 0 || told->stream == 0 || place->stream == 0) return;
    if (place->stream != told->stream || place->position != told->position)
        wrong(verdict, &verdict->disagreeing, "message %u of publisher %u is at %llu, but was said to be at %llu",
              told->last, told->publisher, (unsigned long long)place->position, told->position);
}

/* All that was told by then is so. */
static void compare_tale(struct verdict *verdict, struct found *found, const struct tale *tale, uint64_t time_ns)
{
    for (size_t i = 0; i < tale->count && tale->told[i].time_ns < time_ns; i++)
        compare_told(verdict, found, &tale->told[i]);
}

static void judge(struct verdict *verdict, const char *directory, const struct tale *tale, uint64_t time_ns)
{
    struct patient patient;
    struct found found = {0};
    char text[STORE_TEXT_MAX];
    verdict->images++;
    if (!patient_open(&patient, directory, false)) {
        wrong(verdict, &verdict->refused, "%s", patient.text);
        return;
    }
    note_refusals(&found, tale);
    struct visit visit = {verdict, &found};
    const struct store_visitor visitor = {.record = on_record, .block = on_block, .damaged = on_damaged, .arg = &visit};
    if (patient.store->load(patient.store, &visitor, text) != 0) wrong(verdict, &verdict->refused, "%s", text);
    for (uint32_t stream = 0; stream < STREAMS; stream++)
        read_stream(verdict, &found, &patient, STORE_STREAM_FIRST + stream);
    patient_close(&patient);
    for (uint32_t publisher = 0; publisher < PUBLISHERS; publisher++) compare_record(verdict, &found, publisher);
    compare_tale(verdict, &found, tale, time_ns);
    for (uint32_t publisher = 0; publisher < PUBLISHERS; publisher++) free(found.places[publisher]);
}

/* ---- moments ------------------------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* How many entries of the log have happened when the power fails. Every second time it is just before or after
 * something that is rare. */
static size_t *choose_moments(const struct disk_log *log, size_t count, struct dice *dice)
{
    size_t *moments = malloc(count * sizeof *moments), *rare = malloc((log->count + 1) * sizeof *rare), rare_count = 0;
    if (moments == NULL || rare == NULL) abort();
    for (size_t i = 0; i < log->count; i++)
        if (disk_log_is_rare(disk_log_entry(log, i))) rare[rare_count++] = i;
    for (size_t i = 0; i < count; i++) {
        moments[i] = (size_t)dice_below(dice, log->count + 1);
        if (rare_count == 0 || i % 2 == 0) continue;
        moments[i] = rare[dice_below(dice, rare_count)] + (size_t)dice_below(dice, 4);
        if (moments[i] > log->count) moments[i] = log->count;
    }
    free(rare);
    qsort(moments, count, sizeof *moments, by_number);
    return moments;
}

struct task {
    const char *log, *tale, *base, *scratch, *keep; /* base, keep: NULL: none */
    size_t images, keep_every;
    uint64_t seed;
};

static void make_directory(char *path, size_t cap, const char *above, const char *name)
{
    snprintf(path, cap, "%s/%s", above, name);
    if (mkdir(path, 0700) < 0) {
        fprintf(stderr, "can't make %s: %s\n", path, strerror(errno));
        exit(2);
    }
}

static void remove_directory(const char *path)
{
    char name[700];
    DIR *directory = opendir(path);
    for (struct dirent *found; directory != NULL && (found = readdir(directory)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", path, found->d_name);
        if (found->d_name[0] != '.') unlink(name);
    }
    if (directory != NULL) closedir(directory);
    rmdir(path);
}

/* For a real broker: the same image, and beside it what publishers were told. */
static void keep(const struct task *task, const struct disk *disk, struct dice dice, const struct tale *tale,
                 uint64_t time_ns, size_t number)
{
    char name[40], path[400];
    snprintf(name, sizeof name, "%zu", number);
    make_directory(path, sizeof path, task->keep, name);
    disk_fail_power(disk, &dice, path);
    snprintf(path, sizeof path, "%s/%zu.told", task->keep, number);
    FILE *file = fopen(path, "w");
    if (file == NULL) abort();
    for (size_t i = 0; i < tale->count && tale->told[i].time_ns < time_ns; i++) {
        const struct told *t = &tale->told[i];
        fprintf(file, "0 %u %u %u %llu %llu %u\n", t->publisher, t->first, t->last, t->stream, t->position, t->code);
    }
    if (fclose(file) != 0) abort();
}

static bool run(const struct task *task)
{
    struct disk_log log;
    struct tale tale = {0};
    struct dice dice = {task->seed};
    struct verdict verdict = {0};
    if (!disk_log_open(&log, task->log) || !tale_read(&tale, task->tale)) return false;
    size_t *moments = choose_moments(&log, task->images, &dice);
    struct disk *disk = disk_new(task->base);
    for (size_t i = 0, done = 0; i < task->images; i++) {
        char path[400];
        for (; done < moments[i]; done++) disk_do(disk, disk_log_entry(&log, done));
        uint64_t time_ns = done < log.count ? disk_log_entry(&log, done)->time_ns : UINT64_MAX;
        snprintf(verdict.where, sizeof verdict.where, "image %zu, after %zu of %zu", i, done, log.count);
        if (task->keep != NULL && i % task->keep_every == 0) keep(task, disk, dice, &tale, time_ns, i);
        make_directory(path, sizeof path, task->scratch, "image");
        disk_fail_power(disk, &dice, path);
        judge(&verdict, path, &tale, time_ns);
        remove_directory(path);
    }
    printf(
        "%llu images of %zu writes, syncs and so on: acknowledged and lost %llu, duplicates %llu, out of order %llu, "
        "altered %llu, holes %llu, records that disagree %llu, damaged %llu, not opened %llu\n",
        (unsigned long long)verdict.images, log.count, (unsigned long long)verdict.lost,
        (unsigned long long)verdict.twice, (unsigned long long)verdict.out_of_order,
        (unsigned long long)verdict.altered, (unsigned long long)verdict.holes, (unsigned long long)verdict.disagreeing,
        (unsigned long long)verdict.damaged, (unsigned long long)verdict.refused);
    disk_free(disk);
    free(moments);
    free(tale.told);
    return verdict.sentences == 0;
}

int main(int argc, char **argv)
{
    static const char usage[] = "usage: power_images LOG TOLD IMAGES SEED SCRATCH [BASE|- [KEEP_EVERY KEEP]]\n";
    if (argc != 6 && argc != 7 && argc != 9) {
        fputs(usage, stderr);
        return 2;
    }
    struct task task = {.log = argv[1],
                        .tale = argv[2],
                        .images = strtoul(argv[3], NULL, 10),
                        .seed = strtoull(argv[4], NULL, 10),
                        .scratch = argv[5],
                        .base = argc > 6 && strcmp(argv[6], "-") != 0 ? argv[6] : NULL};
    if (argc > 7) {
        task.keep_every = strtoul(argv[7], NULL, 10);
        task.keep = argv[8];
    }
    return run(&task) ? 0 : 1;
}
