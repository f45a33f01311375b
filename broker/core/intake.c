#include "model.h"

static uint32_t beyond_own(uint32_t bytes)
{
    return bytes > INTAKE_OWN_BYTES ? bytes - INTAKE_OWN_BYTES : 0;
}

static void enter(struct session *session, enum intake_state state)
{
    struct intake *intake = &session->broker->intake;
    session->intake_state = state;
    session->intake_ms = session->broker->now_ms;
    list_append(state == INTAKE_WAITS ? &intake->waiting : &intake->granted, &session->in_intake);
}

void intake_leave(struct session *session)
{
    struct intake *intake = &session->broker->intake;
    if (session->intake_state == INTAKE_NONE) return;
    list_remove(session->intake_state == INTAKE_WAITS ? &intake->waiting : &intake->granted, &session->in_intake);
    session->intake_state = INTAKE_NONE;
}

/* Fields that are not known may follow the payload: the frame grows by what a head may have, at most. */
static bool has_room(const struct session *session, uint32_t frame_bytes)
{
    const struct broker *broker = session->broker;
    uint64_t others = broker->intake.bytes - session->intake_bytes;
    return others + beyond_own(frame_bytes + MPS_HEAD_MAX) <= broker->limits.input_total_bytes;
}

bool intake_admits(struct session *session, uint32_t frame_bytes)
{
    if (beyond_own(frame_bytes) == 0 || session->intake_state == INTAKE_GRANTED) return true;
    bool admitted = session->broker->intake.waiting.first == NULL && has_room(session, frame_bytes);
    enter(session, admitted ? INTAKE_GRANTED : INTAKE_WAITS);
    return admitted;
}

void intake_count(struct session *session)
{
    struct intake *intake = &session->broker->intake;
    uint32_t large = session->large != NULL ? session->large->cap : 0,
             stalled = session->stalled != NULL ? session->stalled->cap : 0, bytes = beyond_own(large + stalled);
    intake->bytes += bytes;
    intake->bytes -= session->intake_bytes;
    session->intake_bytes = bytes;
    if (session->large == NULL) intake_leave(session);
}

static struct session *first_of(const struct list *list)
{
    return list->first != NULL ? container_of(list->first, struct session, in_intake) : NULL;
}

static void grant_those_that_fit(struct broker *broker)
{
    struct session *session;
    while ((session = first_of(&broker->intake.waiting)) != NULL && has_room(session, input_needs(session))) {
        intake_leave(session);
        enter(session, INTAKE_GRANTED);
        input_granted(session);
    }
}

/* When its time is up; NULL: never. Who waits has the time of two that have the memory one after the other. */
static uint64_t due_ms(const struct session *session)
{
    if (session == NULL) return UINT64_MAX;
    uint64_t allowed_ms = session->broker->limits.input_ms;
    return session->intake_ms + (session->intake_state == INTAKE_WAITS ? 2 * allowed_ms : allowed_ms);
}

/* It had the time that it has, and others need the memory. */
static void close_late(struct session *session)
{
    broker_note_refusal(session->broker, REFUSED_INPUT_TIME);
    session_byef(session, MPS_LIMIT,
                 "a frame of %u bytes was not complete within %u ms (input_timeout), and others wait for its memory",
                 session->scan.pos, session->broker->limits.input_ms);
}

uint64_t intake_turn(struct broker *broker)
{
    struct intake *intake = &broker->intake;
    grant_those_that_fit(broker);
    while (due_ms(first_of(&intake->waiting)) <= broker->now_ms) input_refused(first_of(&intake->waiting));
    while (intake->waiting.first != NULL && due_ms(first_of(&intake->granted)) <= broker->now_ms) {
        close_late(first_of(&intake->granted));
        grant_those_that_fit(broker);
    }
    if (intake->waiting.first == NULL) return UINT64_MAX;
    return least(due_ms(first_of(&intake->waiting)), due_ms(first_of(&intake->granted)));
}
