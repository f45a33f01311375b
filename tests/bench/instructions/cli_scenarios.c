/* What the command line does for each message, but for reading, writing and the connection. */
#include <stdio.h>
#include <string.h>

#include "body.h"
#include "measure.h"
#include "print.h"
#include "scenario.h"
#include "source.h"
#include "wire.h"

#define TOPIC "site/a/temp"
#define LINE "21.5 degrees, and the door is open; the rest fills it up to 64..."
#define FLUSH_COUNT 256 /* messages: about what one read brings */

/* ---- received messages become lines -------------------------------------------------------------------------------
 */

struct printing {
    uint64_t count, bytes;
    struct pubsub_message message;
    struct printer printer;
    struct buffer memory;
};

static void print_messages(void *arg)
{
    struct printing *printing = arg;
    for (uint64_t i = 1; i <= printing->count; i++) {
        printer_message(&printing->printer, &printing->message);
        if (i % FLUSH_COUNT != 0 && i != printing->count) continue;
        printer_flush(&printing->printer);
        printing->bytes += printing->memory.len;
        printing->memory.len = 0;
    }
}

/* What one message is printed as. */
static size_t line_of(struct printing *printing, char *line, size_t cap)
{
    printer_message(&printing->printer, &printing->message);
    printer_flush(&printing->printer);
    size_t len = printing->memory.len;
    if (len >= cap) fail("a line of %zu bytes", len);
    memcpy(line, printing->memory.data, len);
    line[len] = '\0';
    printing->memory.len = 0;
    return len;
}

static uint64_t print(uint64_t count, mps_view payload, const char *expected)
{
    struct printing printing = {.count = count};
    const struct print_options options = {.form = PRINT_LINE};
    char line[512];
    printing.message = (struct pubsub_message){
        .sid = 1, .topic = TOPIC, .topic_len = strlen(TOPIC), .payload = payload.ptr, .payload_len = payload.len};
    if (!printer_open_memory(&printing.printer, &options, &printing.memory)) fail("no printer");
    size_t len = line_of(&printing, line, sizeof line);
    if (strcmp(line, expected) != 0) fail("a message is printed as '%s', not as '%s'", line, expected);
    measured(print_messages, &printing);
    if (printing.bytes != count * len) fail("not all messages were printed");
    printer_close(&printing.printer);
    buffer_free(&printing.memory);
    return count;
}

static uint64_t play_print_text(uint64_t messages, const void *arg)
{
    (void)arg;
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_put_text(&out, mps_text(LINE));
    return print(messages, mps_out_view(&out), TOPIC "\t" LINE "\n");
}

static uint64_t play_print_document(uint64_t messages, const void *arg)
{
    (void)arg;
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_put_map(&out, 3);
    mps_put_text(&out, mps_text("temp"));
    mps_put_uint(&out, 21);
    mps_put_text(&out, mps_text("site"));
    mps_put_text(&out, mps_text("a"));
    mps_put_text(&out, mps_text("ok"));
    mps_put_bool(&out, true);
    return print(messages, mps_out_view(&out), TOPIC "\t{\"temp\":21,\"site\":\"a\",\"ok\":true}\n");
}

/* ---- lines become messages ----------------------------------------------------------------------------------------
 */

struct reading {
    uint64_t count, bytes;
    struct source source;
};

static void make_messages(void *arg)
{
    static const struct body_form form = {.kind = BODY_TEXT};
    struct reading *reading = arg;
    struct buffer scratch = {0};
    uint8_t *item;
    uint64_t len;
    while (source_next(&reading->source, &item, &len) == SOURCE_ITEM) {
        const uint8_t *payload;
        size_t payload_len;
        char why[128];
        if (!body_encode(&form, item, (size_t)len, &scratch, &payload, &payload_len, why, sizeof why))
            fail("a line is no message: %s", why);
        reading->bytes += payload_len;
        reading->count--;
    }
    buffer_free(&scratch);
}

static uint64_t play_read_lines(uint64_t messages, const void *arg)
{
    (void)arg;
    struct reading reading = {.count = messages};
    source_open(&reading.source, -1, '\n', MPS_PAYLOAD_MAX);
    for (uint64_t i = 0; i < messages; i++) buffer_append(&reading.source.buffer, LINE "\n", strlen(LINE "\n"));
    measured(make_messages, &reading);
    uint64_t head_bytes = 2; /* of a text of that length */
    if (reading.count != 0 || reading.bytes != messages * (strlen(LINE) + head_bytes))
        fail("not every line became a message");
    source_close(&reading.source);
    return messages;
}

static const struct scenario cli_scenarios[] = {
    {"cli_print_text", 50000, play_print_text, NULL, "printed"},
    {"cli_print_document", 20000, play_print_document, NULL, "printed"},
    {"cli_read_lines", 50000, play_read_lines, NULL, "read"},
    {NULL, 0, NULL, NULL, NULL},
};
const struct scenario *const scenario_tables[] = {cli_scenarios, NULL};
