/* Judging a message by a compiled filter. */
#include <endian.h>
#include <string.h>

#include "filter_program.h"

#define FOUND_FEW 8

struct message {
    const struct mps_filter *filter;
    mps_view topic;
    const uint8_t **found; /* where the fields begin, in documents that were checked; NULL: not there */
};

/* ---- operands ---- */

/* Level n of a topic, from 0. False if it has fewer. */
static bool read_level(mps_view topic, uint16_t n, struct filter_value *value)
{
    const uint8_t *p = topic.ptr, *end = p + topic.len;
    for (; n > 0; n--) {
        p = memchr(p, '/', (size_t)(end - p));
        if (p == NULL) return false;
        p++;
    }
    const uint8_t *slash = memchr(p, '/', (size_t)(end - p));
    value->head.count = (uint32_t)((slash == NULL ? end : slash) - p);
    value->body = p;
    return true;
}

/* The value at a place in a document that was scanned. What is most often compared comes before all other encodings. */
static inline void read_value(const uint8_t *at, struct filter_value *value)
{
    if (*at < 0x80) {
        value->head.type = MPS_UINT;
        value->head.number = *at;
    } else if ((*at & 0xe0) == 0xa0) {
        value->head.type = MPS_STR;
        value->head.count = *at & 31u;
        value->body = at + 1;
    } else if (*at == 0xcb) {
        uint64_t bits;
        memcpy(&bits, at + 1, sizeof bits);
        bits = be64toh(bits);
        value->head.type = MPS_FLOAT;
        memcpy(&value->head.real, &bits, sizeof bits);
    } else {
        mps_head_read(at, FILTER_HEAD_LEN_MAX, &value->head);
        value->body = at + value->head.head_len;
    }
}

/* The value that the operand stands for: room, or a literal. NULL if there is none. */
static inline const struct filter_value *load(const struct message *message, struct filter_operand operand,
                                              struct filter_value *room)
{
    switch ((enum filter_source)operand.source) {
    case FILTER_LITERAL: return &message->filter->literals[operand.index];
    case FILTER_FIELD:
    case FILTER_HEADER:
        if (message->found[operand.index] == NULL) return NULL;
        read_value(message->found[operand.index], room);
        return room;
    case FILTER_TOPIC:
        *room =
            (struct filter_value){.head = {.type = MPS_STR, .count = message->topic.len}, .body = message->topic.ptr};
        return room;
    case FILTER_LEVEL:
        room->head = (struct mps_head){.type = MPS_STR};
        return read_level(message->topic, operand.index, room) ? room : NULL;
    }
    return NULL;
}

/* ---- comparing ---- */

/* UNLIKE: of a kind, different, and neither is less. */
enum order { LESS, EQUAL, GREATER, UNLIKE, MISTYPED };

static enum order order_of(bool less, bool equal)
{
    return less ? LESS : equal ? EQUAL : GREATER;
}

static enum order turned(enum order order)
{
    return order == LESS ? GREATER : order == GREATER ? LESS : order;
}

/* An integer and a float, without rounding either. */
static enum order compare_mixed(const struct mps_head *integer, double real)
{
    if (real != real) return UNLIKE;
    if (integer->type == MPS_UINT) {
        uint64_t number = integer->number;
        if (real < 0) return GREATER;
        if (real >= 0x1p64) return LESS;
        uint64_t whole = (uint64_t)real;
        if (number != whole) return order_of(number < whole, false);
        return order_of((double)whole < real, (double)whole == real);
    }
    int64_t number = (int64_t)integer->number;
    if (real >= 0) return LESS;
    if (real < -0x1p63) return GREATER;
    int64_t whole = (int64_t)real;
    if (number != whole) return order_of(number < whole, false);
    return order_of((double)whole < real, (double)whole == real);
}

static bool is_number(enum mps_type type)
{
    return type == MPS_UINT || type == MPS_INT || type == MPS_FLOAT;
}

static enum order compare_numbers(const struct mps_head *a, const struct mps_head *b)
{
    if (a->type == MPS_FLOAT && b->type == MPS_FLOAT) {
        if (a->real != a->real || b->real != b->real) return UNLIKE;
        return order_of(a->real < b->real, a->real == b->real);
    }
    if (b->type == MPS_FLOAT) return compare_mixed(a, b->real);
    if (a->type == MPS_FLOAT) return turned(compare_mixed(b, a->real));
    if (a->type != b->type) return a->type == MPS_INT ? LESS : GREATER;
    /* Two negative ones are in the order of their two's complements, too. */
    return order_of(a->number < b->number, a->number == b->number);
}

static enum order compare_texts(const struct filter_value *a, const struct filter_value *b)
{
    uint32_t common = a->head.count < b->head.count ? a->head.count : b->head.count;
    int difference = memcmp(a->body, b->body, common);
    if (difference != 0) return order_of(difference < 0, false);
    return order_of(a->head.count < b->head.count, a->head.count == b->head.count);
}

static enum order compare(const struct filter_value *a, const struct filter_value *b)
{
    if (is_number(a->head.type) && is_number(b->head.type)) return compare_numbers(&a->head, &b->head);
    if (a->head.type != b->head.type) return MISTYPED;
    switch (a->head.type) {
    case MPS_NIL: return EQUAL;
    case MPS_BOOL: return a->head.boolean == b->head.boolean ? EQUAL : UNLIKE;
    case MPS_STR: return compare_texts(a, b);
    case MPS_BIN: return compare_texts(a, b) == EQUAL ? EQUAL : UNLIKE;
    case MPS_UINT:
    case MPS_INT:
    case MPS_FLOAT:
    case MPS_EXT:
    case MPS_ARRAY:
    case MPS_MAP: break;
    }
    return MISTYPED;
}

