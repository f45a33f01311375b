/* Answers in the broker's stream, against those that are due. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

/* ---- what is due ---- */

struct want *want_answer(struct conn *conn, enum want_kind kind)
{
    GROW(conn->wants, conn->wants_count, conn->wants_cap);
    conn->wants[conn->wants_count] = (struct want){.kind = kind};
    return &conn->wants[conn->wants_count++];
}

void want_err(struct conn *conn, uint32_t code, uint32_t op)
{
    struct want *err = want_answer(conn, WANT_ERR);
    err->code = code;
    err->op = op;
}

struct want_puback *want_puback(struct conn *conn, uint32_t code)
{
    GROW(conn->pubacks, conn->pubacks_count, conn->pubacks_cap);
    struct want_puback *puback = &conn->pubacks[conn->pubacks_count++];
    *puback =
        (struct want_puback){.pid = conn->pid++, .code = code, .alone = code != 0 || (conn->flags & MPS_PUB_EACH)};
    conn->next_pid = conn->pid;
    return puback;
}

static bool is_settled(const struct want_puback *want)
{
    return want->code != 0 || want->log == NULL || want->log->entries[want->entry].state == ENTRY_STORED;
}

bool puback_is_due(const struct conn *conn)
{
    return conn->pubacks_next < conn->pubacks_count && is_settled(&conn->pubacks[conn->pubacks_next]);
}

void pubacks_end(struct conn *conn)
{
    uint32_t settled = conn->pubacks_next;
    while (settled < conn->pubacks_count && is_settled(&conn->pubacks[settled])) settled++;
    conn->pubacks_count = settled;
}

/* What could not be stored is refused. */
void pubacks_committed(struct model *model, enum store_code code)
{
    for (int i = 0; i < WORLD_LINKS_MAX && code != STORE_OK; i++) {
        struct conn *conn = &model->conns[i];
        for (uint32_t p = conn->pubacks_next; p < conn->pubacks_count; p++) {
            struct want_puback *want = &conn->pubacks[p];
            if (want->log == NULL || want->code != 0 || want->log->entries[want->entry].state != ENTRY_GONE) continue;
            want->code = code == STORE_FULL ? MPS_STREAM_FULL : MPS_INTERNAL;
            want->alone = true;
        }
    }
}

/* ---- what comes ---- */

/* The next answer that is due, if it is of this kind. */
static const struct want *take_want(struct conn *conn, enum want_kind kind, const char *name)
{
    static const char *const names[] = {"WELCOME", "SUBACK", "MARK 4", "PONG", "STAT", "ERR", "INFO"};
    if (conn->wants_next == conn->wants_count) {
        CONN_FAIL(conn, "%s came, no answer is due", name);
        return NULL;
    }
    const struct want *want = &conn->wants[conn->wants_next++];
    if (want->kind != kind) {
        CONN_FAIL(conn, "%s came, %s is due", name, names[want->kind]);
        return NULL;
    }
    bool unasked =
        kind == WANT_WELCOME || kind == WANT_INFO ||
        (kind == WANT_ERR && (want->op == MPS_OP_MSG || want->op == MPS_OP_HELLO || want->op == MPS_OP_CREDIT));
    if (!unasked) stream_note(conn, NOTE_ANSWER, 0);
    return want;
}

/* From here on others may know where the client's inbox is. */
static void open_inbox(struct conn *conn, mps_view prefix)
{
    static const char start[] = "$inbox/";
    struct model_sub *sub = model_find_sub(conn, 0);
    bool right = prefix.len == sizeof start - 1 + 24 && memcmp(prefix.ptr, start, sizeof start - 1) == 0 &&
                 strspn((const char *)prefix.ptr + sizeof start - 1, "0123456789abcdef") >= 24;
    if (!right) {
        CONN_FAIL(conn, "WELCOME with inbox '%.*s'", (int)prefix.len, (const char *)prefix.ptr);
        return;
    }
    memcpy(conn->inbox, prefix.ptr, prefix.len);
    for (int i = 0; i < WORLD_LINKS_MAX; i++) {
        const struct conn *other = &conn->model->conns[i];
        if (other != conn && strcmp(other->inbox, conn->inbox) == 0)
            CONN_FAIL(conn, "WELCOME with the inbox of client %u", other->number);
    }
    if (sub == NULL) return; /* the connection is ending already */
    sub->pattern.len = (uint32_t)sprintf(sub->pattern.text, "%s/#", conn->inbox);
    sub->shown = true;
}

