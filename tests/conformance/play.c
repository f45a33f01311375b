#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "pattern.h"
#include "wire.h"

#define LONG_BYTES 65536

/* The terms that hold for the next message on a connection: what its FORs have said. */
struct heard {
    struct mps_for terms;
    bool known;
};

/* One playing of one case. */
struct play {
    struct stage *stage;
    const struct step *step;
    mps_view bytes; /* of the step */
    struct bindings bindings;
    const char *skip[STAGE_CONNS_COUNT]; /* frames like this may come before what is expected next */
    struct heard heard[STAGE_CONNS_COUNT];
    size_t cut;
    char *error;
    size_t cap;
};

static bool wrong(struct play *play, const char *what)
{
    snprintf(play->error, play->cap, "line %u: %s", play->step->line, what);
    return false;
}

/* Appends the first bytes of what came instead, in hex. */
static bool wrong_bytes(struct play *play, const char *what, const struct inbox *inbox)
{
    wrong(play, what);
    size_t at = strlen(play->error);
    for (size_t i = 0; i < inbox->len && i < 160 && at + 4 < play->cap; i++)
        at += (size_t)snprintf(play->error + at, play->cap - at, " %02x", inbox->at[i]);
    return false;
}

static const struct mps_limits wide = {1u << 20, 4096, 64u << 20};

/* Length of the whole frame at the inbox's start, 0 if there is none in time, SIZE_MAX if it isn't a frame. */
static size_t next_frame(struct play *play, int conn)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    struct mps_scan scan = {0};
    for (;;) {
        enum mps_scan_result result = inbox->len > 0 ? mps_scan(&scan, inbox->at, inbox->len, &wide) : MPS_SCAN_MORE;
        if (result == MPS_SCAN_FRAME) return scan.pos;
        if (result != MPS_SCAN_MORE) return SIZE_MAX;
        if (!play->stage->wait(play->stage, conn)) return 0;
    }
}

/* A frame was passed: a FOR changes the terms, a message takes a position. */
static void hear(struct play *play, int conn, mps_view frame)
{
    struct heard *heard = &play->heard[conn];
    const char *what;
    if (mps_frame_op(frame) == MPS_OP_FOR) heard->known = mps_decode_for(frame, &heard->terms, &what) == MPS_OK;
    if (mps_frame_op(frame) == MPS_OP_MSG && heard->known && heard->terms.has_position) heard->terms.seq++;
}

/* The same for bytes that were compared without looking for frames. */
static void hear_all(struct play *play, int conn, mps_view bytes)
{
    while (bytes.len > 0) {
        struct mps_scan scan = {0};
        if (mps_scan(&scan, bytes.ptr, bytes.len, &wide) != MPS_SCAN_FRAME) return;
        hear(play, conn, (mps_view){bytes.ptr, (uint32_t)scan.pos});
        bytes = (mps_view){bytes.ptr + scan.pos, bytes.len - (uint32_t)scan.pos};
    }
}

/* Takes a frame from the inbox's start. */
static void take_frame(struct play *play, int conn, size_t len)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    hear(play, conn, (mps_view){inbox->at, (uint32_t)len});
    inbox_take(inbox, len);
}

/* Passes over frames that may stand here; what the next step wants comes first. */
static bool expect_frame(struct play *play, int conn)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    for (;;) {
        size_t len = next_frame(play, conn);
        if (len == 0) return wrong_bytes(play, "no whole frame came, but:", inbox);
        if (len == SIZE_MAX) return wrong_bytes(play, "what came is not a frame:", inbox);
        mps_view frame = {inbox->at, (uint32_t)len};
        bool hit = play->step->kind == STEP_BYTES ? mps_view_equal(frame, play->bytes)
                                                  : pattern_matches(play->step->text, frame, &play->bindings);
        bool pass = !hit && play->skip[conn] != NULL && pattern_matches(play->skip[conn], frame, NULL);
        if (!hit && !pass) return wrong_bytes(play, "what came instead:", inbox);
        take_frame(play, conn, len);
        if (hit) break;
    }
    play->skip[conn] = NULL;
    return true;
}

static void put_or_nil(struct mps_out *out, bool given, uint64_t number)
{
    if (given) mps_put_uint(out, number);
    else mps_put_nil(out);
}

