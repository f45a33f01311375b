#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void inbox_add(struct inbox *inbox, const void *bytes, size_t len)
{
    if (inbox->len + len > inbox->cap) {
        inbox->cap = 2 * (inbox->len + len);
        inbox->at = realloc(inbox->at, inbox->cap);
        if (inbox->at == NULL) abort();
    }
    if (len > 0) memcpy(inbox->at + inbox->len, bytes, len);
    inbox->len += len;
}

void inbox_take(struct inbox *inbox, size_t len)
{
    inbox->len -= len;
    memmove(inbox->at, inbox->at + len, inbox->len);
}

/* Cuts the text at the next `cut` and moves *rest behind it. NULL: there is no more. */
static char *next_part(char **rest, const char *cut)
{
    return strsep(rest, cut);
}

static bool parse_patterns(char *text, struct stage_stream *out)
{
    for (char *pattern; (pattern = next_part(&text, ",")) != NULL;) {
        if (*pattern == '\0' || out->patterns_count == STAGE_PATTERNS_MAX) return false;
        out->patterns[out->patterns_count++] = pattern;
    }
    return out->patterns_count > 0;
}

static bool parse_option(const char *word, struct stage_stream *out)
{
    const struct {
        const char *name;
        uint64_t *number;
    } known[] = {{"max_msgs=", &out->max_msgs}, {"max_bytes=", &out->max_bytes}, {"max_age_ms=", &out->max_age_ms}};
    if (strcmp(word, "refuses") == 0) return out->refuses = true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].name);
        if (strncmp(word, known[i].name, len) != 0) continue;
        char *end;
        *known[i].number = strtoull(word + len, &end, 10);
        return *end == '\0' && *known[i].number > 0;
    }
    return false;
}

bool stage_stream_parse(const char *text, struct stage_stream *out)
{
    *out = (struct stage_stream){0};
    if (strlen(text) >= sizeof out->text) return false;
    memcpy(out->text, text, strlen(text) + 1);
    char *rest = out->text;
    out->name = next_part(&rest, " ");
    char *patterns = next_part(&rest, " ");
    if (patterns == NULL || !parse_patterns(patterns, out)) return false;
    for (char *word; (word = next_part(&rest, " ")) != NULL;) {
        if (!parse_option(word, out)) return false;
    }
    return true;
}

bool stage_store_parse(const char *text, struct stage_store *out)
{
    static const struct {
        const char *words;
        enum stage_store_event event;
    } known[] = {
        {"holds", STORE_HOLDS}, {"goes on", STORE_GOES_ON}, {"is full", STORE_IS_FULL}, {"fails", STORE_FAILS}};
    *out = (struct stage_store){0};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(text, known[i].words) != 0) continue;
        out->event = known[i].event;
        return true;
    }
    unsigned long long position;
    int len = 0;
    out->event = STORE_DAMAGES;
    bool reads = sscanf(text, "damages %u %llu%n", &out->stream, &position, &len) == 2 && text[len] == '\0';
    out->position = position;
    return reads;
}
