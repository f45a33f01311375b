#include "subs.h"

#include <stdlib.h>
#include <string.h>

#include "request.h"

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
    struct mps_sub_entry *sub = calloc(1, sizeof *sub);
    if (sub == NULL) return NULL;
    sub->sid = ++subs->last_sid;
    if (options != NULL) sub->options = *options;
    memcpy(sub->pattern, pattern, strlen(pattern) + 1);
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

int mps_subs_encode(const struct mps_subs *subs, uint8_t **frames, size_t *len)
{
    *frames = NULL;
    *len = 0;
    if (subs->count == 0) return PUBSUB_OK;
    size_t cap = subs->count * (MPS_SUB_FRAME_MAX + MPS_SMALL_FRAME_MAX);
    uint8_t *buf = malloc(cap);
    if (buf == NULL) return PUBSUB_ENOMEM;
    struct mps_out out = mps_out_open(buf, cap);
    for (size_t i = 0; i < subs->count; i++) {
        const struct mps_sub_entry *sub = subs->list[i];
        struct mps_sub frame;
        const char *why;
        if (sub->ended) continue;
        if (mps_request_subscription(&frame, sub->sid, sub->pattern, &sub->options, &why) != PUBSUB_OK) continue;
        mps_encode_sub(&out, &frame);
        if (sub->stat_asked) mps_encode_stat(&out, &(struct mps_stat){.sid = sub->sid});
    }
    *frames = buf;
    *len = out.len;
    return PUBSUB_OK;
}