/* Whether a MSG, under the terms that hold for it, is [sid, flags, stream, seq, tries, topic, payload]. */
static bool message_matches(struct play *play, int conn, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    const struct heard *heard = &play->heard[conn];
    if (!heard->known || mps_decode_msg(frame, &msg, &what) != MPS_OK) return false;
    size_t cap = frame.len + 64u;
    uint8_t *room = malloc(cap);
    if (room == NULL) abort();
    struct mps_out out = mps_out_open(room, cap);
    mps_put_array(&out, 7);
    mps_put_uint(&out, heard->terms.sid);
    mps_put_uint(&out, heard->terms.flags);
    put_or_nil(&out, heard->terms.has_position, heard->terms.stream);
    put_or_nil(&out, heard->terms.has_position, heard->terms.seq);
    put_or_nil(&out, heard->terms.tries > 0, heard->terms.tries);
    mps_put_text(&out, msg.topic);
    mps_put_bin(&out, msg.payload);
    bool hit = pattern_matches(play->step->text, mps_out_view(&out), &play->bindings);
    free(room);
    return hit;
}

/* The next message; the FORs before it are passed, wherever the broker puts them. */
static bool expect_message(struct play *play, int conn)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    for (;;) {
        size_t len = next_frame(play, conn);
        if (len == 0) return wrong_bytes(play, "no whole frame came, but:", inbox);
        if (len == SIZE_MAX) return wrong_bytes(play, "what came is not a frame:", inbox);
        mps_view frame = {inbox->at, (uint32_t)len};
        bool hit = mps_frame_op(frame) == MPS_OP_MSG && message_matches(play, conn, frame);
        bool pass = !hit && (mps_frame_op(frame) == MPS_OP_FOR ||
                             (play->skip[conn] != NULL && pattern_matches(play->skip[conn], frame, NULL)));
        if (!hit && !pass) return wrong_bytes(play, "what came instead:", inbox);
        take_frame(play, conn, len);
        if (hit) break;
    }
    play->skip[conn] = NULL;
    return true;
}

static bool expect_bytes(struct play *play, int conn)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    size_t len = play->bytes.len;
    while (inbox->len < len && play->stage->wait(play->stage, conn)) {
    }
    if (inbox->len < len || memcmp(inbox->at, play->bytes.ptr, len) != 0)
        return wrong_bytes(play, "what came instead:", inbox);
    hear_all(play, conn, (mps_view){inbox->at, (uint32_t)len});
    inbox_take(inbox, len);
    return true;
}

/* Before an end: frames that may come are passed over. */
static void skip_what_came(struct play *play, int conn)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    while (play->skip[conn] != NULL && inbox->len > 0) {
        size_t len = next_frame(play, conn);
        if (len == 0 || len == SIZE_MAX ||
            !pattern_matches(play->skip[conn], (mps_view){inbox->at, (uint32_t)len}, NULL))
            return;
        take_frame(play, conn, len);
    }
    play->skip[conn] = NULL;
}

static bool expect_close(struct play *play, int conn)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    while (!inbox->ended && play->stage->wait(play->stage, conn)) {
    }
    skip_what_came(play, conn);
    if (inbox->len > 0) return wrong_bytes(play, "it sent before its end:", inbox);
    return inbox->ended || wrong(play, "it did not close");
}

static bool expect_quiet(struct play *play, int conn)
{
    struct inbox *inbox = &play->stage->inbox[conn];
    play->stage->poll(play->stage, conn);
    if (inbox->len > 0) return wrong_bytes(play, "nothing more was to come, but:", inbox);
    return !inbox->ended || wrong(play, "it closed");
}

/* The oldest event that was not looked at yet. */
static bool expect_event(struct play *play, int conn)
{
    struct inbox *events = &play->stage->events[conn];
    struct mps_reader r = mps_reader_open((mps_view){events->at, (uint32_t)events->len});
    mps_view event = events->len > 0 ? mps_read_any(&r, "event") : (mps_view){NULL, 0};
    if (event.ptr == NULL) return wrong(play, "there was no further event");
    if (!pattern_matches(play->step->text, event, &play->bindings))
        return wrong_bytes(play, "the event was another one:", events);
    inbox_take(events, event.len);
    return true;
}

/* Long input goes in longer pieces: byte by byte it would take minutes and show nothing more. */
static void send_cut(struct play *play, int conn)
{
    size_t all = play->bytes.len;
    size_t cut = play->cut == 0 ? all : all > LONG_BYTES ? 1000 * play->cut : play->cut;
    for (size_t at = 0; at < all; at += cut) {
        size_t len = all - at < cut ? all - at : cut;
        play->stage->send(play->stage, conn, play->bytes.ptr + at, len);
    }
}

/* All that came was looked at. */
static bool nothing_left(struct play *play)
{
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        if (!play->stage->open[i]) continue;
        play->stage->poll(play->stage, i);
        if (play->stage->inbox[i].len > 0) return wrong_bytes(play, "nobody looked at:", &play->stage->inbox[i]);
        if (play->stage->events[i].len > 0)
            return wrong_bytes(play, "events that nobody looked at:", &play->stage->events[i]);
    }
    return true;
}

