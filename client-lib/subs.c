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

static struct mps_sub_entry *make(const char *pattern, const struct pubsub_subscribe_options *options)
{
    size_t more = options != NULL ? space(options->group) + space(options->filter) : 0;
    struct mps_sub_entry *sub = calloc(1, sizeof *sub + space(pattern) + more);
    if (sub == NULL) return NULL;
    char *at = sub->pattern;
    keep(&at, pattern);
    if (options == NULL) return sub;
    sub->options = *options;
    sub->options.group = keep(&at, options->group);
    sub->options.filter = keep(&at, options->filter);
    return sub;
}

struct mps_sub_entry *mps_subs_add(struct mps_subs *subs, const char *pattern,
                                   const struct pubsub_subscribe_options *options)
{
    if (subs->last_sid == MPS_SID_MAX) return NULL;
    if (subs->count == subs->cap) {
        size_t cap = subs->cap == 0 ? 4 : 2 * subs->cap;
        struct mps_sub_entry **list = realloc(subs->list, cap * sizeof *list);
        if (list == NULL) return NULL;
        subs->list = list;
        subs->cap = cap;
    }
    struct mps_sub_entry *sub = make(pattern, options);
    if (sub == NULL) return NULL;
    sub->sid = ++subs->last_sid;
    subs->list[subs->count++] = sub;
    return sub;
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

struct mps_sub_entry *mps_subs_find(const struct mps_subs *subs, uint32_t sid)
{
    size_t at = position(subs, sid);
    return at < subs->count && subs->list[at]->sid == sid ? subs->list[at] : NULL;
}

void mps_subs_remove(struct mps_subs *subs, uint32_t sid)
{
    size_t at = position(subs, sid);
    if (at == subs->count || subs->list[at]->sid != sid) return;
    free(subs->list[at]);
    subs->count--;
    memmove(subs->list + at, subs->list + at + 1, (subs->count - at) * sizeof *subs->list);
}

void mps_subs_free(struct mps_subs *subs)
{
    for (size_t i = 0; i < subs->count; i++) free(subs->list[i]);
    free(subs->list);
    *subs = (struct mps_subs){0};
}

uint64_t mps_subs_credit(const struct mps_sub_entry *sub)
{
    return sub->options.credit > sub->received_before ? sub->options.credit - sub->received_before : 0;
}

static void encode(struct mps_out *out, const struct mps_sub_entry *sub, struct mps_sub *frame)
{
    frame->options.credit = mps_subs_credit(sub);
    mps_encode_sub(out, frame);
    if (sub->stat_asked) mps_encode_stat(out, &(struct mps_stat){.sid = sub->sid});
    if (sub->drain_asked) mps_encode_credit(out, &(struct mps_credit){sub->sid, frame->options.credit, true});
}

/* A subscription as it was judged when it was made. */
static struct mps_sub frame_of(const struct mps_sub_entry *sub)
{
    struct mps_sub frame;
    const char *why;
    (void)mps_request_subscription(&frame, sub->sid, sub->pattern, &sub->options, &why);
    return frame;
}

int mps_subs_encode(struct mps_subs *subs, uint8_t **frames, size_t *len)
{
    size_t cap = 0;
    *frames = NULL;
    *len = 0;
    for (size_t i = 0; i < subs->count; i++) {
        struct mps_sub frame = frame_of(subs->list[i]);
        cap += mps_request_sub_bound(&frame) + 2 * MPS_SMALL_FRAME_MAX;
    }
    if (cap == 0) return PUBSUB_OK;
    uint8_t *buf = malloc(cap);
    if (buf == NULL) return PUBSUB_ENOMEM;
    struct mps_out out = mps_out_open(buf, cap);
    for (size_t i = 0; i < subs->count; i++) {
        struct mps_sub_entry *sub = subs->list[i];
        if (sub->ended) continue;
        struct mps_sub frame = frame_of(sub);
        sub->received_before = sub->received;
        encode(&out, sub, &frame);
    }
    *frames = buf;
    *len = out.len;
    return PUBSUB_OK;
}
