/* Compiling an expression: operators by precedence on a stack of their own, comparisons one after the other, and at the
 * end all parts into one piece of memory. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "filter_compiler.h"

/* ---- comparisons ---- */

static struct filter_instr *emit(struct filter_compiler *c, enum filter_op op)
{
    struct filter_instr *instr = &c->instrs[c->instr_count++]; /* each has counted as a node */
    *instr = (struct filter_instr){.op = (uint8_t)op};
    return instr;
}

/* exists(path); the word is at the cursor. */
static bool read_exists(struct filter_compiler *c)
{
    struct filter_reader *r = &c->reader;
    struct filter_operand operand;
    if (!mps_filter_count_node(c, r->at)) return false;
    mps_filter_pass_name(r);
    if (!mps_filter_take(r, '(')) return mps_filter_expected(r, "'(' after 'exists'");
    if (!mps_filter_read_operand(c, "a path", false, &operand)) return false;
    if (!mps_filter_take(r, ')')) return mps_filter_expected(r, "')' after the path");
    emit(c, FILTER_EXISTS)->left = operand;
    return true;
}

/* The list behind in. */
static bool read_list(struct filter_compiler *c, struct filter_instr *instr)
{
    struct filter_reader *r = &c->reader;
    instr->right = (struct filter_operand){FILTER_LITERAL, c->literal_count};
    if (!mps_filter_take(r, '[')) return mps_filter_expected(r, "'[' after 'in'");
    do {
        struct filter_operand literal;
        enum filter_word word = mps_filter_peek_word(r);
        if (!mps_filter_at_literal(r, word))
            return mps_filter_expected(r, "a number, a text, true, false or nil in the list");
        if (!mps_filter_count_node(c, r->at) || !mps_filter_read_literal(c, word, &literal)) return false;
        instr->count++;
    } while (mps_filter_take(r, ','));
    return mps_filter_take(r, ']') || mps_filter_expected(r, "',' or ']' in the list");
}

/* The operator of a comparison behind blanks, and past it. False and nothing taken if there is none. */
static bool take_operator(struct filter_reader *r, enum filter_op *op, const char **sign)
{
    static const struct {
        char sign[4];
        enum filter_op op;
    } signs[] = {{"==", FILTER_EQ}, {"!=", FILTER_NE}, {"<=", FILTER_LE},    {"<", FILTER_LT},
                 {">=", FILTER_GE}, {">", FILTER_GT},  {"^=", FILTER_BEGINS}};
    enum filter_word word = mps_filter_peek_word(r);
    if (word == FILTER_WORD_IN || word == FILTER_WORD_HAS) {
        *op = word == FILTER_WORD_IN ? FILTER_IN : FILTER_HAS;
        *sign = word == FILTER_WORD_IN ? "in" : "has";
        mps_filter_pass_name(r);
        return true;
    }
    for (unsigned i = 0; i < sizeof signs / sizeof *signs; i++) {
        uint32_t len = (uint32_t)strlen(signs[i].sign);
        if (r->len - r->at < len || memcmp(r->text + r->at, signs[i].sign, len) != 0) continue;
        *op = signs[i].op;
        *sign = signs[i].sign;
        r->at += len;
        return true;
    }
    return false;
}

static const char *kind_of(const struct filter_value *literal)
{
    if (literal->head.type == MPS_STR) return "a text";
    if (literal->head.type == MPS_NIL) return "nil";
    return literal->head.type == MPS_BOOL ? "a bool" : "a number";
}

static const struct filter_value *literal_of(const struct filter_compiler *c, struct filter_operand operand)
{
    return operand.source == FILTER_LITERAL ? &c->literals[operand.index] : NULL;
}

