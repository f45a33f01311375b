#include "history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- a patient store ---------------------------------------------------------------------------------------- */

static void wake(void *arg)
{
    const uint64_t one = 1;
    if (write(((struct patient *)arg)->wake_fd, &one, sizeof one) < 0) abort();
}

static void committed(void *arg, const struct store_batch *batch, enum store_code code, const char *text)
{
    struct patient *patient = arg;
    (void)batch;
    patient->committed = true;
    patient->code = code;
    snprintf(patient->text, sizeof patient->text, "%s", text);
}

static void read_done(void *arg, struct store_read *read)
{
    ((struct patient *)arg)->read = read;
}

static void wait_for(struct patient *patient)
{
    uint64_t count;
    if (read(patient->wake_fd, &count, sizeof count) < 0) abort();
    patient->store->poll(patient->store);
}

bool patient_open(struct patient *patient, const char *directory, bool salvage)
{
    *patient = (struct patient){.wake_fd = eventfd(0, EFD_CLOEXEC)};
    if (patient->wake_fd < 0) abort();
    const struct sqlite_store_options options = {
        .directory = directory, .salvage = salvage, .wake = wake, .arg = patient};
    patient->store = sqlite_store_open(&options, patient->text, sizeof patient->text);
    if (patient->store == NULL) {
        close(patient->wake_fd);
        return false;
    }
    patient->store->events = (struct store_events){.committed = committed, .read_done = read_done, .arg = patient};
    return true;
}

void patient_close(struct patient *patient)
{
    patient->store->close(patient->store);
    close(patient->wake_fd);
}

enum store_code patient_commit(struct patient *patient, const struct store_batch *batch)
{
    patient->committed = false;
    patient->store->commit(patient->store, batch);
    while (!patient->committed) wait_for(patient);
    return patient->code;
}

struct store_read *patient_read(struct patient *patient, uint32_t stream, uint64_t from, uint64_t end,
                                uint32_t bytes_most)
{
    struct store_read *read = calloc(1, sizeof *read);
    if (read == NULL) abort();
    *read = (struct store_read){.stream = stream, .from = from, .end = end, .bytes_most = bytes_most};
    patient->read = NULL;
    patient->store->read(patient->store, read);
    while (patient->read == NULL) wait_for(patient);
    return read;
}

/* ---- what was written --------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t number) /* splitmix64 */
{
    number += 0x9e3779b97f4a7c15;
    number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9;
    number = (number ^ number >> 27) * 0x94d049bb133111eb;
    return number ^ number >> 31;
}

/* A message's bytes, 16 to 143 of them. Only counts if to is NULL. */
static uint32_t message(uint32_t stream, uint64_t position, uint8_t *to)
{
    uint64_t seed = mix(position << 10 | stream);
    uint32_t len = 16 + (uint32_t)(seed % 128);
    if (to == NULL) return len;
    for (uint32_t i = 0; i < len; i++) {
        if (i % 8 == 0) seed = mix(seed);
        to[i] = (uint8_t)(seed >> i % 8 * 8);
    }
    return len;
}

static uint8_t *messages(uint32_t stream, uint64_t first, uint32_t count, uint32_t *len)
{
    *len = 0;
    for (uint32_t i = 0; i < count; i++) *len += message(stream, first + i, NULL);
    uint8_t *bytes = malloc(*len + 1u), *to = bytes;
    if (bytes == NULL) abort();
    for (uint32_t i = 0; i < count; i++) to += message(stream, first + i, to);
    return bytes;
}

static int record_key(uint32_t index, char *key)
{
    return sprintf(key, "the record %u", index);
}

static int record_value(uint32_t index, uint32_t version, char *value)
{
    return sprintf(value, "version %u of %u: %016llx", version, index,
                   (unsigned long long)mix((uint64_t)version << 32 | index));
}

bool history_knows_block(const struct history *history, const struct store_block *block)
{
    uint32_t index = block->stream - STORE_STREAM_FIRST, len;
    if (index >= HISTORY_STREAMS || block->first < 1 || block->count < 1) return false;
    if (block->count > history->end[index] || block->first > history->end[index] - block->count) return false;
    uint8_t *bytes = messages(block->stream, block->first, block->count, &len);
    bool same = len == block->len && memcmp(bytes, block->bytes, len) == 0;
    free(bytes);
    return same;
}

bool history_knows_record(const struct history *history, uint32_t kind, mps_view key, mps_view value)
{
    unsigned index, version;
    char text[200], expected[200];
    if (kind != HISTORY_RECORD_KIND || key.len >= sizeof text || value.len >= sizeof text) return false;
    memcpy(text, key.ptr, key.len);
    text[key.len] = '\0';
    if (sscanf(text, "the record %u", &index) != 1 || index >= HISTORY_RECORDS) return false;
    if ((size_t)record_key(index, expected) != key.len || strcmp(text, expected) != 0) return false;
    memcpy(text, value.ptr, value.len);
    text[value.len] = '\0';
    if (sscanf(text, "version %u", &version) != 1 || version > history->versions[index]) return false;
    return (size_t)record_value(index, version, expected) == value.len && strcmp(text, expected) == 0;
}

