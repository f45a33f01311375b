/* Traces: which there are, and when they end. */
#include "trace_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "identity.h"
#include "sure.h"
#include "value.h"

/* Steps of one turn: who has other patterns is found by and by. */
#define LOOK_WORK_A_TURN (WORK_A_TURN / 4)

uint64_t trace_now_us(const struct broker *broker)
{
    struct env *env = broker->env;
    return env->now_us != NULL ? env->now_us(env) : env->now_ms(env) * 1000;
}

/* ---- the request -------------------------------------------------------------------------------------------- */

struct asked {
    mps_view pattern;
    uint64_t messages, for_ms;
};

/* The payload is any bytes: it is scanned before it is read. */
static bool read_request(mps_view payload, struct asked *asked)
{
    *asked = (struct asked){.messages = 1, .for_ms = TRACE_MS_MAX};
    if (mps_document_check(payload, 4, 64) != NULL) return false;
    struct mps_reader r = mps_reader_open(payload);
    uint32_t pairs = mps_read_map(&r, "request");
    for (uint32_t i = 0; i < pairs && r.bad == NULL; i++) {
        mps_view key = mps_read_text(&r, "key");
        if (mps_view_equal(key, mps_text("pattern"))) asked->pattern = mps_read_text(&r, "pattern");
        else if (mps_view_equal(key, mps_text("messages")))
            asked->messages = mps_read_uint(&r, MPS_NUMBER_MAX, "messages");
        else if (mps_view_equal(key, mps_text("for_ms"))) asked->for_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "for_ms");
        else mps_read_any(&r, "value");
    }
    return r.bad == NULL && asked->pattern.ptr != NULL;
}

/* Names of inboxes are secrets: who knows one may answer there. */
static bool meets_inboxes(mps_view pattern)
{
    return mps_patterns_overlap(pattern, mps_text("$inbox/#"));
}

/* Why this can't be traced; "": it can. */
static void refuse(const struct broker *broker, const struct asked *asked, char *text, size_t cap)
{
    const char *wrong = mps_pattern_error(asked->pattern);
    text[0] = '\0';
    if (wrong != NULL) snprintf(text, cap, "bad pattern '%s': %s", printable(asked->pattern), wrong);
    else if (meets_inboxes(asked->pattern)) snprintf(text, cap, "what goes to inboxes is not traced");
    else if (asked->messages < 1 || asked->messages > TRACE_MESSAGES_MAX)
        snprintf(text, cap, "a trace follows 1 to %d messages, not %llu", TRACE_MESSAGES_MAX,
                 (unsigned long long)asked->messages);
    else if (asked->for_ms < 1 || asked->for_ms > TRACE_MS_MAX)
        snprintf(text, cap, "a trace takes 1 to %u ms, not %llu", TRACE_MS_MAX, (unsigned long long)asked->for_ms);
    else if (broker->tracing != NULL && broker->tracing->traces_count >= TRACES_MAX)
        snprintf(text, cap, "%d traces are under way, the limit is %d", TRACES_MAX, TRACES_MAX);
}

static void begin(struct session *session, const struct asked *asked, struct reply_address *to)
{
    struct broker *broker = session->broker;
    struct trace *trace = sure_zeroed(sizeof *trace + asked->pattern.len);
    trace->broker = broker;
    trace->session = session;
    trace->to = to;
    trace->wanted = (uint32_t)asked->messages;
    trace->end_ms = broker->env->now_ms(broker->env) + asked->for_ms;
    trace->pattern_len = asked->pattern.len;
    memcpy(trace->pattern, asked->pattern.ptr, asked->pattern.len);
    if (broker->tracing == NULL) broker->tracing = sure_zeroed(sizeof *broker->tracing);
    list_append(&broker->tracing->traces, &trace->in_traces);
    broker->tracing->traces_count++;
    broker->has_asides = true;
    trace_tell_armed(trace, asked->for_ms);
}

