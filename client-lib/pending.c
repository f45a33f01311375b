#include "pending.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_COUNT 8

int mps_pendings_reserve(struct mps_pendings *requests)
{
    if (requests->end < requests->cap) return PUBSUB_OK;
    size_t count = requests->end - requests->begin;
    if (requests->begin > count) { /* moving them frees more than it costs */
        memmove(requests->list, requests->list + requests->begin, count * sizeof *requests->list);
        requests->begin = 0;
        requests->end = count;
        return PUBSUB_OK;
    }
    size_t cap = requests->cap == 0 ? FIRST_COUNT : 2 * requests->cap;
    struct mps_pending *list = realloc(requests->list, cap * sizeof *list);
    if (list == NULL) return PUBSUB_ENOMEM;
    requests->list = list;
    requests->cap = cap;
    return PUBSUB_OK;
}

void mps_pendings_add(struct mps_pendings *requests, const struct mps_pending *request)
{
    requests->list[requests->end++] = *request;
    requests->last_number = request->number;
    if (requests->wake_at_ms == 0 || request->until_ms < requests->wake_at_ms) requests->wake_at_ms = request->until_ms;
}

void mps_pendings_free(struct mps_pendings *requests)
{
    free(requests->list);
    *requests = (struct mps_pendings){0};
}

/* Index of the first one whose number, or publish id, is not below. */
static size_t position(const struct mps_pendings *requests, uint64_t number, uint64_t pid)
{
    size_t low = requests->begin, high = requests->end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mps_pending *request = &requests->list[middle];
        if (request->number < number || request->pid < pid) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct mps_pending *mps_pendings_live(const struct mps_pendings *requests, uint64_t number)
{
    size_t at = position(requests, number, 0);
    while (at < requests->end && requests->list[at].over) at++;
    return at < requests->end ? &requests->list[at] : NULL;
}

static void remove_at(struct mps_pendings *requests, size_t at)
{
    if (at == requests->begin) {
        requests->begin++;
    } else {
        requests->end--;
        memmove(requests->list + at, requests->list + at + 1, (requests->end - at) * sizeof *requests->list);
    }
    if (requests->begin < requests->end) return;
    requests->begin = requests->end = 0;
    requests->wake_at_ms = 0;
}

void mps_pendings_end(struct mps_pendings *requests, struct mps_pending *request)
{
    request->over = true;
    if (request->settled) remove_at(requests, (size_t)(request - requests->list));
}

struct mps_pending *mps_pendings_of_pid(const struct mps_pendings *requests, uint64_t pid)
{
    size_t at = position(requests, 0, pid);
    return at < requests->end && requests->list[at].pid == pid ? &requests->list[at] : NULL;
}

uint64_t mps_pendings_settle(struct mps_pendings *requests, uint64_t first_pid, uint64_t last_pid)
{
    uint64_t count = 0;
    size_t from = position(requests, 0, first_pid), at = from, to = from;
    for (; at < requests->end && requests->list[at].pid <= last_pid; at++, count++) {
        requests->list[at].settled = true;
        if (!requests->list[at].over) requests->list[to++] = requests->list[at];
    }
    if (to == at) return count;
    memmove(requests->list + to, requests->list + at, (requests->end - at) * sizeof *requests->list);
    requests->end -= at - to;
    if (requests->begin == requests->end) requests->wake_at_ms = 0;
    return count;
}
