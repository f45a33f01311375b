/* A store with a known past: what was written to it can be computed again from stream and position, so that whatever is read
 * can be judged. */
#ifndef FAULTS_HISTORY_H
#define FAULTS_HISTORY_H

#include "sqlite_store.h"

#define HISTORY_STREAMS 4
#define HISTORY_RECORDS 300
#define HISTORY_RECORD_KIND 5
#define HISTORY_COMMITS 500
#define HISTORY_FIRST_LIFE 350 /* commits before it is closed for the first time */

struct history {
    uint64_t first[HISTORY_STREAMS]; /* what is below was trimmed */
    uint64_t end[HISTORY_STREAMS];   /* behind the last position */
    uint64_t last_commit[HISTORY_STREAMS]; /* where the last commit's messages begin; end if it has none */
    uint32_t versions[HISTORY_RECORDS]; /* of each record's value; 0: it isn't there */
};

/* Writes the store in this new directory, always the same one. killed: with another name for the directory, where a copy of
 * the files is left as a broker leaves them that is killed with much of it in the log; NULL: none. 0, or -1 with a message. */
int history_write(struct history *history, const char *directory, const char *killed);

/* Whether these are the bytes that were written at the positions of this block. */
bool history_knows_block(const struct history *history, const struct store_block *block);
/* Whether this was ever the value of this record. */
bool history_knows_record(const struct history *history, uint32_t kind, mps_view key, mps_view value);

/* ---- a store whose calls wait for their end ---- */
struct patient {
    struct store *store;
    int wake_fd;
    bool committed;
    enum store_code code;
    struct store_read *read;
    char text[STORE_TEXT_MAX];
};

bool patient_open(struct patient *patient, const char *directory, bool salvage); /* false: .text says why not */
void patient_close(struct patient *patient);
enum store_code patient_commit(struct patient *patient, const struct store_batch *batch);
struct store_read *patient_read(struct patient *patient, uint32_t stream, uint64_t from, uint64_t end, uint32_t bytes_most);

int copy_file(const char *from, const char *to);

#endif
