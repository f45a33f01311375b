#include "audit.h"

#include <stdio.h>

void audit_peer_name(const struct peer *peer, char name[AUDIT_PEER_MAX])
{
    switch (peer->kind) {
    case PEER_TCP: snprintf(name, AUDIT_PEER_MAX, "%s%s", peer->address, peer->is_encrypted ? ",tls" : ""); break;
    case PEER_UNIX: snprintf(name, AUDIT_PEER_MAX, "unix,uid:%u", peer->uid); break;
    case PEER_NONE: snprintf(name, AUDIT_PEER_MAX, "unknown"); break;
    }
}

mps_view audit_peer(const struct session *session)
{
    return mps_text(session->peer_name);
}

mps_view audit_listener(const struct session *session)
{
    return mps_text(session->listener);
}

static bool is_written(const struct broker *broker, enum log_event event)
{
    enum log_level level = event_level(event);
    if (level == LOG_AUDIT) return broker->limits.audit;
    return broker->env->logs == NULL || broker->env->logs(broker->env, level);
}

static struct log_field code_field(uint32_t code)
{
    return code > 0 ? log_number("code", code) : log_value("code", (mps_view){NULL, 0});
}

static void write_record(struct broker *broker, enum log_event event, const struct log_field *fields, const char *text)
{
    broker->env->log(broker->env, &(struct log_record){.event = event, .fields = fields, .text = text});
}

static mps_view user_of(const struct session *session)
{
    return session->origin != NULL ? origin_user(session->origin) : (mps_view){NULL, 0};
}

void audit(struct session *session, enum log_event event, uint32_t code, const char *text)
{
    if (!is_written(session->broker, event)) return;
    const char *peer = session->peer_name != NULL ? session->peer_name : "unknown";
    write_record(session->broker, event,
                 LOG_FIELDS(log_value("client", session->id), log_value("user", user_of(session)),
                            log_word("peer", peer), log_value("listener", audit_listener(session)), code_field(code)),
                 text);
}

void log_subscription(struct session *session, enum log_event event, mps_view pattern)
{
    if (!is_written(session->broker, event)) return;
    write_record(session->broker, event,
                 LOG_FIELDS(log_value("client", session->id), log_value("user", user_of(session)),
                            log_value("pattern", pattern)),
                 NULL);
}

void broker_audit_refusal(struct broker *broker, const struct peer *peer, uint32_t code, const char *text)
{
    char name[AUDIT_PEER_MAX];
    if (!is_written(broker, EVENT_REFUSE)) return;
    audit_peer_name(peer, name);
    write_record(broker, EVENT_REFUSE,
                 LOG_FIELDS(log_word("peer", name), log_value("listener", mps_text(peer->listener)), code_field(code)),
                 text);
}

void broker_audit_reload(struct broker *broker, bool audited_before, bool is_applied, const char *text)
{
    if (!broker->limits.audit && !audited_before) return;
    write_record(broker, EVENT_RELOAD, LOG_FIELDS(log_word("result", is_applied ? "applied" : "refused")), text);
}
