#include "values.h"

#include <string.h>

static const struct shown *find(const struct party *party, const char *topic)
{
    for (uint32_t i = 0; i < party->shown_count; i++)
        if (strcmp(party->shown[i].topic, topic) == 0) return &party->shown[i];
    return NULL;
}

/* What one was shown is what was retained there, and what the other one was shown. */
static void judge_pair(struct ledger *ledger, const struct party *one, const struct party *other)
{
    for (uint32_t i = 0; i < one->shown_count; i++) {
        const struct shown *shown = &one->shown[i], *too = find(other, shown->topic);
        const struct message *message = &ledger->messages[shown->message];
        if (!message->retain || strcmp(message->topic, shown->topic) != 0)
            town_fail(ledger->town, "b%u has message %u retained for %s, which it was not published for", one->node,
                      shown->message, shown->topic);
        if (!ledger_goes_far(ledger, shown->topic)) continue;
        if (too == NULL)
            town_fail(ledger->town, "b%u has message %u retained for %s, and b%u has nothing", one->node,
                      shown->message, shown->topic, other->node);
        else if (too->message != shown->message)
            town_fail(ledger->town, "b%u has message %u retained for %s, and b%u message %u", one->node, shown->message,
                      shown->topic, other->node, too->message);
    }
}

void values_judge(struct ledger *ledger, struct party *const *witnesses)
{
    for (uint32_t i = 0; i < ledger->town->nodes_count; i++)
        for (uint32_t k = 0; k < ledger->town->nodes_count; k++)
            if (witnesses[i] != NULL && witnesses[k] != NULL) judge_pair(ledger, witnesses[i], witnesses[k]);
}
