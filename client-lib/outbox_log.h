/* The form of an outbox file: see outbox_file.h. */
#ifndef PUBSUB_OUTBOX_LOG_H
#define PUBSUB_OUTBOX_LOG_H

#include "outbox.h"

#define MPS_LOG_HEADER 128 /* bytes */
#define MPS_LOG_RECORD 24  /* bytes of a record without its body */

enum mps_log_kind { MPS_LOG_MESSAGE = 1, MPS_LOG_VOID, MPS_LOG_SETTLED };

struct mps_log_header {
    uint64_t boot, settled_pid;
    char id[MPS_ID_MAX + 1];
};

struct mps_log_record {
    enum mps_log_kind kind;
    uint32_t flags;      /* MESSAGE */
    uint64_t pid;
    mps_view body;       /* MESSAGE: the frame; VOID: 8 bytes, the last pid */
};

void mps_log_write_header(uint8_t at[MPS_LOG_HEADER], const struct mps_log_header *header);
/* Returns NULL or why it is none: a clause. */
const char *mps_log_read_header(const uint8_t *at, size_t len, struct mps_log_header *header);

/* All of a record but its body. */
void mps_log_write_record(uint8_t at[MPS_LOG_RECORD], const struct mps_log_record *record);
void mps_log_write_pid(uint8_t at[8], uint64_t pid);

enum mps_log_found { MPS_LOG_FOUND, MPS_LOG_END, MPS_LOG_DAMAGED };

/* Reads the record at `at`, of which len bytes are there. MPS_LOG_END: the rest was never written whole. */
enum mps_log_found mps_log_read_record(const uint8_t *at, size_t len, struct mps_log_record *record);
uint64_t mps_log_read_pid(const uint8_t at[8]);

#endif
