#include "model.h"

void session_note_answered(struct session *session, uint64_t pid, bool is_refused)
{
    (void)session;
    (void)pid;
    (void)is_refused;
}

void session_note_stored(struct session *session)
{
    (void)session;
}

void session_keep_pids(struct session *session)
{
    list_remove(&session->broker->commit.publishing, &session->in_publishing);
}
