#include "print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "json_out.h"
#include "moment.h"
#include "props.h"
#include "value.h"

static bool set_form(void *into, const char *value)
{
    static const char *const names[] = {"line", "payload", "json", "raw", "msgpack", "topic", "none", NULL};
    static const enum print_form forms[] = {PRINT_LINE,    PRINT_PAYLOAD, PRINT_JSON, PRINT_RAW,
                                            PRINT_MSGPACK, PRINT_TOPIC,   PRINT_NONE};
    int choice = option_choice("-o", value, names);
    if (choice >= 0) *(struct print_options *)into = (struct print_options){.form = forms[choice]};
    return choice >= 0;
}

static bool set_format(void *into, const char *value)
{
    *(struct print_options *)into = (struct print_options){.form = PRINT_FORMAT, .format = value};
    return true;
}

const struct option_row print_option_rows[] = {
    {'o', NULL, "FORM", set_form,
     "line     topic, tab, payload: text as it is, other values as JSON;\n"
     "         newline and NUL are escaped\n"
     "payload  only the payload, likewise\n"
     "json     everything, one object a line\n"
     "raw      the bytes of a text or bin and nothing else\n"
     "msgpack  the documents, one after the other\n"
     "topic    only the topic\n"
     "none     nothing\n"
     "default: payload for one topic, line for wildcards or several"},
    {'F', NULL, "FORMAT", set_format,
     "%t topic, %p payload, %j payload as JSON, %r its raw bytes,\n"
     "%T time (ISO 8601), %q position in the stream, %{a.b} a field,\n"
     "%h{name} a header, %n newline, %% a percent sign; each message ends\n"
     "with a newline"},
    {0, NULL, NULL, NULL, NULL},
};

static bool open_form(struct printer *printer, const struct print_options *options, enum print_form automatic)
{
    char why[128];
    *printer = (struct printer){.form = options->form, .second = UINT64_MAX};
    if (options->form == PRINT_AUTO) printer->form = automatic;
    if (options->form != PRINT_FORMAT || format_parse(&printer->format, options->format, why, sizeof why)) return true;
    complain("-F '%s': %s", options->format, why);
    return false;
}

bool printer_open(struct printer *printer, const struct print_options *options, char *const *patterns,
                  int pattern_count)
{
    bool several = pattern_count > 1 || mps_topic_is_wild(mps_text(patterns[0]));
    if (!open_form(printer, options, several ? PRINT_LINE : PRINT_PAYLOAD)) return false;
    output_open(&printer->out, STDOUT_FILENO);
    return true;
}

bool printer_open_memory(struct printer *printer, const struct print_options *options, struct buffer *memory)
{
    if (!open_form(printer, options, PRINT_BODY)) return false;
    output_open_memory(&printer->out, memory);
    return true;
}

void printer_close(struct printer *printer)
{
    output_close(&printer->out);
    format_free(&printer->format);
}

/* ---- payloads ---- */

static mps_view payload_of(const struct pubsub_message *message)
{
    return (mps_view){message->payload, (uint32_t)message->payload_len};
}

/* Most messages have no properties, so nothing that says they are none. */
static bool says_document(const struct pubsub_message *message)
{
    return message->props == NULL || !pubsub_message_is_raw(message);
}

/* True if bytes are exactly one str (or, if bin_too, bin): its body. */
static bool as_text(mps_view bytes, bool bin_too, mps_view *body)
{
    struct mps_head head;
    if (bytes.len == 0 || mps_head_read(bytes.ptr, bytes.len, &head) != 1) return false;
    if (head.type != MPS_STR && !(bin_too && head.type == MPS_BIN)) return false;
    if ((uint64_t)head.head_len + head.count != bytes.len) return false;
    *body = (mps_view){bytes.ptr + head.head_len, head.count};
    return true;
}

static bool is_document(mps_view bytes)
{
    return mps_document_check(bytes, 0, UINT32_MAX) == NULL;
}

static void put_json(struct output *out, bool document, mps_view bytes)
{
    if (document && is_document(bytes)) {
        json_out_document(out, bytes);
    } else {
        json_out_bytes(out, bytes);
    }
}

/* For a line: text bare, anything else as JSON. */
static void put_bare(struct output *out, bool document, mps_view bytes)
{
    mps_view text;
    if (document && as_text(bytes, false, &text)) {
        output_escaped(out, (const char *)text.ptr, text.len, false);
    } else {
        put_json(out, document, bytes);
    }
}

