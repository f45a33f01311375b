#include "credit.h"

uint64_t credit_first(uint64_t window, uint64_t count)
{
    return count > 0 && count < window ? count : window;
}

void credit_another(struct credit *credit, pubsub *client, uint64_t taken, uint64_t count)
{
    if (count > 0 && taken + (credit->allowed - credit->arrived) >= count) return;
    /* An error is one of the connection: whoever waits on that finds it. */
    if (pubsub_credit(client, credit->sid, credit->allowed + 1, false) == PUBSUB_OK) credit->allowed++;
}
