#include "model.h"

/* Publishers that are looked at in one turn for one mailbox, and places of its line. */
#define LOOKS_MAX 64

/* In the order in which their messages were first held: so who has many messages does not keep the others waiting. */
static struct list_node *place_in_line(const struct mailbox *box, const struct session *session)
{
    struct list_node *before = box->waiting.last;
    for (int i = 0; i < LOOKS_MAX && before != NULL; i++, before = before->prev)
        if (container_of(before, struct session, in_waiting)->held_since_ms <= session->held_since_ms) break;
    return before;
}

void hold_begin(struct session *session, struct mailbox *box, uint32_t frame_len, uint64_t reserved_bytes,
                uint64_t until_ms)
{
    struct broker *broker = box->broker;
    session->waits_for = box;
    session->held_len = frame_len;
    session->held_reserved_bytes = reserved_bytes;
    if (box->waiting.first == NULL) list_append(&broker->holding, &box->in_holding);
    list_insert(&box->waiting, place_in_line(box, session), &session->in_waiting);
    timer_set(&broker->holds, &session->hold_timer, until_ms);
}

void hold_end(struct session *session)
{
    struct mailbox *box = session->waits_for;
    if (box == NULL) return;
    struct broker *broker = box->broker;
    session->waits_for = NULL;
    timer_cancel(&broker->holds, &session->hold_timer);
    list_remove(&box->waiting, &session->in_waiting);
    if (box->waiting.first == NULL) list_remove(&broker->holding, &box->in_holding);
}

static void wake(struct session *session)
{
    hold_end(session);
    session_hold(session);
}

void hold_wake_all(struct mailbox *box)
{
    while (box->waiting.first != NULL) wake(container_of(box->waiting.first, struct session, in_waiting));
}

static void wake_those_that_fit(struct mailbox *box)
{
    struct list_node *node = box->waiting.first;
    for (int i = 0; i < LOOKS_MAX && node != NULL; i++) {
        struct session *session = container_of(node, struct session, in_waiting);
        node = node->next;
        struct part part = {0, session->held_len, 1};
        if (mailbox_has_room(box, part, session->held_reserved_bytes)) wake(session);
    }
}

void hold_wake_due(struct broker *broker)
{
    for (struct list_node *node = broker->holding.first, *next; node != NULL; node = next) {
        next = node->next;
        wake_those_that_fit(container_of(node, struct mailbox, in_holding));
    }
}

void hold_due(struct session *session)
{
    wake(session); /* finding the queue still full, it sees that its time is up */
}
