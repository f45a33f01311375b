/* What the broker's streams keep, worked out from what was published and from what the disk was asked for. A log is a
 * stream as the model sees it (stream.c here is the stream of bytes to a client). */
#ifndef SIM_LOGS_H
#define SIM_LOGS_H

#include "broker.h"
#include "match.h"
#include "store.h"

#define LOGS_MAX 4
#define LOG_PATTERNS_MAX 3
#define NO_ENTRY UINT32_MAX

struct model;
struct message;

enum entry_state {
    ENTRY_WAITS,  /* accepted; not in a commit yet */
    ENTRY_RUNS,   /* in the commit that is under way */
    ENTRY_STORED,
    ENTRY_LOST,   /* could not be stored when it had been taken already: its position stays, as a hole */
    ENTRY_GONE,   /* refused, or lost with the broker: it has no position */
};

/* A message that was accepted, in the order of acceptance. Those that have one have growing positions. */
struct log_entry {
    uint32_t message;     /* index in model.messages */
    enum entry_state state;
    bool sure;            /* level 2: its publisher waits for it */
    bool damaged;         /* on the platter; what is in memory may still be good */
    uint64_t position;    /* WAITS, RUNS: if everything before it will be stored */
    uint64_t was_position; /* in the commit that failed last */
    uint64_t came_ms, stored_ms; /* by the world's clock */
    int64_t aged_ms;      /* likewise; after a restart, as the Unix clock tells it: what is of the future came then */
    uint64_t time_ms;     /* Unix time */
    uint64_t batch;       /* of wills of one moment, whose order is open; 0: none */
};

/* One row on the platter. */
struct log_block {
    uint64_t first, count, bytes, time_ms;
    int64_t newest_ms;    /* by the world's clock */
};

struct model_log {
    struct model *model;
    char name[8];
    uint32_t number;
    struct name patterns[LOG_PATTERNS_MAX];
    uint32_t patterns_count;
    uint64_t max_bytes, max_msgs, max_age_ms; /* UINT64_MAX: no limit */
    bool refuses;
    bool of_dead;         /* $dead/#: what comes there, the broker makes */

    struct log_entry *entries;
    uint32_t count, cap;
    uint32_t runs_from, waits_from; /* entries of the commit under way, and those that are in none yet */
    uint32_t failed_from, failed_to; /* of the commit that failed last, which a crash may bring back; empty: none */
    uint32_t *at;         /* entry + 1 by position; 0: none */
    uint32_t at_cap;
    uint64_t next;        /* position of the next message, if everything before it will be stored */
    uint64_t stored;      /* all below is decided: stored, or a hole */
    uint64_t waiting_msgs, waiting_bytes;

    struct log_block *blocks; /* on the platter, the oldest first, .blocks_first and on */
    uint32_t blocks_first, blocks_end, blocks_cap;
    uint64_t stored_msgs, stored_bytes;
    uint64_t gone;        /* positions below are surely removed */
    uint64_t may_be_gone; /* and those below perhaps */
};

/* ---- logs.c ---- */
struct model_log *log_of_topic(struct model *model, const struct name *topic); /* NULL: it is not kept */
struct model_log *log_by_number(struct model *model, uint64_t number);
/* Whether some topic could match both. */
bool log_meets(const struct model_log *log, const struct name *pattern);
/* Whether everything that the log keeps matches the pattern, as far as the broker can know: one by one. */
bool log_is_covered(const struct model_log *log, const struct name *pattern);
bool log_is_full(const struct model_log *log, uint32_t len); /* for a message of this length */
/* A message was accepted. Returns its entry. */
uint32_t log_append(struct model_log *log, uint32_t message, bool sure, uint64_t batch);
/* What stands at a position: an entry, or NO_ENTRY. */
uint32_t log_at(const struct model_log *log, uint64_t position);
/* The entry from which on a reader reads that begins at this position. */
uint32_t log_from(const struct model_log *log, uint64_t position);
bool log_may_be_gone(const struct model_log *log, const struct log_entry *entry);
void logs_age(struct model *model);    /* the clock moved */
void logs_crash(struct model *model, bool keep); /* before the disk's; then what the broker loads, and that that was all */
void logs_load(void *model, const struct store_block *block);
void logs_loaded(struct model *model);
void logs_free(struct model *model);
/* The disk: see disk.h. */
void logs_commit(void *model, const struct store_batch *batch);
void logs_committed(void *model, const struct store_batch *batch, enum store_code code);
void logs_check(struct model *model);  /* at rest */

#endif
