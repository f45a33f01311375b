/* The audit log: a line in the form of logfmt for whoever comes in, is refused or closed, and for what is forbidden or
 * administered. Nothing secret is in it: what peers bring as a proof never comes here. */
#include "audit.h"
#include "sure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines of each event a second; so a flood of one doesn't hide another. */
#define LINES_A_SECOND 50u
#define LINE_MAX_BYTES 1200
#define SHOWN_MAX 400u /* bytes of a value */

static const char *event_name(enum audit_event event)
{
    switch (event) {
    case AUDIT_CONNECT: return "connect";
    case AUDIT_REFUSE: return "refuse";
    case AUDIT_CLOSE: return "close";
    case AUDIT_TAKEOVER: return "takeover";
    case AUDIT_DENY: return "deny";
    case AUDIT_ADMIN: return "admin";
    case AUDIT_RELOAD: return "reload";
    case AUDIT_EVENTS: break;
    }
    return "";
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void put_byte(struct line *line, char byte)
{
    if (line->len < sizeof line->text - 1) line->text[line->len++] = byte;
}

static void put(struct line *line, const char *text)
{
    while (*text != '\0') put_byte(line, *text++);
}

static void put_hex(struct line *line, uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    put(line, "\\x");
    put_byte(line, digits[byte >> 4]);
    put_byte(line, digits[byte & 15]);
}

/* Whatever stands in it, the line stays one, and the value ends at the quote behind it. */
static void put_quoted(struct line *line, const char *key, mps_view text)
{
    bool is_plain = mps_utf8_valid(text) && mps_id_error(text) == NULL; /* of an id: nothing in it hides or reorders */
    put_byte(line, ' ');
    put(line, key);
    put(line, "=\"");
    for (uint32_t i = 0; i < text.len && i < SHOWN_MAX; i++) {
        uint8_t byte = text.ptr[i];
        if (byte == '"' || byte == '\\') put_byte(line, '\\');
        if ((byte >= ' ' && byte < 0x7f) || (byte >= 0x80 && is_plain)) put_byte(line, (char)byte);
        else put_hex(line, byte);
    }
    put(line, text.len > SHOWN_MAX ? "...\"" : "\"");
}

/* Whether one more line of this event may be written now. Says first how many were not. */
static bool may_write(struct broker *broker, enum audit_event event)
{
    struct audit_share *share = &broker->audit[event];
    struct env *env = broker->env;
    uint64_t second = env->now_ms(env) / 1000;
    if (share->second != second) {
        share->second = second;
        share->count = 0;
    }
    if (share->count >= LINES_A_SECOND) {
        share->unsaid++;
        return false;
    }
    share->count++;
    if (share->unsaid > 0) {
        char line[80];
        snprintf(line, sizeof line, "event=left_out of=%s count=%u", event_name(event), share->unsaid);
        share->unsaid = 0;
        env->log(env, LOG_AUDIT, line);
    }
    return true;
}

static struct line begin_line(enum audit_event event)
{
    struct line line = {.len = 0};
    put(&line, "event=");
    put(&line, event_name(event));
    return line;
}

static void write_line(struct broker *broker, struct line *line)
{
    line->text[line->len] = '\0';
    broker->env->log(broker->env, LOG_AUDIT, line->text);
}

/* What follows who it is. */
static void put_rest(struct line *line, const char *place, uint32_t code, const char *text)
{
    char number[32];
    put(line, place);
    snprintf(number, sizeof number, " code=%u", code);
    if (code > 0) put(line, number);
    if (text != NULL) put_quoted(line, "text", mps_text(text));
}

void audit_peer_name(const struct peer *peer, char name[AUDIT_PEER_MAX])
{
    switch (peer->kind) {
    case PEER_TCP: snprintf(name, AUDIT_PEER_MAX, "%s%s", peer->address, peer->is_encrypted ? ",tls" : ""); break;
    case PEER_UNIX: snprintf(name, AUDIT_PEER_MAX, "unix,uid:%u", peer->uid); break;
    case PEER_NONE: snprintf(name, AUDIT_PEER_MAX, "unknown"); break;
    }
}

/* Where it comes from. */
static void put_place(struct line *line, const struct peer *peer)
{
    char name[AUDIT_PEER_MAX];
    audit_peer_name(peer, name);
    put(line, " peer=");
    put(line, name);
    if (peer->listener != NULL) put_quoted(line, "listener", mps_text(peer->listener));
    line->text[line->len] = '\0';
}

/* Also while nothing is written: that may change. */
char *audit_place(const struct peer *peer)
{
    struct line line = {.len = 0};
    put_place(&line, peer);
    return sure_text(line.text);
}

static mps_view field(const struct session *session, const char *begin, char end)
{
    const char *at = session->place != NULL ? strstr(session->place, begin) : NULL;
    if (at == NULL) return (mps_view){NULL, 0};
    at += strlen(begin);
    const char *behind = strchr(at, end);
    return (mps_view){(const uint8_t *)at, (uint32_t)(behind != NULL ? (size_t)(behind - at) : strlen(at))};
}

mps_view audit_peer(const struct session *session)
{
    return field(session, " peer=", ' ');
}

mps_view audit_listener(const struct session *session)
{
    return field(session, " listener=\"", '"');
}

void audit(struct session *session, enum audit_event event, uint32_t code, const char *text)
{
    struct broker *broker = session->broker;
    if (!broker->limits.audit || !may_write(broker, event)) return;
    mps_view user = session->origin != NULL ? origin_user(session->origin) : (mps_view){NULL, 0};
    struct line line = begin_line(event);
    if (session->id.ptr != NULL) put_quoted(&line, "client", session->id);
    if (user.ptr != NULL) put_quoted(&line, "user", user);
    put_rest(&line, session->place != NULL ? session->place : " peer=unknown", code, text);
    write_line(broker, &line);
}

void broker_audit_refusal(struct broker *broker, const struct peer *peer, uint32_t code, const char *text)
{
    struct line place = {.len = 0};
    if (!broker->limits.audit || !may_write(broker, AUDIT_REFUSE)) return;
    struct line line = begin_line(AUDIT_REFUSE);
    put_place(&place, peer);
    put_rest(&line, place.text, code, text);
    write_line(broker, &line);
}

void broker_audit_reload(struct broker *broker, bool audited_before, bool is_applied, const char *text)
{
    if ((!broker->limits.audit && !audited_before) || !may_write(broker, AUDIT_RELOAD)) return;
    struct line line = begin_line(AUDIT_RELOAD);
    put_rest(&line, is_applied ? " result=applied" : " result=refused", 0, text);
    write_line(broker, &line);
}
