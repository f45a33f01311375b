#include "format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

static void add(struct buffer *items, enum format_what what, const char *text, size_t len)
{
    struct format_item item = {.what = what, .text = text, .len = len};
    buffer_append(items, &item, sizeof item);
}

/* What the letter after a % stands for. False: nothing. */
static bool add_letter(struct buffer *items, char letter)
{
    switch (letter) {
    case 't': add(items, FORMAT_TOPIC, "", 0); return true;
    case 'p': add(items, FORMAT_PAYLOAD, "", 0); return true;
    case 'j': add(items, FORMAT_JSON, "", 0); return true;
    case 'r': add(items, FORMAT_RAW, "", 0); return true;
    case 'T': add(items, FORMAT_TIME, "", 0); return true;
    case 'q': add(items, FORMAT_SEQ, "", 0); return true;
    case 'n': add(items, FORMAT_LITERAL, "\n", 1); return true;
    case '%': add(items, FORMAT_LITERAL, "%", 1); return true;
    default: return false;
    }
}

static bool parse(struct buffer *items, const char *text, char *error, size_t error_cap)
{
    bool newline = false;
    while (*text) {
        size_t literal = strcspn(text, "%");
        if (literal > 0) {
            add(items, FORMAT_LITERAL, text, literal);
            text += literal;
            newline = false;
            continue;
        }
        newline = text[1] == 'n';
        bool header = text[1] == 'h';
        const char *brace = text + 1 + header;
        if (*brace == '{') {
            size_t name = strcspn(brace + 1, "}");
            if (name == 0 || brace[1 + name] == '\0') {
                const char *what = header ? "%h{" : "%{";
                snprintf(error, error_cap, name ? "'%s' without '}'" : "'%s}' names nothing", what);
                return false;
            }
            add(items, header ? FORMAT_HEADER : FORMAT_FIELD, brace + 1, name);
            text = brace + name + 2;
        } else if (add_letter(items, text[1])) {
            text += 2;
        } else {
            snprintf(error, error_cap,
                     text[1] ? "'%%%c' is unknown; there are %%t %%p %%j %%r %%T %%q %%{field} %%h{header} %%n %%%%"
                             : "a single '%%' at the end; '%%%%' prints one",
                     text[1]);
            return false;
        }
    }
    if (!newline) add(items, FORMAT_LITERAL, "\n", 1);
    return true;
}

bool format_parse(struct format *format, const char *text, char *error, size_t error_cap)
{
    struct buffer items = {0};
    if (!parse(&items, text, error, error_cap)) {
        buffer_free(&items);
        return false;
    }
    *format =
        (struct format){.items = (struct format_item *)(void *)items.data, .count = items.len / sizeof *format->items};
    return true;
}

void format_free(struct format *format)
{
    free(format->items);
    *format = (struct format){0};
}