static void on_welcome(struct conn *conn, mps_view frame)
{
    struct mps_welcome welcome;
    const char *what;
    const struct want *want = take_want(conn, WANT_WELCOME, "WELCOME");
    if (want == NULL || !stream_decoded(conn, mps_decode_welcome(frame, &welcome, &what), &what)) return;
    const struct broker_limits *limits = &conn->model->limits;
    mps_view asked = {(const uint8_t *)conn->id.text, conn->id.len};
    if (conn->frame_at != 0)
        CONN_FAIL(conn, "WELCOME is not the first frame, it begins at byte %llu", ULL(conn->frame_at));
    if (welcome.version != MPS_PROTOCOL_VERSION) CONN_FAIL(conn, "WELCOME with version %llu", ULL(welcome.version));
    if (asked.len > 0 ? !mps_view_equal(welcome.id, asked) : mps_id_error(welcome.id) != NULL)
        CONN_FAIL(conn, "WELCOME with id '%.*s'", (int)welcome.id.len, (const char *)welcome.id.ptr);
    if (welcome.max_payload != limits->max_payload || welcome.pub_window != limits->pub_window_count ||
        welcome.max_subs != limits->max_subs_count || welcome.max_topic != MPS_TOPIC_MAX)
        CONN_FAIL(conn, "WELCOME with max_payload %llu, pub_window %llu, max_subs %llu, max_topic %llu",
                  ULL(welcome.max_payload), ULL(welcome.pub_window), ULL(welcome.max_subs), ULL(welcome.max_topic));
    uint32_t best = conn->model->logs_count > 0 ? 2 : 1;
    if (welcome.resumed || welcome.last_pid != 0 || welcome.sess_s != 0 || welcome.ack != best)
        CONN_FAIL(conn, "WELCOME promises a session or ack level %u", welcome.ack);
    if (welcome.ka_s != 0 && welcome.ka_s != want->ka_granted)
        CONN_FAIL(conn, "WELCOME with ka %u, asked for %llu", welcome.ka_s, ULL(want->ka_asked));
    open_inbox(conn, welcome.inbox);
}

/* The text of a 220 names the column. */
static void check_column(struct conn *conn, const struct want *want, mps_view text)
{
    char all[256], number[16];
    snprintf(all, sizeof all, "%.*s", (int)text.len, (const char *)text.ptr);
    snprintf(number, sizeof number, "column %u", want->column);
    if (strstr(all, number) == NULL)
        CONN_FAIL(conn, "SUBACK %u says '%s', the filter is wrong in column %u", want->sid, all, want->column);
}

