/* mps/1 on the wire: scanning, reading and writing of frames, rules of topics. See PROTOCOL.md.
 *
 * Nothing here does I/O, allocates, keeps state of its own, recurses or trusts a length that the peer claims.
 * Everything works on memory that the caller lends; a view borrows it and dies with it. Any thread may call any
 * function, on objects of its own. Shared by broker and client; only the client library's names are exported. */
#ifndef MPS_WIRE_H
#define MPS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numbers.h"

/* A borrowed piece of memory. ptr is NULL when a field was left out or nil. */
typedef struct {
    const uint8_t *ptr;
    uint32_t len;
} mps_view;

mps_view mps_text(const char *text); /* of a NUL-terminated string of at most 4 GiB; NULL gives the absent view */
bool mps_view_equal(mps_view a, mps_view b);

/* Names of numbers, for people. "unknown" for a number without a row. */
const char *mps_op_name(unsigned op);
const char *mps_code_text(unsigned code);
const char *mps_gap_reason_name(unsigned reason);
const char *mps_mark_name(unsigned kind);
const char *mps_policy_name(unsigned policy);
const char *mps_ack_mode_name(unsigned mode);
const char *mps_from_name(unsigned kind);
const char *mps_scope_name(unsigned scope);

/* ---- one msgpack value's head (head.c) ------------------------------------------------------------------- */

enum mps_type { MPS_NIL, MPS_BOOL, MPS_UINT, MPS_INT, MPS_FLOAT, MPS_STR, MPS_BIN, MPS_EXT, MPS_ARRAY, MPS_MAP };

/* The head of one value: its type, how long it is without its body, and what the head itself says.
 * An integer is MPS_INT only when it is negative: a positive one is MPS_UINT whatever its encoding. */
struct mps_head {
    enum mps_type type;
    uint8_t head_len;   /* bytes, body not counted */
    int8_t ext_type;
    bool boolean;
    uint32_t count;     /* str, bin, ext: bytes of the body; array: elements; map: pairs */
    uint64_t number;    /* MPS_UINT; MPS_INT as two's complement */
    double real;        /* MPS_FLOAT */
};

/* Reads the head at p, of which len bytes are there. Returns 1 and fills *head, 0 if bytes are missing, -1 for the
 * byte c1, which starts nothing. */
int mps_head_read(const uint8_t *p, size_t len, struct mps_head *head);

/* ---- finding the end of a frame (frame.c) ---------------------------------------------------------------- */

struct mps_limits {
    uint32_t head_max;    /* bytes of a frame but for its payload */
    uint32_t values_max;
    uint32_t payload_max; /* bytes; above four times this, a message is MPS_SCAN_LIMIT instead of MPS_SCAN_TOO_LARGE */
};

enum mps_scan_result {
    MPS_SCAN_MORE = 0,       /* the frame isn't complete: call again with more bytes of it */
    MPS_SCAN_FRAME = 1,      /* complete: its length is .pos */
    MPS_SCAN_MALFORMED = -1, /* BYE 101 */
    MPS_SCAN_LIMIT = -2,     /* BYE 104 */
    MPS_SCAN_TOO_LARGE = -3, /* a message whose payload exceeds payload_max; its head is there. Answer 213, then call
                                mps_scan_skip() for these and all further bytes until it says that the frame is over */
};

/* Where the scan of one frame stands. All zero to begin a frame. Positions count from the frame's first byte.
 * A scan goes on where it stopped, so the cost is linear however the input is cut. */
struct mps_scan {
    uint32_t pos;         /* scanned so far; a body that is jumped over may put it beyond the bytes there are */
    uint32_t payload_at;  /* of a MSG: where the payload's body begins, 0 until it is known */
    uint32_t payload_len;
    uint32_t skipped;     /* bytes of an oversized frame that are gone already */
    uint16_t values;
    uint16_t elements;    /* of the frame's array, begun so far */
    uint8_t depth;        /* open containers */
    uint8_t op;           /* valid once .elements is at least 1 */
    bool oversized;
    uint32_t owed[MPS_DEPTH_MAX]; /* values that each open container still lacks */
    const char *error;    /* after MALFORMED or LIMIT: what was wrong, a clause for a person */
};

