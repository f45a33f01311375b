/* The operands of an expression: paths, whose steps grow into one tree, and literals. */
#include <assert.h>
#include <string.h>

#include "filter_compiler.h"

bool mps_filter_count_node(struct filter_compiler *c, uint32_t at)
{
    if (c->nodes == MPS_FILTER_NODES_MAX)
        return mps_filter_fail(&c->reader, at, "it has more than %d operators, paths and literals",
                               MPS_FILTER_NODES_MAX);
    c->nodes++;
    return true;
}

/* ---- paths ---- */

uint16_t mps_filter_add_field(struct filter_compiler *c, const struct filter_field *field)
{
    assert(c->draft_count < sizeof c->drafts / sizeof *c->drafts);
    c->drafts[c->draft_count] = (struct filter_draft){.field = *field, .next = FILTER_NONE};
    return c->draft_count++;
}

static bool same_step(const struct filter_field *a, const struct filter_field *b)
{
    if (a->key == NULL || b->key == NULL) return a->key == b->key && a->index == b->index;
    return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0;
}

/* The child of a field that this step leads to: one that is there already, or a new one. */
uint16_t mps_filter_child_of(struct filter_compiler *c, uint16_t parent, const struct filter_field *step)
{
    struct filter_field *of = &c->drafts[parent].field;
    uint16_t child = of->first_child;
    for (uint16_t i = 0; i < of->child_count; i++, child = c->drafts[child].next) {
        if (same_step(&c->drafts[child].field, step)) return child;
    }
    child = mps_filter_add_field(c, step);
    if (of->child_count++ == 0) of->first_child = child;
    else c->drafts[c->drafts[parent].last_child].next = child;
    c->drafts[parent].last_child = child;
    if (step->key != NULL) of->key_hints |= UINT64_C(1) << filter_key_hint(step->key, step->key_len);
    return child;
}

/* Reads a key, bare or in quotes, at the cursor. */
static bool read_key(struct filter_compiler *c, struct filter_field *step)
{
    struct filter_reader *r = &c->reader;
    uint32_t begin = r->at, len;
    *step = (struct filter_field){.key = c->bytes + c->byte_count};
    if (r->at < r->len && r->text[r->at] == '"') {
        if (!mps_filter_read_text(r, c->bytes + c->byte_count, &len)) return false;
    } else if (!mps_filter_at_name(r)) {
        return mps_filter_expected(r, "a key (an odd one in double quotes)");
    } else if (mps_filter_peek_word(r) != FILTER_WORD_NONE) {
        return mps_filter_expected(r, "a key (a reserved word in double quotes)");
    } else {
        mps_filter_pass_name(r);
        len = r->at - begin;
        memcpy(c->bytes + c->byte_count, r->text + begin, len);
    }
    step->key_len = (uint16_t)len;
    c->byte_count += len;
    return true;
}

/* Reads .key and [index] at the cursor as long as there are any. *field: where they begin, then where they lead. */
static bool read_steps(struct filter_compiler *c, uint32_t begin, unsigned steps, uint16_t *field)
{
    struct filter_reader *r = &c->reader;
    for (; r->at < r->len && (r->text[r->at] == '.' || r->text[r->at] == '['); steps++) {
        struct filter_field step = {0};
        bool index = r->text[r->at] == '[';
        if (!index) r->at++;
        if (index ? !mps_filter_read_index(r, &step.index) : !read_key(c, &step)) return false;
        if (steps == FILTER_STEPS_MAX)
            return mps_filter_fail(r, begin, "this path has more than %d steps", FILTER_STEPS_MAX);
        *field = mps_filter_child_of(c, *field, &step);
    }
    return true;
}

/* A path into the document. ".": the document itself. */
static bool read_path(struct filter_compiler *c, struct filter_operand *operand)
{
    struct filter_reader *r = &c->reader;
    struct filter_field step;
    uint32_t begin = r->at;
    unsigned steps = 0;
    *operand = (struct filter_operand){FILTER_FIELD, FILTER_DOCUMENT};
    c->uses_document = true;
    if (r->text[r->at] == '.') {
        char next = r->at + 1 < r->len ? r->text[r->at + 1] : ' ';
        if (strchr(" \t\r\n()[]=!<>^,", next) != NULL) r->at++; /* alone, or before an index */
    } else if (r->text[r->at] != '[') {
        if (!read_key(c, &step)) return false;
        operand->index = mps_filter_child_of(c, operand->index, &step);
        steps = 1;
    }
    return read_steps(c, begin, steps, &operand->index);
}