static void on_suback(struct conn *conn, mps_view frame)
{
    struct mps_suback suback;
    const char *what;
    const struct want *want = take_want(conn, WANT_SUBACK, "SUBACK");
    if (want == NULL || !stream_decoded(conn, mps_decode_suback(frame, &suback, &what), &what)) return;
    bool right = suback.code == want->code;
    for (uint32_t i = 0; i < want->codes_count; i++) right |= suback.code == want->codes[i];
    if (suback.sid != want->sid || !right) {
        CONN_FAIL(conn, "SUBACK %u code %u (%.*s), due is %u code %u", suback.sid, suback.code, (int)suback.text.len,
                  (const char *)suback.text.ptr, want->sid, want->code);
        return;
    }
    if (suback.code != 0) {
        if (suback.text.len == 0) CONN_FAIL(conn, "SUBACK %u code %u without a text", suback.sid, suback.code);
        if (suback.code == MPS_BAD_FILTER) check_column(conn, want, suback.text);
        return;
    }
    uint32_t given = (want->max_msgs > 0 ? MPS_SUB_MAX_MSGS : 0u) | (want->max_bytes > 0 ? MPS_SUB_MAX_BYTES : 0u);
    if (suback.granted.given != given || suback.granted.max_msgs != want->max_msgs ||
        suback.granted.max_bytes != want->max_bytes)
        CONN_FAIL(conn, "SUBACK %u grants options %x, max_msgs %llu, max_bytes %llu; due: %x, %llu, %llu", suback.sid,
                  suback.granted.given, ULL(suback.granted.max_msgs), ULL(suback.granted.max_bytes), given,
                  ULL(want->max_msgs), ULL(want->max_bytes));
    want->sub->shown = true;
}

/* UNSUB's answer: what was not sent is lost, and from here on the sid is nobody's. */
static void on_ended(struct conn *conn, const struct mps_mark *mark)
{
    const struct want *want = take_want(conn, WANT_ENDED, "MARK 4");
    if (want == NULL) return;
    struct model_sub *sub = want->sub;
    uint64_t lost = want->counts.lost + want->counts.queued;
    if (mark->sid != want->sid || mark->sent != want->counts.sent || mark->lost != lost || !mark->has_counts)
        CONN_FAIL(conn, "MARK 4 for sid %u, sent %llu, lost %llu; due: sid %u, sent %llu, lost %llu", mark->sid,
                  ULL(mark->sent), ULL(mark->lost), want->sid, ULL(want->counts.sent), ULL(lost));
    if (sub != NULL) sub->shown = false;
    if (conn->have_for && conn->for_sid == mark->sid) conn->have_for = false;
}

static void on_mark(struct conn *conn, mps_view frame)
{
    struct mps_mark mark;
    const char *what;
    if (!stream_decoded(conn, mps_decode_mark(frame, &mark, &what), &what)) return;
    if (mark.kind == MPS_MARK_RETAINED_DONE) deliveries_retained_done(conn, mark.sid);
    else if (mark.kind == MPS_MARK_ENDED) on_ended(conn, &mark);
    else if (mark.kind == MPS_MARK_DRAINED) deliveries_drained(conn, mark.sid);
    else if (mark.kind == MPS_MARK_CAUGHT_UP) places_caught_up(conn, mark.sid);
    else CONN_FAIL(conn, "MARK of kind %u", mark.kind);
}

static void on_pong(struct conn *conn, mps_view frame)
{
    struct mps_token pong;
    const char *what;
    const struct want *want = take_want(conn, WANT_PONG, "PONG");
    if (want == NULL || !stream_decoded(conn, mps_decode_token(frame, &pong, &what), &what)) return;
    if (!mps_view_equal(pong.token, (mps_view){want->token, want->token_len}))
        CONN_FAIL(conn, "PONG with another token%s", "");
}

static void on_stat(struct conn *conn, mps_view frame)
{
    struct mps_stat stat;
    const char *what;
    const struct want *want = take_want(conn, WANT_STAT, "STAT");
    if (want == NULL || !stream_decoded(conn, mps_decode_stat(frame, &stat, &what), &what)) return;
    const struct sub_counts *due = &want->counts;
    if (stat.sid != want->sid || !stat.has_counts || stat.matched != stat.sent + stat.lost + stat.queued)
        CONN_FAIL(conn, "STAT of sid %u: matched %llu = sent %llu + lost %llu + queued %llu", stat.sid,
                  ULL(stat.matched), ULL(stat.sent), ULL(stat.lost), ULL(stat.queued));
    if (!want->loose && !sub_counts_are(due, stat.matched, stat.sent, stat.lost, stat.queued, stat.queued_bytes))
        CONN_FAIL(
            conn,
            "STAT of sid %u: matched %llu = sent %llu + lost %llu + queued %llu (%llu bytes); due are %llu = %llu + "
            "%llu + %llu (%llu bytes), of the lost %llu have expired just now",
            stat.sid, ULL(stat.matched), ULL(stat.sent), ULL(stat.lost), ULL(stat.queued), ULL(stat.queued_bytes),
            ULL(due->matched), ULL(due->sent), ULL(due->lost), ULL(due->queued), ULL(due->queued_bytes),
            ULL(due->lag_msgs));
}

