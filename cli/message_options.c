#include "message_options.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "value.h"

static bool set_json(void *into, const char *value)
{
    (void)value;
    return ((struct message_options *)into)->json = true;
}

static bool set_hex(void *into, const char *value)
{
    (void)value;
    return ((struct message_options *)into)->hex = true;
}

static bool set_msgpack(void *into, const char *value)
{
    (void)value;
    return ((struct message_options *)into)->msgpack = true;
}

static bool set_raw(void *into, const char *value)
{
    (void)value;
    return ((struct message_options *)into)->raw = true;
}

static struct pubsub_header *headers_of(const struct message_options *options, size_t *count)
{
    *count = options->headers.len / sizeof(struct pubsub_header);
    return (struct pubsub_header *)(void *)options->headers.data;
}

static bool set_header(void *into, const char *value)
{
    struct message_options *options = into;
    const char *equals = strchr(value, '=');
    if (!equals || equals == value) {
        complain("-H %s: not of the form key=value", value);
        return false;
    }
    if (!mps_utf8_valid(mps_text(value))) {
        complain("-H %s: not UTF-8", value);
        return false;
    }
    char *name = strndup(value, (size_t)(equals - value));
    if (!name) {
        complain("out of memory");
        return false;
    }
    size_t count;
    const struct pubsub_header *headers = headers_of(options, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(headers[i].name, name) == 0) {
            complain("-H %s: the key '%s' is there already", value, name);
            free(name);
            return false;
        }
    }
    struct pubsub_header header = {.name = name, .value = equals + 1};
    buffer_append(&options->headers, &header, sizeof header);
    return true;
}

static bool set_ttl(void *into, const char *value)
{
    struct message_options *options = into;
    return options->has_ttl = option_time("--ttl", value, 0, 0, &options->ttl_ms);
}

static bool set_key(void *into, const char *value)
{
    struct message_options *options = into;
    if (!mps_utf8_valid(mps_text(value))) {
        complain("--key %s: not UTF-8", value);
        return false;
    }
    options->key = value;
    return true;
}

const struct option_row form_option_rows[] = {
    {'j', "json", NULL, set_json, "the message is JSON, any value; it is sent as the same in msgpack"},
    {0, "msgpack", NULL, set_msgpack, "the message is a msgpack document already"},
    {0, "bin", NULL, set_raw, "the message is bytes that are no document (content type 0)"},
    {0, "hex", NULL, set_hex,
     "the message is written in hexadecimal; sent as a msgpack bin, or as\n"
     "--msgpack or --bin says"},
    {0, NULL, NULL, NULL, NULL},
};

const struct option_row property_option_rows[] = {
    {'H', NULL, "KEY=VALUE", set_header, "a header; may be given several times"},
    {0, "ttl", "TIME", set_ttl,
     "what has waited at the broker for so long, e.g. 5s, is not delivered\n"
     "any more, but told as lost (expired); default: it waits on"},
    {0, "key", "KEY", set_key,
     "for subscribers with the policy latest: this message takes the place of\n"
     "an earlier one of the same KEY; default: of the same topic"},
    {0, NULL, NULL, NULL, NULL},
};

bool message_options_combine(struct message_options *options)
{
    if (options->json + options->msgpack + options->raw > 1) {
        complain("only one of --json, --msgpack and --bin is possible");
        return false;
    }
    if (options->json && options->hex) {
        complain("--json and --hex exclude each other");
        return false;
    }
    options->form.hex = options->hex;
    options->form.kind = options->json      ? BODY_JSON
                         : options->msgpack ? BODY_MSGPACK
                         : options->raw     ? BODY_RAW
                                            : BODY_TEXT;
    return true;
}

void message_options_free(struct message_options *options)
{
    size_t count;
    const struct pubsub_header *headers = headers_of(options, &count);
    for (size_t i = 0; i < count; i++) free((char *)(uintptr_t)headers[i].name);
    buffer_free(&options->headers);
}

void message_options_apply(const struct message_options *options, struct pubsub_publish_options *terms)
{
    terms->raw = options->form.kind == BODY_RAW;
    terms->has_ttl = options->has_ttl;
    terms->ttl_ms = options->ttl_ms;
    terms->key = options->key;
    terms->headers = headers_of(options, &terms->headers_count);
}
