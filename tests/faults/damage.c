/* A store of some megabytes, of which one bit is wrong, or of which the end is missing, at places chosen by chance:
 * each message that is delivered is what was written at its position; the rest is told as damaged or missing, or the
 * start is refused, and what is salvaged then is a part of what was written. A crash, a hang or an altered message
 * fails the test. damage [BITS [CUTS [SEED]]]    how many trials of either kind; each is a process of its own */
/* Hostile 56. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/scratch.h"
#include "history.h"

#define TRIAL_SECONDS 60
#define READ_BYTES 20000u

/* What a trial's process leaves for the one that started it. */
struct outcome {
    bool refused, salvaged;
    uint64_t delivered, told, missing; /* messages, of those that were stored; told: damaged, as read() says */
    uint64_t at_the_end;               /* of the missing ones: behind the last that was delivered or told */
    char wrong[400];                   /* empty: nothing was */
};

struct world {
    struct history history;
    char top[90];
    char clean[100], killed[100]; /* directories: as after .close(), and as after kill -9 */
    char both[100];          /* as when the log was brought into the database, and the kill came before it began anew */
    char trial[100];         /* of a trial */
    struct outcome *outcome; /* shared memory */
    uint64_t dice;
};

enum kind { ONE_BIT, MANY_BITS, CUT };
#define MANY 300

struct trial {
    const char *from; /* directory */
    const char *file; /* that is damaged */
    enum kind kind;
    uint64_t at; /* byte; where it ends now */
    uint8_t bit;
};

static uint64_t roll(struct world *world, uint64_t below)
{
    world->dice ^= world->dice << 13;
    world->dice ^= world->dice >> 7;
    world->dice ^= world->dice << 17;
    return world->dice % below;
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static void path_of(const char *directory, const char *name, char path[300])
{
    snprintf(path, 300, "%s/%s", directory, name);
}

static void empty(const char *directory)
{
    static const char *const names[] = {"streams.db",     "streams.db-wal",       "streams.db-shm",
                                        "lock",           "streams.db.damaged-1", "streams.db.damaged-1-wal",
                                        "streams.db.new", "streams.db.salvaged"};
    char path[300];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        path_of(directory, names[i], path);
        unlink(path);
    }
}

static uint64_t size_of(const char *directory, const char *name)
{
    char path[300];
    struct stat info;
    path_of(directory, name, path);
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

static int copy_store(const char *from, const char *to)
{
    static const char *const names[] = {"streams.db", "streams.db-wal"};
    for (size_t i = 0; i < 2; i++) {
        char source[300], target[300];
        path_of(from, names[i], source);
        path_of(to, names[i], target);
        if (access(source, F_OK) == 0 && copy_file(source, target) < 0) return -1;
    }
    return 0;
}

static void flip(FILE *file, uint64_t at, uint8_t bit)
{
    fseek(file, (long)at, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, (long)at, SEEK_SET);
    fputc(byte ^ 1 << bit, file);
}

static int damage_file(struct world *world, const struct trial *trial)
{
    char path[300];
    uint64_t size = size_of(world->trial, trial->file);
    path_of(world->trial, trial->file, path);
    if (trial->kind == CUT) return truncate(path, (off_t)trial->at);
    FILE *file = fopen(path, "r+b");
    if (file == NULL) return -1;
    flip(file, trial->at, trial->bit);
    for (int i = 1; i < MANY && trial->kind == MANY_BITS; i++) flip(file, roll(world, size), (uint8_t)roll(world, 8));
    return fclose(file);
}

/* ---- judging ------------------------------------------------------------------------------------------------ */

static void wrong(struct world *world, const char *what, uint64_t stream, uint64_t position)
{
    if (world->outcome->wrong[0] == '\0')
        snprintf(world->outcome->wrong, sizeof world->outcome->wrong, "%s (stream %" PRIu64 ", position %" PRIu64 ")",
                 what, stream, position);
}

static void see_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    struct world *world = arg;
    if (!history_knows_record(&world->history, kind, key, value)) wrong(world, "a record that was never written", 0, 0);
}

static void see_block(void *arg, const struct store_block *block)
{
    struct world *world = arg;
    uint32_t index = block->stream - STORE_STREAM_FIRST;
    if (index >= HISTORY_STREAMS || block->first + block->count > world->history.end[index])
        wrong(world, "a block that was never written", block->stream, block->first);
}

static void see_damage(void *arg, const char *text)
{
    if (text[0] == '\0') wrong(arg, "damage without a sentence", 0, 0);
}