static void on_err(struct conn *conn, mps_view frame)
{
    struct mps_err err;
    const char *what;
    const struct want *want = take_want(conn, WANT_ERR, "ERR");
    if (want == NULL || !stream_decoded(conn, mps_decode_err(frame, &err, &what), &what)) return;
    if (err.code != want->code || !err.has_op || err.op != want->op || err.text.len == 0)
        CONN_FAIL(conn, "ERR %u for op %u (%.*s), due is %u for op %u", err.code, err.op, (int)err.text.len,
                  (const char *)err.text.ptr, want->code, want->op);
}

static void on_puback_error(struct conn *conn, const struct mps_puback *puback)
{
    const struct want_puback *want = &conn->pubacks[conn->pubacks_next];
    if (conn->pubacks_next == conn->pubacks_count || want->pid != puback->pid || want->code != puback->code)
        CONN_FAIL(conn, "PUBACK %llu code %u (%.*s) is not what is due next", ULL(puback->pid), puback->code,
                  (int)puback->text.len, (const char *)puback->text.ptr);
    else conn->pubacks_next++;
    if (puback->text.len == 0) CONN_FAIL(conn, "PUBACK %llu code %u without a text", ULL(puback->pid), puback->code);
}

/* Where the last one that is stored stands. */
static void check_position(struct conn *conn, const struct mps_puback *puback, const struct want_puback *stored)
{
    uint64_t stream = stored != NULL ? stored->log->number : 0;
    uint64_t seq = stored != NULL ? stored->log->entries[stored->entry].position : 0;
    if (puback->stream != stream || puback->seq != seq)
        CONN_FAIL(conn, "PUBACK %llu with the position %llu of stream %llu, due is %llu of %llu", ULL(puback->pid),
                  ULL(puback->seq), ULL(puback->stream), ULL(seq), ULL(stream));
}

static void on_puback(struct conn *conn, mps_view frame)
{
    struct mps_puback puback;
    const char *what;
    if (!stream_decoded(conn, mps_decode_puback(frame, &puback, &what), &what)) return;
    stream_note(conn, NOTE_PUBACK, puback.pid);
    if (puback.code >= 200 || puback.code == MPS_INTERNAL) {
        on_puback_error(conn, &puback);
        return;
    }
    uint64_t least = UINT64_MAX, dropped_least = 0, dropped_most = 0, covered = 0;
    bool alone = false;
    const struct want_puback *stored = NULL;
    for (; conn->pubacks_next < conn->pubacks_count; conn->pubacks_next++, covered++) {
        const struct want_puback *want = &conn->pubacks[conn->pubacks_next];
        if (want->pid > puback.pid) break;
        if (want->code != 0)
            CONN_FAIL(conn, "PUBACK %llu covers pid %llu, which is due code %u", ULL(puback.pid), ULL(want->pid),
                      want->code);
        if (!puback_is_due(conn))
            CONN_FAIL(conn, "PUBACK %llu covers pid %llu, which is not stored", ULL(puback.pid), ULL(want->pid));
        if (want->log != NULL) stored = want;
        if (want->matched < least) least = want->matched;
        dropped_least += want->dropped_least;
        dropped_most += want->dropped_most;
        alone |= want->alone;
    }
    check_position(conn, &puback, stored);
    if (covered == 0 || conn->pubacks[conn->pubacks_next - 1].pid != puback.pid)
        CONN_FAIL(conn, "PUBACK %llu for a pid that is not due", ULL(puback.pid));
    else if (alone && covered > 1)
        CONN_FAIL(conn, "PUBACK %llu covers %llu pids, one of which asked for an answer by itself", ULL(puback.pid),
                  ULL(covered));
    else if (puback.matched != least || puback.dropped < dropped_least || puback.dropped > dropped_most ||
             puback.code != (least == 0 ? MPS_NOBODY_OR_WILL : MPS_OK))
        CONN_FAIL(conn, "PUBACK %llu code %u matched %llu dropped %llu, due: matched %llu dropped %llu to %llu",
                  ULL(puback.pid), puback.code, ULL(puback.matched), ULL(puback.dropped), ULL(least),
                  ULL(dropped_least), ULL(dropped_most));
}