/* Scans one frame of which the first len bytes are at frame. Time: linear in the values not seen before. */
enum mps_scan_result mps_scan(struct mps_scan *scan, const uint8_t *frame, size_t len, const struct mps_limits *limits);

/* After MPS_SCAN_TOO_LARGE: takes len further bytes of the oversized frame, at first those that were scanned already.
 * Sets *used to how many of them belong to it. Returns MPS_SCAN_MORE, MPS_SCAN_FRAME when it is over, or an error.
 * Keep bytes beyond *used; when MORE is returned and *used < len, they are the beginning of a value that isn't
 * complete: offer them again with more behind. */
enum mps_scan_result mps_scan_skip(struct mps_scan *scan, const uint8_t *bytes, size_t len,
                                   const struct mps_limits *limits, size_t *used);

/* Length in bytes of the complete, already accepted MSG frame at p, of which every element is known to be whole.
 * For walking the frames of a run; costs a few nanoseconds and checks nothing. */
uint32_t mps_msg_frame_len(const uint8_t *p);

/* ---- reading the fields of a scanned frame (reader.c) ------------------------------------------------------ */

/* A cursor over values. Once something was not as asked, every further call returns zero, nil or nothing, and .bad
 * names what it was: read all fields first, check once. */
struct mps_reader {
    const uint8_t *p, *end;
    const char *bad; /* NULL: all well; else the name of the first field that was wrong */
};

struct mps_reader mps_reader_open(mps_view bytes);
bool mps_reader_more(const struct mps_reader *r); /* there are bytes left and nothing was bad */
uint32_t mps_read_array(struct mps_reader *r, const char *what);
uint32_t mps_read_map(struct mps_reader *r, const char *what);
uint64_t mps_read_uint(struct mps_reader *r, uint64_t max, const char *what);
bool mps_read_bool(struct mps_reader *r, const char *what);
mps_view mps_read_text(struct mps_reader *r, const char *what); /* str, UTF-8 without NUL; never the absent view */
mps_view mps_read_bin(struct mps_reader *r, const char *what);  /* never the absent view */
bool mps_read_nil(struct mps_reader *r);  /* true and past it if the next value is nil; else nothing happens */
mps_view mps_read_any(struct mps_reader *r, const char *what);  /* one whole value, as its bytes */

bool mps_utf8_valid(mps_view text); /* well-formed UTF-8 without NUL */
/* Whether two keys of the map whose bytes these are mean the same, however they are encoded. Malformed: true. */
bool mps_map_has_duplicates(mps_view map);

/* ---- the frames, decoded (decode.c) and encoded (encode.c) ------------------------------------------------- */

struct mps_hello {
    mps_view magic;
    uint64_t version;
    mps_view id, auth, sw;
    mps_view data;      /* one raw value; absent if none */
    mps_view will;      /* one raw array; absent if none */
    uint32_t ka_s, sess_s;
    uint32_t rx_max;    /* bytes of a whole MSG frame; 0: not said */
    uint64_t boot;
    uint32_t vmin;      /* 0: not said */
    bool clean, half;
};
struct mps_will {
    mps_view topic, payload;
    uint32_t flags;     /* of PUB: only retain means something */
    uint64_t delay_ms;
    mps_view props;     /* raw; absent if none */
};
struct mps_msg {
    mps_view topic;     /* str of any bytes: judge it with mps_topic_error() */
    mps_view props;     /* one raw value that is a map; absent if nil */
    mps_view payload;
};
struct mps_pub { uint64_t pid; uint32_t flags; };
struct mps_for {
    uint32_t sid, flags;
    bool has_position;  /* stream and seq are given */
    uint64_t stream, seq, time_ms;
    uint32_t tries;
};
struct mps_ack { uint32_t sid; uint64_t stream, seq; uint32_t kind; uint64_t delay_ms; };
struct mps_credit { uint32_t sid; uint64_t max_msgs; bool drain; };
struct mps_gap {
    uint32_t sid;
    bool has_count;
    uint64_t count;
    uint32_t reason;
    uint64_t stream, first, last; /* stream 0: no positions */
};
struct mps_puback {
    uint64_t pid;
    uint32_t code;
    uint64_t matched, dropped;
    uint64_t stream, seq; /* stream 0: none */
    mps_view text;
};

