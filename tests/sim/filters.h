/* Filters of a fixed set, each with what it means written out in C, and documents made for them: so the broker's
 * filters are never compared with themselves. */
#ifndef SIM_FILTERS_H
#define SIM_FILTERS_H

#include "match.h"
#include "rng.h"
#include "wire.h"

#define NO_FILTER (-1)
#define DOCUMENT_HEAD_MAX 128 /* bytes of a document without its filler */

/* What the payload and the props of a message say to a filter. */
struct document {
    bool readable;          /* one msgpack document, and no content type that says otherwise */
    bool has_t, t_is_text;
    double t;
    const char *s;          /* NULL: there is none */
    bool has_ok, ok;
    int l_count, l[3];      /* l_count -1: there is none */
    bool has_x;             /* m.x */
    int x;
    bool has_unit;          /* a header "unit": "m/s" */
};

int filter_count(void);
const char *filter_text(int filter);
bool filter_accepts(int filter, const struct document *document, const struct name *topic);
/* A text that is no filter, and the column of what is wrong with it. */
const char *filter_bad(struct rng *rng, uint32_t *column);
void document_make(struct document *document, struct rng *rng);
/* Writes it, with a filler that makes it about len bytes long (at least the document itself). */
void document_put(const struct document *document, struct mps_out *out, uint32_t len, const char *mark);

#endif
