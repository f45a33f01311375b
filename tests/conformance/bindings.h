/* What a conversation has given names to: `$inbox` in a pattern takes a text or a number of an answer, `$inbox` in later bytes and
 * patterns is that text. Ownership: the bindings', bindings_free() gives it back. Allocation failure aborts. */
#ifndef CONFORMANCE_BINDINGS_H
#define CONFORMANCE_BINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "wire.h"

#define BINDINGS_MAX 16
#define BINDING_NAME_MAX 15 /* bytes */

struct bindings {
    struct {
        char name[BINDING_NAME_MAX + 1];
        uint8_t *text;
        uint32_t len;
    } at[BINDINGS_MAX];
    size_t count;
};

/* Length of the name at p, behind a '$': 1..BINDING_NAME_MAX lower case letters. 0: there is none. */
size_t bindings_name_len(const char *p);
/* The text of a name; ptr NULL: it has none yet. */
mps_view bindings_find(const struct bindings *bindings, const char *name, size_t name_len);
/* Gives a name that has none a text. Returns false if there are too many. */
bool bindings_add(struct bindings *bindings, const char *name, size_t name_len, mps_view text);
/* Forgets all but the first count. */
void bindings_cut(struct bindings *bindings, size_t count);
void bindings_free(struct bindings *bindings);

#endif