/* Where a subscription begins. */
struct mps_from {
    enum mps_from_kind kind;
    enum mps_from_kind rest;    /* SEQ: where the streams begin that are not named; any kind but SEQ */
    uint64_t number;            /* LAST: how many; TIME: Unix time in ms; AGO: ms; SEQ: that of .rest */
    uint32_t count;             /* SEQ: how many streams are named, 1..MPS_FROM_POSITIONS_MAX, none of them twice */
    mps_view pairs;             /* SEQ, decoded: for mps_from_next() */
    const uint64_t *positions;  /* SEQ, to be encoded: stream, first position, stream, ...; NULL: .pairs, as decoded */
};

/* Which of struct mps_sub_options are given. */
enum {
    MPS_SUB_POLICY = 1 << 0,    MPS_SUB_MAX_MSGS = 1 << 1,  MPS_SUB_MAX_BYTES = 1 << 2, MPS_SUB_BLOCK_MS = 1 << 3,
    MPS_SUB_THEN = 1 << 4,      MPS_SUB_ACK = 1 << 5,       MPS_SUB_ACK_MS = 1 << 6,    MPS_SUB_MAX_TRIES = 1 << 7,
    MPS_SUB_INFLIGHT = 1 << 8,  MPS_SUB_CREDIT = 1 << 9,    MPS_SUB_GROUP = 1 << 10,    MPS_SUB_FILTER = 1 << 11,
    MPS_SUB_FROM = 1 << 12,     MPS_SUB_RETAINED = 1 << 13, MPS_SUB_NO_LOCAL = 1 << 14, MPS_SUB_DURABLE = 1 << 15,
    MPS_SUB_SCOPE = 1 << 16,
};
struct mps_sub_options {
    uint32_t given;             /* MPS_SUB_* */
    enum mps_policy policy, then;
    enum mps_ack_mode ack;
    enum mps_scope scope;
    uint64_t max_msgs, max_bytes, block_ms, ack_ms, max_tries, inflight, credit;
    mps_view group, filter;
    struct mps_from from;       /* left out: MPS_FROM_NEW */
    uint32_t retained;          /* 0 always, 1 only if the sid is new, 2 no */
    bool no_local, durable;
};
struct mps_sub { uint32_t sid; mps_view pattern; struct mps_sub_options options; };
struct mps_suback { uint32_t sid, code; struct mps_sub_options granted; mps_view text; };
struct mps_unsub { uint32_t sid; };
struct mps_mark { uint32_t sid, kind; bool has_counts; uint64_t sent, lost; };
struct mps_token { mps_view token; };           /* PING, PONG */
struct mps_stat { uint32_t sid; bool has_counts; uint64_t matched, sent, lost, queued, queued_bytes; };
struct mps_auth { mps_view token; };
struct mps_welcome {
    uint64_t version;
    mps_view id, inbox, sw;
    uint64_t epoch, last_pid;
    bool resumed;
    uint32_t ka_s, sess_s;
    bool has_sess;              /* sess is said: it differs from what was asked for */
    uint64_t max_payload, max_topic, max_subs, pub_window;
    uint32_t ack;               /* best level */
};
struct mps_err { uint32_t code; mps_view text; bool has_op; uint32_t op; mps_view ref; }; /* ref: one raw value */
struct mps_bye { uint32_t code; mps_view text; mps_view info; };                          /* info: one raw map */
struct mps_info { mps_view map; };              /* one raw map */

