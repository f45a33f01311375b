#include "environment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "json_out.h"
#include "props.h"

#define TOPIC "PUBSUB_TOPIC="
#define STREAM "PUBSUB_STREAM="
#define SEQ "PUBSUB_SEQ="
#define TRIES "PUBSUB_TRIES="
#define HEADER "PUBSUB_HEADER_"

/* Ours is not passed on: it may be that of another message. */
static bool is_of_a_message(const char *variable)
{
    static const char *const beginnings[] = {TOPIC, STREAM, SEQ, TRIES, HEADER};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        if (strncmp(variable, beginnings[i], strlen(beginnings[i])) == 0) return true;
    }
    return false;
}

static void put_number(struct buffer *text, const char *beginning, uint64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, number);
    buffer_append(text, beginning, strlen(beginning));
    buffer_append(text, digits, (size_t)len + 1);
}

static void put_position(struct buffer *text, const struct pubsub_message *message)
{
    if (message->stream == 0) return;
    put_number(text, STREAM, message->stream);
    put_number(text, SEQ, message->seq);
    put_number(text, TRIES, message->tries ? message->tries : 1);
}

static void put_name(struct buffer *text, mps_view name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    buffer_append(text, HEADER, sizeof HEADER - 1);
    for (uint32_t i = 0; i < name.len; i++) {
        bool fine = name.ptr[i] && strchr(allowed, name.ptr[i]);
        buffer_append(text, fine ? name.ptr + i : (const uint8_t *)"_", 1);
    }
}

static void put_value(struct buffer *text, mps_view raw)
{
    struct mps_head head;
    mps_head_read(raw.ptr, raw.len, &head);
    if (head.type == MPS_STR) {
        const char *body = (const char *)raw.ptr + head.head_len;
        buffer_append(text, body, strnlen(body, head.count));
        return;
    }
    struct output out;
    output_open_memory(&out, text);
    json_out_document(&out, raw);
    output_flush(&out);
    output_close(&out);
}

static void put_header(struct buffer *text, mps_view key, mps_view value)
{
    struct mps_head head;
    mps_head_read(key.ptr, key.len, &head);
    if (head.type != MPS_STR) return;
    put_name(text, (mps_view){key.ptr + head.head_len, head.count});
    buffer_append(text, "=", 1);
    put_value(text, value);
    buffer_append(text, "", 1);
}

void environment_fill(struct environment *environment, const struct pubsub_message *message)
{
    struct buffer *text = &environment->text;
    struct props props;
    mps_view key, value;
    text->len = environment->strings.len = 0;
    buffer_append(text, TOPIC, sizeof TOPIC - 1);
    buffer_append(text, message->topic, message->topic_len);
    buffer_append(text, "", 1);
    put_position(text, message);
    props_open(&props, message);
    while (props_next(&props, &key, &value)) put_header(text, key, value);
    for (char **variable = environ; *variable; variable++) {
        if (!is_of_a_message(*variable)) buffer_append(text, *variable, strlen(*variable) + 1);
    }
    /* The text stays where it is from now on. */
    char *string = (char *)text->data, *end = string + text->len;
    for (; string < end; string += strlen(string) + 1) buffer_append(&environment->strings, &string, sizeof string);
    string = NULL;
    buffer_append(&environment->strings, &string, sizeof string);
}

char **environment_strings(const struct environment *environment)
{
    return (char **)(void *)environment->strings.data;
}

void environment_free(struct environment *environment)
{
    buffer_free(&environment->text);
    buffer_free(&environment->strings);
}