/* ---- writing it --------------------------------------------------------------------------------------------- */

#define CHANGES_MAX 8

struct draft {
    struct store_change changes[CHANGES_MAX];
    uint32_t count;
    char keys[CHANGES_MAX][40], values[CHANGES_MAX][80];
};

static void draft_append(struct draft *draft, struct history *history, uint32_t index, uint32_t count, uint64_t time_ms)
{
    struct store_change *change = &draft->changes[draft->count++];
    *change = (struct store_change){.what = STORE_APPEND};
    struct store_block *block = &change->block;
    *block = (struct store_block){
        .stream = STORE_STREAM_FIRST + index, .first = history->end[index], .count = count, .time_ms = time_ms};
    block->bytes = messages(block->stream, block->first, count, &block->len);
    history->last_commit[index] = history->end[index];
    history->end[index] += count;
}

static void draft_record(struct draft *draft, struct history *history, uint32_t index)
{
    struct store_change *change = &draft->changes[draft->count];
    char *key = draft->keys[draft->count], *value = draft->values[draft->count];
    draft->count++;
    *change = (struct store_change){.what = STORE_PUT, .kind = HISTORY_RECORD_KIND};
    change->key = (mps_view){(uint8_t *)key, (uint32_t)record_key(index, key)};
    change->value = (mps_view){(uint8_t *)value, (uint32_t)record_value(index, ++history->versions[index], value)};
}

/* Small and large blocks, some over many pages; streams that are busy and that are not; records that change all the
 * time. */
static void draft_commit(struct draft *draft, struct history *history, uint64_t number)
{
    uint64_t dice = mix(number);
    draft->count = 0;
    for (uint32_t i = 0; i < HISTORY_STREAMS; i++) history->last_commit[i] = history->end[i];
    uint32_t count = number % 50 == 0 ? 1000 : number % 3 == 0 ? 1 : (uint32_t)(dice % 200) + 1;
    draft_append(draft, history, 0, count, number * 300);
    if (dice >> 20 & 1)
        draft_append(draft, history, 1 + (uint32_t)(dice >> 32 & 1), (uint32_t)(dice >> 40) % 20 + 1, number * 300);
    if (number % 100 == 7) draft_append(draft, history, 3, 1, number * 300);
    for (uint32_t i = 0; i < 3; i++) draft_record(draft, history, (uint32_t)(mix(dice + i) % HISTORY_RECORDS));
    if (number % 100 == 99) {
        history->first[0] = history->end[0] / 4;
        draft->changes[draft->count++] = (struct store_change){
            .what = STORE_TRIM, .block = {.stream = STORE_STREAM_FIRST, .first = history->first[0]}};
    }
}

static int write_commits(struct history *history, struct patient *patient, uint64_t from, uint64_t to)
{
    for (uint64_t number = from; number <= to; number++) {
        struct draft draft;
        draft_commit(&draft, history, number);
        const struct store_batch batch = {.number = number, .changes = draft.changes, .count = draft.count};
        enum store_code code = patient_commit(patient, &batch);
        for (uint32_t i = 0; i < draft.count; i++)
            if (draft.changes[i].what == STORE_APPEND) free((uint8_t *)draft.changes[i].block.bytes);
        if (code != STORE_OK) return -1;
    }
    return 0;
}

int copy_file(const char *from, const char *to)
{
    static char bytes[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    int result = in == NULL || out == NULL ? -1 : 0;
    for (size_t len; result == 0 && (len = fread(bytes, 1, sizeof bytes, in)) > 0;)
        if (fwrite(bytes, 1, len, out) != len) result = -1;
    if (in != NULL) fclose(in);
    if (out != NULL && fclose(out) != 0) result = -1;
    if (result < 0) fprintf(stderr, "can't copy %s to %s: %s\n", from, to, strerror(errno));
    return result;
}

int history_write(struct history *history, const char *directory, const char *killed)
{
    struct patient patient;
    *history = (struct history){0};
    for (uint32_t i = 0; i < HISTORY_STREAMS; i++) history->first[i] = history->end[i] = 1;
    /* In two lives, so that a log that is left has only what the second one wrote. */
    int result = patient_open(&patient, directory, false) ? 0 : -1;
    if (result == 0) {
        result = write_commits(history, &patient, 1, HISTORY_FIRST_LIFE);
        patient_close(&patient);
    }
    if (result == 0) result = patient_open(&patient, directory, false) ? 0 : -1;
    if (result == 0) {
        patient.store->events.arg = &patient;
        result = write_commits(history, &patient, HISTORY_FIRST_LIFE + 1, HISTORY_COMMITS);
        char from[300], to[300];
        static const char *const names[] = {"streams.db", "streams.db-wal"};
        for (size_t i = 0; i < 2 && result == 0 && killed != NULL; i++) {
            snprintf(from, sizeof from, "%s/%s", directory, names[i]);
            snprintf(to, sizeof to, "%s/%s", killed, names[i]);
            result = copy_file(from, to);
        }
        patient_close(&patient);
    }
    if (result < 0) fprintf(stderr, "the store can't be written: %s\n", patient.text);
    return result;
}
