/* The broker's bytes to each client, frame by frame, held against the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

/* More than the broker may ever send. */
static const struct mps_limits wide = {.head_max = 16384, .values_max = 4096, .payload_max = 64 * 1024 * 1024};

static void note(struct conn *conn, enum note_kind kind, uint64_t number)
{
    GROW(conn->notes, conn->notes_count, conn->notes_cap);
    conn->notes[conn->notes_count++] = (struct note){conn->frame_at + conn->frame_len, kind, number};
}

static struct model_sub *find_shown(const struct conn *conn, uint32_t sid)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        if (sub->conn == conn && sub->shown && sub->sid == sid) return sub;
    return NULL;
}

static bool decoded(struct conn *conn, enum mps_code code, const char *const *what)
{
    if (code == MPS_OK) return true;
    CONN_FAIL(conn, "the broker sent a frame that does not decode: %s", *what);
    return false;
}

/* ---- messages, gaps, snapshots ---- */

/* Closes the account of the messages between the last one that came and list[upto]: exactly those were lost. */
static void settle_gap(struct conn *conn, struct model_sub *sub, uint32_t upto)
{
    uint64_t too_large = 0;
    for (uint32_t i = sub->cursor; i < upto; i++)
        too_large += conn->rx_max > 0 && conn->model->messages[sub->list[i]].len > conn->rx_max;
    if (too_large != sub->gap_too_large)
        CONN_FAIL(conn, "sid %u: %llu of the lost messages were over rx_max, GAP reason 7 says %llu", sub->sid,
                  (unsigned long long)too_large, (unsigned long long)sub->gap_too_large);
    sub->cursor = upto;
    sub->gap = sub->gap_too_large = 0;
}

static bool same_bytes(const struct message *message, mps_view frame)
{
    return message->len == frame.len && memcmp(message->bytes, frame.ptr, frame.len) == 0;
}

static void on_live(struct conn *conn, struct model_sub *sub, mps_view frame)
{
    uint64_t next = sub->cursor + sub->gap;
    if (next >= sub->count) {
        CONN_FAIL(conn,
                  "sid %u: a message came that did not match, or came before, or more were said lost than matched",
                  sub->sid);
        return;
    }
    if (!same_bytes(&conn->model->messages[sub->list[next]], frame)) {
        CONN_FAIL(conn, "sid %u: message %llu in the order of matching was due (topic '%s'), another frame came",
                  sub->sid, (unsigned long long)next, conn->model->messages[sub->list[next]].topic.text);
        return;
    }
    if (sub->snapshots != NULL && next >= sub->snapshots->live_from)
        CONN_FAIL(conn, "sid %u: a live message overtook the retained values", sub->sid);
    if (conn->rx_max > 0 && frame.len > conn->rx_max)
        CONN_FAIL(conn, "sid %u: a frame of %u bytes came, rx_max is %u", sub->sid, frame.len, conn->rx_max);
    settle_gap(conn, sub, (uint32_t)next);
    sub->cursor++;
    sub->got_live++;
}

/* A retained value is due once, in any of the snapshots that go on, unless it was changed before the frame began. */
static void on_retained(struct conn *conn, struct model_sub *sub, const struct mps_msg *msg, mps_view frame)
{
    bool again = false;
    uint64_t began = conn->for_at < conn->frame_at && conn->have_for ? conn->for_at : conn->frame_at;
    for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
        for (uint32_t i = 0; i < s->count; i++) {
            struct snapshot_entry *entry = &s->entries[i];
            if (!same_bytes(&conn->model->messages[entry->message], frame)) continue;
            again |= entry->sent;
            if (entry->sent) continue;
            if (entry->changed && began >= entry->changed_at)
                CONN_FAIL(conn, "sid %u: the retained value of '%s' came after it was replaced", sub->sid,
                          conn->model->retained[entry->topic].topic.text);
            entry->sent = true;
            sub->got_retained++;
            return;
        }
    }
    CONN_FAIL(conn, "sid %u: a value of '%.*s' came as retained that %s", sub->sid, (int)msg->topic.len,
              (const char *)msg->topic.ptr, again ? "came before" : "was not there at the time of SUB");
}