static uint64_t overlap(uint64_t first, uint64_t end, uint64_t least, uint64_t behind)
{
    if (first < least) first = least;
    if (end > behind) end = behind;
    return first < end ? end - first : 0;
}

/* Reads a stream from its beginning to its end. */
static void judge_stream(struct world *world, struct patient *patient, uint32_t index)
{
    struct outcome *outcome = world->outcome;
    uint32_t stream = STORE_STREAM_FIRST + index;
    uint64_t next = 1, end = world->history.end[index], first = world->history.first[index];
    while (next < end) {
        struct store_read *read = patient_read(patient, stream, next, end, READ_BYTES);
        const struct store_block *block = &read->block;
        uint64_t reached = read->damaged_first != 0 ? read->damaged_last + 1 : next;
        if (read->code != STORE_OK) wrong(world, read->text, stream, next);
        if (read->damaged_first != 0) {
            outcome->told += overlap(read->damaged_first, read->damaged_last + 1, first, end);
            if (read->damaged_first < next || read->damaged_last < read->damaged_first || read->damaged_last >= end)
                wrong(world, "nonsense about what is damaged", stream, next);
        }
        if (read->bytes != NULL) {
            if (!history_knows_block(&world->history, block)) wrong(world, "an altered message", stream, block->first);
            if (block->first + block->count <= next)
                wrong(world, "a message that was not asked for", stream, block->first);
            outcome->delivered +=
                overlap(block->first < next ? next : block->first, block->first + block->count, first, end);
            if (block->first > reached) outcome->missing += overlap(reached, block->first, first, end);
            reached = block->first + block->count;
        } else if (reached < end) {
            uint64_t rest = overlap(reached, end, first, end);
            outcome->missing += rest;
            outcome->at_the_end += rest;
            reached = end;
        }
        if (reached <= next) wrong(world, "no progress", stream, next);
        next = reached;
        free(read->bytes);
        free(read);
        if (outcome->wrong[0] != '\0') return;
    }
}

/* Loads and reads all. False: it was refused, with a sentence. */
static bool judge_store(struct world *world, bool salvage)
{
    const struct store_visitor visitor = {
        .record = see_record, .block = see_block, .damaged = see_damage, .arg = world};
    struct patient patient;
    char text[STORE_TEXT_MAX] = "";
    bool opened = patient_open(&patient, world->trial, salvage), loaded = false;
    if (opened) {
        loaded = patient.store->load(patient.store, &visitor, text) == 0;
        for (uint32_t i = 0; i < HISTORY_STREAMS && loaded; i++) judge_stream(world, &patient, i);
        patient_close(&patient);
    }
    const char *said = opened ? text : patient.text;
    if (!loaded && (strstr(said, world->trial) == NULL || strlen(said) < 20))
        wrong(world, "refused without a sentence", 0, 0);
    if (!loaded && salvage) wrong(world, said, 0, 0);
    return loaded;
}

static void judge(struct world *world)
{
    struct outcome *outcome = world->outcome;
    outcome->refused = !judge_store(world, false);
    if (!outcome->refused || outcome->wrong[0] != '\0') return;
    outcome->delivered = outcome->told = outcome->missing = outcome->at_the_end = 0;
    outcome->salvaged = judge_store(world, true);
}

/* ---- trials ------------------------------------------------------------------------------------------------- */

static const char *kind_name(enum kind kind)
{
    switch (kind) {
    case ONE_BIT: return "with one bit flipped";
    case MANY_BITS: return "with many bits flipped";
    case CUT: return "cut";
    }
    return "";
}

static const char *state_of(const struct world *world, const char *directory)
{
    if (directory == world->clean) return "closed";
    return directory == world->killed ? "killed" : "killed after a checkpoint";
}

