#include "broker_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX (1u << 20)
#define TURNS_MAX 100000

static struct stage *stage_of(struct env *env)
{
    return (struct stage *)(void *)((char *)env - offsetof(struct stage, env));
}

static struct link *link_of(struct stage *stage, char name)
{
    assert_in_range(name, 'a', 'z');
    return &stage->links[name - 'a'];
}

/* ---- the world ---------------------------------------------------------------------------------------------- */

static uint64_t env_now(struct env *env)
{
    return stage_of(env)->now_ms;
}

static uint64_t env_wall(struct env *env)
{
    return stage_of(env)->wall_ms;
}

static void env_random(struct env *env, void *bytes, size_t len)
{
    struct stage *stage = stage_of(env);
    for (size_t i = 0; i < len; i++) {
        stage->random = stage->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(stage->random >> 56);
    }
}

static void *grown(void *bytes, size_t len)
{
    void *more = realloc(bytes, len);
    assert_non_null(more);
    return more;
}

static ssize_t env_send(struct env *env, struct link *link, const struct iovec *pieces, int count)
{
    (void)env;
    size_t taken = 0;
    for (int i = 0; i < count; i++) {
        size_t len = pieces[i].iov_len < link->room ? pieces[i].iov_len : (size_t)link->room;
        if (link->in_len + len + 1 > link->in_cap) {
            link->in_cap = 2 * (link->in_len + len + 1);
            link->in = grown(link->in, link->in_cap);
        }
        memcpy(link->in + link->in_len, pieces[i].iov_base, len);
        link->in_len += len;
        if (link->room != STAGE_ROOM) link->room -= len;
        taken += len;
        if (len == pieces[i].iov_len) continue;
        link->blocked = true;
        break;
    }
    return (ssize_t)taken;
}

static void env_send_end(struct env *env, struct link *link)
{
    (void)env;
    link->ended = true;
}

static void env_reading(struct env *env, struct link *link, int on)
{
    (void)env;
    link->reading = on != 0;
}

static void env_close(struct env *env, struct link *link)
{
    (void)env;
    link->session = NULL;
    link->ended = true;
}

static void env_log(struct env *env, const struct log_record *record)
{
    struct stage *stage = stage_of(env);
    if (record->text == NULL) return;
    assert_null(strchr(record->text, '\n'));
    snprintf(stage->logged, sizeof stage->logged, "%s", record->text);
}

static int env_area_write(struct env *env, uint64_t at, const void *bytes, size_t len)
{
    struct stage *stage = stage_of(env);
    if (at + len > stage->area_len) {
        stage->area = grown(stage->area, (size_t)at + len);
        stage->area_len = (size_t)at + len;
    }
    memcpy(stage->area + at, bytes, len);
    return 0;
}

static int env_area_read(struct env *env, uint64_t at, void *bytes, size_t len)
{
    const struct stage *stage = stage_of(env);
    assert_true(at + len <= stage->area_len);
    memcpy(bytes, stage->area + at, len);
    return 0;
}

/* ---- the store ---------------------------------------------------------------------------------------------- */

static struct gate *gate_of(struct store *store)
{
    return (struct gate *)(void *)store;
}

static int gate_load(struct store *store, const struct store_visitor *visitor, char text[STORE_TEXT_MAX])
{
    struct gate *gate = gate_of(store);
    gate->inner->events = store->events;
    return gate->inner->load(gate->inner, visitor, text);
}

static void gate_commit(struct store *store, const struct store_batch *batch)
{
    struct gate *gate = gate_of(store);
    if (gate->inner != NULL) gate->inner->commit(gate->inner, batch);
}

static void gate_read(struct store *store, struct store_read *read)
{
    struct gate *gate = gate_of(store);
    if (gate->inner != NULL) gate->inner->read(gate->inner, read);
    else free(read);
}

static void gate_poll(struct store *store)
{
    struct gate *gate = gate_of(store);
    if (gate->inner != NULL) gate->inner->poll(gate->inner);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int stage_set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    if (stage == NULL) return -1;
    stage->env = (struct env){.now_ms = env_now,
                              .wall_ms = env_wall,
                              .random = env_random,
                              .send = env_send,
                              .send_end = env_send_end,
                              .reading = env_reading,
                              .close = env_close,
                              .log = env_log,
                              .area_write = env_area_write,
                              .area_read = env_area_read};
    stage->now_ms = 1000000;
    stage->wall_ms = UINT64_C(1700000000000);
    stage->random = 1;
    broker_defaults(&stage->limits);
    *state = stage;
    return 0;
}