static void on_msg(struct conn *conn, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    if (!decoded(conn, mps_decode_msg(frame, &msg, &what), &what)) return;
    struct model_sub *sub = conn->have_for ? find_shown(conn, conn->for_sid) : NULL;
    if (sub == NULL) {
        CONN_FAIL(conn, "a message came for sid %u, which is not subscribed", conn->have_for ? conn->for_sid : 0);
        return;
    }
    conn->model->frames_out++;
    if (conn->for_flags & ~(uint32_t)MPS_FOR_RETAINED) CONN_FAIL(conn, "FOR with flags %u", conn->for_flags);
    if (conn->for_flags & MPS_FOR_RETAINED) on_retained(conn, sub, &msg, frame);
    else on_live(conn, sub, frame);
    conn->for_at = conn->frame_at + frame.len; /* it stands for no later frame's beginning */
}

static void on_for(struct conn *conn, mps_view frame)
{
    struct mps_for terms;
    const char *what;
    if (!decoded(conn, mps_decode_for(frame, &terms, &what), &what)) return;
    if (terms.has_position) CONN_FAIL(conn, "FOR %u with a position on a transient topic", terms.sid);
    if (find_shown(conn, terms.sid) == NULL) CONN_FAIL(conn, "FOR %u, which is not subscribed", terms.sid);
    conn->have_for = true;
    conn->for_sid = terms.sid;
    conn->for_flags = terms.flags;
    conn->for_at = conn->frame_at;
}

/* A retained value of the subscription that is due and too large; one that was changed since may be due as well. */
static struct snapshot_entry *find_too_large(const struct conn *conn, const struct model_sub *sub, bool changed)
{
    for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
        for (uint32_t i = 0; i < s->count; i++) {
            struct snapshot_entry *entry = &s->entries[i];
            bool due = !entry->sent && entry->changed == changed;
            if (due && conn->model->messages[entry->message].len > conn->rx_max) return entry;
        }
    }
    return NULL;
}

/* Whether a GAP of one that is too large is a retained value's: it is if one is due. */
static bool is_retained_gap(const struct conn *conn, struct model_sub *sub)
{
    struct snapshot_entry *entry = find_too_large(conn, sub, false);
    if (entry == NULL) entry = find_too_large(conn, sub, true);
    if (entry != NULL) entry->sent = true;
    return entry != NULL;
}

static void on_gap(struct conn *conn, mps_view frame)
{
    struct mps_gap gap;
    const char *what;
    if (!decoded(conn, mps_decode_gap(frame, &gap, &what), &what)) return;
    struct model_sub *sub = find_shown(conn, gap.sid);
    if (sub == NULL) {
        CONN_FAIL(conn, "GAP for sid %u, which is not subscribed", gap.sid);
        return;
    }
    if (!gap.has_count || gap.count == 0 || (gap.reason != MPS_GAP_DROP_OLD && gap.reason != MPS_GAP_TOO_LARGE))
        CONN_FAIL(conn, "sid %u: GAP with count %llu and reason %u", gap.sid, (unsigned long long)gap.count,
                  gap.reason);
    conn->model->gaps_out++;
    conn->model->lost_out += gap.count;
    sub->gaps += gap.count;
    if (gap.reason == MPS_GAP_TOO_LARGE && gap.count == 1 && conn->rx_max > 0 && is_retained_gap(conn, sub)) {
        sub->gap_retained++;
        return;
    }
    sub->gap += gap.count;
    if (gap.reason == MPS_GAP_TOO_LARGE) sub->gap_too_large += gap.count;
    if (sub->cursor + sub->gap > sub->count)
        CONN_FAIL(conn, "sid %u: GAP says %llu are lost, only %u matched", gap.sid, (unsigned long long)gap.count,
                  sub->count - sub->cursor);
}

/* GAPs don't name their topic: one that was put down to a value that changed later was this one's. */
static bool told_as_another(const struct conn *conn, struct model_snapshot *done, const struct snapshot_entry *missing)
{
    const struct message *messages = conn->model->messages;
    if (conn->rx_max == 0 || messages[missing->message].len <= conn->rx_max) return false;
    for (uint32_t i = 0; i < done->count; i++) {
        struct snapshot_entry *entry = &done->entries[i];
        if (!entry->sent || !entry->changed || messages[entry->message].len <= conn->rx_max) continue;
        entry->sent = false;
        return true;
    }
    return false;
}