static void put_raw(struct output *out, bool document, mps_view bytes)
{
    if (document) as_text(bytes, true, &bytes);
    output_put(out, bytes.ptr, bytes.len);
}

/* For a program that reads one message: what it holds, if that is text or bytes, or else JSON. */
static void put_body(struct output *out, bool document, mps_view bytes)
{
    mps_view body = bytes;
    if (!document || as_text(bytes, true, &body)) {
        output_put(out, body.ptr, body.len);
    } else {
        put_json(out, true, bytes);
    }
}

/* Bytes that are no document become a bin, so that what comes out is documents throughout. */
static void put_msgpack(struct output *out, bool document, mps_view bytes)
{
    if (!document || !is_document(bytes)) {
        uint8_t head[8];
        struct mps_out encoded = mps_out_open(head, sizeof head);
        mps_put_bin_head(&encoded, bytes.len);
        output_put(out, head, encoded.len);
    }
    output_put(out, bytes.ptr, bytes.len);
}

static void put_field(struct output *out, bool document, mps_view bytes, const struct format_item *item)
{
    if (!document || !is_document(bytes)) return;
    mps_view value = mps_document_find(bytes, item->text, item->len);
    if (value.ptr) put_bare(out, true, value);
}

static void put_header(struct output *out, const struct pubsub_message *message, const struct format_item *item)
{
    mps_view value = props_header(message, (mps_view){(const uint8_t *)item->text, (uint32_t)item->len});
    if (value.ptr) put_bare(out, true, value);
}

/* ---- messages ---- */

/* ISO 8601 in UTC. A live message that doesn't say its time has that of its arrival here; of an old one nobody knows.
 */
static bool time_text(struct printer *printer, const struct pubsub_message *message, char *text, size_t cap)
{
    uint64_t ms = message->time_ms;
    if (ms == 0) {
        if (message->retained || message->replayed) return false;
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    }
    if (ms / 1000 != printer->second) {
        if (!moment_write_second(printer->date, ms / 1000)) return false;
        printer->second = ms / 1000;
    }
    snprintf(text, cap, "%.30s.%03uZ", printer->date, (unsigned)(ms % 1000));
    return true;
}

/* Headers are the application's, so they stand by themselves; what the protocol says has members of its own. */
static void put_props(struct output *out, const struct pubsub_message *message)
{
    struct props props;
    mps_view key, value;
    bool first = true;
    output_text(out, "{");
    props_open(&props, message);
    while (props_next(&props, &key, &value)) {
        mps_view name;
        if (!as_text(key, false, &name)) continue;
        if (!first) output_char(out, ',');
        first = false;
        json_out_text(out, name);
        output_char(out, ':');
        json_out_document(out, value);
    }
    output_text(out, "}");
    props_open(&props, message);
    while (props_next(&props, &key, &value)) {
        const char *name = props_name(key);
        if (!name) continue;
        output_format(out, ",\"%s\":", name);
        json_out_document(out, value);
    }
}

static void print_json(struct printer *printer, const struct pubsub_message *message)
{
    struct output *out = &printer->out;
    char time[48];
    output_text(out, "{\"topic\":");
    json_out_text(out, (mps_view){(const uint8_t *)message->topic, (uint32_t)message->topic_len});
    output_text(out, ",\"payload\":");
    put_json(out, says_document(message), payload_of(message));
    if (time_text(printer, message, time, sizeof time)) {
        output_format(out, ",\"time\":\"%s\"", time);
    } else {
        output_text(out, ",\"time\":null");
    }
    if (message->stream) {
        output_format(out, ",\"stream\":%" PRIu64 ",\"seq\":%" PRIu64, message->stream, message->seq);
    } else {
        output_text(out, ",\"stream\":null,\"seq\":null");
    }
    if (message->redelivered) output_format(out, ",\"tries\":%" PRIu32, message->tries);
    output_text(out, message->retained ? ",\"retained\":true,\"headers\":" : ",\"retained\":false,\"headers\":");
    put_props(out, message);
    output_text(out, "}\n");
}

