#include "trace.h"

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool same(uint8_t a, uint8_t b)
{
    return lower(a) == lower(b);
}

/* Whether a level is another one with a slip: one letter that is another, is missing, or is too many, or two that
 * changed places. Of digits none are: '1' and '2' are two things. */
static bool is_slip(mps_view a, mps_view b)
{
    uint32_t head = 0, tail = 0, shorter = a.len < b.len ? a.len : b.len;
    while (head < shorter && same(a.ptr[head], b.ptr[head])) head++;
    while (tail < shorter - head && same(a.ptr[a.len - 1 - tail], b.ptr[b.len - 1 - tail])) tail++;
    uint32_t left_a = a.len - head - tail, left_b = b.len - head - tail;
    if (left_a == 0 && left_b == 0) return true;
    if (shorter < 2) return false;
    const uint8_t *p = a.ptr + head, *q = b.ptr + head;
    if (left_a == 2 && left_b == 2) return same(p[0], q[1]) && same(p[1], q[0]) && !is_digit(p[0]) && !is_digit(p[1]);
    if (left_a > 1 || left_b > 1) return false;
    return !(left_a == 1 && is_digit(*p)) && !(left_b == 1 && is_digit(*q));
}

/* Takes the first level off. */
static mps_view take_level(mps_view *rest)
{
    mps_view level = {rest->ptr, 0};
    while (level.len < rest->len && rest->ptr[level.len] != '/') level.len++;
    uint32_t by = level.len < rest->len ? level.len + 1 : level.len;
    *rest = level.len < rest->len ? (mps_view){rest->ptr + by, rest->len - by} : (mps_view){NULL, 0};
    return level;
}

/* Level by level, where no more than one is a slip. */
static bool nearly_matches(mps_view pattern, mps_view topic)
{
    uint32_t slips = 0;
    while (pattern.ptr != NULL && topic.ptr != NULL) {
        mps_view wanted = take_level(&pattern), level = take_level(&topic);
        if (mps_view_equal(wanted, mps_text("#"))) return true;
        if (mps_view_equal(wanted, mps_text("+")) || mps_view_equal(wanted, level)) continue;
        if (++slips > 1 || !is_slip(wanted, level)) return false;
    }
    bool only_rest = pattern.ptr != NULL && mps_view_equal(pattern, mps_text("#"));
    return (pattern.ptr == NULL || only_rest) && topic.ptr == NULL;
}

/* Without its last level, or its first, if that one is empty; an absent view: there is nothing left. */
static mps_view without_last(mps_view text)
{
    uint32_t len = text.len;
    while (len > 0 && text.ptr[len - 1] != '/') len--;
    return len > 1 ? (mps_view){text.ptr, len - 1} : (mps_view){NULL, 0};
}

static mps_view without_empty_first(mps_view text)
{
    return text.len > 1 && text.ptr[0] == '/' ? (mps_view){text.ptr + 1, text.len - 1} : (mps_view){NULL, 0};
}

static bool both_match(mps_view pattern, mps_view topic)
{
    return pattern.ptr != NULL && topic.ptr != NULL && mps_topic_matches(pattern, topic);
}

bool trace_is_near(mps_view pattern, mps_view topic)
{
    if ((topic.ptr[0] == '$') != (pattern.ptr[0] == '$')) return false; /* that is meant */
    return nearly_matches(pattern, topic) || both_match(without_last(pattern), topic) ||
           both_match(pattern, without_last(topic)) || both_match(without_empty_first(pattern), topic) ||
           both_match(pattern, without_empty_first(topic));
}
