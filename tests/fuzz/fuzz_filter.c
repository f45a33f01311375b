/* Filters: any text is compiled or refused with a place in it, any message is judged within a bounded time, and the
 * same again. Input: a line with the expression, a line with the topic, two bytes with the length of the props
 * (big-endian), the props, the payload. */
#include <string.h>

#include "filter.h"
#include "require.h"
#include "value.h"

/* A copy as long as it says, so that reading beyond shows. */
static mps_view copy_of(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL) abort();
    if (len > 0) memcpy(copy, bytes, len);
    return (mps_view){copy, (uint32_t)len};
}

static void drop(mps_view copy)
{
    free((void *)(uintptr_t)copy.ptr);
}

/* Takes what stands before the next newline, and the newline. */
static mps_view take_line(const uint8_t **data, size_t *size)
{
    const uint8_t *newline = memchr(*data, '\n', *size);
    size_t len = newline == NULL ? *size : (size_t)(newline - *data);
    mps_view line = copy_of(*data, len);
    len += newline != NULL;
    *data += len;
    *size -= len;
    return line;
}

/* The props, if they are such as the broker lets pass. */
static mps_view take_props(const uint8_t **data, size_t *size)
{
    const char *what;
    if (*size < 2) return (mps_view){0};
    size_t len = (size_t)((*data)[0] << 8 | (*data)[1]);
    if (len == 0 || len > *size - 2) return (mps_view){0};
    mps_view props = copy_of(*data + 2, len);
    *data += 2 + len;
    *size -= 2 + len;
    if (mps_document_check(props, MPS_DEPTH_MAX - 1, MPS_VALUES_MAX) == NULL && mps_props_check(props, &what) == MPS_OK)
        return props;
    drop(props);
    return (mps_view){0};
}

static struct mps_filter *compile(mps_view text)
{
    struct mps_filter_error error = {0};
    void *memory = malloc(mps_filter_size(text));
    if (memory == NULL) abort();
    struct mps_filter *filter = mps_filter_compile(memory, text, &error);
    if (filter != NULL) return filter;
    REQUIRE(error.column >= 1 && error.column <= text.len + 1, "column %u of %u", error.column, text.len);
    size_t len = strnlen(error.text, sizeof error.text);
    REQUIRE(len > 0 && len < sizeof error.text - 1, "a text of %zu bytes: %.20s", len, error.text);
    REQUIRE(mps_utf8_valid(mps_text(error.text)), "the text is no text: %s", error.text);
    free(memory);
    return NULL;
}

static void judge(mps_view text, mps_view topic, mps_view props, mps_view payload)
{
    struct mps_filter *filter = compile(text), *again = compile(text);
    REQUIRE((filter == NULL) == (again == NULL), "compiled once, refused once");
    if (filter != NULL) {
        bool result = mps_filter_matches(filter, topic, props, payload);
        REQUIRE(mps_filter_matches(filter, topic, props, payload) == result, "judged twice, differently");
        REQUIRE(mps_filter_matches(again, topic, props, payload) == result, "compiled twice, judged differently");
    }
    free(filter);
    free(again);
}

/* Whatever it says, a filter and its opposite can't both match, and one of them does on a document. */
static void judge_opposite(mps_view text, mps_view topic, mps_view props, mps_view payload)
{
    char opposite[MPS_FILTER_TEXT_MAX + 8];
    if (text.len > MPS_FILTER_TEXT_MAX) return;
    int len = snprintf(opposite, sizeof opposite, "not (%.*s)", (int)text.len, (const char *)text.ptr);
    mps_view view = {(const uint8_t *)opposite, (uint32_t)len};
    struct mps_filter_error error;
    struct mps_filter *filter = compile(text);
    void *memory = malloc(mps_filter_size(view));
    if (memory == NULL) abort();
    if (filter != NULL && mps_filter_compile(memory, view, &error) != NULL) {
        bool one = mps_filter_matches(filter, topic, props, payload);
        bool other = mps_filter_matches(memory, topic, props, payload);
        REQUIRE(!(one && other), "it and its opposite match");
        bool readable = mps_document_check(payload, 0, 0) == NULL;
        REQUIRE(one || other || !readable || props.ptr != NULL, "neither it nor its opposite matches a document");
    }
    free(memory);
    free(filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mps_view text = take_line(&data, &size), topic = take_line(&data, &size), props = take_props(&data, &size);
    mps_view payload = copy_of(data, size);
    if (mps_topic_error(topic) == NULL) {
        judge(text, topic, props, payload);
        judge_opposite(text, topic, props, payload);
    } else {
        free(compile(text));
    }
    drop(text);
    drop(topic);
    drop(props);
    drop(payload);
    return 0;
}
