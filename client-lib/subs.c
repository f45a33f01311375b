#include "subs.h"

#include <stdlib.h>
#include <string.h>

#include "request.h"

static size_t space(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

/* Copies text to *at, behind which the next one goes. */
static const char *keep(char **at, const char *text)
{
    char *copy = *at;
    if (text == NULL) return NULL;
    *at += space(text);
    return memcpy(copy, text, space(text));
}

/* The positions where the program wants to begin, which is where it stands until something comes. */
static int begin_positions(struct mps_sub_entry *sub)
{
    const uint64_t *pairs = sub->options.from_positions;
    int rc = PUBSUB_OK;
    for (size_t i = 0; i < sub->options.from_positions_count && rc == PUBSUB_OK; i++)
        rc = mps_positions_begin(&sub->positions, pairs[2 * i], pairs[2 * i + 1]);
    return rc;
}

static struct mps_sub_entry *make(const char *pattern, const struct pubsub_subscribe_options *options)
{
    static const struct pubsub_subscribe_options defaults = {.sid = 0};
    if (options == NULL) options = &defaults;
    size_t pairs = options->from == PUBSUB_FROM_SEQ ? options->from_positions_count : 0;
    size_t pairs_bytes = pairs * 2 * sizeof *options->from_positions;
    size_t texts = space(pattern) + space(options->group) + space(options->filter);
    struct mps_sub_entry *sub = calloc(1, sizeof *sub + pairs_bytes + texts);
    if (sub == NULL) return NULL;
    sub->options = *options;
    if (pairs > 0) memcpy(sub->from_positions, options->from_positions, pairs_bytes);
    sub->options.from_positions = sub->from_positions;
    sub->options.from_positions_count = pairs;
    char *at = (char *)(sub->from_positions + 2 * pairs);
    sub->pattern = keep(&at, pattern);
    sub->options.group = keep(&at, options->group);
    sub->options.filter = keep(&at, options->filter);
    if (begin_positions(sub) == PUBSUB_OK) return sub;
    mps_positions_free(&sub->positions);
    free(sub);
    return NULL;
}

/* The number that the next subscription gets by itself; 0: there is none. */
static uint32_t next_sid(const struct mps_subs *subs)
{
    uint32_t sid = subs->last_sid;
    while (sid < MPS_SID_MAX && mps_subs_find(subs, ++sid) != NULL) continue;
    return sid > subs->last_sid && mps_subs_find(subs, sid) == NULL ? sid : 0;
}

/* Index of the first one whose number is not below sid. */
static size_t position(const struct mps_subs *subs, uint32_t sid)
{
    size_t low = 0, high = subs->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (subs->list[middle]->sid < sid) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct mps_sub_entry *mps_subs_add(struct mps_subs *subs, const char *pattern,
                                   const struct pubsub_subscribe_options *options, uint64_t now_ms)
{
    bool chosen = options != NULL && options->sid != 0;
    uint32_t sid = chosen ? options->sid : next_sid(subs);
    if (sid == 0) return NULL;
    if (subs->count == subs->cap) {
        size_t cap = subs->cap == 0 ? 4 : 2 * subs->cap;
        struct mps_sub_entry **list = realloc(subs->list, cap * sizeof *list);
        if (list == NULL) return NULL;
        subs->list = list;
        subs->cap = cap;
    }
    struct mps_sub_entry *sub = make(pattern, options);
    if (sub == NULL) return NULL;
    if (!chosen) subs->last_sid = sid;
    sub->sid = sid;
    sub->began_ms = now_ms;
    size_t at = position(subs, sid);
    memmove(subs->list + at + 1, subs->list + at, (subs->count - at) * sizeof *subs->list);
    subs->list[at] = sub;
    subs->count++;
    return sub;
}

struct mps_sub_entry *mps_subs_find(const struct mps_subs *subs, uint32_t sid)
{
    size_t at = position(subs, sid);
    return at < subs->count && subs->list[at]->sid == sid ? subs->list[at] : NULL;
}

static void free_entry(struct mps_sub_entry *sub)
{
    mps_positions_free(&sub->positions);
    free(sub);
}

void mps_subs_remove(struct mps_subs *subs, uint32_t sid)
{
    size_t at = position(subs, sid);
    if (at == subs->count || subs->list[at]->sid != sid) return;
    free_entry(subs->list[at]);
    subs->count--;
    memmove(subs->list + at, subs->list + at + 1, (subs->count - at) * sizeof *subs->list);
}

void mps_subs_free(struct mps_subs *subs)
{
    for (size_t i = 0; i < subs->count; i++) free_entry(subs->list[i]);
    free(subs->list);
    *subs = (struct mps_subs){0};
}

uint64_t mps_subs_credit(const struct mps_sub_entry *sub)
{
    int64_t credit = (int64_t)sub->options.credit - sub->uncounted;
    return credit > 0 ? (uint64_t)credit : 0;
}

/* ---- a new connection --------------------------------------------------------------------------------------- */

/* Positions are those of a history that the broker has lost: all that it has now is new to the program. */
static void forget_history(struct mps_sub_entry *sub)
{
    mps_positions_free(&sub->positions);
    sub->caught_up = false;
    if (sub->options.from == PUBSUB_FROM_SEQ && sub->options.group == NULL) sub->options.from = PUBSUB_FROM_ALL;
}

/* Whether a subscription goes on where its program stands. A group stands where all its members do together; and who
 * wants the newest of each topic does not want what lies between them. */
static bool resumes(const struct mps_sub_entry *sub)
{
    if (sub->options.group != NULL || sub->positions.count == 0) return false;
    return sub->options.from != PUBSUB_FROM_LAST_PER_TOPIC || sub->caught_up;
}

void mps_subs_connected(struct mps_subs *subs, bool resumed, bool same_history)
{
    for (size_t i = 0; i < subs->count; i++) {
        struct mps_sub_entry *sub = subs->list[i];
        if (!same_history) forget_history(sub);
        else if (resumed && sub->options.ack != PUBSUB_ACKS_NONE) mps_positions_resumed(&sub->positions);
        else if (sub->options.group != NULL) mps_positions_hand_over(&sub->positions);
        else mps_positions_rewind(&sub->positions);
        sub->moving = resumed && sub->options.ack == PUBSUB_ACKS_NONE && resumes(sub);
        sub->recount = resumed && sub->options.by_credit;
        if (!resumed) sub->uncounted = (int64_t)sub->received;
    }
}

/* The same moment as when the subscription was made. */
static uint64_t ago(const struct mps_sub_entry *sub, uint64_t now_ms)
{
    uint64_t since = now_ms - sub->began_ms, asked = sub->options.from_number;
    return asked + since < MPS_NUMBER_MAX ? asked + since : MPS_NUMBER_MAX;
}

/* A subscription as it was judged when it was made, but going on where it stands. The frame borrows pairs. */
static struct mps_sub frame_of(const struct mps_sub_entry *sub, uint64_t now_ms, uint64_t *pairs)
{
    struct mps_sub frame;
    const char *why;
    (void)mps_request_subscription(&frame, sub->sid, sub->pattern, &sub->options, &why);
    struct mps_from *from = &frame.options.from;
    if (from->kind == MPS_FROM_AGO && sub->options.group == NULL) from->number = ago(sub, now_ms);
    if (resumes(sub)) {
        from->rest = from->kind != MPS_FROM_SEQ ? from->kind : MPS_FROM_NEW;
        from->kind = MPS_FROM_SEQ;
        from->count = mps_positions_resume(&sub->positions, pairs);
        from->positions = pairs;
        frame.options.given |= MPS_SUB_FROM;
    }
    frame.options.credit =
        sub->recount ? 0 : mps_subs_credit(sub); /* none shrinks: it is said when the count is known */
    return frame;
}

static void encode(struct mps_out *out, const struct mps_sub_entry *sub, const struct mps_sub *frame)
{
    if (sub->ended) {
        mps_encode_unsub(out, &(struct mps_unsub){sub->sid});
        return;
    }
    mps_encode_sub(out, frame);
    if (sub->stat_asked || sub->recount) mps_encode_stat(out, &(struct mps_stat){.sid = sub->sid});
    if (sub->drain_asked && !sub->recount)
        mps_encode_credit(out, &(struct mps_credit){sub->sid, frame->options.credit, true});
}

int mps_subs_encode(const struct mps_subs *subs, uint64_t now_ms, uint8_t **frames, size_t *len)
{
    uint64_t pairs[2 * MPS_FROM_POSITIONS_MAX];
    size_t cap = 0;
    *frames = NULL;
    *len = 0;
    for (size_t i = 0; i < subs->count; i++) {
        struct mps_sub frame = frame_of(subs->list[i], now_ms, pairs);
        cap += mps_request_sub_bound(&frame) + 2 * MPS_SMALL_FRAME_MAX;
    }
    if (cap == 0) return PUBSUB_OK;
    uint8_t *buf = malloc(cap);
    if (buf == NULL) return PUBSUB_ENOMEM;
    struct mps_out out = mps_out_open(buf, cap);
    for (size_t i = 0; i < subs->count; i++) {
        struct mps_sub frame = frame_of(subs->list[i], now_ms, pairs);
        encode(&out, subs->list[i], &frame);
    }
    *frames = buf;
    *len = out.len;
    return PUBSUB_OK;
}
