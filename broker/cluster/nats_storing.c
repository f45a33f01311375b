#include "nats_storing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define PAYLOAD_MAX (1u << 20) /* bytes of a message, as long as no server has said */
#define ENDED_MS 60000         /* so long is no message being read */

/* ---- subscriptions ------------------------------------------------------------------------------------------ */

static void on_complete(void *arg)
{
    nats_let_go(((struct nats_storing *)arg)->engine);
}

static void free_ended(struct nats_storing *storing, uint64_t until_ms)
{
    uint32_t count = 0;
    while (count < storing->ended_count && storing->ended[count].since_ms <= until_ms)
        natsSubscription_Destroy(storing->ended[count++].subscription);
    storing->ended_count -= count;
    if (storing->ended_count > 0)
        memmove(storing->ended, storing->ended + count, storing->ended_count * sizeof *storing->ended);
}

/* Nothing comes for it any more. It is freed when its connection is closed, or a while later: libnats before 3.6 uses
 * one that is destroyed while a message for it is read. subscription NULL is allowed. */
static void unsubscribe(struct nats_storing *storing, natsSubscription *subscription)
{
    uint64_t now_ms = nats_now_ms();
    if (subscription == NULL) return;
    natsSubscription_Unsubscribe(subscription);
    if (now_ms > ENDED_MS) free_ended(storing, now_ms - ENDED_MS);
    storing->ended = sure(realloc(storing->ended, (storing->ended_count + 1) * sizeof *storing->ended));
    storing->ended[storing->ended_count++] = (struct ended){subscription, now_ms};
}

/* Its thread calls until it is complete, also behind the end of the connection. */
static natsSubscription *subscribe(struct nats_storing *storing, natsConnection *connection, const char *subject,
                                   natsMsgHandler handler)
{
    natsSubscription *subscription = NULL;
    nats_hold(storing->engine);
    natsStatus status = natsConnection_Subscribe(&subscription, connection, subject, handler, storing);
    if (status == NATS_OK) status = natsSubscription_SetOnCompleteCB(subscription, on_complete, storing);
    if (status != NATS_OK) {
        unsubscribe(storing, subscription);
        nats_let_go(storing->engine);
        return NULL;
    }
    /* What is on its way is bounded by what we ask for, and by flow control: nothing is dropped here. */
    natsSubscription_SetPendingLimits(subscription, -1, -1);
    return subscription;
}

/* JetStream wants somebody to be subscribed to exactly where it pushes to, and ends a consumer when nobody is any more.
 */
static void follow(struct nats_storing *storing, natsConnection *connection, const struct outgoing *out)
{
    struct nats_stream *stream = out->stream;
    unsubscribe(storing, stream->followed);
    stream->followed = subscribe(storing, connection, out->inbox, tail_message);
    stream->followed_number = out->number;
}

/* Perhaps there is a later one already. */
static void follow_no_more(struct nats_storing *storing, const struct outgoing *out)
{
    struct nats_stream *stream = out->stream;
    if (stream->followed_number != out->number) return;
    unsubscribe(storing, stream->followed);
    stream->followed = NULL;
}

/* ---- the thread that sends ---------------------------------------------------------------------------------- */

void storing_hurry(struct nats_storing *storing)
{
    storing->is_hurried = true;
    if (storing->is_idle) pthread_cond_signal(&storing->work);
}

struct outgoing *round_add(struct round *round)
{
    if (!round->is_connected || round->count == ROUND) return NULL;
    struct outgoing *out = &round->messages[round->count++];
    *out = (struct outgoing){0};
    return out;
}

void round_again(struct round *round, uint64_t when_ms)
{
    if (when_ms < round->next_ms) round->next_ms = when_ms;
}

static void garbage_free(struct nats_storing *storing)
{
    for (struct pending_append *append; (append = storing->garbage) != NULL;) {
        storing->garbage = append->next;
        free(append->text);
        free(append);
    }
    for (struct pending_put *put; (put = storing->puts.garbage) != NULL;) {
        storing->puts.garbage = put->next;
        free(put);
    }
}

static void gather(struct nats_storing *storing, struct round *round)
{
    round->now_ms = nats_now_ms();
    round->next_ms = round->now_ms + ASK_EVERY_MS;
    round->count = 0;
    round->is_connected = storing->is_connected && atomic_load(&storing->link.is_up);
    if (storing->is_connected && !round->is_connected) round_again(round, round->now_ms + 1); /* in a moment */
    garbage_free(storing);
    requests_work(storing, round);
    for (struct nats_stream *stream = storing->streams; stream != NULL; stream = stream->next) {
        if (round->is_connected) stream_work(stream, round);
        if (round->is_connected) tail_work(stream, round);
    }
    reads_work(storing, round);
    puts_work(storing, round);
    marks_work(storing, round);
    for (struct nats_stream *stream = storing->streams; stream != NULL; stream = stream->next)
        appends_work(stream, round);
}

