#include "properties.h"

#include <string.h>

#include "value.h"

/* A frame holds at most MPS_VALUES_MAX values; array, operation, topic and payload are four of them, the map is one. */
enum { PROPS_VALUES_MAX = MPS_VALUES_MAX - 4, PAIRS_MAX = (PROPS_VALUES_MAX - 1) / 2 };
enum { PROPS_BYTES_MAX = MPS_HEAD_MAX - MPS_TOPIC_MAX - MPS_SMALL_FRAME_MAX };
enum { VALUE_HEAD_MAX = 9 }; /* bytes before a text or in a number */

static const char too_long[] = "its properties are too long for a frame's head of 8,192 bytes";

int mps_properties_check(const void *props, size_t len, uint32_t depth_max, const char **why)
{
    if (len > PROPS_BYTES_MAX) {
        *why = too_long;
        return PUBSUB_ETOOBIG;
    }
    mps_view map = {props, (uint32_t)len};
    *why = mps_document_check(map, depth_max, PROPS_VALUES_MAX);
    if (*why != NULL) return PUBSUB_EINVAL;
    return mps_props_check(map, why) == MPS_OK ? PUBSUB_OK : PUBSUB_EINVAL;
}

/* A text that is not longer than is of interest; NULL gives the absent view. */
static mps_view text_of(const char *text)
{
    if (text == NULL) return (mps_view){NULL, 0};
    return (mps_view){(const uint8_t *)text, (uint32_t)strnlen(text, MPS_HEAD_MAX + 1)};
}

static const char *headers_error(const struct pubsub_publish_options *options)
{
    for (size_t i = 0; i < options->headers_count; i++) {
        mps_view name = text_of(options->headers[i].name), value = text_of(options->headers[i].value);
        if (name.ptr == NULL || value.ptr == NULL) return "a header lacks its name or its value";
        if (name.len > MPS_HEAD_MAX || value.len > MPS_HEAD_MAX) continue; /* too long, whatever it says */
        if (!mps_utf8_valid(name) || !mps_utf8_valid(value)) return "a header is not UTF-8";
        for (size_t j = 0; j < i; j++)
            if (mps_view_equal(name, text_of(options->headers[j].name))) return "a header stands twice";
    }
    return NULL;
}

static const char *options_error(const struct mps_properties *properties)
{
    const struct pubsub_publish_options *options = properties->options;
    mps_view key = text_of(options->key), reply_to = text_of(options->reply_to);
    if (options->props != NULL) return "its properties are given both raw and as options";
    if (options->has_ttl && options->ttl_ms > MPS_NUMBER_MAX) return "its ttl is over 9007199254740991 ms";
    if (key.ptr != NULL && key.len <= MPS_HEAD_MAX && !mps_utf8_valid(key)) return "its key is not UTF-8";
    if (reply_to.ptr != NULL && mps_topic_error(reply_to) != NULL) return "its topic for answers is no valid topic";
    if (options->correlation != NULL && options->correlation_len > MPS_CORRELATION_MAX)
        return "its correlation is longer than 64 bytes";
    return headers_error(options);
}

static uint32_t text_bytes(const char *text)
{
    return text != NULL ? VALUE_HEAD_MAX + text_of(text).len : 0;
}

static bool own_correlation(const struct mps_properties *properties)
{
    return properties->correlation.ptr == NULL && properties->options->correlation != NULL;
}

static size_t measure(const struct mps_properties *properties)
{
    const struct pubsub_publish_options *options = properties->options;
    size_t bytes = (size_t)VALUE_HEAD_MAX * 8; /* the map, keys, numbers */
    bytes += own_correlation(properties) ? options->correlation_len : properties->correlation.len;
    bytes += text_bytes(options->key) + text_bytes(options->reply_to);
    for (size_t i = 0; i < options->headers_count; i++)
        bytes += text_bytes(options->headers[i].name) + text_bytes(options->headers[i].value);
    return bytes;
}

int mps_properties_measure(struct mps_properties *properties, const char **why)
{
    const struct pubsub_publish_options *options = properties->options;
    properties->pairs = 0;
    if (mps_properties_none(properties)) return PUBSUB_OK;
    size_t pairs = (size_t)options->raw + options->has_ttl + (options->key != NULL) + (options->reply_to != NULL) +
                   (properties->correlation.ptr != NULL || own_correlation(properties)) + options->headers_count;
    if (pairs > PAIRS_MAX) {
        *why = "it has more than 125 properties";
        return PUBSUB_ETOOBIG;
    }
    *why = options_error(properties);
    if (*why != NULL) return PUBSUB_EINVAL;
    size_t bytes = measure(properties);
    if (bytes > PROPS_BYTES_MAX) {
        *why = too_long;
        return PUBSUB_ETOOBIG;
    }
    properties->pairs = (uint32_t)pairs;
    properties->bytes = (uint32_t)bytes;
    return PUBSUB_OK;
}

static void put_text(struct mps_out *out, unsigned key, const char *text)
{
    if (text == NULL) return;
    mps_put_uint(out, key);
    mps_put_text(out, mps_text(text));
}

static void put_correlation(struct mps_out *out, const struct mps_properties *properties)
{
    mps_view raw = properties->correlation;
    if (raw.ptr == NULL && !own_correlation(properties)) return;
    mps_put_uint(out, MPS_PROP_CORRELATION);
    if (raw.ptr != NULL) {
        mps_put_raw(out, raw);
        return;
    }
    const struct pubsub_publish_options *options = properties->options;
    mps_put_bin(out, (mps_view){options->correlation, (uint32_t)options->correlation_len});
}

void mps_properties_put(struct mps_out *out, const struct mps_properties *properties)
{
    const struct pubsub_publish_options *options = properties->options;
    mps_put_map(out, properties->pairs);
    put_text(out, MPS_PROP_REPLY_TO, options->reply_to);
    put_correlation(out, properties);
    if (options->raw) {
        mps_put_uint(out, MPS_PROP_CONTENT_TYPE);
        mps_put_uint(out, 0);
    }
    if (options->has_ttl) {
        mps_put_uint(out, MPS_PROP_TTL_MS);
        mps_put_uint(out, options->ttl_ms);
    }
    put_text(out, MPS_PROP_KEY, options->key);
    for (size_t i = 0; i < options->headers_count; i++) {
        mps_put_text(out, mps_text(options->headers[i].name));
        mps_put_text(out, mps_text(options->headers[i].value));
    }
}
