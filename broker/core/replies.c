#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "model.h"

#define ERRS_A_SECOND 10
#define TEXT_MAX 400

const char *printable(mps_view text)
{
    static char rooms[2][4 * 80 + 4];
    static unsigned turn;
    char *out = rooms[turn++ % 2], *p = out;
    uint32_t shown = text.len < 80 ? text.len : 80;
    bool plain = mps_utf8_valid(text) && mps_id_error((mps_view){text.ptr, shown}) == NULL;
    for (uint32_t i = 0; i < shown; i++) {
        uint8_t byte = text.ptr[i];
        if ((byte >= ' ' && byte < 0x7f) || (plain && text.len == shown && byte >= 0x80)) *p++ = (char)byte;
        else p += sprintf(p, "\\x%02x", byte);
    }
    strcpy(p, shown < text.len ? "..." : "");
    return out;
}

void log_say(struct broker *broker, enum log_event event, const struct log_field *fields, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    broker->env->log(broker->env, &(struct log_record){.event = event, .fields = fields, .text = text});
}

void reply_frame(struct session *session, const struct mps_out *out)
{
    if (session->link == NULL) return; /* nobody is there to be told */
    buffer_append(&session->control, out->buf, out->len);
    session_dirty(session);
}

void reply_err(struct session *session, uint32_t code, enum mps_op op, mps_view ref, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (code == MPS_NOT_AUTHORISED && op != MPS_OP_MSG) audit(session, EVENT_DENY, code, text);
    uint8_t room[TEXT_MAX + MPS_TOPIC_MAX + 32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_err(&out, &(struct mps_err){.code = code, .text = mps_text(text), .has_op = true, .op = op, .ref = ref});
    reply_frame(session, &out);
}

void reply_msg_err(struct session *session, uint32_t code, mps_view topic, const char *text)
{
    uint64_t second = session->broker->env->now_ms(session->broker->env) / 1000;
    if (second != session->errs_second) {
        session->errs_second = second;
        session->errs_count = 0;
    }
    if (session->errs_count >= ERRS_A_SECOND) {
        session->errs_unsaid++;
        return;
    }
    session->errs_count++;
    uint8_t room[MPS_TOPIC_MAX + 8];
    struct mps_out ref = mps_out_open(room, sizeof room);
    bool fits = topic.len <= MPS_TOPIC_MAX && mps_utf8_valid(topic);
    if (fits) mps_put_text(&ref, topic);
    mps_view raw = fits ? mps_out_view(&ref) : (mps_view){NULL, 0};
    if (session->errs_unsaid > 0) {
        reply_err(session, code, MPS_OP_MSG, raw, "%s (and %u more that were refused)", text, session->errs_unsaid);
        session->errs_unsaid = 0;
    } else {
        reply_err(session, code, MPS_OP_MSG, raw, "%s", text);
    }
}

void reply_puback(struct session *session, const struct mps_puback *puback)
{
    uint8_t room[TEXT_MAX + MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_puback(&out, puback);
    reply_frame(session, &out);
}