/* What is due in the place of a literal on a side of an operator; NULL: the literal will do. */
static const char *literal_error(enum filter_op op, bool is_left, const struct filter_value *literal)
{
    if (literal == NULL) return NULL;
    bool text = literal->head.type == MPS_STR;
    bool ordered = literal->head.type != MPS_NIL && literal->head.type != MPS_BOOL;
    switch (op) {
    case FILTER_LT:
    case FILTER_LE:
    case FILTER_GT:
    case FILTER_GE: return ordered ? NULL : "a number, a text or a path";
    case FILTER_BEGINS: return text ? NULL : "a text or a path";
    case FILTER_IN:
    case FILTER_HAS: return is_left ? "a path" : NULL;
    case FILTER_EQ:
    case FILTER_NE:
    case FILTER_EXISTS:
    case FILTER_NOT_NIL:
    case FILTER_NOT:
    case FILTER_AND:
    case FILTER_OR: break;
    }
    return NULL;
}

/* Refuses literals that the operator can't compare, and two of them. The operator stands between them. */
static bool check_sides(struct filter_compiler *c, const struct filter_instr *instr, const char *sign, uint32_t left_at,
                        uint32_t right_at)
{
    const struct filter_value *left = literal_of(c, instr->left), *right = literal_of(c, instr->right);
    const char *due = literal_error((enum filter_op)instr->op, true, left);
    if (due != NULL)
        return mps_filter_fail(&c->reader, left_at, "expected %s before '%s', found %s", due, sign, kind_of(left));
    due = literal_error((enum filter_op)instr->op, false, right);
    if (due != NULL)
        return mps_filter_fail(&c->reader, right_at, "expected %s after '%s', found %s", due, sign, kind_of(right));
    if (left == NULL || right == NULL) return true;
    return mps_filter_fail(&c->reader, right_at, "expected a path after '%s', for there is a literal before it", sign);
}

/* Nil in the expression stands for whatever nil is in the data: != nil asks for anything else that is there. */
static void use_not_nil(struct filter_compiler *c, struct filter_instr *instr)
{
    const struct filter_value *left = literal_of(c, instr->left), *right = literal_of(c, instr->right);
    if (instr->op != FILTER_NE) return;
    if (left != NULL && left->head.type == MPS_NIL) instr->left = instr->right;
    else if (right == NULL || right->head.type != MPS_NIL) return;
    instr->op = FILTER_NOT_NIL;
}

/* One comparison, at the cursor. */
static bool read_comparison(struct filter_compiler *c)
{
    struct filter_reader *r = &c->reader;
    if (mps_filter_peek_word(r) == FILTER_WORD_EXISTS) return read_exists(c);
    struct filter_instr instr = {0};
    enum filter_op op;
    const char *sign;
    uint32_t left_at = r->at;
    if (!mps_filter_read_operand(c, "a condition", true, &instr.left)) return false;
    mps_filter_peek(r);
    uint32_t sign_at = r->at;
    if (!take_operator(r, &op, &sign)) return mps_filter_expected(r, "a comparison");
    if (!mps_filter_count_node(c, sign_at)) return false;
    instr.op = (uint8_t)op;
    if (op == FILTER_IN) {
        if (!check_sides(c, &instr, sign, left_at, sign_at) || !read_list(c, &instr)) return false;
    } else {
        char due[80];
        snprintf(due, sizeof due, "a value after '%s'", sign);
        mps_filter_peek(r);
        uint32_t right_at = r->at;
        if (!mps_filter_read_operand(c, due, true, &instr.right)) return false;
        if (!check_sides(c, &instr, sign, left_at, right_at)) return false;
        use_not_nil(c, &instr);
    }
    c->instrs[c->instr_count++] = instr;
    return true;
}

/* ---- and, or, not, parentheses ---- */

static void push(struct filter_compiler *c, struct filter_pending pending)
{
    assert(c->pending_count < sizeof c->pending / sizeof *c->pending);
    c->pending[c->pending_count++] = pending;
}

/* Ends the operators on the stack that bind as tightly as what, or tighter, down to a parenthesis. */
static void end_operators(struct filter_compiler *c, enum filter_binding what)
{
    for (; c->pending_count > 0; c->pending_count--) {
        struct filter_pending *top = &c->pending[c->pending_count - 1];
        if (top->what == FILTER_BINDS_OPEN || top->what > what) return;
        if (top->what == FILTER_BINDS_NOT) emit(c, FILTER_NOT);
        else c->instrs[top->at].target = c->instr_count;
    }
}

