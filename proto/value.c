#include <string.h>

#include "value.h"

/* Values that a container of this head holds. A map's pair is two. */
static uint64_t children(const struct mps_head *head)
{
    if (head->type == MPS_ARRAY) return head->count;
    return head->type == MPS_MAP ? (uint64_t)head->count * 2 : 0;
}

static bool has_body(enum mps_type type)
{
    return type == MPS_STR || type == MPS_BIN || type == MPS_EXT;
}

static bool is_container(enum mps_type type)
{
    return type == MPS_ARRAY || type == MPS_MAP;
}

const char *mps_document_check(mps_view bytes, uint32_t depth_max, uint32_t values_max)
{
    static const char truncated[] = "it ends in the middle of a value";
    if (depth_max == 0 || depth_max > MPS_DOCUMENT_DEPTH_MAX) depth_max = MPS_DOCUMENT_DEPTH_MAX;
    if (values_max == 0) values_max = MPS_DOCUMENT_VALUES_MAX;
    if (!bytes.ptr || bytes.len == 0) return "it is empty";

    const uint8_t *p = bytes.ptr, *end = p + bytes.len;
    uint64_t owed[MPS_DOCUMENT_DEPTH_MAX];
    uint32_t depth = 0, values = 0;
    do {
        struct mps_head head;
        int got = mps_head_read(p, (size_t)(end - p), &head);
        if (got < 0) return "it holds the byte c1, which starts no value";
        if (got == 0) return truncated;
        if (++values > values_max) return "it has more values than the limit";
        p += head.head_len;
        if (depth > 0) owed[depth - 1]--;
        if (has_body(head.type)) {
            if (head.count > (size_t)(end - p)) return truncated;
            p += head.count;
        } else if (is_container(head.type)) {
            if (depth == depth_max) return "it is nested deeper than the limit";
            /* Each value takes a byte at least: a count beyond the rest is refused before anybody counts to it. */
            if (children(&head) > (size_t)(end - p)) return truncated;
            owed[depth++] = children(&head);
        }
        while (depth > 0 && owed[depth - 1] == 0) depth--;
    } while (depth > 0);
    return p == end ? NULL : "bytes follow after its end";
}

void mps_walk_open(struct mps_walk *walk, mps_view checked)
{
    *walk = (struct mps_walk){.p = checked.ptr, .end = checked.ptr ? checked.ptr + checked.len : NULL};
}

static enum mps_walk_event close_container(struct mps_walk *walk)
{
    bool map = walk->map[--walk->depth];
    /* The count 0 tells the next step that this was no opening. */
    walk->head = (struct mps_head){.type = map ? MPS_MAP : MPS_ARRAY};
    walk->body = (mps_view){0};
    walk->first = false;
    /* The one that opened it has taken it off its parent's count: an odd rest says that its value is still to come. */
    walk->is_key = walk->depth > 0 && walk->map[walk->depth - 1] && walk->owed[walk->depth - 1] % 2 == 1;
    return MPS_WALK_CLOSE;
}

enum mps_walk_event mps_walk_next(struct mps_walk *walk)
{
    if (walk->depth > 0 && walk->owed[walk->depth - 1] == 0) return close_container(walk);

    bool opened_before = is_container(walk->head.type) && walk->head.count > 0;
    struct mps_head head;
    if (mps_head_read(walk->p, (size_t)(walk->end - walk->p), &head) != 1) return MPS_WALK_END;
    walk->first = opened_before || walk->depth == 0;
    walk->head = head;
    walk->body = (mps_view){0};
    walk->p += head.head_len;
    walk->is_key = false;
    if (walk->depth > 0) {
        walk->is_key = walk->map[walk->depth - 1] && walk->owed[walk->depth - 1] % 2 == 0;
        walk->owed[walk->depth - 1]--;
    }
    if (has_body(head.type)) {
        if (head.count > (size_t)(walk->end - walk->p)) return MPS_WALK_END;
        walk->body = (mps_view){walk->p, head.count};
        walk->p += head.count;
    } else if (is_container(head.type)) {
        if (walk->depth == MPS_DOCUMENT_DEPTH_MAX) return MPS_WALK_END;
        walk->map[walk->depth] = head.type == MPS_MAP;
        walk->owed[walk->depth++] = children(&head);
        return MPS_WALK_OPEN;
    }
    return MPS_WALK_VALUE;
}

/* ---- paths ---- */

