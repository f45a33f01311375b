/* What is asked of JetStream, under which names, and what comes back: each question has a serial, to whose inbox its
 * answer comes, and acknowledgements and what consumers send are told from each other by where they come to, and from
 * whom. */
#include "nats_storing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names -------------------------------------------------------------------------------------------------- */

void storing_inbox(const struct nats_storing *storing, char kind, const char *rest, char *to, size_t cap)
{
    snprintf(to, cap, "%s.%c.%s", storing->inbox, kind, rest);
}

void consumer_name(const struct nats_storing *storing, char kind, uint32_t index, uint64_t number, char *to, size_t cap)
{
    snprintf(to, cap, "%s%c%" PRIu32 "-%" PRIu64, storing->nonce, kind, index, number);
}

/* Digits up to the end or a mark, and past that. */
static bool take_number(const char **at, const char *end, char mark, uint64_t *number)
{
    const char *p = *at;
    *number = 0;
    while (p < end && *p >= '0' && *p <= '9' && *number < UINT64_MAX / 10 - 1)
        *number = *number * 10 + (uint64_t)(*p++ - '0');
    if (p == *at || (p < end && *p != mark)) return false;
    *at = p < end ? p + 1 : p;
    return true;
}

bool consumer_is_ours(const struct nats_storing *storing, mps_view name, char kind, uint32_t *index, uint64_t *number)
{
    const char *at = (const char *)name.ptr, *end = at + name.len;
    size_t len = strlen(storing->nonce);
    uint64_t stream = 0;
    if (name.len <= len || memcmp(at, storing->nonce, len) != 0 || at[len] != kind) return false;
    at += len + 1;
    if (!take_number(&at, end, '-', &stream) || stream > UINT32_MAX || !take_number(&at, end, '\0', number))
        return false;
    *index = (uint32_t)stream;
    return at == end;
}

/* $JS.ACK.stream.consumer.delivered.position.number.ns.pending, or with domain.account before the stream and something
 * random at the end. */
bool delivery_of(const char *reply, struct delivery *delivery)
{
    const char *tokens[13];
    size_t count = 1;
    if (strncmp(reply, "$JS.ACK.", 8) != 0) return false;
    tokens[0] = reply;
    for (const char *p = reply; *p != '\0'; p++) {
        if (*p != '.') continue;
        if (count == 12) return false;
        tokens[count++] = p + 1;
    }
    tokens[count] = tokens[0] + strlen(reply) + 1;
    if (count < 9 || count == 10) return false;
    const char **t = tokens + (count > 9 ? 4 : 2); /* at the stream */
    *delivery = (struct delivery){.consumer = {(const uint8_t *)t[1], (uint32_t)(t[2] - t[1] - 1)}};
    uint64_t *const numbers[] = {&delivery->position, &delivery->number, &delivery->time_ms, &delivery->pending};
    for (size_t i = 0; i < 4; i++) {
        const char *at = t[3 + i];
        if (!take_number(&at, t[4 + i] - 1, '.', numbers[i])) return false;
    }
    delivery->time_ms /= 1000000;
    return delivery->position >= 1 && delivery->position < UINT64_C(1) << 48;
}

struct nats_stream *storing_stream(const struct nats_storing *storing, uint32_t index)
{
    struct nats_stream *stream = storing->streams;
    while (stream != NULL && stream->index != index) stream = stream->next;
    return stream;
}

/* ---- what is asked ------------------------------------------------------------------------------------------ */

struct js_request *js_ask(struct nats_stream *stream, const char *subject, const char *body)
{
    struct nats_storing *storing = stream->storing;
    struct js_request *request = sure(calloc(1, sizeof *request));
    *request = (struct js_request){.next = storing->requests,
                                   .subject = sure(strdup(subject)),
                                   .body = sure(strdup(body)),
                                   .serial = ++storing->serial,
                                   .due_ms = nats_now_ms() + ANSWER_MS,
                                   .stream = stream};
    storing->requests = request;
    storing_hurry(storing);
    return request;
}

static void request_free(struct js_request *request)
{
    free(request->subject);
    free(request->body);
    free(request->inbox);
    free(request);
}

/* Takes it out: who asked may ask again at once. */
static void request_done(struct js_request **at, mps_view answer)
{
    struct js_request *request = *at;
    *at = request->next;
    if (request->done != NULL) request->done(request->stream, request, answer);
    request_free(request);
}

void requests_end(struct nats_storing *storing)
{
    for (struct js_request *request; (request = storing->requests) != NULL;) {
        storing->requests = request->next;
        request_free(request);
    }
}