/* What may stand before a comparison: not and parentheses. */
static bool read_prefixes(struct filter_compiler *c)
{
    struct filter_reader *r = &c->reader;
    for (;;) {
        bool is_not = mps_filter_peek_word(r) == FILTER_WORD_NOT;
        uint32_t at = r->at;
        if (is_not) {
            if (!mps_filter_count_node(c, at)) return false;
            mps_filter_pass_name(r);
            push(c, (struct filter_pending){.what = FILTER_BINDS_NOT});
        } else if (mps_filter_take(r, '(')) {
            if (c->nesting++ == FILTER_NESTING_MAX)
                return mps_filter_fail(r, at, "it has more than %d parentheses in each other", FILTER_NESTING_MAX);
            push(c, (struct filter_pending){.what = FILTER_BINDS_OPEN, .column = at + 1});
        } else {
            return true;
        }
    }
}

/* Takes the parentheses that end behind a comparison. */
static void read_closings(struct filter_compiler *c)
{
    while (c->nesting > 0 && mps_filter_take(&c->reader, ')')) {
        end_operators(c, FILTER_BINDS_OR);
        c->pending_count--; /* the parenthesis */
        c->nesting--;
    }
}

/* The whole expression. */
static bool read_conditions(struct filter_compiler *c)
{
    struct filter_reader *r = &c->reader;
    for (;;) {
        if (!read_prefixes(c) || !read_comparison(c)) return false;
        read_closings(c);
        enum filter_word word = mps_filter_peek_word(r);
        if (word != FILTER_WORD_AND && word != FILTER_WORD_OR) break;
        if (!mps_filter_count_node(c, r->at)) return false;
        mps_filter_pass_name(r);
        bool is_and = word == FILTER_WORD_AND;
        end_operators(c, is_and ? FILTER_BINDS_AND : FILTER_BINDS_OR);
        push(c, (struct filter_pending){.what = is_and ? FILTER_BINDS_AND : FILTER_BINDS_OR, .at = c->instr_count});
        emit(c, is_and ? FILTER_AND : FILTER_OR);
    }
    if (c->nesting == 0 && r->at < r->len) return mps_filter_expected(r, "'and', 'or' or the end");
    end_operators(c, FILTER_BINDS_OR);
    if (c->nesting == 0) return true;
    return mps_filter_expected(r, "'and', 'or' or ')' for the '(' in column %u",
                               c->pending[c->pending_count - 1].column);
}

/* ---- the program ---- */

static uint32_t nodes_of(uint32_t text_len)
{
    return text_len < MPS_FILTER_NODES_MAX ? text_len : MPS_FILTER_NODES_MAX; /* a node takes a byte at least */
}

size_t mps_filter_size(mps_view text)
{
    uint32_t len = text.len < MPS_FILTER_TEXT_MAX ? text.len : MPS_FILTER_TEXT_MAX;
    return sizeof(struct mps_filter) + FILTER_FIELDS_MAX(len) * sizeof(struct filter_field) +
           nodes_of(len) * (sizeof(struct filter_value) + sizeof(struct filter_instr)) + len;
}

/* Copies the tree level by level, so that the children of a field come to lie side by side. */
static void lay_out_fields(struct filter_compiler *c, struct filter_field *fields, uint16_t *place)
{
    uint16_t order[FILTER_FIELDS_MAX(MPS_FILTER_TEXT_MAX)];
    uint16_t placed = FILTER_ROOT_COUNT;
    for (uint16_t i = 0; i < FILTER_ROOT_COUNT; i++) order[i] = i;
    for (uint16_t i = 0; i < c->draft_count; i++) {
        const struct filter_draft *draft = &c->drafts[order[i]];
        place[order[i]] = i;
        fields[i] = draft->field;
        fields[i].first_child = placed;
        uint16_t child = draft->field.first_child;
        for (uint16_t n = 0; n < draft->field.child_count; n++, child = c->drafts[child].next) order[placed++] = child;
    }
}