/* @topic, @level[n], @props.name, @props[n]. */
static bool read_special(struct filter_compiler *c, struct filter_operand *operand)
{
    struct filter_reader *r = &c->reader;
    uint32_t begin = r->at++, at = r->at;
    uint64_t level;
    mps_filter_pass_name(r);
    uint32_t len = r->at - at;
    bool more = r->at < r->len;
    if (len == 5 && memcmp(r->text + at, "topic", len) == 0) {
        *operand = (struct filter_operand){FILTER_TOPIC, 0};
        return true;
    }
    if (len == 5 && memcmp(r->text + at, "level", len) == 0) {
        if (!more || r->text[r->at] != '[') return mps_filter_expected(r, "'[' after '@level'");
        if (!mps_filter_read_index(r, &level)) return false;
        *operand = (struct filter_operand){FILTER_LEVEL, (uint16_t)(level < FILTER_NONE ? level : FILTER_NONE)};
        return true;
    }
    if (len == 5 && memcmp(r->text + at, "props", len) == 0) {
        if (!more || (r->text[r->at] != '.' && r->text[r->at] != '['))
            return mps_filter_expected(r, "'.' or '[' after '@props'");
        *operand = (struct filter_operand){FILTER_HEADER, FILTER_PROPS};
        c->uses_props = true;
        return read_steps(c, begin, 0, &operand->index);
    }
    r->at = begin;
    return mps_filter_fail(r, begin, "expected @topic, @level[n] or @props.name");
}

/* ---- operands ---- */

/* A literal at the cursor, which is known to be at one. */
bool mps_filter_read_literal(struct filter_compiler *c, enum filter_word word, struct filter_operand *operand)
{
    struct filter_reader *r = &c->reader;
    struct filter_value *literal = &c->literals[c->literal_count];
    *operand = (struct filter_operand){FILTER_LITERAL, c->literal_count++};
    *literal = (struct filter_value){.head.type = MPS_NIL};
    if (word != FILTER_WORD_NONE) {
        if (word != FILTER_WORD_NIL) literal->head.type = MPS_BOOL;
        literal->head.boolean = word == FILTER_WORD_TRUE;
        mps_filter_pass_name(r);
        return true;
    }
    if (r->text[r->at] != '"') return mps_filter_read_number(r, &literal->head);
    literal->head.type = MPS_STR;
    literal->body = c->bytes + c->byte_count;
    if (!mps_filter_read_text(r, c->bytes + c->byte_count, &literal->head.count)) return false;
    c->byte_count += literal->head.count;
    return true;
}

bool mps_filter_at_literal(struct filter_reader *r, enum filter_word word)
{
    char next = mps_filter_peek(r);
    return word == FILTER_WORD_TRUE || word == FILTER_WORD_FALSE || word == FILTER_WORD_NIL ||
           (next >= '0' && next <= '9') || next == '-' || next == '"';
}

static bool at_path(struct filter_reader *r, enum filter_word word)
{
    char next = mps_filter_peek(r);
    return word == FILTER_WORD_NONE && (mps_filter_at_name(r) || next == '.' || next == '[' || next == '@');
}

/* Reads a path or a literal behind blanks. due: how a message calls what is due there. */
bool mps_filter_read_operand(struct filter_compiler *c, const char *due, bool literals, struct filter_operand *operand)
{
    struct filter_reader *r = &c->reader;
    enum filter_word word = mps_filter_peek_word(r);
    bool literal = literals && mps_filter_at_literal(r, word);
    if (!literal && !at_path(r, word)) return mps_filter_expected(r, "%s", due);
    if (!mps_filter_count_node(c, r->at)) return false;
    if (literal) return mps_filter_read_literal(c, word, operand);
    return r->text[r->at] == '@' ? read_special(c, operand) : read_path(c, operand);
}
