#include "outbox_log.h"

#include <string.h>

#include "crc32c.h"
#include "outbox_frame.h"

#define VERSION 1

static const char magic[8] = {'p', 's', 'o', 'u', 't', 'b', 'o', 'x'};

static void put32(uint8_t *at, uint32_t n)
{
    for (unsigned i = 0; i < 4; i++) at[i] = (uint8_t)(n >> 8 * i);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < 4; i++) n |= (uint32_t)at[i] << 8 * i;
    return n;
}

void mps_log_write_pid(uint8_t at[8], uint64_t pid)
{
    put32(at, (uint32_t)pid);
    put32(at + 4, (uint32_t)(pid >> 32));
}

uint64_t mps_log_read_pid(const uint8_t at[8])
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

/* ---- header: magic 0, version 8, boot 16, settled 24, length of the id 32, id 40..103, checksum 124 ---------------
 */

void mps_log_write_header(uint8_t at[MPS_LOG_HEADER], const struct mps_log_header *header)
{
    size_t id_len = strlen(header->id);
    memset(at, 0, MPS_LOG_HEADER);
    memcpy(at, magic, sizeof magic);
    put32(at + 8, VERSION);
    mps_log_write_pid(at + 16, header->boot);
    mps_log_write_pid(at + 24, header->settled_pid);
    put32(at + 32, (uint32_t)id_len);
    memcpy(at + 40, header->id, id_len);
    put32(at + MPS_LOG_HEADER - 4, mps_crc32c(0, at, MPS_LOG_HEADER - 4));
}

const char *mps_log_read_header(const uint8_t *at, size_t len, struct mps_log_header *header)
{
    if (len < sizeof magic || memcmp(at, magic, sizeof magic) != 0) return "it is no outbox file";
    if (len < MPS_LOG_HEADER) return "it is damaged: its beginning is cut short";
    if (get32(at + MPS_LOG_HEADER - 4) != mps_crc32c(0, at, MPS_LOG_HEADER - 4))
        return "it is damaged: the checksum of its beginning is wrong";
    uint32_t id_len = get32(at + 32);
    if (get32(at + 8) != VERSION || id_len > MPS_ID_MAX) return "it is of another version";
    header->boot = mps_log_read_pid(at + 16);
    header->settled_pid = mps_log_read_pid(at + 24);
    memcpy(header->id, at + 40, id_len);
    header->id[id_len] = '\0';
    return NULL;
}

/* ---- records: length of the body and kind 0, flags 4, pid 8, checksum of the body 16, of all before 20 -------------
 */

void mps_log_write_record(uint8_t at[MPS_LOG_RECORD], const struct mps_log_record *record)
{
    put32(at, record->body.len << 2 | (uint32_t)record->kind);
    put32(at + 4, record->flags);
    mps_log_write_pid(at + 8, record->pid);
    put32(at + 16, record->body.len > 0 ? mps_crc32c(0, record->body.ptr, record->body.len) : 0);
    put32(at + 20, mps_crc32c(0, at, 20));
}

static bool is_zero(const uint8_t *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] != 0) return false;
    return true;
}

/* Exactly one MSG, in the form in which an outbox has them. */
static bool is_message(mps_view frame)
{
    static const struct mps_limits any = {UINT32_MAX, MPS_VALUES_MAX, UINT32_MAX / 4};
    struct mps_scan scan = {0};
    struct mps_msg msg;
    const char *what;
    if (frame.len < MPS_VOID_LEN || frame.ptr[0] != 0x94 || frame.ptr[1] != MPS_OP_MSG) return false;
    return mps_scan(&scan, frame.ptr, frame.len, &any) == MPS_SCAN_FRAME && scan.pos == frame.len &&
           mps_decode_msg(frame, &msg, &what) == MPS_OK;
}

static bool is_sound(const struct mps_log_record *record)
{
    switch (record->kind) {
    case MPS_LOG_MESSAGE: return mps_flags_acked(record->flags) && is_message(record->body);
    case MPS_LOG_VOID: return record->body.len == 8;
    case MPS_LOG_SETTLED: return record->body.len == 0;
    }
    return false;
}

enum mps_log_found mps_log_read_record(const uint8_t *at, size_t len, struct mps_log_record *record)
{
    if (len < MPS_LOG_RECORD) return MPS_LOG_END;
    if (get32(at + 20) != mps_crc32c(0, at, 20)) return is_zero(at, len) ? MPS_LOG_END : MPS_LOG_DAMAGED;
    uint32_t body_len = get32(at) >> 2;
    if (len - MPS_LOG_RECORD < body_len) return MPS_LOG_END;
    *record = (struct mps_log_record){.kind = (enum mps_log_kind)(get32(at) & 3),
                                      .flags = get32(at + 4),
                                      .pid = mps_log_read_pid(at + 8),
                                      .body = {at + MPS_LOG_RECORD, body_len}};
    if (get32(at + 16) != (body_len > 0 ? mps_crc32c(0, record->body.ptr, body_len) : 0)) return MPS_LOG_DAMAGED;
    return is_sound(record) ? MPS_LOG_FOUND : MPS_LOG_DAMAGED;
}