void stage_start(struct stage *stage)
{
    stage->broker = broker_new(&stage->env, &stage->limits);
    broker_set_access(stage->broker, stage->access);
    stage->access = NULL;
}

void stage_open_gate(struct stage *stage)
{
    if (stage->disk == NULL) stage->disk = memory_disk_new();
    stage->gate =
        (struct gate){.store = {.load = gate_load, .commit = gate_commit, .read = gate_read, .poll = gate_poll},
                      .inner = memory_store_open(stage->disk)};
}

void stage_start_stored(struct stage *stage, const char *pattern)
{
    char text[STORE_TEXT_MAX];
    stage_start(stage);
    stage_open_gate(stage);
    stage->pattern = pattern;
    stage->stream = (struct stream_config){.name = "kept", .patterns = &stage->pattern, .patterns_count = 1};
    assert_int_equal(broker_open_store(stage->broker, &stage->gate.store, &stage->stream, 1, text, sizeof text), 0);
    stage_settle(stage);
}

static void forget_links(struct stage *stage)
{
    for (int i = 0; i < STAGE_LINKS; i++) {
        free(stage->links[i].in);
        free(stage->links[i].out);
        stage->links[i] = (struct link){.stage = stage};
    }
}

static void free_broker(struct stage *stage)
{
    for (int i = 0; i < STAGE_LINKS; i++)
        if (stage->links[i].session != NULL) session_closed(stage->links[i].session);
    forget_links(stage);
    broker_turn(stage->broker);
    assert_int_equal(broker_sessions(stage->broker), 0);
    while (stage->gate.inner != NULL && !broker_store_idle(stage->broker)) stage_pass(stage, 10);
    broker_free(stage->broker);
    stage->broker = NULL;
}

void stage_stop(struct stage *stage)
{
    broker_stop(stage->broker);
    stage_settle(stage);
    if (stage->gate.inner != NULL) {
        memory_store_hold(stage->gate.inner, false, false);
        memory_store_finish_commit(stage->gate.inner);
    }
    free_broker(stage);
    if (stage->gate.inner != NULL) stage->gate.inner->close(stage->gate.inner);
    stage->gate.inner = NULL;
}

void stage_crash(struct stage *stage, bool kept)
{
    memory_store_crash(stage->gate.inner, kept);
    stage->gate.inner = NULL;
    free_broker(stage);
}

int stage_tear_down(void **state)
{
    struct stage *stage = *state;
    if (stage->broker != NULL) stage_stop(stage);
    forget_links(stage);
    if (stage->disk != NULL) memory_disk_free(stage->disk);
    free(stage->area);
    free(stage);
    return 0;
}

/* ---- time --------------------------------------------------------------------------------------------------- */

static bool can_feed(const struct link *link)
{
    return link->session != NULL && link->reading && link->out_len > 0 && link->pass > 0;
}

static void feed(struct link *link)
{
    while (can_feed(link)) {
        uint8_t *buf;
        size_t cap;
        session_read_buffer(link->session, &buf, &cap);
        assert_true(cap > 0); /* a real link would be broken */
        size_t len = link->out_len < link->pass ? link->out_len : link->pass;
        if (len > cap) len = cap;
        if (link->pass != SIZE_MAX) link->pass -= len;
        memcpy(buf, link->out, len);
        memmove(link->out, link->out + len, link->out_len - len);
        link->out_len -= len;
        session_read(link->session, len);
    }
}

/* Returns when the core wants to be called again; 0: there is more to do at once. */
static uint64_t turn(struct stage *stage)
{
    bool more = false;
    for (int i = 0; i < STAGE_LINKS; i++) {
        struct link *link = &stage->links[i];
        if (link->session != NULL && link->blocked && link->room > 0) {
            link->blocked = false;
            session_writable(link->session);
        }
        feed(link);
    }
    if (stage->gate.inner != NULL && memory_store_ready(stage->gate.inner)) broker_poll_store(stage->broker);
    uint64_t next_ms = broker_turn(stage->broker);
    for (int i = 0; i < STAGE_LINKS; i++) more |= can_feed(&stage->links[i]);
    more |= stage->gate.inner != NULL && memory_store_ready(stage->gate.inner);
    return more ? 0 : next_ms;
}

void stage_turn(struct stage *stage)
{
    turn(stage);
}

static uint64_t settle(struct stage *stage)
{
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        uint64_t next_ms = turn(stage);
        if (next_ms > stage->now_ms) return next_ms;
    }
    fail_msg("the broker's core never comes to rest");
    return 0;
}

void stage_settle(struct stage *stage)
{
    settle(stage);
}

