/* Reading what is kept: some brokers push the whole of it when asked once, others give the next block when asked again.
 */
#include "run.h"

static void ask(struct run *run, struct link *link)
{
    uint8_t request[CONTROL_MAX];
    uint32_t most = (uint32_t)run->block_most;
    link_send(run, link, request, run->protocol->read(request, link->number, most, link->id, link->id_len));
}

void read_ask(struct run *run, struct link *link)
{
    ask(run, link);
    link_await(run, link, &link->confirmed, 1);
}

void read_block(struct run *run, struct link *link, uint64_t count)
{
    if (link->block_left > 0 || count > run->block_most)
        fail(EXIT_MEASUREMENT, "the broker sent another block than the one that was asked for");
    link->confirmed++;
    link->at_end = count == 0;
    link->block_left = count;
}

void read_took(struct run *run, struct link *link, const uint8_t *id, size_t id_len)
{
    if (id_len > ID_MAX || link->block_left == 0)
        fail(EXIT_MEASUREMENT, "the broker sent a message that was not asked for");
    memcpy(link->id, id, id_len);
    link->id_len = id_len;
    if (--link->block_left == 0) ask(run, link);
}