/* Those that are new are sent, those that nobody answers are over. */
void requests_work(struct nats_storing *storing, struct round *round)
{
    struct js_request *late = NULL;
    for (struct js_request **at = &storing->requests; *at != NULL;) {
        struct js_request *request = *at;
        if (request->due_ms <= round->now_ms) {
            *at = request->next;
            request->next = late;
            late = request;
            continue;
        }
        round_again(round, request->due_ms);
        struct outgoing *out = request->subject != NULL ? round_add(round) : NULL;
        if (out != NULL) {
            char rest[24], reply[128];
            snprintf(rest, sizeof rest, "%" PRIu64, request->serial);
            storing_inbox(storing, 'c', rest, reply, sizeof reply);
            *out = (struct outgoing){.request = request,
                                     .stream = request->stream,
                                     .number = request->about,
                                     .subject = request->subject,
                                     .reply = sure(strdup(reply)),
                                     .body = request->body,
                                     .inbox = request->inbox};
            request->subject = request->body = request->inbox = NULL;
            if (request->done == NULL) request->due_ms = round->now_ms; /* nobody waits for it */
        }
        at = &request->next;
    }
    while (late != NULL) {
        struct js_request *request = late;
        late = request->next;
        request->next = NULL;
        request_done(&request, (mps_view){NULL, 0});
    }
}

/* ---- what comes back: libnats' threads ------------------------------------------------------------------------ */

static const char *rest_of(const struct nats_storing *storing, natsMsg *message)
{
    const char *subject = natsMsg_GetSubject(message);
    size_t len = strlen(storing->inbox);
    return strncmp(subject, storing->inbox, len) == 0 && strlen(subject) > len + 3 ? subject + len + 3 : "";
}

/* To ....a.INDEX.NUMBER comes what was appended, to ....a.p.NUMBER what was put. */
void storing_ack_came(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    (void)connection;
    struct nats_storing *storing = arg;
    const char *rest = rest_of(storing, message), *end = rest + strlen(rest);
    uint64_t index = 0, number = 0;
    bool is_put = strncmp(rest, "p.", 2) == 0;
    if (is_put) rest += 2;
    bool is_known = (is_put || take_number(&rest, end, '.', &index)) && take_number(&rest, end, '\0', &number);
    pthread_mutex_lock(&storing->lock);
    struct nats_stream *stream = is_put || index > UINT32_MAX ? NULL : storing_stream(storing, (uint32_t)index);
    if (is_known && is_put) puts_acked(storing, number, message);
    else if (is_known && stream != NULL) appends_acked(stream, number, message);
    storing_say(storing, subscription);
    pthread_mutex_unlock(&storing->lock);
    natsMsg_Destroy(message);
}

static mps_view body_of(natsMsg *message)
{
    int len = natsMsg_GetDataLength(message);
    return (mps_view){(const uint8_t *)natsMsg_GetData(message), len > 0 ? (uint32_t)len : 0};
}

static void answered(struct nats_storing *storing, natsMsg *message)
{
    const char *rest = rest_of(storing, message), *end = rest + strlen(rest);
    uint64_t serial = 0;
    if (!take_number(&rest, end, '\0', &serial)) return;
    for (struct js_request **at = &storing->requests; *at != NULL; at = &(*at)->next) {
        if ((*at)->serial != serial || (*at)->done == NULL) continue;
        /* Nobody is there who answers: that is not to be waited for. */
        mps_view answer = natsMsg_IsNoResponders(message) ? (mps_view){NULL, 0} : body_of(message);
        request_done(at, answer);
        return;
    }
    cursor_status(storing, serial, message);
}

/* Answers, and what is read. */
void storing_answer_came(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    (void)connection;
    struct nats_storing *storing = arg;
    const char *reply = natsMsg_GetReply(message);
    struct delivery delivery;
    uint32_t index = 0;
    uint64_t number = 0;
    pthread_mutex_lock(&storing->lock);
    if (reply == NULL || !delivery_of(reply, &delivery)) {
        answered(storing, message);
    } else if (consumer_is_ours(storing, delivery.consumer, 'r', &index, &number)) {
        struct nats_stream *stream = storing_stream(storing, index);
        if (stream != NULL) cursor_message(stream, number, &delivery, body_of(message));
    }
    storing_hurry(storing);
    storing_say(storing, subscription);
    pthread_mutex_unlock(&storing->lock);
    natsMsg_Destroy(message);
}