void stage_pass(struct stage *stage, uint64_t ms)
{
    uint64_t until_ms = stage->now_ms + ms;
    for (uint64_t next_ms; (next_ms = settle(stage)) <= until_ms;) {
        stage->wall_ms += next_ms - stage->now_ms;
        stage->now_ms = next_ms;
    }
    stage->wall_ms += until_ms - stage->now_ms;
    stage->now_ms = until_ms;
    settle(stage);
}

/* ---- the client's end --------------------------------------------------------------------------------------- */

void stage_write(struct stage *stage, char name, const struct mps_out *out)
{
    struct link *link = link_of(stage, name);
    assert_false(out->full);
    link->out = grown(link->out, link->out_len + out->len + 1);
    memcpy(link->out + link->out_len, out->buf, out->len);
    link->out_len += out->len;
}

void stage_send(struct stage *stage, char name, const struct mps_out *out)
{
    stage_write(stage, name, out);
    stage_settle(stage);
}

void stage_pass_bytes(struct stage *stage, char name, size_t bytes)
{
    link_of(stage, name)->pass = bytes;
    stage_settle(stage);
}

void stage_open(struct stage *stage, char name)
{
    struct link *link = link_of(stage, name);
    assert_null(link->session);
    free(link->in);
    free(link->out);
    *link = (struct link){.stage = stage, .room = STAGE_ROOM, .reading = true, .pass = SIZE_MAX};
    link->session = session_new(stage->broker, link);
    assert_non_null(link->session);
    session_set_peer(link->session, &stage->peer);
}

void stage_hello(struct stage *stage, char name, struct mps_hello hello)
{
    uint8_t room[MPS_HELLO_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    stage_open(stage, name);
    hello.magic = mps_text("mps");
    hello.version = 1;
    mps_encode_hello(&out, &hello);
    stage_send(stage, name, &out);
}

void stage_sub(struct stage *stage, char name, uint32_t sid, const char *pattern, struct mps_sub_options options)
{
    uint8_t room[2048];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_sub(&out, &(struct mps_sub){sid, mps_text(pattern), options});
    stage_send(stage, name, &out);
}

void stage_unsub(struct stage *stage, char name, uint32_t sid)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_unsub(&out, &(struct mps_unsub){sid});
    stage_send(stage, name, &out);
}

void stage_pub(struct stage *stage, char name, uint64_t pid, unsigned level)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){pid, level << MPS_PUB_LEVEL_SHIFT});
    stage_send(stage, name, &out);
}

void stage_write_msg(struct stage *stage, char name, const char *topic, const char *text)
{
    uint8_t room[2048];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
    stage_write(stage, name, &out);
}

void stage_msg(struct stage *stage, char name, const char *topic, const char *text)
{
    stage_write_msg(stage, name, topic, text);
    stage_settle(stage);
}

void stage_bye(struct stage *stage, char name, uint32_t code)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_bye(&out, &(struct mps_bye){.code = code});
    stage_send(stage, name, &out);
}

void stage_ping(struct stage *stage, char name)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_ping(&out, &(struct mps_token){mps_text("p")});
    stage_send(stage, name, &out);
}

void stage_stat(struct stage *stage, char name, uint32_t sid)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_stat(&out, &(struct mps_stat){.sid = sid});
    stage_send(stage, name, &out);
}

void stage_cut(struct stage *stage, char name)
{
    struct link *link = link_of(stage, name);
    if (link->session != NULL) session_closed(link->session);
    link->session = NULL;
    link->out_len = 0;
    stage_settle(stage);
}

void stage_end(struct stage *stage, char name)
{
    session_read_end(link_of(stage, name)->session);
    stage_settle(stage);
}

void stage_room(struct stage *stage, char name, uint64_t bytes)
{
    link_of(stage, name)->room = bytes;
    stage_settle(stage);
}

/* ---- words -------------------------------------------------------------------------------------------------- */

struct words {
    char *text;
    size_t len, cap;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *words, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(words->text + words->len, words->cap - words->len, format, args);
    va_end(args);
    words->len += (size_t)len;
    assert_true(words->len < words->cap);
}

static unsigned long long number(uint64_t n)
{
    return n;
}

static void add_msg(struct words *words, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
    add(words, "%.*s=%.*s", (int)msg.topic.len, (const char *)msg.topic.ptr, (int)msg.payload.len,
        (const char *)msg.payload.ptr);
}

static void add_for(struct words *words, mps_view frame)
{
    struct mps_for in;
    const char *what;
    assert_int_equal(mps_decode_for(frame, &in, &what), MPS_OK);
    add(words, "for %u", in.sid);
    if (in.flags > 0) add(words, " flags %u", in.flags);
    if (in.has_position) add(words, " at %llu-%llu", number(in.stream), number(in.seq));
}