/* Without the lock, as all that sends. */
static void send_request(struct nats_storing *storing, natsConnection *connection, const struct outgoing *out)
{
    if (out->inbox != NULL && out->inbox[0] != '\0') follow(storing, connection, out);
    else if (out->inbox != NULL) follow_no_more(storing, out);
    natsConnection_PublishRequest(connection, out->subject, out->reply, out->body, (int)strlen(out->body));
}

static void send_round(struct nats_storing *storing, struct round *round)
{
    natsConnection *connection = nats_link_use(&storing->link);
    for (uint32_t i = 0; i < round->count; i++) {
        struct outgoing *out = &round->messages[i];
        if (connection != NULL && out->subject != NULL) send_request(storing, connection, out);
        else if (connection != NULL && out->put != NULL) put_send(storing, connection, out->put);
        else if (connection != NULL) append_send(connection, out);
        free(out->subject);
        free(out->reply);
        free(out->body);
        free(out->inbox);
    }
    if (connection != NULL) nats_link_release(&storing->link);
}

static void send_all(void *arg)
{
    struct nats_storing *storing = arg;
    struct round *round = &storing->round;
    pthread_mutex_lock(&storing->lock);
    while (!storing->is_closing) {
        storing->is_hurried = false;
        gather(storing, round);
        storing_say(storing, NULL);
        if (round->count > 0) {
            pthread_mutex_unlock(&storing->lock);
            send_round(storing, round);
            pthread_mutex_lock(&storing->lock);
            if (round->count == ROUND) continue;
        }
        storing->is_idle = true;
        while (!storing->is_hurried && !storing->is_closing &&
               nats_wait_until(&storing->work, &storing->lock, round->next_ms))
            ;
        storing->is_idle = false;
    }
    pthread_mutex_unlock(&storing->lock);
    nats_ReleaseThreadMemory();
}

/* ---- the connection: the link's thread ------------------------------------------------------------------------ */

/* libnats sends what is there when it looks, instead of each message by itself. */
static natsStatus configure(natsOptions *options)
{
    return natsOptions_SetSendAsap(options, false);
}

static bool opened(void *part, natsConnection *connection)
{
    struct nats_storing *storing = part;
    const natsMsgHandler handlers[] = {storing_ack_came, storing_answer_came};
    for (uint32_t i = 0; i < 2; i++) {
        char subject[128];
        storing_inbox(storing, "ac"[i], ">", subject, sizeof subject);
        storing->subscriptions[i] = subscribe(storing, connection, subject, handlers[i]);
        if (storing->subscriptions[i] == NULL) return false;
    }
    pthread_mutex_lock(&storing->lock);
    storing->connection++;
    storing->is_connected = true;
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
    return true;
}

/* The connection is closed, and nobody uses it any more. */
static void free_subscriptions(struct nats_storing *storing)
{
    struct nats_stream *stream =
        storing->streams; /* the bucket, which is always there; others may be added meanwhile */
    while (stream != NULL) {
        natsSubscription_Destroy(stream->followed);
        stream->followed = NULL;
        pthread_mutex_lock(&storing->lock);
        stream = stream->next;
        pthread_mutex_unlock(&storing->lock);
    }
    for (size_t i = 0; i < sizeof storing->subscriptions / sizeof *storing->subscriptions; i++) {
        natsSubscription_Destroy(storing->subscriptions[i]);
        storing->subscriptions[i] = NULL;
    }
    free_ended(storing, UINT64_MAX);
    free(storing->ended);
    storing->ended = NULL;
}

static void closing(void *part)
{
    struct nats_storing *storing = part;
    pthread_mutex_lock(&storing->lock);
    storing->is_connected = false;
    requests_end(storing);
    for (struct nats_stream *stream = storing->streams; stream != NULL; stream = stream->next)
        stream_disconnected(stream);
    puts_disconnected(storing);
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
    free_subscriptions(storing);
}

/* ---- the loop's thread ---------------------------------------------------------------------------------------- */

static void name_this_life(struct nats_storing *storing)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) random = (uint64_t)nats_NowInNanoSeconds();
    snprintf(storing->nonce, sizeof storing->nonce, "%016" PRIx64, random);
    snprintf(storing->inbox, sizeof storing->inbox, "_INBOX.%s", storing->nonce);
}

static bool bucket_open(struct nats_storing *storing)
{
    struct engine_stream config = {.name = "records", .replicas = storing->engine->options.replicas};
    storing->bucket = stream_new(storing, &config, true);
    return storing->bucket != NULL;
}