static void print_format(struct printer *printer, const struct pubsub_message *message)
{
    struct output *out = &printer->out;
    bool document = says_document(message);
    mps_view payload = payload_of(message);
    char time[48];
    for (size_t i = 0; i < printer->format.count; i++) {
        const struct format_item *item = &printer->format.items[i];
        switch (item->what) {
        case FORMAT_LITERAL: output_put(out, item->text, item->len); break;
        case FORMAT_TOPIC: output_escaped(out, message->topic, message->topic_len, true); break;
        case FORMAT_PAYLOAD: put_bare(out, document, payload); break;
        case FORMAT_JSON: put_json(out, document, payload); break;
        case FORMAT_RAW: put_raw(out, document, payload); break;
        case FORMAT_TIME: output_text(out, time_text(printer, message, time, sizeof time) ? time : "-"); break;
        case FORMAT_SEQ:
            if (message->stream) {
                output_format(out, "%" PRIu64, message->seq);
            } else {
                output_char(out, '-');
            }
            break;
        case FORMAT_FIELD: put_field(out, document, payload, item); break;
        case FORMAT_HEADER: put_header(out, message, item); break;
        }
    }
}

void printer_message(struct printer *printer, const struct pubsub_message *message)
{
    struct output *out = &printer->out;
    mps_view payload = payload_of(message);
    switch (printer->form) {
    case PRINT_AUTO: break; /* printer_open() has chosen */
    case PRINT_LINE:
        output_escaped(out, message->topic, message->topic_len, true);
        output_char(out, '\t');
        put_bare(out, says_document(message), payload);
        output_char(out, '\n');
        break;
    case PRINT_PAYLOAD:
        put_bare(out, says_document(message), payload);
        output_char(out, '\n');
        break;
    case PRINT_JSON: print_json(printer, message); break;
    case PRINT_RAW: put_raw(out, says_document(message), payload); break;
    case PRINT_MSGPACK: put_msgpack(out, says_document(message), payload); break;
    case PRINT_TOPIC:
        output_escaped(out, message->topic, message->topic_len, true);
        output_char(out, '\n');
        break;
    case PRINT_NONE: break;
    case PRINT_FORMAT: print_format(printer, message); break;
    case PRINT_BODY: put_body(out, says_document(message), payload); break;
    }
}

static void print_json_gap(struct output *out, const struct pubsub_gap *gap)
{
    char count[24] = "null";
    if (gap->exact) snprintf(count, sizeof count, "%" PRIu64, gap->count);
    output_format(out, "{\"gap\":{\"count\":%s,\"reason\":\"%s\"", count, gap->reason_name);
    if (gap->stream) {
        output_format(out, ",\"stream\":%" PRIu64 ",\"first\":%" PRIu64 ",\"last\":%" PRIu64, gap->stream, gap->first,
                      gap->last);
    }
    output_text(out, "}}\n");
}

void printer_gap(struct printer *printer, const char *pattern, const struct pubsub_gap *gap)
{
    if (printer->form == PRINT_JSON) {
        print_json_gap(&printer->out, gap);
    } else {
        output_flush(&printer->out);
        printer_gap_line(pattern, gap);
    }
}

void printer_gap_line(const char *pattern, const struct pubsub_gap *gap)
{
    char what[96];
    if (!gap->stream) {
        if (!gap->exact) snprintf(what, sizeof what, "an unknown number of messages");
        else snprintf(what, sizeof what, "%" PRIu64 " message%s", gap->count, gap->count == 1 ? "" : "s");
        complain("lost %s of '%s' (%s)", what, pattern, gap->reason_name);
        return;
    }
    if (gap->last == 0) {
        complain("stream %" PRIu64 " is not the one that it was, and is read from its beginning (%s)", gap->stream,
                 gap->reason_name);
        return;
    }
    if (gap->first == gap->last) snprintf(what, sizeof what, "message %" PRIu64, gap->first);
    else snprintf(what, sizeof what, "messages %" PRIu64 " to %" PRIu64, gap->first, gap->last);
    /* Not all of these positions need to have been ones that match. */
    if (gap->exact) complain("lost %s of stream %" PRIu64 " (%s)", what, gap->stream, gap->reason_name);
    else
        complain("lost what matches '%s' of %s of stream %" PRIu64 " (%s)", pattern, what, gap->stream,
                 gap->reason_name);
}

int printer_flush(struct printer *printer)
{
    if (output_flush(&printer->out)) return CLI_EXIT_DONE;
    int error = printer->out.error;
    /* An interrupted write was ended by a signal, which the caller finds by itself. */
    if (error == EPIPE || error == EINTR) return PRINTER_CLOSED;
    if (!printer->error_said) complain("cannot write to standard output: %s", strerror(error));
    printer->error_said = true;
    return CLI_EXIT_ERROR;
}