static void place_operand(struct filter_operand *operand, const uint16_t *place)
{
    if (operand->source == FILTER_FIELD || operand->source == FILTER_HEADER) operand->index = place[operand->index];
}

/* Moves a pointer into the compiler's bytes over to where they are copied to. */
static const uint8_t *moved(const struct filter_compiler *c, const uint8_t *p, const uint8_t *bytes)
{
    return p == NULL ? NULL : bytes + (p - c->bytes);
}

static struct mps_filter *lay_out(struct filter_compiler *c, void *memory, uint16_t content_type)
{
    struct mps_filter *filter = memory;
    struct filter_value *literals = (struct filter_value *)(filter + 1);
    struct filter_field *fields = (struct filter_field *)(literals + c->literal_count);
    struct filter_instr *instrs = (struct filter_instr *)(fields + c->draft_count);
    uint8_t *bytes = (uint8_t *)(instrs + c->instr_count);
    uint16_t place[FILTER_FIELDS_MAX(MPS_FILTER_TEXT_MAX)];

    memcpy(bytes, c->bytes, c->byte_count);
    lay_out_fields(c, fields, place);
    for (uint16_t i = 0; i < c->draft_count; i++) fields[i].key = moved(c, fields[i].key, bytes);
    for (uint16_t i = 0; i < c->literal_count; i++) {
        literals[i] = c->literals[i];
        literals[i].body = moved(c, literals[i].body, bytes);
    }
    for (uint16_t i = 0; i < c->instr_count; i++) {
        instrs[i] = c->instrs[i];
        place_operand(&instrs[i].left, place);
        place_operand(&instrs[i].right, place);
    }
    *filter = (struct mps_filter){
        .instrs = instrs,
        .literals = literals,
        .fields = fields,
        .instr_count = c->instr_count,
        .field_count = c->draft_count,
        .content_type = place[content_type],
        .uses_document = c->uses_document,
        .uses_props = c->uses_props,
    };
    return filter;
}

/* The place of the first byte that makes the text something else than UTF-8 without NUL, or its length. */
static uint32_t first_bad_byte(mps_view text)
{
    for (uint32_t at = 0, len; at < text.len; at += len) {
        for (len = 1; len <= 4; len++) {
            if (at + len <= text.len && mps_utf8_valid((mps_view){text.ptr + at, len})) break;
        }
        if (len > 4) return at;
    }
    return text.len;
}

struct mps_filter *mps_filter_compile(void *memory, mps_view text, struct mps_filter_error *error)
{
    struct filter_compiler c;
    c.reader =
        (struct filter_reader){.text = text.len > 0 ? (const char *)text.ptr : "", .len = text.len, .error = error};
    c.nodes = c.nesting = c.byte_count = c.pending_count = 0;
    c.instr_count = c.literal_count = c.draft_count = 0;
    c.uses_document = c.uses_props = false;
    for (unsigned i = 0; i < FILTER_ROOT_COUNT; i++) mps_filter_add_field(&c, &(struct filter_field){0});

    uint32_t bad = text.len <= MPS_FILTER_TEXT_MAX ? first_bad_byte(text) : MPS_FILTER_TEXT_MAX;
    if (text.len > MPS_FILTER_TEXT_MAX)
        mps_filter_fail(&c.reader, bad, "it is longer than %d bytes", MPS_FILTER_TEXT_MAX);
    else if (bad < text.len) mps_filter_fail(&c.reader, bad, "it is not UTF-8 without NUL");
    else read_conditions(&c);
    if (c.reader.failed) return NULL;

    uint16_t content_type = FILTER_PROPS;
    if (c.uses_document)
        content_type = mps_filter_child_of(&c, FILTER_PROPS, &(struct filter_field){.index = MPS_PROP_CONTENT_TYPE});
    return lay_out(&c, memory, content_type);
}
