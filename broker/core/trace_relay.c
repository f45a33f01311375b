/* Traces: to which other brokers a message went. It is gathered with others into a datagram first (lanes.c), and only
 * the engine says whether that can be sent. */
#include "cluster/cluster.h"
#include "trace_parts.h"

static uint64_t bit_of(const struct neighbour *neighbour)
{
    return UINT64_C(1) << neighbour->number;
}

void trace_relaying(const struct neighbour *to, const struct run *run, struct part part)
{
    struct tracing *tracing = to->cluster->broker->tracing;
    if (tracing == NULL) return;
    EACH_TRACE(tracing, trace)
    EACH_TRACED(trace, message)
    if (traced_is_in(message, run, part.off, part.len)) message->relaying |= bit_of(to);
}

void trace_relayed(const struct neighbour *to, bool is_sent)
{
    EACH_TRACE(to->cluster->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        if ((message->relaying & bit_of(to)) == 0) continue;
        message->relaying &= ~bit_of(to);
        if (!message->is_done) trace_note_relayed(message, to->name, is_sent);
    }
}

void trace_unrelayed(const struct neighbour *to, const struct run *run, struct part part)
{
    struct tracing *tracing = to->cluster->broker->tracing;
    if (tracing == NULL) return;
    EACH_TRACE(tracing, trace)
    EACH_TRACED(trace, message)
    if (traced_is_in(message, run, part.off, part.len)) trace_note_relayed(message, to->name, false);
}