static bool is_ordered(const struct filter_value *value)
{
    return is_number(value->head.type) || value->head.type == MPS_STR;
}

static bool are_equal(const struct filter_value *a, const struct filter_value *b)
{
    if (a->head.type != MPS_STR || b->head.type != MPS_STR) return compare(a, b) == EQUAL;
    return a->head.count == b->head.count && filter_same_bytes(a->body, b->body, a->head.count);
}

static bool begins_with(const struct filter_value *text, const struct filter_value *start)
{
    return text->head.type == MPS_STR && start->head.type == MPS_STR && start->head.count <= text->head.count &&
           filter_same_bytes(text->body, start->body, start->head.count);
}

/* ---- containers ---- */

/* Whether left, which is at that place in a document that was scanned, holds the element or the key. */
static bool has(const uint8_t *at, const struct filter_value *wanted)
{
    struct filter_value element;
    read_value(at, &element);
    bool map = element.head.type == MPS_MAP;
    if (!map && element.head.type != MPS_ARRAY) return false;
    const uint8_t *p = element.body;
    for (uint32_t left = element.head.count; left > 0; left--) {
        read_value(p, &element);
        if (are_equal(&element, wanted)) return true;
        p = mps_filter_value_end(p);
        if (map) p = mps_filter_value_end(p);
    }
    return false;
}

static bool holds(const struct message *message, const struct filter_operand *container,
                  const struct filter_value *wanted)
{
    bool in_place = container->source == FILTER_FIELD || container->source == FILTER_HEADER;
    return in_place && has(message->found[container->index], wanted);
}

static bool in_list(const struct message *message, const struct filter_instr *instr, const struct filter_value *value)
{
    const struct filter_value *literals = message->filter->literals + instr->right.index;
    for (uint16_t i = 0; i < instr->count; i++) {
        if (are_equal(value, &literals[i])) return true;
    }
    return false;
}

/* ---- the program ---- */

/* A comparison of two values, both there. */
static bool judge(const struct message *message, const struct filter_instr *instr, const struct filter_value *left,
                  const struct filter_value *right)
{
    enum order order;
    switch ((enum filter_op)instr->op) {
    case FILTER_EQ: return are_equal(left, right);
    case FILTER_NE: order = compare(left, right); return order != EQUAL && order != MISTYPED;
    case FILTER_LT: return compare(left, right) == LESS;
    case FILTER_GT: return compare(left, right) == GREATER;
    case FILTER_LE: order = compare(left, right); return order == LESS || (order == EQUAL && is_ordered(left));
    case FILTER_GE: order = compare(left, right); return order == GREATER || (order == EQUAL && is_ordered(left));
    case FILTER_BEGINS: return begins_with(left, right);
    case FILTER_HAS: return holds(message, &instr->left, right);
    case FILTER_IN: return in_list(message, instr, left);
    case FILTER_EXISTS: return true;
    case FILTER_NOT_NIL: return left->head.type != MPS_NIL;
    case FILTER_NOT:
    case FILTER_AND:
    case FILTER_OR: break;
    }
    return false;
}

static bool judge_there(const struct message *message, const struct filter_instr *instr)
{
    struct filter_value left_room, right_room;
    const struct filter_value *left = load(message, instr->left, &left_room), *right = NULL;
    if (left == NULL) return false;
    if (instr->op <= FILTER_HAS && instr->op != FILTER_IN) {
        right = load(message, instr->right, &right_room);
        if (right == NULL) return false;
    }
    return judge(message, instr, left, right);
}

static bool run(const struct message *message)
{
    const struct mps_filter *filter = message->filter;
    bool result = false;
    for (uint16_t i = 0; i < filter->instr_count; i++) {
        const struct filter_instr *instr = &filter->instrs[i];
        if (instr->op == FILTER_NOT) {
            result = !result;
        } else if (instr->op == FILTER_AND || instr->op == FILTER_OR) {
            if (result == (instr->op == FILTER_OR)) i = (uint16_t)(instr->target - 1); /* the loop adds one */
        } else {
            result = judge_there(message, instr);
        }
    }
    return result;
}

bool mps_filter_matches(const struct mps_filter *filter, mps_view topic, mps_view props, mps_view payload)
{
    const uint8_t *found[FILTER_FIELDS_MAX(MPS_FILTER_TEXT_MAX)];
    /* Most filters have few fields: a fixed length is not worth a call. */
    if (filter->field_count <= FOUND_FEW) memset(found, 0, FOUND_FEW * sizeof *found);
    else memset(found, 0, filter->field_count * sizeof *found);
    struct message message = {filter, topic, found};
    if (props.ptr != NULL && (filter->uses_props || filter->uses_document)) {
        if (!mps_filter_scan(filter, FILTER_PROPS, props, found)) return false;
        if (filter->uses_document && found[filter->content_type] != NULL) return false;
    }
    if (filter->uses_document && !mps_filter_scan(filter, FILTER_DOCUMENT, payload, found)) return false;
    return run(&message);
}