static bool happen_to_store(struct play *play)
{
    struct stage_store happens;
    return (stage_store_parse(play->step->text, &happens) && play->stage->store(play->stage, &happens)) ||
           wrong(play, "the store can't do this");
}

static bool restart(struct play *play)
{
    if (!nothing_left(play)) return false;
    return play->stage->restart(play->stage) || wrong(play, "the broker did not come back");
}

static bool play_step(struct play *play)
{
    const struct step *step = play->step;
    struct stage *stage = play->stage;
    int conn = step->conn - 'A';
    if (step->kind == STEP_CONN) {
        if (stage->open[conn]) return wrong(play, "this connection was opened already");
        stage->open[conn] = true;
        if (!stage->connect(stage, conn)) return wrong(play, "can't connect");
        return step->text == NULL || (stage->set_peer != NULL && stage->set_peer(stage, conn, step->text)) ||
               wrong(play, "can't be theirs");
    }
    bool of_stage =
        step->kind == STEP_ACCESS || step->kind == STEP_AT || step->kind == STEP_STORE || step->kind == STEP_RESTART;
    bool missing =
        (step->kind == STEP_ACCESS && stage->access == NULL) || (step->kind == STEP_AT && stage->pass == NULL) ||
        (step->kind == STEP_STORE && stage->store == NULL) || (step->kind == STEP_RESTART && stage->restart == NULL) ||
        (step->kind == STEP_DROP && stage->drop == NULL) || (step->kind == STEP_ROOM && stage->room == NULL) ||
        (step->kind == STEP_END && stage->end == NULL) ||
        ((step->kind == STEP_DO || step->kind == STEP_EVENT) && stage->act == NULL);
    if (missing) return wrong(play, "can't be done in this role");
    if (!of_stage && (step->conn == 0 || !stage->open[conn])) return wrong(play, "needs an open connection");
    switch (step->kind) {
    case STEP_SEND: send_cut(play, conn); return true;
    case STEP_BYTES: return play->skip[conn] ? expect_frame(play, conn) : expect_bytes(play, conn);
    case STEP_MATCH: return expect_frame(play, conn);
    case STEP_MESSAGE: return expect_message(play, conn);
    case STEP_SKIP:
        if (play->skip[conn] != NULL) return wrong(play, "one <* only may stand before what is expected");
        play->skip[conn] = step->text;
        return true;
    case STEP_QUIET: return expect_quiet(play, conn);
    case STEP_CLOSED: return expect_close(play, conn);
    case STEP_END: stage->end(stage, conn); return true;
    case STEP_DROP: stage->drop(stage, conn); return true;
    case STEP_ROOM: stage->room(stage, conn, step->number); return true;
    case STEP_AT: stage->pass(stage, step->number); return true;
    case STEP_ACCESS: return stage->access(stage, step->text) || wrong(play, "is not understood");
    case STEP_STORE: return happen_to_store(play);
    case STEP_RESTART: return restart(play);
    case STEP_DO: return stage->act(stage, conn, step->text) || wrong(play, "the client can't do this");
    case STEP_EVENT: return expect_event(play, conn);
    case STEP_CONN:
    case STEP_FRAME:
    case STEP_IS:
    case STEP_VERDICT: break;
    }
    return wrong(play, "does not belong into a conversation");
}

/* Bytes that hold names are put together now: their texts have come. */
static bool play_with_names(struct play *play)
{
    const struct step *step = play->step;
    bool has_names = (step->kind == STEP_SEND || step->kind == STEP_BYTES) && step->text != NULL;
    struct bytes b = {.at = step->bytes, .len = step->len};
    if (has_names && !bytes_parse(&b, step->text, &play->bindings)) {
        free(b.at);
        return wrong(play, "a name has no text yet");
    }
    play->bytes = (mps_view){b.at, (uint32_t)b.len};
    bool good = play_step(play);
    if (has_names) free(b.at);
    return good;
}

bool conversation_play(const struct vector_case *c, struct stage *take_stage, size_t cut, char *error, size_t cap)
{
    struct play play = {.stage = take_stage, .cut = cut, .error = error, .cap = cap};
    bool good = true;
    for (size_t i = 0; i < c->step_count && good; i++) {
        play.step = &c->steps[i];
        good = play_with_names(&play);
    }
    if (good && c->step_count > 0) good = nothing_left(&play);
    bindings_free(&play.bindings);
    char at_close[256];
    bool closed = take_stage->close(take_stage, good ? error : at_close, good ? cap : sizeof at_close);
    return good && closed;
}