void trace_request(struct session *session, const struct mps_msg *request)
{
    struct broker *broker = session->broker;
    struct asked asked;
    char text[400];
    if (!read_request(request->payload, &asked)) {
        operator_answer_error(broker, request,
                              "the request is not a map with 'pattern', a text, and perhaps 'messages' and 'for_ms', "
                              "numbers");
        return;
    }
    refuse(broker, &asked, text, sizeof text);
    struct reply_address *to = text[0] == '\0' ? reply_address_new(request) : NULL;
    if (text[0] == '\0' && to == NULL) snprintf(text, sizeof text, "there is no memory for the correlation");
    if (text[0] != '\0') {
        operator_answer_error(broker, request, text);
        return;
    }
    snprintf(text, sizeof text, "traces up to %llu messages of '%s'", (unsigned long long)asked.messages,
             printable(asked.pattern));
    audit(session, EVENT_ADMIN, 0, text);
    begin(session, &asked, to);
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

void traced_free(struct traced *message)
{
    struct broker *broker = message->trace->broker;
    list_remove(&message->trace->messages, &message->in_messages);
    if (broker->tracing->pushed == message) broker->tracing->pushed = NULL;
    trace_copies_free(message);
    origin_unref(message->origin);
    buffer_free(&message->head);
    buffer_free(&message->steps);
    buffer_free(&message->end);
    free(message->text);
    free(message->neighbour);
    free(message);
}

static void trace_free(struct trace *trace)
{
    struct broker *broker = trace->broker;
    struct tracing *tracing = broker->tracing;
    while (trace->messages.first != NULL) traced_free(traced_of(trace->messages.first));
    list_remove(&tracing->traces, &trace->in_traces);
    free(trace->to);
    free(trace);
    if (--tracing->traces_count > 0) return;
    hash_free(&tracing->copies);
    free(tracing);
    broker->tracing = NULL;
}

void trace_session_gone(struct session *session)
{
    struct broker *broker = session->broker;
    for (struct trace *trace = trace_of(broker->tracing->traces.first), *next; trace != NULL; trace = next) {
        next = trace_of(trace->in_traces.next);
        if (trace->session == session) trace_free(trace);
        if (broker->tracing == NULL) return;
    }
}

void trace_access_changed(struct broker *broker)
{
    for (struct trace *trace = trace_of(broker->tracing->traces.first), *next; trace != NULL; trace = next) {
        next = trace_of(trace->in_traces.next);
        if (operator_still_may(trace->session, TRACE_REQUEST, trace->to)) continue;
        if (operator_may_answer(trace->session, trace->to)) trace_tell_end(trace, "not_allowed");
        trace_free(trace);
        if (broker->tracing == NULL) return;
    }
}

void traces_free(struct broker *broker)
{
    while (broker->tracing != NULL) trace_free(trace_of(broker->tracing->traces.first));
}

/* ---- turns -------------------------------------------------------------------------------------------------- */

/* What is not known by now will not be. */
static void give_up(struct traced *message)
{
    for (struct list_node *node = message->copies.first; node != NULL; node = node->next) {
        const struct trace_copy *copy = container_of(node, struct trace_copy, in_message);
        if (copy->is_open) trace_note_step(message, copy, "waits", NULL, NULL, true);
    }
    trace_note_end(message);
    trace_tell(message);
}

static void note_stored(struct traced *message)
{
    if (!message->waits_for_store || message->seq >= message->stream->stored) return;
    message->waits_for_store = false;
    trace_note_stored(message, true);
}

/* All is known of it. */
static bool is_complete(const struct traced *message)
{
    return message->is_taken && !message->is_done && !message->looks && !message->waits_for_store &&
           message->open_count == 0 && message->relaying == 0;
}

static void advance(struct traced *message)
{
    if (!message->is_taken) return;
    note_stored(message);
    if (is_complete(message)) trace_note_end(message);
    trace_tell(message);
}

/* Whether it is over. */
static bool turn(struct trace *trace)
{
    bool is_late = trace->broker->now_ms >= trace->end_ms, is_done = trace->taken >= trace->wanted;
    EACH_TRACED(trace, message)
    {
        advance(message);
        if (!message->is_done) is_done = false;
        if (!message->is_done && is_late) give_up(message);
    }
    if (is_done || is_late) trace_tell_end(trace, is_done ? "messages" : "time");
    return is_done || is_late;
}

static bool any_looks(const struct tracing *tracing)
{
    EACH_TRACE(tracing, trace)
    EACH_TRACED(trace, message) if (message->looks) return true;
    return false;
}

uint64_t trace_turn(struct broker *broker)
{
    struct tracing *tracing = broker->tracing;
    uint64_t next_ms = UINT64_MAX;
    tracing->turn_copies = 0;
    trace_look_on(broker, broker->work + LOOK_WORK_A_TURN);
    for (struct trace *trace = trace_of(tracing->traces.first), *next; trace != NULL; trace = next) {
        next = trace_of(trace->in_traces.next);
        if (turn(trace)) trace_free(trace);
        else next_ms = least(next_ms, trace->end_ms);
    }
    if (broker->tracing == NULL) return UINT64_MAX;
    return any_looks(tracing) ? 0 : next_ms;
}

bool trace_is_waiting(const struct broker *broker)
{
    EACH_TRACE(broker->tracing, trace)
    {
        EACH_TRACED(trace, message)
        if (traced_has_news(message) || is_complete(message)) return true;
    }
    return false;
}