/* The end of the value at p, or NULL if it isn't whole. */
static const uint8_t *value_end(const uint8_t *p, const uint8_t *end)
{
    for (uint64_t owed = 1; owed > 0; owed--) {
        struct mps_head head;
        if (mps_head_read(p, (size_t)(end - p), &head) != 1) return NULL;
        p += head.head_len;
        if (has_body(head.type)) {
            if (head.count > (size_t)(end - p)) return NULL;
            p += head.count;
        }
        owed += children(&head);
    }
    return p;
}

/* One step of a path: a key as it stands in the path, or an index. */
struct step {
    bool is_index, quoted;
    uint64_t index;
    const char *key;
    size_t key_len; /* as written: escapes of a quoted key are still in it */
};

static bool read_number(const char *text, size_t len, uint64_t *number)
{
    if (len == 0 || len > 19) return false; /* 19 digits can't overflow */
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        n = n * 10 + (uint64_t)(text[i] - '0');
    }
    *number = n;
    return true;
}

static bool read_index(const char **at, const char *end, struct step *step)
{
    const char *digits = *at + 1;
    const char *close = memchr(digits, ']', (size_t)(end - digits));
    if (!close || !read_number(digits, (size_t)(close - digits), &step->index)) return false;
    step->is_index = true;
    *at = close + 1;
    return true;
}

static bool read_quoted(const char **at, const char *end, struct step *step)
{
    const char *p = *at + 1;
    step->quoted = true;
    step->key = p;
    while (p < end && *p != '"') p += *p == '\\' && p + 1 < end ? 2 : 1;
    if (p >= end) return false;
    step->key_len = (size_t)(p - step->key);
    *at = p + 1;
    return true;
}

/* Takes one step off the path. False if it makes no sense. */
static bool read_step(const char **at, const char *end, bool first, struct step *step)
{
    *step = (struct step){0};
    if (**at == '[') return read_index(at, end, step);
    if (!first) {
        if (**at != '.' || ++*at == end) return false;
    }
    if (**at == '"') return read_quoted(at, end, step);
    const char *p = *at;
    while (p < end && *p != '.' && *p != '[') p++;
    step->key = *at;
    step->key_len = (size_t)(p - *at);
    *at = p;
    return step->key_len > 0;
}

static bool key_matches(const struct step *step, const struct mps_head *head, const uint8_t *body)
{
    uint64_t number;
    if (head->type == MPS_UINT) {
        return !step->quoted && read_number(step->key, step->key_len, &number) && number == head->number;
    }
    if (head->type != MPS_STR) return false;
    uint32_t used = 0;
    for (size_t i = 0; i < step->key_len; i++) {
        if (step->quoted && step->key[i] == '\\') i++;
        if (used == head->count || body[used++] != (uint8_t)step->key[i]) return false;
    }
    return used == head->count;
}

/* Where the value that the step leads to begins, or NULL. p is the container. */
static const uint8_t *follow(const struct step *step, const uint8_t *p, const uint8_t *end)
{
    struct mps_head head;
    if (mps_head_read(p, (size_t)(end - p), &head) != 1) return NULL;
    p += head.head_len;
    if (step->is_index) {
        if (head.type != MPS_ARRAY || step->index >= head.count) return NULL;
        for (uint64_t i = 0; p && i < step->index; i++) p = value_end(p, end);
        return p;
    }
    if (head.type != MPS_MAP) return NULL;
    for (uint32_t i = 0; i < head.count; i++) {
        struct mps_head key;
        if (mps_head_read(p, (size_t)(end - p), &key) != 1) return NULL;
        const uint8_t *value = value_end(p, end);
        if (!value || key_matches(step, &key, p + key.head_len)) return value;
        if (!(p = value_end(value, end))) return NULL;
    }
    return NULL;
}

mps_view mps_document_find(mps_view checked, const char *path, size_t path_len)
{
    if (!checked.ptr || path_len == 0) return (mps_view){0};
    const char *at = path, *path_end = path + path_len;
    const uint8_t *p = checked.ptr, *end = p + checked.len;
    while (at < path_end) {
        struct step step;
        if (!read_step(&at, path_end, at == path, &step)) return (mps_view){0};
        if (!(p = follow(&step, p, end))) return (mps_view){0};
    }
    const uint8_t *after = value_end(p, end);
    return after ? (mps_view){p, (uint32_t)(after - p)} : (mps_view){0};
}
