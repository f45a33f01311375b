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

/* Who was told that all brokers knew of a subscription has seen what is retained, as a retained value or as it came,
 * and nothing after it that its broker had published before. Of two brokers' it may be that what came last is not what
 * holds. */
static void judge_view(struct ledger *ledger, const struct sub *sub, const struct shown *shown)
{
    uint32_t seen = sub->values[ledger_topic(mps_text(shown->topic))];
    const struct message *last = &ledger->messages[shown->message];
    if (!ledger_goes_far(ledger, shown->topic)) return;
    if (!mps_topic_matches(mps_text(sub->pattern), mps_text(shown->topic))) return;
    if (ledger->town->nodes[last->node].lives != last->life) return; /* who had it may have gone before it was asked */
    if (last->resent || (seen > 0 && ledger->messages[seen - 1].resent)) return; /* nobody knows to which broker */
    ledger->views++;
    if (seen == shown->message + 1) return;
    if (seen == 0)
        town_fail(ledger->town, "client %u, sid %u (%s) at b%u was not told of message %u, which is retained for %s",
                  sub->party, sub->sid, sub->pattern, sub->node, shown->message, shown->topic);
    else if (ledger->messages[seen - 1].node == last->node)
        town_fail(ledger->town, "client %u, sid %u (%s) at b%u got message %u last, and %u is retained for %s",
                  sub->party, sub->sid, sub->pattern, sub->node, seen - 1, shown->message, shown->topic);
}

void values_judge_views(struct ledger *ledger, const struct party *witness)
{
    for (uint32_t i = 0; i < ledger->subs_count; i++) {
        const struct sub *sub = ledger->subs[i];
        if (!sub->alive || !sub->is_wide || sub->gaps > 0 || sub->group != NULL || sub->reader) continue;
        for (uint32_t k = 0; k < witness->shown_count; k++) judge_view(ledger, sub, &witness->shown[k]);
    }
}

void values_judge(struct ledger *ledger, struct party *const *witnesses)
{
    for (uint32_t i = 0; i < ledger->town->nodes_count; i++)
        for (uint32_t k = 0; k < ledger->town->nodes_count; k++)
            if (witnesses[i] != NULL && witnesses[k] != NULL) judge_pair(ledger, witnesses[i], witnesses[k]);
}
