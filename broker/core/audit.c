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

static void write_line(struct broker *broker, const char *who, enum audit_event event, mps_view client, mps_view user,
                       uint32_t code, const char *text)
{
    struct line line = {.len = 0};
    char number[32];
    put(&line, "event=");
    put(&line, event_name(event));
    if (client.ptr != NULL) put_quoted(&line, "client", client);
    if (user.ptr != NULL) put_quoted(&line, "user", user);
    put(&line, " peer=");
    put(&line, who);
    snprintf(number, sizeof number, " code=%u", code);
    if (code > 0) put(&line, number);
    if (text != NULL) put_quoted(&line, "text", mps_text(text));
    line.text[line.len] = '\0';
    broker->env->log(broker->env, LOG_AUDIT, line.text);
}

/* Where it comes from, without blanks or quotes. */
static void name_peer(char name[AUDIT_PEER_MAX], const struct peer *peer)
{
    switch (peer->kind) {
    case PEER_TCP: snprintf(name, AUDIT_PEER_MAX, "%s%s", peer->address, peer->is_encrypted ? ",tls" : ""); return;
    case PEER_UNIX: snprintf(name, AUDIT_PEER_MAX, "unix,uid:%u", peer->uid); return;
    case PEER_NONE: snprintf(name, AUDIT_PEER_MAX, "unknown"); return;
    }
}

char *audit_peer_name(const struct broker *broker, const struct peer *peer)
{
    char name[AUDIT_PEER_MAX];
    if (!broker->limits.audit) return NULL;
    name_peer(name, peer);
    return sure_text(name);
}

void audit(struct session *session, enum audit_event event, uint32_t code, const char *text)
{
    struct broker *broker = session->broker;
    if (!broker->limits.audit || !may_write(broker, event)) return;
    mps_view user = session->origin != NULL ? origin_user(session->origin) : (mps_view){NULL, 0};
    write_line(broker, session->peer_name != NULL ? session->peer_name : "unknown", event, session->id, user, code,
               text);
}

void broker_audit_refusal(struct broker *broker, const struct peer *peer, uint32_t code, const char *text)
{
    char name[AUDIT_PEER_MAX];
    if (!broker->limits.audit || !may_write(broker, AUDIT_REFUSE)) return;
    name_peer(name, peer);
    write_line(broker, name, AUDIT_REFUSE, (mps_view){NULL, 0}, (mps_view){NULL, 0}, code, text);
}