static bool run_trial(struct world *world, const struct trial *trial)
{
    *world->outcome = (struct outcome){0};
    empty(world->trial);
    if (copy_store(trial->from, world->trial) < 0 || damage_file(world, trial) < 0) {
        fprintf(stderr, "damage: can't prepare a trial: %s\n", strerror(errno));
        return false;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(TRIAL_SECONDS);
        judge(world);
        _exit(0);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child) return false;
    if (WIFSIGNALED(status))
        snprintf(world->outcome->wrong, sizeof world->outcome->wrong, "ended by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        snprintf(world->outcome->wrong, sizeof world->outcome->wrong, "ended with %d", WEXITSTATUS(status));
    if (world->outcome->wrong[0] == '\0') return true;
    fprintf(stderr, "damage: %s, %s %s at %" PRIu64 " (bit %d): %s\n", state_of(world, trial->from), trial->file,
            kind_name(trial->kind), trial->at, trial->bit, world->outcome->wrong);
    return false;
}

/* Trials of one kind: what they did, and whether all went well. */
static bool run_trials(struct world *world, const char *from, const char *file, enum kind kind, uint32_t count)
{
    struct outcome sum = {0};
    uint32_t refused = 0, salvaged = 0, failed = 0;
    uint64_t size = size_of(from, file);
    for (uint32_t i = 0; i < count; i++) {
        struct trial trial = {
            .from = from, .file = file, .kind = kind, .at = roll(world, size), .bit = (uint8_t)roll(world, 8)};
        failed += !run_trial(world, &trial);
        refused += world->outcome->refused;
        salvaged += world->outcome->salvaged;
        sum.delivered += world->outcome->delivered;
        sum.told += world->outcome->told;
        sum.missing += world->outcome->missing;
        sum.at_the_end += world->outcome->at_the_end;
    }
    printf("%s, %s %s: %u trials, %u refused at the start (%u salvaged); messages: %" PRIu64
           " delivered as written, %" PRIu64 " told as damaged, %" PRIu64 " missing (%" PRIu64
           " of them at the end); failed: %u\n",
           state_of(world, from), file, kind_name(kind), count, refused, salvaged, sum.delivered, sum.told, sum.missing,
           sum.at_the_end, failed);
    return failed == 0;
}

static bool make_world(struct world *world)
{
    snprintf(world->top, sizeof world->top, "%s/pubsub-damage-XXXXXX", scratch_top());
    if (mkdtemp(world->top) == NULL) return false;
    snprintf(world->clean, sizeof world->clean, "%s/clean", world->top);
    snprintf(world->killed, sizeof world->killed, "%s/killed", world->top);
    snprintf(world->both, sizeof world->both, "%s/both", world->top);
    snprintf(world->trial, sizeof world->trial, "%s/trial", world->top);
    if (mkdir(world->killed, 0700) < 0 || mkdir(world->both, 0700) < 0 || mkdir(world->trial, 0700) < 0) return false;
    world->outcome = mmap(NULL, sizeof *world->outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return world->outcome != MAP_FAILED && history_write(&world->history, world->clean, world->killed) == 0 &&
           copy_store(world->killed, world->both) == 0 && copy_store(world->clean, world->both) == 0;
}

static void end_world(struct world *world)
{
    const char *const directories[] = {world->clean, world->killed, world->both, world->trial};
    for (size_t i = 0; i < 4; i++) {
        empty(directories[i]);
        rmdir(directories[i]);
    }
    rmdir(world->top);
}

int main(int argc, char **argv)
{
    static struct world world;
    uint32_t bits = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 200;
    uint32_t cuts = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 80;
    world.dice = argc > 3 ? strtoull(argv[3], NULL, 10) * 2 + 1 : 20240229;
    if (!make_world(&world)) {
        fprintf(stderr, "damage: can't make a store: %s\n", strerror(errno));
        return 2;
    }
    uint64_t messages = 0;
    for (uint32_t i = 0; i < HISTORY_STREAMS; i++) messages += world.history.end[i] - world.history.first[i];
    printf("a store of %" PRIu64 " messages: %" PRIu64 " bytes; when killed, %" PRIu64 " and a log of %" PRIu64 "\n",
           messages, size_of(world.clean, "streams.db"), size_of(world.killed, "streams.db"),
           size_of(world.killed, "streams.db-wal"));
    struct trial untouched = {
        .from = world.clean, .file = "streams.db", .kind = CUT, .at = size_of(world.clean, "streams.db")};
    bool good = run_trial(&world, &untouched) && !world.outcome->refused && world.outcome->delivered >= messages;
    if (!good) fprintf(stderr, "damage: the store is not as it was written before it is damaged\n");
    good &= run_trials(&world, world.clean, "streams.db", ONE_BIT, bits / 2);
    good &= run_trials(&world, world.killed, "streams.db", ONE_BIT, bits / 6);
    good &= run_trials(&world, world.killed, "streams.db-wal", ONE_BIT, bits - bits / 2 - bits / 6);
    good &= run_trials(&world, world.clean, "streams.db", CUT, cuts / 2);
    good &= run_trials(&world, world.killed, "streams.db-wal", CUT, cuts / 4);
    good &= run_trials(&world, world.both, "streams.db-wal", CUT, cuts - cuts / 2 - cuts / 4);
    good &= run_trials(&world, world.clean, "streams.db", MANY_BITS, cuts / 4);
    good &= run_trials(&world, world.killed, "streams.db-wal", MANY_BITS, cuts / 4);
    end_world(&world);
    return good ? 0 : 1;
}