bool nats_storing_open(struct nats_engine *engine, char text[STORE_TEXT_MAX])
{
    struct nats_storing *storing = sure(calloc(1, sizeof *storing));
    const struct nats_link_part part = {.configure = configure, .opened = opened, .closing = closing, .part = storing};
    engine->storing = storing;
    storing->engine = engine;
    storing->own_marks.wait_ms = OWN_MARKS_MS;
    storing->other_marks.wait_ms = OTHER_MARKS_MS;
    storing->stale_ms = STALE_MS;
    storing->leader_tries = LEADER_TRIES;
    storing->linger_ms = LINGER_MS;
    storing->stuck_ms = STUCK_MS;
    name_this_life(storing);
    pthread_mutex_init(&storing->lock, NULL);
    nats_condition_init(&storing->work);
    nats_condition_init(&storing->room);
    if (!bucket_open(storing)) {
        snprintf(text, STORE_TEXT_MAX, "the prefix of the cluster is too long");
        return false;
    }
    if (!nats_start_thread(engine, send_all, storing)) {
        snprintf(text, STORE_TEXT_MAX, "a thread for the shared streams can't be started");
        return false;
    }
    return nats_link_open(&storing->link, engine, "storing", &part, text);
}

bool nats_storing_is_up(const struct nats_storing *storing)
{
    return atomic_load(&storing->link.is_up);
}

void nats_storing_why_not(struct nats_storing *storing, char text[STORE_TEXT_MAX])
{
    nats_link_why(&storing->link, text);
}

void nats_storing_open_stream(struct nats_storing *storing, const struct engine_stream *config)
{
    pthread_mutex_lock(&storing->lock);
    sure(stream_new(storing, config, false)); /* names are short */
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
}

static uint64_t message_max(const struct nats_storing *storing)
{
    int64_t max = atomic_load(&storing->link.max_payload);
    return (max > 2 * MESSAGE_ROOM ? (uint64_t)max : PAYLOAD_MAX) - MESSAGE_ROOM;
}

/* The length of the longest of its frames; 0: that is no whole number of messages. */
static uint32_t longest(const struct engine_append *append)
{
    uint32_t most = 0, count = 0;
    for (uint32_t at = 0; at < append->len; count++) {
        struct mps_msg msg;
        const char *what;
        uint32_t len = mps_msg_frame_len(append->bytes + at);
        if (len > append->len - at || mps_decode_msg((mps_view){append->bytes + at, len}, &msg, &what) != MPS_OK)
            return 0;
        if (len > most) most = len;
        at += len;
    }
    return count == append->count ? most : 0;
}

static struct nats_stream *stream_of_number(const struct nats_storing *storing, uint32_t number)
{
    struct nats_stream *stream = storing->streams; /* the loop alone adds to them, at the end */
    while (stream != NULL && (stream->is_bucket || stream->config.number != number)) stream = stream->next;
    return stream;
}

void nats_storing_follow(struct nats_storing *storing, uint32_t number, uint64_t identity, uint64_t from)
{
    struct nats_stream *stream = stream_of_number(storing, number);
    if (stream == NULL) return;
    pthread_mutex_lock(&storing->lock);
    if (from > 0) tail_wanted(stream, identity, from);
    else tail_unwanted(stream);
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
}

/* With the next question that is asked: one that is under way may have been answered before. */
void nats_storing_ask_state(struct nats_storing *storing, uint32_t number, uint64_t mark)
{
    struct nats_stream *stream = stream_of_number(storing, number);
    if (stream == NULL) return;
    pthread_mutex_lock(&storing->lock);
    stream->wanted_mark = mark;
    stream->ask_ms = 0;
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
}

