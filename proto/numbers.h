/* What mps/1 says in numbers: operations, codes, flags, limits. See PROTOCOL.md. Also for a compiler whose int has 16
 * bits: the client's core needs nothing else of this directory, but for plain.h. */
#ifndef MPS_NUMBERS_H
#define MPS_NUMBERS_H

#include <stdint.h>

#define MPS_PROTOCOL_VERSION 1
#define MPS_OP_MAX 127
#define MPS_DEPTH_MAX 4                   /* containers in containers, the frame's array counted */
#define MPS_TOPIC_MAX 255                 /* bytes */
#define MPS_TOPIC_LEVELS_MAX 32
#define MPS_SID_MAX UINT32_C(0x7fffffff)
#define MPS_ID_MAX 64                     /* bytes of a client id */
#define MPS_TOKEN_MAX 64                  /* bytes of a PING token */
#define MPS_NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* pids, positions and counts: what every language holds exactly */

/* Default limits, PROTOCOL.md "Limits". */
#define MPS_HEAD_MAX 8192                 /* bytes of a frame but for its payload */
#define MPS_VALUES_MAX 256                /* msgpack values in a frame, each counted */
#define MPS_PAYLOAD_MAX (UINT32_C(1024) * 1024) /* bytes */
#define MPS_HELLO_FRAME_MAX 4096          /* bytes of one frame before WELCOME */
#define MPS_HELLO_MS 5000
#define MPS_FROM_POSITIONS_MAX 64         /* streams that one SUB may name positions of */
#define MPS_SMALL_FRAME_MAX (32 + MPS_TOKEN_MAX) /* bytes: enough for any frame without text, map or topic */

enum mps_op {
#define OP(number, NAME, way, fields) MPS_OP_##NAME = number,
#include "ops.def"
#undef OP
};

enum mps_code {
#define CODE(number, NAME, text) MPS_##NAME = number,
#include "codes.def"
};
enum mps_gap_reason {
#define GAP_REASON(number, NAME, text) MPS_GAP_##NAME = number,
#include "codes.def"
};
enum mps_mark_kind {
#define MARK_KIND(number, NAME, text) MPS_MARK_##NAME = number,
#include "codes.def"
};
enum mps_policy {
#define POLICY(number, NAME, text) MPS_POLICY_##NAME = number,
#include "codes.def"
};
enum mps_ack_mode {
#define ACK_MODE(number, NAME, text) MPS_ACK_##NAME = number,
#include "codes.def"
};
enum mps_from_kind {
#define FROM(number, NAME, text) MPS_FROM_##NAME = number,
#include "codes.def"
};
enum mps_scope {
#define SCOPE(number, NAME, text) MPS_SCOPE_##NAME = number,
#include "codes.def"
};

enum { /* flags of PUB */
    MPS_PUB_RETAIN = 1,
    MPS_PUB_LEVEL_SHIFT = 1,
    MPS_PUB_LEVEL_MASK = 3 << MPS_PUB_LEVEL_SHIFT, /* 0 none, 1 routed, 2 stored, 3 replicated */
    MPS_PUB_MUST_ROUTE = 8,
    MPS_PUB_EACH = 16,
};
enum { /* flags of FOR */
    MPS_FOR_RETAINED = 1,
    MPS_FOR_REPLAY = 2,
    MPS_FOR_REDELIVERED = 4,
};
enum { /* kinds of ACK */
    MPS_ACKED_UPTO = 0,      /* this and all earlier ones of the stream */
    MPS_ACKED_ONE = 1,
    MPS_ACKED_AGAIN = 2,     /* not done: again, after a delay */
    MPS_ACKED_NEVER = 3,     /* not done and never again */
};
enum { /* integer keys of a message's props */
    MPS_PROP_REPLY_TO = 1,
    MPS_PROP_CORRELATION = 2,
    MPS_PROP_CONTENT_TYPE = 3,
    MPS_PROP_TTL_MS = 4,
    MPS_PROP_TRACE = 5,
    MPS_PROP_KEY = 6,
    MPS_PROP_MESSAGE_ID = 7,
    MPS_PROP_SOURCE_TIME_MS = 8,
};

#endif