/* Decoders. frame is what mps_scan() accepted. Each returns MPS_OK and fills *out with views into the frame, or the
 * code that the peer is owed (MPS_MALFORMED, MPS_BAD_PROPS, MPS_BAD_OPTION, MPS_BAD_TOPIC), sets *what to the name
 * of the field that was wrong and leaves *out undefined. Topics and patterns are not judged here. */
enum mps_code mps_decode_hello(mps_view frame, struct mps_hello *out, const char **what);
/* raw: what .will of a HELLO holds. */
enum mps_code mps_decode_will(mps_view raw, struct mps_will *out, const char **what);
enum mps_code mps_decode_msg(mps_view frame, struct mps_msg *out, const char **what); /* props are not judged either */
enum mps_code mps_decode_pub(mps_view frame, struct mps_pub *out, const char **what);
enum mps_code mps_decode_for(mps_view frame, struct mps_for *out, const char **what);
enum mps_code mps_decode_ack(mps_view frame, struct mps_ack *out, const char **what);
enum mps_code mps_decode_credit(mps_view frame, struct mps_credit *out, const char **what);
enum mps_code mps_decode_gap(mps_view frame, struct mps_gap *out, const char **what);
enum mps_code mps_decode_puback(mps_view frame, struct mps_puback *out, const char **what);
/* A known option of a wrong type or value is MPS_BAD_OPTION; .sid and .pattern are then valid all the same. */
enum mps_code mps_decode_sub(mps_view frame, struct mps_sub *out, const char **what);
enum mps_code mps_decode_suback(mps_view frame, struct mps_suback *out, const char **what);
enum mps_code mps_decode_unsub(mps_view frame, struct mps_unsub *out, const char **what);
enum mps_code mps_decode_mark(mps_view frame, struct mps_mark *out, const char **what);
enum mps_code mps_decode_token(mps_view frame, struct mps_token *out, const char **what); /* PING and PONG */
enum mps_code mps_decode_stat(mps_view frame, struct mps_stat *out, const char **what);
enum mps_code mps_decode_auth(mps_view frame, struct mps_auth *out, const char **what);
enum mps_code mps_decode_welcome(mps_view frame, struct mps_welcome *out, const char **what);
enum mps_code mps_decode_err(mps_view frame, struct mps_err *out, const char **what);
enum mps_code mps_decode_bye(mps_view frame, struct mps_bye *out, const char **what);
enum mps_code mps_decode_info(mps_view frame, struct mps_info *out, const char **what);

/* Reads one raw, well-formed value as SUB's `from`: MPS_OK, or MPS_BAD_OPTION for another shape, a number that is none,
 * a stream named twice or more than MPS_FROM_POSITIONS_MAX of them. *out borrows from raw. mps_decode_sub() does it. */
enum mps_code mps_decode_from(mps_view raw, struct mps_from *out);
/* The next stream and position of decoded pairs, and past it; false at their end. Begin with a copy of .pairs. */
bool mps_from_next(mps_view *pairs, uint64_t *stream, uint64_t *seq);

/* The operation of a scanned frame, 0..127. */
unsigned mps_frame_op(mps_view frame);

/* Judges a message's props (the raw map): MPS_OK or MPS_BAD_PROPS with *what. */
enum mps_code mps_props_check(mps_view props, const char **what);
/* Finds one of the protocol's integer keys. Returns its raw value, or the absent view. props was checked. */
mps_view mps_props_find(mps_view props, unsigned key);

/* A buffer being written. Once something did not fit, .full stays true and nothing more is written: write the whole
 * frame, check once; .len then is what it was before the call of mps_encode_*. */
struct mps_out {
    uint8_t *buf;
    uint32_t cap, len;
    bool full;
};

