#include "filters.h"

#include <stdio.h>
#include <string.h>

static bool number_above(const struct document *d, double least)
{
    return d->has_t && !d->t_is_text && d->t > least;
}

static bool number_at_most(const struct document *d, double most)
{
    return d->has_t && !d->t_is_text && d->t <= most;
}

static bool text_is(const struct document *d, const char *text)
{
    return d->s != NULL && strcmp(d->s, text) == 0;
}

static bool list_has(const struct document *d, int number)
{
    for (int i = 0; i < d->l_count; i++)
        if (d->l[i] == number) return true;
    return false;
}

static const char *const texts[] = {
    "t > 10",
    "not (t > 10)",
    "s == \"north\" and t <= 20",
    "s in [\"north\", \"west\"] or ok == true",
    "exists(l) and l has 3",
    "l[0] == 1",
    "m.x != 3",
    "@topic ^= \"a/\"",
    "@props.\"unit\" == \"m/s\"",
    "t >= 5.5 and not exists(s)",
    "ok != false or m.\"x\" < -1",
    "@props.\"unit\" == \"m/s\" or t == 7",
};

int filter_count(void)
{
    return (int)(sizeof texts / sizeof *texts);
}

const char *filter_text(int filter)
{
    return texts[filter];
}

static bool document_accepted(int filter, const struct document *d)
{
    switch (filter) {
    case 0: return number_above(d, 10);
    case 1: return !number_above(d, 10);
    case 2: return text_is(d, "north") && number_at_most(d, 20);
    case 3: return text_is(d, "north") || text_is(d, "west") || (d->has_ok && d->ok);
    case 4: return list_has(d, 3);
    case 5: return d->l_count > 0 && d->l[0] == 1;
    case 6: return d->has_x && d->x != 3;
    case 9: return d->has_t && !d->t_is_text && d->t >= 5.5 && d->s == NULL;
    case 10: return (d->has_ok && d->ok) || (d->has_x && d->x < -1);
    case 11: return d->has_unit || (d->has_t && !d->t_is_text && d->t == 7);
    default: return false;
    }
}

bool filter_accepts(int filter, const struct document *document, const struct name *topic)
{
    if (filter == NO_FILTER) return true;
    if (filter == 7) return strncmp(topic->text, "a/", 2) == 0;
    if (filter == 8) return document->has_unit;
    return document->readable && document_accepted(filter, document);
}

const char *filter_bad(struct rng *rng, uint32_t *column)
{
    static const struct {
        const char *text;
        uint32_t column;
    } bad[] = {{"a >", 4}, {"a > 1 and", 10}, {"(t == 1", 8}, {"a ! b", 3}, {"", 1}};
    uint32_t i = rng_below(rng, sizeof bad / sizeof *bad);
    *column = bad[i].column;
    return bad[i].text;
}

void document_make(struct document *document, struct rng *rng)
{
    static const char *const sides[] = {"north", "south", "west"};
    *document = (struct document){.readable = true, .l_count = -1};
    document->has_t = rng_percent(rng, 80);
    document->t_is_text = rng_percent(rng, 10);
    document->t = (int)rng_below(rng, 30) - 5;
    if (rng_percent(rng, 20)) document->t += 0.5;
    if (rng_percent(rng, 50)) document->s = sides[rng_below(rng, 3)];
    document->has_ok = rng_percent(rng, 50);
    document->ok = rng_percent(rng, 50);
    if (rng_percent(rng, 40)) document->l_count = (int)rng_below(rng, 4);
    for (int i = 0; i < document->l_count; i++) document->l[i] = (int)rng_below(rng, 5);
    document->has_x = rng_percent(rng, 40);
    document->x = (int)rng_below(rng, 6) - 2;
}

/* Whole numbers as integers or as doubles: to a filter they are the same. */
static void put_number(struct mps_out *out, double number, bool as_double)
{
    uint8_t bytes[9] = {0xcb};
    uint64_t bits;
    if (!as_double && number == (double)(int)number) {
        mps_put_int(out, (int64_t)number);
        return;
    }
    memcpy(&bits, &number, sizeof bits);
    for (int i = 0; i < 8; i++) bytes[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
    mps_put_raw(out, (mps_view){bytes, sizeof bytes});
}

static void put_fields(const struct document *d, struct mps_out *out)
{
    if (d->has_t) {
        mps_put_text(out, mps_text("t"));
        if (d->t_is_text) mps_put_text(out, mps_text("warm"));
        else put_number(out, d->t, d->ok);
    }
    if (d->s != NULL) {
        mps_put_text(out, mps_text("s"));
        mps_put_text(out, mps_text(d->s));
    }
    if (d->has_ok) {
        mps_put_text(out, mps_text("ok"));
        mps_put_bool(out, d->ok);
    }
    if (d->l_count >= 0) {
        mps_put_text(out, mps_text("l"));
        mps_put_array(out, (uint32_t)d->l_count);
        for (int i = 0; i < d->l_count; i++) mps_put_int(out, d->l[i]);
    }
    mps_put_text(out, mps_text("m"));
    mps_put_map(out, d->has_x ? 1 : 0);
    if (d->has_x) {
        mps_put_text(out, mps_text("x"));
        mps_put_int(out, d->x);
    }
}

void document_put(const struct document *document, struct mps_out *out, uint32_t len, const char *mark)
{
    uint32_t begin = out->len;
    uint32_t fields = 2u + document->has_t + (document->s != NULL) + document->has_ok + (document->l_count >= 0);
    mps_put_map(out, fields);
    put_fields(document, out);
    mps_put_text(out, mps_text("p"));
    uint32_t used = out->len - begin + 5, filler = (uint32_t)strlen(mark);
    if (used + filler < len) filler = len - used;
    mps_put_bin_head(out, filler);
    for (uint32_t i = 0; i < filler; i++) {
        uint8_t byte = i < strlen(mark) ? (uint8_t)mark[i] : (uint8_t)'.';
        mps_put_raw(out, (mps_view){&byte, 1});
    }
}
