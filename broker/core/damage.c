/* What of a stream was found damaged: it is read again and again, and is to be counted once. */
#include <stdlib.h>
#include <string.h>

#include "streams.h"
#include "sure.h"

#define DAMAGES_MAX 1024u

/* What retention has removed is not read any more. */
static void forget_removed(struct stream *stream)
{
    uint32_t gone = 0;
    while (gone < stream->damages_count && stream->damages[gone].last < stream->first) gone++;
    stream->damages_count -= gone;
    memmove(stream->damages, stream->damages + gone, stream->damages_count * sizeof stream->damages[0]);
}

/* The first place that does not end before this position. */
static uint32_t place_of(const struct stream *stream, uint64_t position)
{
    uint32_t low = 0, high = stream->damages_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (stream->damages[middle].last < position) low = middle + 1;
        else high = middle;
    }
    return low;
}

static uint64_t known_in(const struct damage *damage, uint64_t first, uint64_t last)
{
    uint64_t from = damage->first > first ? damage->first : first, to = damage->last < last ? damage->last : last;
    return from <= to ? to - from + 1 : 0;
}

/* Instead of `count` places from here on, this one. */
static void replace(struct stream *stream, uint32_t at, uint32_t count, struct damage damage)
{
    struct damage *place = stream->damages + at;
    memmove(place + 1, place + count, (stream->damages_count - at - count) * sizeof *place);
    *place = damage;
    stream->damages_count = stream->damages_count - count + 1;
}

bool damage_is_known(const struct stream *stream, uint64_t position)
{
    uint32_t at = place_of(stream, position);
    return at < stream->damages_count && stream->damages[at].first <= position;
}

uint64_t damage_note(struct stream *stream, uint64_t first, uint64_t last)
{
    if (stream->damages == NULL) stream->damages = sure_alloc((DAMAGES_MAX + 1) * sizeof stream->damages[0]);
    forget_removed(stream);
    uint32_t at = place_of(stream, first > 0 ? first - 1 : 0), end = at; /* those next to it become one with it */
    struct damage damage = {first, last};
    uint64_t known = 0;
    for (; end < stream->damages_count && stream->damages[end].first <= last + 1; end++) {
        const struct damage *other = &stream->damages[end];
        known += known_in(other, first, last);
        if (other->first < damage.first) damage.first = other->first;
        if (other->last > damage.last) damage.last = other->last;
    }
    replace(stream, at, end - at, damage);
    if (stream->damages_count > DAMAGES_MAX) /* the oldest one is read least */
        memmove(stream->damages, stream->damages + 1, --stream->damages_count * sizeof stream->damages[0]);
    stream->damaged += last - first + 1 - known;
    return last - first + 1 - known;
}