static void end_snapshot(struct conn *conn, struct model_sub *sub, struct model_snapshot *done, bool complete)
{
    for (uint32_t i = 0; i < done->count && complete; i++) {
        const struct snapshot_entry *entry = &done->entries[i];
        if (entry->sent || entry->changed || told_as_another(conn, done, entry)) continue;
        CONN_FAIL(conn, "sid %u: MARK 1 came before the retained value of '%s'", sub->sid,
                  conn->model->retained[entry->topic].topic.text);
    }
    free(done->entries);
    free(done);
}

/* Answers every SUB from before this frame began: the newest of them, and those that it superseded. */
static void on_retained_done(struct conn *conn, uint32_t sid)
{
    struct model_sub *sub = find_shown(conn, sid);
    struct model_snapshot **from = sub != NULL ? &sub->snapshots : NULL, *done;
    while (from != NULL && *from != NULL && (*from)->began_at > conn->frame_at) from = &(*from)->next;
    if (from == NULL || *from == NULL) {
        CONN_FAIL(conn, "sid %u: MARK 1 without a SUB that asked for retained values", sid);
        return;
    }
    conn->model->snapshots_out++;
    done = *from;
    *from = NULL;
    for (bool first = true; done != NULL; first = false) {
        struct model_snapshot *next = done->next;
        end_snapshot(conn, sub, done, first || !done->superseded);
        done = next;
    }
}

void stream_check_all_told(struct conn *conn, const char *when)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next) {
        if (sub->conn != conn || !sub->shown) continue;
        if (sub->cursor + sub->gap != sub->count)
            CONN_FAIL(conn, "sid %u: %llu of %u messages were neither sent nor in a GAP at %s", sub->sid,
                      (unsigned long long)(sub->count - sub->cursor - sub->gap), sub->count, when);
        else settle_gap(conn, sub, sub->count);
        if (sub->snapshots != NULL) CONN_FAIL(conn, "sid %u: MARK 1 did not come before %s", sub->sid, when);
    }
}

/* ---- answers ---- */

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
    bool unasked = kind == WANT_WELCOME || kind == WANT_INFO ||
                   (kind == WANT_ERR && (want->op == MPS_OP_MSG || want->op == MPS_OP_HELLO));
    if (!unasked) note(conn, NOTE_ANSWER, 0);
    return want;
}

static void on_welcome(struct conn *conn, mps_view frame)
{
    struct mps_welcome welcome;
    const char *what;
    const struct want *want = take_want(conn, WANT_WELCOME, "WELCOME");
    if (want == NULL || !decoded(conn, mps_decode_welcome(frame, &welcome, &what), &what)) return;
    const struct broker_limits *limits = &conn->model->limits;
    mps_view asked = {(const uint8_t *)conn->id.text, conn->id.len};
    if (conn->frame_at != 0)
        CONN_FAIL(conn, "WELCOME is not the first frame, it begins at byte %llu", (unsigned long long)conn->frame_at);
    if (welcome.version != MPS_PROTOCOL_VERSION)
        CONN_FAIL(conn, "WELCOME with version %llu", (unsigned long long)welcome.version);
    if (asked.len > 0 ? !mps_view_equal(welcome.id, asked) : mps_id_error(welcome.id) != NULL)
        CONN_FAIL(conn, "WELCOME with id '%.*s'", (int)welcome.id.len, (const char *)welcome.id.ptr);
    if (welcome.max_payload != limits->max_payload || welcome.pub_window != limits->pub_window_count ||
        welcome.max_subs != limits->max_subs_count || welcome.max_topic != MPS_TOPIC_MAX)
        CONN_FAIL(conn, "WELCOME with max_payload %llu, pub_window %llu, max_subs %llu, max_topic %llu",
                  (unsigned long long)welcome.max_payload, (unsigned long long)welcome.pub_window,
                  (unsigned long long)welcome.max_subs, (unsigned long long)welcome.max_topic);
    if (welcome.resumed || welcome.last_pid != 0 || welcome.sess_s != 0 || welcome.ack != 1)
        CONN_FAIL(conn, "WELCOME promises a session or ack level %u", welcome.ack);
    if (welcome.ka_s != 0 && welcome.ka_s != want->max_msgs)
        CONN_FAIL(conn, "WELCOME with ka %u, asked for %llu", welcome.ka_s, (unsigned long long)want->matched);
}