/* The text of a 112 names a subscription and the limit. Which of several was full first is the broker's to know. */
static void check_slow_text(struct conn *conn, mps_view text)
{
    char all[512], start[64];
    snprintf(all, sizeof all, "%.*s", (int)text.len, (const char *)text.ptr);
    for (const struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next) {
        if (sub->conn != conn) continue;
        snprintf(start, sizeof start, "subscription %u to '", sub->sid);
        bool limit = strstr(all, "(max_msgs)") != NULL || strstr(all, "(max_bytes)") != NULL;
        if (strncmp(all, start, strlen(start)) == 0 && limit) return;
    }
    CONN_FAIL(conn, "BYE 112 with the text '%s', which names no subscription or no limit", all);
}

static void on_bye(struct conn *conn, mps_view frame)
{
    struct mps_bye bye;
    const char *what;
    if (!stream_decoded(conn, mps_decode_bye(frame, &bye, &what), &what)) return;
    stream_note(conn, NOTE_BYE, bye.code);
    conn->bye_seen = true;
    conn->bye_code = bye.code;
    if (conn->refused) return;
    if (bye.code == MPS_KEEPALIVE && conn->was_drawn_out) { /* said long ago, perhaps: what came since came too late */
        model_cut(conn);
        return;
    }
    if (bye.code != conn->bye_due && bye.code != conn->bye_or)
        CONN_FAIL(conn, "BYE %u (%.*s), due is %d", bye.code, (int)bye.text.len, (const char *)bye.text.ptr,
                  (int)conn->bye_due);
    if (bye.code == MPS_SLOW_CONSUMER) check_slow_text(conn, bye.text);
    if (bye.code >= 100 && bye.text.len == 0) CONN_FAIL(conn, "BYE %u without a text", bye.code);
    if (conn->all_due) deliveries_check_all_told(conn, "BYE");
    if (conn->wants_next < conn->wants_count)
        CONN_FAIL(conn, "BYE %u came before %u answers that are due", bye.code, conn->wants_count - conn->wants_next);
    bool late = conn->model->world->now_ms - conn->ending_ms >= conn->model->limits.closing_ms;
    if (conn->pubacks_next < conn->pubacks_count && (conn->all_due || puback_is_due(conn)) && !late)
        CONN_FAIL(conn, "BYE %u came before %u PUBACKs that are due", bye.code,
                  conn->pubacks_count - conn->pubacks_next);
}

void answers_frame(struct conn *conn, unsigned op, mps_view frame)
{
    switch (op) {
    case MPS_OP_PUBACK: on_puback(conn, frame); break;
    case MPS_OP_SUBACK: on_suback(conn, frame); break;
    case MPS_OP_MARK: on_mark(conn, frame); break;
    case MPS_OP_PONG: on_pong(conn, frame); break;
    case MPS_OP_STAT: on_stat(conn, frame); break;
    case MPS_OP_WELCOME: on_welcome(conn, frame); break;
    case MPS_OP_ERR: on_err(conn, frame); break;
    case MPS_OP_BYE: on_bye(conn, frame); break;
    case MPS_OP_INFO: take_want(conn, WANT_INFO, "INFO"); break;
    default: CONN_FAIL(conn, "a frame of operation %u came", op);
    }
}