static void add_gap(struct words *words, mps_view frame)
{
    struct mps_gap in;
    const char *what;
    assert_int_equal(mps_decode_gap(frame, &in, &what), MPS_OK);
    add(words, "gap %u", in.sid);
    if (in.has_count) add(words, " x%llu", number(in.count));
    else add(words, " x?");
    add(words, " reason %u", in.reason);
    if (in.stream > 0) add(words, " at %llu-%llu..%llu", number(in.stream), number(in.first), number(in.last));
}

static void add_puback(struct words *words, mps_view frame)
{
    static const char *const names[] = {"", " nobody", " again"};
    struct mps_puback in;
    const char *what;
    assert_int_equal(mps_decode_puback(frame, &in, &what), MPS_OK);
    if (in.code < 3) add(words, "ok %llu%s", number(in.pid), names[in.code]);
    else add(words, "refused %llu %u", number(in.pid), in.code);
}

static void add_suback(struct words *words, mps_view frame)
{
    struct mps_suback in;
    const char *what;
    assert_int_equal(mps_decode_suback(frame, &in, &what), MPS_OK);
    add(words, "suback %u", in.sid);
    if (in.code > 0) add(words, " refused %u", in.code);
    else if (in.granted.given & MPS_SUB_SCOPE) add(words, " %s", mps_scope_name(in.granted.scope));
}

static void add_welcome(struct words *words, mps_view frame)
{
    struct mps_welcome in;
    const char *what;
    assert_int_equal(mps_decode_welcome(frame, &in, &what), MPS_OK);
    add(words, "welcome%s last %llu", in.resumed ? " resumed" : "", number(in.last_pid));
    if (in.has_sess) add(words, " sess %u", in.sess_s);
}

static void add_stat(struct words *words, mps_view frame)
{
    struct mps_stat in;
    const char *what;
    assert_int_equal(mps_decode_stat(frame, &in, &what), MPS_OK);
    add(words, "stat %u %llu %llu %llu %llu", in.sid, number(in.matched), number(in.sent), number(in.lost),
        number(in.queued));
}

static void add_frame(struct words *words, unsigned op, mps_view frame)
{
    struct mps_bye bye;
    struct mps_mark mark;
    struct mps_err err;
    const char *what;
    switch (op) {
    case MPS_OP_MSG: add_msg(words, frame); break;
    case MPS_OP_FOR: add_for(words, frame); break;
    case MPS_OP_GAP: add_gap(words, frame); break;
    case MPS_OP_PUBACK: add_puback(words, frame); break;
    case MPS_OP_SUBACK: add_suback(words, frame); break;
    case MPS_OP_WELCOME: add_welcome(words, frame); break;
    case MPS_OP_STAT: add_stat(words, frame); break;
    case MPS_OP_PONG: add(words, "pong"); break;
    case MPS_OP_INFO: add(words, "info"); break;
    case MPS_OP_MARK:
        assert_int_equal(mps_decode_mark(frame, &mark, &what), MPS_OK);
        add(words, "mark %u %u", mark.sid, mark.kind);
        break;
    case MPS_OP_BYE:
        assert_int_equal(mps_decode_bye(frame, &bye, &what), MPS_OK);
        add(words, "bye %u", bye.code);
        break;
    case MPS_OP_ERR:
        assert_int_equal(mps_decode_err(frame, &err, &what), MPS_OK);
        add(words, "err %u", err.code);
        break;
    default: fail_msg("operation %u came", op);
    }
}

int stage_take(struct stage *stage, char name, mps_view *frame)
{
    struct link *link = link_of(stage, name);
    struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, PAYLOAD_MAX};
    struct mps_scan scan = {0};
    if (link->in_len == 0 || mps_scan(&scan, link->in, link->in_len, &limits) != MPS_SCAN_FRAME) return -1;
    assert_true(scan.pos <= sizeof stage->frame);
    memcpy(stage->frame, link->in, scan.pos);
    *frame = (mps_view){stage->frame, scan.pos};
    link->in_len -= scan.pos;
    memmove(link->in, link->in + scan.pos, link->in_len);
    return scan.op;
}

const char *stage_words(struct stage *stage, char name)
{
    struct words words = {stage->words, 0, sizeof stage->words};
    struct link *link = link_of(stage, name);
    mps_view frame;
    stage->words[0] = '\0';
    for (int op; (op = stage_take(stage, name, &frame)) >= 0;) {
        if (words.len > 0) add(&words, " | ");
        add_frame(&words, (unsigned)op, frame);
    }
    if (link->ended) add(&words, words.len > 0 ? " | end" : "end");
    link->ended = false;
    return stage->words;
}
