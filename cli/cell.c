#include "cell.h"

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "utf8.h"

#define CUT "\xe2\x80\xa6" /* … */
#define GLYPH_MAX 16       /* bytes of a character, or of the escape for it */
#define COMBINED_MAX 2     /* marks over one character that are let through: more would grow over other lines */

void cell_use_utf8(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
}

struct glyph {
    char text[GLYPH_MAX];
    size_t len, width;
};

/* Where the next character comes from, and how many marks the one before it has. */
struct cell_reader {
    const char *text;
    size_t len;
    int combined; /* COMBINED_MAX at the begin: there is nothing to stand over */
};

static void put_escape(struct glyph *glyph, const char *before, int digits, uint32_t code)
{
    int len = snprintf(glyph->text, sizeof glyph->text, "\\%s", before);
    if (digits > 0)
        len += snprintf(glyph->text + len, sizeof glyph->text - (size_t)len, "%0*x", digits, (unsigned)code);
    glyph->len = glyph->width = (size_t)len;
}

static void escape_character(struct glyph *glyph, uint32_t code)
{
    switch (code) {
    case '\0': put_escape(glyph, "0", 0, 0); break;
    case '\t': put_escape(glyph, "t", 0, 0); break;
    case '\n': put_escape(glyph, "n", 0, 0); break;
    case '\r': put_escape(glyph, "r", 0, 0); break;
    default:
        if (code < 0x80) put_escape(glyph, "x", 2, code);
        else if (code < 0x10000) put_escape(glyph, "u", 4, code);
        else put_escape(glyph, "U", 8, code);
    }
}

static bool next_glyph(struct cell_reader *reader, struct glyph *glyph)
{
    if (reader->len == 0) return false;
    uint32_t code = 0;
    size_t size = utf8_read(reader->text, reader->len, &code);
    int width = size == 0 || utf8_is_invisible(code) ? -1 : wcwidth((wchar_t)code);
    if (width == 0 && (code == 0 || reader->combined >= COMBINED_MAX)) width = -1;
    if (size == 0) {
        put_escape(glyph, "x", 2, (uint8_t)*reader->text);
        size = 1;
    } else if (width < 0) {
        escape_character(glyph, code);
    } else {
        memcpy(glyph->text, reader->text, size);
        glyph->len = size;
        glyph->width = (size_t)width;
    }
    reader->combined = width > 0 ? 0 : width == 0 ? reader->combined + 1 : COMBINED_MAX;
    reader->text += size;
    reader->len -= size;
    return true;
}

static struct cell_reader read_text(const char *text, size_t len)
{
    return (struct cell_reader){text, len, COMBINED_MAX};
}

size_t cell_width(const char *text, size_t len)
{
    struct cell_reader reader = read_text(text, len);
    struct glyph glyph;
    size_t width = 0;
    while (next_glyph(&reader, &glyph)) width += glyph.width;
    return width;
}

static void put_blanks(struct buffer *line, size_t count)
{
    for (; count > 0; count--) buffer_append(line, " ", 1);
}

void cell_put(struct buffer *line, const char *text, size_t len, size_t width, enum cell_side side)
{
    size_t whole = cell_width(text, len), used = 0;
    bool fits = whole <= width;
    struct cell_reader reader = read_text(text, len);
    struct glyph glyph;
    if (width == 0) return;
    if (fits && side == CELL_RIGHT) put_blanks(line, width - whole);
    while (next_glyph(&reader, &glyph)) {
        if (!fits && used + glyph.width > width - 1) break;
        buffer_append(line, glyph.text, glyph.len);
        used += glyph.width;
    }
    if (!fits) {
        buffer_append(line, CUT, strlen(CUT));
        used++;
    }
    if (!fits || side == CELL_LEFT) put_blanks(line, width - used);
}

void cell_put_all(struct buffer *line, const char *text, size_t len)
{
    struct cell_reader reader = read_text(text, len);
    struct glyph glyph;
    while (next_glyph(&reader, &glyph)) buffer_append(line, glyph.text, glyph.len);
}
