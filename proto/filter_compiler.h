/* An expression that is being compiled: private to filter_read.c, filter_operand.c and filter_compile.c. What reads and
 * returns a bool returns false after a mistake, which then is noted. */
#ifndef MPS_FILTER_COMPILER_H
#define MPS_FILTER_COMPILER_H

#include "filter_program.h"

#define FILTER_NESTING_MAX 64 /* parentheses in parentheses */

/* ---- reading an expression (filter_read.c) ---- */

/* A cursor over the text. Once something was wrong, .failed stays, and the first mistake is in *error. */
struct filter_reader {
    const char *text;
    uint32_t len, at;
    bool failed;
    struct mps_filter_error *error;
};

enum filter_word {
    FILTER_WORD_NONE, /* not one of them */
    FILTER_WORD_AND,
    FILTER_WORD_OR,
    FILTER_WORD_NOT,
    FILTER_WORD_IN,
    FILTER_WORD_HAS,
    FILTER_WORD_EXISTS,
    FILTER_WORD_TRUE,
    FILTER_WORD_FALSE,
    FILTER_WORD_NIL,
};

/* Notes a mistake at a place in the text; the first one stays. Returns false. */
bool mps_filter_fail(struct filter_reader *r, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for what stands at the cursor: "expected <format>, found ')'". */
bool mps_filter_expected(struct filter_reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

char mps_filter_peek(struct filter_reader *r);                  /* the next byte that is no blank; 0 at the end */
bool mps_filter_take(struct filter_reader *r, char byte);       /* past it, if it is the next one after blanks */
bool mps_filter_at_name(const struct filter_reader *r);         /* the cursor is at a byte that begins a name */
enum filter_word mps_filter_peek_word(struct filter_reader *r); /* the reserved word that is next after blanks */
void mps_filter_pass_name(struct filter_reader *r);             /* past the name or word at the cursor */

/* Each reads what is at the cursor. */
bool mps_filter_read_text(struct filter_reader *r, uint8_t *room, uint32_t *len); /* room: for what is written */
bool mps_filter_read_number(struct filter_reader *r, struct mps_head *head);
bool mps_filter_read_index(struct filter_reader *r, uint64_t *index); /* [index] */

/* ---- the parts of a program (filter_operand.c, filter_compile.c) ---- */

/* A field while the tree grows: its children are a list. */
struct filter_draft {
    struct filter_field field; /* first_child heads the list */
    uint16_t next, last_child;
};

/* An operator that waits for what stands behind it. The tightest first. */
enum filter_binding { FILTER_BINDS_OPEN, FILTER_BINDS_NOT, FILTER_BINDS_AND, FILTER_BINDS_OR };
struct filter_pending {
    enum filter_binding what;
    uint16_t at;     /* of its instruction */
    uint32_t column; /* FILTER_BINDS_OPEN: where the parenthesis stands */
};

struct filter_compiler {
    struct filter_reader reader;
    uint32_t nodes, nesting;
    struct filter_instr instrs[MPS_FILTER_NODES_MAX];
    struct filter_value literals[MPS_FILTER_NODES_MAX];
    struct filter_draft drafts[FILTER_FIELDS_MAX(MPS_FILTER_TEXT_MAX)];
    uint8_t bytes[MPS_FILTER_TEXT_MAX]; /* of keys and texts, escapes resolved */
    uint32_t byte_count;
    uint16_t instr_count, literal_count, draft_count;
    struct filter_pending pending[FILTER_NESTING_MAX + MPS_FILTER_NODES_MAX];
    uint32_t pending_count;
    bool uses_document, uses_props;
};

/* Counts one more operator, path or literal, which begins at a place in the text. */
bool mps_filter_count_node(struct filter_compiler *c, uint32_t at);
/* Appends a field to the tree, without a parent. */
uint16_t mps_filter_add_field(struct filter_compiler *c, const struct filter_field *field);
/* The child of a field that this step leads to: one that is there already, or a new one. */
uint16_t mps_filter_child_of(struct filter_compiler *c, uint16_t parent, const struct filter_field *step);
/* Whether a literal is next after blanks; word: the reserved word that is, if any. */
bool mps_filter_at_literal(struct filter_reader *r, enum filter_word word);
/* Reads the literal at the cursor, which is known to be at one. */
bool mps_filter_read_literal(struct filter_compiler *c, enum filter_word word, struct filter_operand *operand);
/* Reads a path or, if they are allowed, a literal behind blanks. due: how a message calls what is due there. */
bool mps_filter_read_operand(struct filter_compiler *c, const char *due, bool literals, struct filter_operand *operand);

#endif