static void on_suback(struct conn *conn, mps_view frame)
{
    struct mps_suback suback;
    const char *what;
    const struct want *want = take_want(conn, WANT_SUBACK, "SUBACK");
    if (want == NULL || !decoded(conn, mps_decode_suback(frame, &suback, &what), &what)) return;
    if (suback.sid != want->sid || suback.code != want->code) {
        CONN_FAIL(conn, "SUBACK %u code %u (%.*s), due is %u code %u", suback.sid, suback.code, (int)suback.text.len,
                  (const char *)suback.text.ptr, want->sid, want->code);
        return;
    }
    if (suback.code != 0) {
        if (suback.text.len == 0) CONN_FAIL(conn, "SUBACK %u code %u without a text", suback.sid, suback.code);
        return;
    }
    uint32_t given = (want->max_msgs > 0 ? MPS_SUB_MAX_MSGS : 0u) | (want->max_bytes > 0 ? MPS_SUB_MAX_BYTES : 0u);
    if (suback.granted.given != given || suback.granted.max_msgs != want->max_msgs ||
        suback.granted.max_bytes != want->max_bytes)
        CONN_FAIL(conn, "SUBACK %u grants options %x, max_msgs %llu, max_bytes %llu; due: %x, %llu, %llu", suback.sid,
                  suback.granted.given, (unsigned long long)suback.granted.max_msgs,
                  (unsigned long long)suback.granted.max_bytes, given, (unsigned long long)want->max_msgs,
                  (unsigned long long)want->max_bytes);
    want->sub->shown = true;
}

/* UNSUB's answer: what was not sent is lost, and from here on the sid is nobody's. */
static void on_ended(struct conn *conn, const struct mps_mark *mark)
{
    const struct want *want = take_want(conn, WANT_ENDED, "MARK 4");
    if (want == NULL) return;
    struct model_sub *sub = want->sub;
    uint64_t sent = sub ? sub->got_live + sub->got_retained : 0;
    uint64_t lost = sub ? want->matched - sub->got_live + sub->gap_retained : 0;
    if (mark->sid != want->sid || mark->sent != sent || mark->lost != lost || !mark->has_counts)
        CONN_FAIL(conn, "MARK 4 for sid %u, sent %llu, lost %llu; due: sid %u, sent %llu, lost %llu", mark->sid,
                  (unsigned long long)mark->sent, (unsigned long long)mark->lost, want->sid, (unsigned long long)sent,
                  (unsigned long long)lost);
    if (sub != NULL) sub->shown = false;
    if (conn->have_for && conn->for_sid == mark->sid) conn->have_for = false;
}

static void on_mark(struct conn *conn, mps_view frame)
{
    struct mps_mark mark;
    const char *what;
    if (!decoded(conn, mps_decode_mark(frame, &mark, &what), &what)) return;
    if (mark.kind == MPS_MARK_RETAINED_DONE) on_retained_done(conn, mark.sid);
    else if (mark.kind == MPS_MARK_ENDED) on_ended(conn, &mark);
    else CONN_FAIL(conn, "MARK of kind %u", mark.kind);
}

static void on_pong(struct conn *conn, mps_view frame)
{
    struct mps_token pong;
    const char *what;
    const struct want *want = take_want(conn, WANT_PONG, "PONG");
    if (want == NULL || !decoded(conn, mps_decode_token(frame, &pong, &what), &what)) return;
    if (!mps_view_equal(pong.token, (mps_view){want->token, want->token_len}))
        CONN_FAIL(conn, "PONG with another token%s", "");
}

