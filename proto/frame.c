#include "plain.h"
#include "wire.h"

static enum mps_scan_result malformed(struct mps_scan *scan, const char *error)
{
    scan->error = error;
    return MPS_SCAN_MALFORMED;
}

static enum mps_scan_result over_limit(struct mps_scan *scan, const char *error)
{
    scan->error = error;
    return MPS_SCAN_LIMIT;
}

/* The frame's array itself and its first element, the operation. */
static enum mps_scan_result check_start(struct mps_scan *scan, const struct mps_head *head)
{
    if (scan->values == 1) {
        if (head->type != MPS_ARRAY) return malformed(scan, "a frame must be an array");
        if (head->count == 0) return malformed(scan, "a frame must not be empty");
    } else if (scan->values == 2) {
        if (head->type != MPS_UINT || head->number > MPS_OP_MAX)
            return malformed(scan, "an operation must be an integer from 0 to 127");
        scan->op = (uint8_t)head->number;
    }
    return MPS_SCAN_MORE;
}

/* A container begins: its elements are owed. The claim is judged here, so a claim alone costs nothing. */
static enum mps_scan_result open_container(struct mps_scan *scan, const struct mps_head *head,
                                           const struct mps_limits *limits)
{
    uint64_t owed = head->type == MPS_MAP ? 2 * (uint64_t)head->count : head->count;
    if (owed + scan->values > limits->values_max) return over_limit(scan, "too many values in a frame");
    if (scan->depth == MPS_DEPTH_MAX) return over_limit(scan, "nested too deeply");
    if (owed > 0) scan->owed[scan->depth++] = (uint32_t)owed;
    return MPS_SCAN_MORE;
}

static enum mps_scan_result check_payload(struct mps_scan *scan, const struct mps_head *head,
                                          const struct mps_limits *limits)
{
    if (head->type != MPS_BIN) return malformed(scan, "the payload of a MSG must be bin");
    if (head->count > 4 * (uint64_t)limits->payload_max)
        return over_limit(scan, "the payload is longer than four times the limit");
    scan->payload_at = scan->pos + head->head_len;
    scan->payload_len = head->count;
    scan->oversized = head->count > limits->payload_max;
    return scan->oversized ? MPS_SCAN_TOO_LARGE : MPS_SCAN_MORE;
}

static bool has_body(enum mps_type type)
{
    return type == MPS_STR || type == MPS_BIN || type == MPS_EXT;
}

/* Takes one value whose head is there; a body is jumped over. */
static enum mps_scan_result take_value(struct mps_scan *scan, const struct mps_head *head,
                                       const struct mps_limits *limits)
{
    if (++scan->values > limits->values_max) return over_limit(scan, "too many values in a frame");
    if (scan->depth == 1) scan->elements++;
    if (scan->depth > 0) scan->owed[scan->depth - 1]--;
    enum mps_scan_result result = check_start(scan, head);
    if (result != MPS_SCAN_MORE) return result;

    uint32_t body = has_body(head->type) ? head->count : 0;
    bool payload = scan->op == MPS_OP_MSG && scan->depth == 1 && scan->elements == 4;
    uint64_t head_end = (uint64_t)scan->pos + head->head_len + (payload ? 0 : body) - scan->payload_len;
    if (head_end > limits->head_max) return over_limit(scan, "the frame's head is too long");
    if (payload) {
        result = check_payload(scan, head, limits);
        if (result < 0 && result != MPS_SCAN_TOO_LARGE) return result;
    } else if (head->type == MPS_ARRAY || head->type == MPS_MAP) {
        enum mps_scan_result opened = open_container(scan, head, limits);
        if (opened != MPS_SCAN_MORE) return opened;
    }
    scan->pos += head->head_len + body;
    while (scan->depth > 0 && scan->owed[scan->depth - 1] == 0) scan->depth--;
    return result;
}

static inline enum mps_scan_result is_there(const struct mps_scan *scan, size_t len)
{
    return scan->pos - scan->skipped <= len ? MPS_SCAN_FRAME : MPS_SCAN_MORE;
}

static enum mps_scan_result take_values(struct mps_scan *scan, const uint8_t *frame, size_t len,
                                        const struct mps_limits *limits)
{
    while (scan->values == 0 || scan->depth > 0) {
        size_t at = scan->pos - scan->skipped;
        if (at >= len) return MPS_SCAN_MORE;
        struct mps_head head;
        int there = mps_head_read(frame + at, len - at, &head);
        if (there < 0) return malformed(scan, "the byte c1 is not msgpack");
        if (there == 0) return MPS_SCAN_MORE;
        enum mps_scan_result result = take_value(scan, &head, limits);
        if (result != MPS_SCAN_MORE) return result;
    }
    return is_there(scan, len);
}

/* A message of the common shape, all at once, if this is the beginning of one. */
static inline bool take_plain(struct mps_scan *scan, const uint8_t *frame, size_t len, const struct mps_limits *limits)
{
    struct mps_plain plain;
    if (!mps_plain_read(frame, len, &plain) || plain.payload_len > limits->payload_max ||
        plain.payload_at > limits->head_max || limits->values_max < 5)
        return false;
    scan->pos = plain.payload_at + plain.payload_len;
    scan->payload_at = plain.payload_at;
    scan->payload_len = plain.payload_len;
    scan->values = 5;
    scan->elements = 4;
    scan->op = MPS_OP_MSG;
    return true;
}

enum mps_scan_result mps_scan(struct mps_scan *scan, const uint8_t *frame, size_t len, const struct mps_limits *limits)
{
    bool all_known = scan->values > 0 ? scan->depth == 0 : take_plain(scan, frame, len, limits);
    return all_known ? is_there(scan, len) : take_values(scan, frame, len, limits);
}

enum mps_scan_result mps_scan_skip(struct mps_scan *scan, const uint8_t *bytes, size_t len,
                                   const struct mps_limits *limits, size_t *used)
{
    enum mps_scan_result result = take_values(scan, bytes, len, limits);
    size_t known = scan->pos - scan->skipped;
    *used = known < len ? known : len;
    scan->skipped += (uint32_t)*used;
    return result;
}

uint32_t mps_msg_frame_len(const uint8_t *p)
{
    struct mps_plain plain;
    if (mps_plain_read(p, UINT32_MAX, &plain)) return plain.payload_at + plain.payload_len;
    static const struct mps_limits any = {UINT32_MAX, UINT16_MAX, UINT32_MAX / 4};
    struct mps_scan scan = {0};
    mps_scan(&scan, p, UINT32_MAX, &any);
    return scan.pos;
}
