#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "pattern.h"
#include "wire.h"

#define LONG_BYTES 65536

void inbox_add(struct inbox *inbox, const void *bytes, size_t len)
{
    if (inbox->len + len > inbox->cap) {
        inbox->cap = 2 * (inbox->len + len);
        inbox->at = realloc(inbox->at, inbox->cap);
        if (inbox->at == NULL) abort();
    }
    if (len > 0) memcpy(inbox->at + inbox->len, bytes, len);
    inbox->len += len;
}

void inbox_take(struct inbox *inbox, size_t len)
{
    inbox->len -= len;
    memmove(inbox->at, inbox->at + len, inbox->len);
}

/* One playing of one case. */
struct play {
    struct stage *stage;
    const struct step *step;
    mps_view bytes; /* of the step */
    struct bindings bindings;
    const char *skip[STAGE_CONNS_COUNT]; /* frames like this may come before what is expected next */
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

/* Length of the whole frame at the inbox's start, 0 if there is none in time, SIZE_MAX if it isn't a frame. */
static size_t next_frame(struct play *play, int conn)
{
    static const struct mps_limits wide = {1u << 20, 4096, 64u << 20};
    struct inbox *inbox = &play->stage->inbox[conn];
    struct mps_scan scan = {0};
    for (;;) {
        enum mps_scan_result result = inbox->len > 0 ? mps_scan(&scan, inbox->at, inbox->len, &wide) : MPS_SCAN_MORE;
        if (result == MPS_SCAN_FRAME) return scan.pos;
        if (result != MPS_SCAN_MORE) return SIZE_MAX;
        if (!play->stage->wait(play->stage, conn)) return 0;
    }
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
        inbox_take(inbox, len);
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
        inbox_take(inbox, len);
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

static bool play_step(struct play *play)
{
    const struct step *step = play->step;
    struct stage *stage = play->stage;
    int conn = step->conn - 'A';
    if (step->kind == STEP_CONN) {
        if (stage->open[conn]) return wrong(play, "this connection was opened already");
        stage->open[conn] = true;
        return stage->connect(stage, conn) || wrong(play, "can't connect");
    }
    bool missing = (step->kind == STEP_AT && stage->pass == NULL) || (step->kind == STEP_DROP && stage->drop == NULL) ||
                   (step->kind == STEP_ROOM && stage->room == NULL) || (step->kind == STEP_END && stage->end == NULL) ||
                   ((step->kind == STEP_DO || step->kind == STEP_EVENT) && stage->act == NULL);
    if (missing) return wrong(play, "can't be done in this role");
    if (step->kind != STEP_AT && (step->conn == 0 || !stage->open[conn]))
        return wrong(play, "needs an open connection");
    switch (step->kind) {
    case STEP_SEND: send_cut(play, conn); return true;
    case STEP_BYTES: return play->skip[conn] ? expect_frame(play, conn) : expect_bytes(play, conn);
    case STEP_MATCH: return expect_frame(play, conn);
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

/* At its end a case has looked at all that came. */
static bool nothing_left(struct play *play)
{
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        if (!play->stage->open[i]) continue;
        play->stage->poll(play->stage, i);
        if (play->stage->inbox[i].len > 0)
            return wrong_bytes(play, "after the last step came:", &play->stage->inbox[i]);
        if (play->stage->events[i].len > 0)
            return wrong_bytes(play, "events that nobody looked at:", &play->stage->events[i]);
    }
    return true;
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