static void on_stat(struct conn *conn, mps_view frame)
{
    struct mps_stat stat;
    const char *what;
    const struct want *want = take_want(conn, WANT_STAT, "STAT");
    if (want == NULL || !decoded(conn, mps_decode_stat(frame, &stat, &what), &what)) return;
    const struct model_sub *sub = want->sub;
    bool right = stat.has_counts && stat.sid == want->sid && stat.sent == sub->got_live + sub->got_retained &&
                 stat.matched == want->matched + sub->got_retained + sub->gap_retained &&
                 stat.matched == stat.sent + stat.lost + stat.queued && stat.lost >= sub->gaps &&
                 (stat.queued == 0) == (stat.queued_bytes == 0);
    if (!right)
        CONN_FAIL(
            conn,
            "STAT of sid %u: matched %llu = sent %llu + lost %llu + queued %llu (%llu bytes); so far %llu messages"
            " matched, %llu came, %llu more as retained, gaps of %llu",
            stat.sid, (unsigned long long)stat.matched, (unsigned long long)stat.sent, (unsigned long long)stat.lost,
            (unsigned long long)stat.queued, (unsigned long long)stat.queued_bytes, (unsigned long long)want->matched,
            (unsigned long long)sub->got_live, (unsigned long long)sub->got_retained, (unsigned long long)sub->gaps);
}

static void on_err(struct conn *conn, mps_view frame)
{
    struct mps_err err;
    const char *what;
    const struct want *want = take_want(conn, WANT_ERR, "ERR");
    if (want == NULL || !decoded(conn, mps_decode_err(frame, &err, &what), &what)) return;
    if (err.code != want->code || !err.has_op || err.op != want->op || err.text.len == 0)
        CONN_FAIL(conn, "ERR %u for op %u (%.*s), due is %u for op %u", err.code, err.op, (int)err.text.len,
                  (const char *)err.text.ptr, want->code, want->op);
}

static void on_puback_error(struct conn *conn, const struct mps_puback *puback)
{
    const struct want_puback *want = &conn->pubacks[conn->pubacks_next];
    if (conn->pubacks_next == conn->pubacks_count || want->pid != puback->pid || want->code != puback->code)
        CONN_FAIL(conn, "PUBACK %llu code %u (%.*s) is not what is due next", (unsigned long long)puback->pid,
                  puback->code, (int)puback->text.len, (const char *)puback->text.ptr);
    else conn->pubacks_next++;
    if (puback->text.len == 0)
        CONN_FAIL(conn, "PUBACK %llu code %u without a text", (unsigned long long)puback->pid, puback->code);
}

static void on_puback(struct conn *conn, mps_view frame)
{
    struct mps_puback puback;
    const char *what;
    if (!decoded(conn, mps_decode_puback(frame, &puback, &what), &what)) return;
    note(conn, NOTE_PUBACK, puback.pid);
    if (puback.code >= 200) {
        on_puback_error(conn, &puback);
        return;
    }
    uint64_t least = UINT64_MAX, dropped_least = 0, dropped_most = 0, covered = 0;
    bool alone = false;
    for (; conn->pubacks_next < conn->pubacks_count; conn->pubacks_next++, covered++) {
        const struct want_puback *want = &conn->pubacks[conn->pubacks_next];
        if (want->pid > puback.pid) break;
        if (want->code != 0)
            CONN_FAIL(conn, "PUBACK %llu covers pid %llu, which is due code %u", (unsigned long long)puback.pid,
                      (unsigned long long)want->pid, want->code);
        if (want->matched < least) least = want->matched;
        dropped_least += want->dropped_least;
        dropped_most += want->dropped_most;
        alone |= want->alone;
    }
    if (covered == 0 || conn->pubacks[conn->pubacks_next - 1].pid != puback.pid)
        CONN_FAIL(conn, "PUBACK %llu for a pid that is not due", (unsigned long long)puback.pid);
    else if (alone && covered > 1)
        CONN_FAIL(conn, "PUBACK %llu covers %llu pids, one of which asked for an answer by itself",
                  (unsigned long long)puback.pid, (unsigned long long)covered);
    else if (puback.matched != least || puback.dropped < dropped_least || puback.dropped > dropped_most ||
             puback.code != (least == 0 ? MPS_NOBODY_OR_WILL : MPS_OK))
        CONN_FAIL(conn, "PUBACK %llu code %u matched %llu dropped %llu, due: matched %llu dropped %llu to %llu",
                  (unsigned long long)puback.pid, puback.code, (unsigned long long)puback.matched,
                  (unsigned long long)puback.dropped, (unsigned long long)least, (unsigned long long)dropped_least,
                  (unsigned long long)dropped_most);
}