bool nats_storing_append(struct nats_storing *storing, const struct engine_append *append, char text[STORE_TEXT_MAX])
{
    uint64_t max = message_max(storing), cost = append_cost(append);
    uint64_t waiting = atomic_load(&storing->waiting_bytes), most = storing->engine->options.defer_bytes;
    if (!append->is_waited_for) most = most / 4 * 3; /* who waits for nothing is never held: the rest is for others */
    struct nats_stream *stream = stream_of_number(storing, append->stream);
    uint32_t frame = longest(append);
    if (stream == NULL) {
        snprintf(text, STORE_TEXT_MAX, "there is no shared stream %" PRIu32, append->stream);
        return false;
    }
    if (frame == 0) {
        snprintf(text, STORE_TEXT_MAX, "what is to be appended isn't %" PRIu32 " messages", append->count);
        return false;
    }
    if (frame > max) {
        snprintf(text, STORE_TEXT_MAX,
                 "the message has %" PRIu32 " bytes, the cluster's servers take %" PRIu64 " (max_payload)", frame, max);
        return false;
    }
    if (waiting + cost > most && waiting > 0) {
        snprintf(text, STORE_TEXT_MAX, "%" PRIu64 " bytes wait to be stored in the cluster, the limit is %" PRIu64,
                 waiting, most);
        return false;
    }
    struct pending_append *mine = sure(calloc(1, sizeof *mine + append->len + append->id.len));
    *mine = (struct pending_append){.stream = stream,
                                    .token = append->token,
                                    .taken_ms = nats_now_ms(),
                                    .boot = append->boot,
                                    .first_pid = append->first_pid,
                                    .cost = cost,
                                    .is_waited_for = append->is_waited_for,
                                    .were_there = true,
                                    .count = append->count,
                                    .left = append->count,
                                    .len = append->len,
                                    .id_len = append->id.len,
                                    .bytes = (uint8_t *)(mine + 1)};
    memcpy(mine->bytes, append->bytes, append->len);
    if (append->id.len > 0) memcpy(mine->bytes + append->len, append->id.ptr, append->id.len);
    if (storing->last_taken != NULL) storing->last_taken->next = mine;
    else storing->taken = mine;
    storing->last_taken = mine;
    atomic_fetch_add(&storing->waiting_bytes, cost);
    atomic_fetch_add(&storing->waiting_appends, 1);
    return true;
}

void nats_storing_flush(struct nats_storing *storing)
{
    if (storing->taken == NULL) return;
    pthread_mutex_lock(&storing->lock);
    for (struct pending_append *append = storing->taken; append != NULL;) {
        struct pending_append *next = append->next;
        append->next = NULL;
        appends_add(append->stream, append);
        append = next;
    }
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
    storing->taken = storing->last_taken = NULL;
}

void nats_storing_read(struct nats_storing *storing, struct store_read *read)
{
    store_read_begin(read);
    read->next = NULL;
    pthread_mutex_lock(&storing->lock);
    struct store_read **at = &storing->reads;
    while (*at != NULL) at = &(*at)->next;
    *at = read;
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
}

bool nats_storing_put(struct nats_storing *storing, const struct engine_put *put)
{
    if (put->value.ptr != NULL && put->value.len > message_max(storing)) return false;
    pthread_mutex_lock(&storing->lock);
    bool is_taken = puts_add(storing, put);
    storing_hurry(storing);
    pthread_mutex_unlock(&storing->lock);
    return is_taken;
}

void nats_storing_figures(struct nats_storing *storing, struct engine_figures *figures)
{
    uint64_t connects = atomic_load(&storing->link.connects);
    figures->is_storing = nats_storing_is_up(storing);
    figures->waiting_appends = atomic_load(&storing->waiting_appends);
    figures->waiting_bytes = atomic_load(&storing->waiting_bytes);
    figures->reconnects += connects > 0 ? connects - 1 : 0;
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

static bool waits(const struct nats_storing *storing)
{
    return storing->is_connected && (atomic_load(&storing->waiting_appends) > 0 || storing->puts.first != NULL);
}

void nats_storing_close(struct nats_storing *storing, uint64_t until_ms)
{
    uint64_t now_ms = nats_now_ms(), half_ms = now_ms < until_ms ? now_ms + (until_ms - now_ms) / 2 : now_ms;
    nats_storing_flush(storing);
    pthread_mutex_lock(&storing->lock);
    /* The condition is that of tails, which have nobody to tell any more; acknowledgements signal it, too. */
    while (waits(storing) && nats_wait_until(&storing->room, &storing->lock, half_ms))
        ;
    storing->is_closing = true;
    pthread_cond_broadcast(&storing->room);
    pthread_cond_broadcast(&storing->work);
    pthread_mutex_unlock(&storing->lock);
    if (storing->link.engine != NULL) nats_link_close(&storing->link, until_ms);
}

static void appends_list_free(struct pending_append *append)
{
    while (append != NULL) {
        struct pending_append *next = append->next;
        free(append->text);
        free(append);
        append = next;
    }
}

void nats_storing_free(struct nats_storing *storing)
{
    requests_end(storing);
    garbage_free(storing);
    puts_free(storing);
    marks_forget(storing);
    appends_list_free(storing->taken);
    for (struct nats_stream *stream; (stream = storing->streams) != NULL;) {
        storing->streams = stream->next;
        stream_free(stream);
    }
    for (struct store_read *read; (read = storing->reads) != NULL;) {
        storing->reads = read->next;
        free(read);
    }
    storing_events_free(storing->events);
    if (storing->link.engine != NULL) nats_link_free(&storing->link);
    pthread_cond_destroy(&storing->room);
    pthread_cond_destroy(&storing->work);
    pthread_mutex_destroy(&storing->lock);
    free(storing);
}
