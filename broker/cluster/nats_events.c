/* What poll() will tell: left behind by other threads, in its order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nats_storing.h"

#define UNSAID_MOST 64 /* events, and the loop is woken though there is more to come */
#define BLOCK_TOLD 256 /* messages of a block, likewise */

struct storing_event *storing_tell(struct nats_storing *storing, enum storing_event_kind kind, size_t more)
{
    struct storing_event *event = sure(calloc(1, sizeof *event + more));
    event->kind = kind;
    if (storing->last_event != NULL) storing->last_event->next = event;
    else storing->events = event;
    storing->last_event = event;
    storing->unsaid++;
    return event;
}

void storing_say(struct nats_storing *storing, natsSubscription *subscription)
{
    uint64_t queued = 0;
    if (storing->unsaid == 0) return;
    bool has_more = subscription != NULL && storing->unsaid < UNSAID_MOST &&
                    natsSubscription_QueuedMsgs(subscription, &queued) == NATS_OK && queued > 0;
    if (has_more) return;
    storing->unsaid = 0;
    nats_wake(storing->engine);
}

void storing_tell_text(struct storing_event *event, const char *text)
{
    memcpy(event->text, text, strlen(text) + 1);
}

/* ---- tails: messages become blocks as long as nobody takes them --------------------------------------------- */

static bool fits(const struct nats_stream *stream, const struct delivery *delivery, uint32_t len)
{
    const struct storing_event *open = stream->tail.open;
    if (open == NULL) return false;
    const struct store_block *block = &open->tail.block;
    return block->first + block->count == delivery->position && block->len + len <= BLOCK_BYTES &&
           delivery->time_ms >= block->time_ms && delivery->time_ms - block->time_ms < STORE_MERGE_MS;
}

static void begin_block(struct nats_stream *stream, const struct delivery *delivery)
{
    struct storing_event *event = storing_tell(stream->storing, EVENT_TAIL, 0);
    event->tail.stream = stream;
    event->tail.block = (struct store_block){
        .stream = stream->config.number, .first = delivery->position, .time_ms = delivery->time_ms};
    stream->tail.open = event;
}

void storing_tell_tail(struct nats_stream *stream, const struct delivery *delivery, mps_view frame, uint64_t expires_ms)
{
    if (!fits(stream, delivery, frame.len)) begin_block(stream, delivery);
    struct storing_event *event = stream->tail.open;
    struct store_block *block = &event->tail.block;
    if (block->len + frame.len > event->tail.room) {
        event->tail.room = 2 * (block->len + frame.len) > 4096 ? 2 * (block->len + frame.len) : 4096;
        event->tail.bytes = sure(realloc(event->tail.bytes, event->tail.room));
    }
    memcpy(event->tail.bytes + block->len, frame.ptr, frame.len);
    block->len += frame.len;
    block->count++;
    if (block->count % BLOCK_TOLD == 0) stream->storing->unsaid = UNSAID_MOST; /* that is worth a turn of the loop */
    if (expires_ms != 0 && (block->expires_ms == 0 || expires_ms < block->expires_ms)) block->expires_ms = expires_ms;
    stream->storing->event_bytes += frame.len;
}

void storing_wait_for_room(struct nats_storing *storing)
{
    while (storing->event_bytes >= EVENT_BYTES && !storing->is_closing)
        pthread_cond_wait(&storing->room, &storing->lock);
}

/* ---- poll() ------------------------------------------------------------------------------------------------- */

static void free_event(struct storing_event *event)
{
    if (event->kind == EVENT_TAIL) free(event->tail.bytes);
    if (event->kind == EVENT_READ && event->read != NULL) {
        free(event->read->bytes);
        free(event->read);
    }
    free(event);
}

void storing_events_free(struct storing_event *event)
{
    while (event != NULL) {
        struct storing_event *next = event->next;
        free_event(event);
        event = next;
    }
}

static void tell_tail(struct engine_events *events, struct storing_event *event)
{
    event->tail.block.bytes = event->tail.bytes;
    events->tail(events->arg, &event->tail.block);
}

static void tell_state(struct engine_events *events, struct storing_event *event)
{
    event->state.text = event->text;
    events->stream_state(events->arg, &event->state);
}

static void tell(struct engine_events *events, struct storing_event *event)
{
    switch (event->kind) {
    case EVENT_STATE: tell_state(events, event); return;
    case EVENT_SETTLED:
        events->settled(events->arg, event->settled.token, event->settled.code, event->settled.last,
                        event->settled.was_there, event->text);
        return;
    case EVENT_TAIL: tell_tail(events, event); return;
    case EVENT_READ: {
        struct store_read *read = event->read;
        event->read = NULL; /* it is the core's again */
        events->read_done(events->arg, read);
        return;
    }
    case EVENT_RECORD: events->record(events->arg, &event->record); return;
    case EVENT_BEGIN: events->records_begin(events->arg); return;
    case EVENT_LOADED: events->records_loaded(events->arg, event->loaded.revision); return;
    case EVENT_PUT: events->put_done(events->arg, event->put.mark, event->put.is_done, event->put.revision); return;
    }
}

/* That there is a connection again is told first: what says so waits for that. */
static bool is_early(const struct storing_event *event, bool is_up)
{
    return !is_up && ((event->kind == EVENT_STATE && event->state.is_there) || event->kind == EVENT_LOADED);
}

/* What was true of a connection that is gone. */
static bool is_late(const struct nats_storing *storing, const struct storing_event *event)
{
    return event->kind == EVENT_LOADED && (event->loaded.connection != storing->connection || !storing->is_connected);
}

/* What may be told now. */
static struct storing_event *take(struct nats_storing *storing, bool is_up)
{
    struct storing_event *first = storing->events, *last = NULL;
    for (struct storing_event *event = first; event != NULL; last = event, event = event->next) {
        if (is_early(event, is_up) && storing->is_connected) break;
        if (event->kind == EVENT_STATE && !is_up) event->state.is_there = false;
        if (is_late(storing, event)) event->loaded.connection = 0;
    }
    if (last == NULL) return NULL;
    storing->events = last->next;
    if (storing->events == NULL) storing->last_event = NULL;
    last->next = NULL;
    uint64_t now_ms = nats_now_ms();
    for (struct nats_stream *stream = storing->streams; stream != NULL; stream = stream->next) {
        stream->tail.open = NULL;
        if (storing->event_bytes >= EVENT_BYTES) stream->tail.heard_ms = now_ms; /* nobody could hear it */
    }
    storing->event_bytes = 0;
    pthread_cond_broadcast(&storing->room);
    return first;
}

void nats_storing_poll(struct nats_storing *storing, bool is_up)
{
    pthread_mutex_lock(&storing->lock);
    struct storing_event *event = take(storing, is_up);
    pthread_mutex_unlock(&storing->lock);
    while (event != NULL) {
        struct storing_event *next = event->next;
        if (event->kind != EVENT_LOADED || event->loaded.connection != 0) tell(&storing->engine->base.events, event);
        free_event(event);
        event = next;
    }
}