static void on_bye(struct conn *conn, mps_view frame)
{
    struct mps_bye bye;
    const char *what;
    if (!decoded(conn, mps_decode_bye(frame, &bye, &what), &what)) return;
    note(conn, NOTE_BYE, bye.code);
    conn->bye_seen = true;
    conn->bye_code = bye.code;
    if (conn->refused) return;
    if (bye.code != conn->bye_due && bye.code != conn->bye_or)
        CONN_FAIL(conn, "BYE %u (%.*s), due is %d", bye.code, (int)bye.text.len, (const char *)bye.text.ptr,
                  (int)conn->bye_due);
    if (bye.code >= 100 && bye.text.len == 0) CONN_FAIL(conn, "BYE %u without a text", bye.code);
    if (conn->all_due) stream_check_all_told(conn, "BYE");
    if (conn->wants_next < conn->wants_count)
        CONN_FAIL(conn, "BYE %u came before %u answers that are due", bye.code, conn->wants_count - conn->wants_next);
    if (conn->pubacks_next < conn->pubacks_count)
        CONN_FAIL(conn, "BYE %u came before %u PUBACKs that are due", bye.code,
                  conn->pubacks_count - conn->pubacks_next);
}

static void on_frame(struct conn *conn, mps_view frame)
{
    unsigned op = mps_frame_op(frame);
    if (conn->model->trace)
        fprintf(stderr, "  client %u << %s, %u bytes (FOR %u flags %u)\n", conn->number, mps_op_name(op), frame.len,
                conn->for_sid, conn->for_flags);
    if (conn->bye_seen) CONN_FAIL(conn, "%s after BYE", mps_op_name(op));
    switch (op) {
    case MPS_OP_MSG: on_msg(conn, frame); break;
    case MPS_OP_FOR: on_for(conn, frame); break;
    case MPS_OP_GAP: on_gap(conn, frame); break;
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

/* ---- bytes ---- */

/* Takes the first frame, if it is there. Returns its length, or 0. */
static uint32_t take_frame(struct conn *conn, const uint8_t *bytes, uint32_t len)
{
    if (len == 0) return 0;
    enum mps_scan_result result = mps_scan(&conn->scan, bytes, len, &wide);
    if (result == MPS_SCAN_MORE) return 0;
    if (result != MPS_SCAN_FRAME) {
        CONN_FAIL(conn, "the broker's stream breaks at byte %llu: %s",
                  (unsigned long long)(conn->frame_at + conn->scan.pos), conn->scan.error);
        conn->scan = (struct mps_scan){0};
        return len;
    }
    mps_view frame = {bytes, conn->scan.pos};
    conn->scan = (struct mps_scan){0};
    conn->frame_len = frame.len;
    on_frame(conn, frame);
    conn->frame_at += frame.len;
    return frame.len;
}

void stream_bytes(struct link *link, const uint8_t *bytes, size_t len)
{
    struct conn *conn = link->owner;
    while (conn->partial_len + len > conn->partial_cap) GROW(conn->partial, conn->partial_cap, conn->partial_cap);
    memcpy(conn->partial + conn->partial_len, bytes, len);
    conn->partial_len += (uint32_t)len;
    uint32_t at = 0;
    for (uint32_t one; (one = take_frame(conn, conn->partial + at, conn->partial_len - at)) > 0;) at += one;
    conn->partial_len -= at;
    memmove(conn->partial, conn->partial + at, conn->partial_len);
}

enum cut stream_cut_message(const struct model_sub *sub)
{
    const struct conn *conn = sub->conn;
    if (conn->partial_len == 0 || !sub->shown || !conn->have_for || conn->for_sid != sub->sid) return CUT_NONE;
    if (conn->scan.elements == 0) return CUT_MAYBE;
    return conn->scan.op == MPS_OP_MSG ? CUT_MESSAGE : CUT_NONE;
}

bool stream_cut_retained(const struct conn *conn)
{
    return conn->for_flags & MPS_FOR_RETAINED;
}