struct mps_out mps_out_open(void *buf, size_t cap);
mps_view mps_out_view(const struct mps_out *out);
void mps_put_array(struct mps_out *out, uint32_t count);
void mps_put_map(struct mps_out *out, uint32_t count);
void mps_put_uint(struct mps_out *out, uint64_t number);
void mps_put_int(struct mps_out *out, int64_t number);
void mps_put_bool(struct mps_out *out, bool value);
void mps_put_nil(struct mps_out *out);
void mps_put_text(struct mps_out *out, mps_view text);
void mps_put_bin_head(struct mps_out *out, uint32_t len); /* only the head: len bytes of body must follow */
void mps_put_bin(struct mps_out *out, mps_view bytes);
void mps_put_raw(struct mps_out *out, mps_view bytes);    /* already encoded */
void mps_put_from(struct mps_out *out, const struct mps_from *from);

/* Encoders: the shortest form of each frame. Return true, or false if it did not fit (nothing was written). */
bool mps_encode_hello(struct mps_out *out, const struct mps_hello *in);
bool mps_encode_msg(struct mps_out *out, const struct mps_msg *in);
/* All but the payload's body. */
bool mps_encode_msg_head(struct mps_out *out, mps_view topic, mps_view props, uint32_t payload_len);
bool mps_encode_pub(struct mps_out *out, const struct mps_pub *in);
bool mps_encode_for(struct mps_out *out, const struct mps_for *in);
bool mps_encode_ack(struct mps_out *out, const struct mps_ack *in);
bool mps_encode_credit(struct mps_out *out, const struct mps_credit *in);
bool mps_encode_gap(struct mps_out *out, const struct mps_gap *in);
bool mps_encode_puback(struct mps_out *out, const struct mps_puback *in);
bool mps_encode_sub(struct mps_out *out, const struct mps_sub *in);
bool mps_encode_suback(struct mps_out *out, const struct mps_suback *in);
bool mps_encode_unsub(struct mps_out *out, const struct mps_unsub *in);
bool mps_encode_mark(struct mps_out *out, const struct mps_mark *in);
bool mps_encode_ping(struct mps_out *out, const struct mps_token *in);
bool mps_encode_pong(struct mps_out *out, const struct mps_token *in);
bool mps_encode_stat(struct mps_out *out, const struct mps_stat *in);
bool mps_encode_auth(struct mps_out *out, const struct mps_auth *in);
bool mps_encode_welcome(struct mps_out *out, const struct mps_welcome *in);
bool mps_encode_err(struct mps_out *out, const struct mps_err *in);
bool mps_encode_bye(struct mps_out *out, const struct mps_bye *in);
bool mps_encode_info(struct mps_out *out, const struct mps_info *in);

/* ---- topics (topic.c) ----------------------------------------------------------------------------------- */

/* NULL if name is a topic that can be published to (the reserved $ levels included: that is a matter of permission),
 * else why not, as a clause for a person: "it is empty", "it has 33 levels, the limit is 32". */
const char *mps_topic_error(mps_view name);
const char *mps_pattern_error(mps_view pattern);
bool mps_topic_is_wild(mps_view pattern); /* whether it holds a wildcard level */
/* Whether a valid pattern matches a valid topic. */
bool mps_topic_matches(mps_view pattern, mps_view topic);
/* The same for levels behind the first: nothing is special about $. Either may be empty, which is one empty level. */
bool mps_levels_match(mps_view pattern, mps_view topic);
/* Of two valid patterns: whether some topic matches both; whether every topic that matches narrow matches wide. */
bool mps_patterns_overlap(mps_view a, mps_view b);
bool mps_pattern_covers(mps_view wide, mps_view narrow);

/* Whether what begins here, left bytes of UTF-8, is a character that steers a terminal, or hides in a name or reorders it: control
 * and formatting characters, and blanks. */
bool mps_hides(const uint8_t *p, uint32_t left);

/* NULL if id may name a client: 1..MPS_ID_MAX bytes of UTF-8 without control or formatting characters, blanks,
 * '/', '+', '#', and not starting with '$'; else why not. */
const char *mps_id_error(mps_view id);

#endif
