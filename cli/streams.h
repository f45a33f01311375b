/* What the broker says of its durable streams. */
#ifndef CLI_STREAMS_H
#define CLI_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "connect.h"
#include "wire.h"

/* One stream, as `$SYS/stream/NAME` has it. PROTOCOL.md, "The broker's state". */
struct stream {
    char *name;
    uint64_t number, first, next; /* the positions that are there are first..next-1 */
    uint64_t messages, bytes;
    uint64_t max_bytes, max_msgs, max_age_ms; /* 0: no limit */
    uint64_t oldest_ms;                       /* Unix time; 0: there is none, or it is not said */
    uint64_t readers, damaged;
    uint64_t unstored; /* dead letters and wills for which it had no room */
    bool refuses;    /* a full one takes nothing; else the oldest messages go */
    bool away;       /* one that brokers share, and the cluster does not answer for it: what is said was heard before, if at all */
    bool configured; /* false: only what it held is left of it */
    struct buffer document; /* the whole map, checked */
};

/* All zero is an empty list. In the order of the streams' numbers. */
struct streams {
    struct stream *list;
    size_t count;
};

/* Asks the broker, on a connection of its own. Returns CLI_EXIT_DONE, or complains and returns another exit code; to
 * be freed in any case. Out of memory ends the program. */
int streams_read(struct streams *streams, const struct connection_options *connection);
void streams_free(struct streams *streams);

/* The stream of that name or number; NULL: there is none. */
const struct stream *streams_find(const struct streams *streams, const char *name, size_t len);

/* The next of its patterns, *at counting from 0, and past it; the absent view at their end. */
mps_view stream_pattern(const struct stream *stream, size_t *at);

/* Whether some topic is matched by the pattern and by one of the stream's. */
bool stream_meets(const struct stream *stream, mps_view pattern);

/* Reads one such map. False: it is none, *stream is untouched. */
bool stream_decode(struct stream *stream, mps_view document);
void stream_free(struct stream *stream);

#endif
