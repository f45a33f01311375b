#include "complete.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "complete_broker.h"
#include "connect.h"
#include "contexts.h"
#include "utf8.h"

static bool is_active;
static const char *typed = "";        /* of the candidate */
static const char *before_typed = ""; /* what stands in the same word before it: "--ack=" */
static size_t before_len;
static bool takes_choices; /* while an option is asked what its value may be */

void complete_begin(void)
{
    is_active = true;
}

bool completing(void)
{
    return is_active;
}

const char *complete_typed(void)
{
    return typed;
}

/* ---- candidates ---- */

static bool is_shown(const char *word, size_t len)
{
    for (size_t at = 0, size; at < len; at += size) {
        uint32_t code = 0;
        size = utf8_read(word + at, len - at, &code);
        if (size == 0 || code < ' ' || (code >= 0x7f && code < 0xa0) || utf8_is_invisible(code)) return false;
    }
    return true;
}

void complete_offer(const char *word, size_t len, const char *help)
{
    size_t typed_len = strlen(typed);
    if (len < typed_len || memcmp(word, typed, typed_len) != 0 || !is_shown(word, len)) return;
    printf("%.*s%.*s", (int)before_len, before_typed, (int)len, word);
    if (help) printf("\t%.*s", (int)strcspn(help, "\n;"), help); /* what comes later are details */
    putchar('\n');
}

static void offer(const char *word, const char *help)
{
    complete_offer(word, strlen(word), help);
}

static void offer_all(const char *const *names)
{
    for (; *names; names++) offer(*names, NULL);
}

static void offer_urls(void)
{
    offer("unix:", "a Unix socket: unix:/path");
    offer("tcp://", "tcp://host:port");
    offer("tls://", "with TLS: tls://host:port");
}

/* ---- what stands where ---- */

static const struct connection_options *connection_of(const struct usage *usage)
{
    static const struct connection_options none;
    for (size_t t = 0; usage->tables[t]; t++) {
        if (usage->tables[t]->rows == connection_option_rows) return usage->tables[t]->into;
    }
    return &none;
}

/* By the name that the help has for it. False: that does not say what it may be. */
static bool complete_kind(const struct usage *usage, const char *kind)
{
    if (strncmp(kind, "FILE", 4) == 0 || strcmp(kind, "CMD") == 0) {
        puts("files");
        if (*kind == 'F') offer("-", NULL);
    } else if (strncmp(kind, "TOPIC", 5) == 0) {
        puts("words");
        complete_topics(connection_of(usage), false);
    } else if (strncmp(kind, "PATTERN", 7) == 0) {
        puts("words");
        complete_topics(connection_of(usage), true);
    } else if (strcmp(kind, "STREAM") == 0) {
        puts("words");
        complete_streams(connection_of(usage));
    } else if (strcmp(kind, "CONTEXT") == 0) {
        puts("words");
        contexts_complete();
    } else if (strcmp(kind, "URL") == 0) {
        puts("open");
        offer_urls();
    } else {
        return false;
    }
    return true;
}

void complete_choices(const char *const *names)
{
    if (takes_choices) offer_all(names);
}

void complete_value(const struct usage *usage, const struct option_row *row, void *into, const char *word)
{
    typed = word;
    if (complete_kind(usage, row->value)) return;
    puts("words");
    takes_choices = true;
    (void)row->set(into, ""); /* tells us by complete_choices() what it takes, if it takes one of several words */
    takes_choices = false;
}

static void complete_option(const struct usage *usage, const char *word)
{
    char name[80];
    size_t len = strcspn(word, "=");
    void *into = NULL;
    if (word[len] == '=') {
        const struct option_row *row = len > 2 ? option_find(usage, word + 2, len - 2, &into) : NULL;
        before_typed = word;
        before_len = len + 1;
        if (row && row->value) complete_value(usage, row, into, word + len + 1);
        return;
    }
    puts("words");
    typed = word;
    for (size_t t = 0; usage->tables[t]; t++) {
        for (const struct option_row *row = usage->tables[t]->rows; row->set; row++) {
            if (row->name) snprintf(name, sizeof name, "--%s", row->name);
            else snprintf(name, sizeof name, "-%c", row->letter);
            offer(name, row->help);
        }
    }
    offer("--help", "print what there is to know, and end");
}

/* The n-th of the words in "TOPIC [MSG]", without its brackets; the last one again if it ends with "...". */
static void argument_kind(const char *arguments, int n, char *kind, size_t cap)
{
    size_t len = 0;
    for (*kind = '\0'; *arguments; arguments += strspn(arguments, " ")) {
        arguments += strspn(arguments, "[");
        len = strcspn(arguments, " .]");
        snprintf(kind, cap, "%.*s", (int)len, arguments);
        bool again = strncmp(arguments + len, "...", 3) == 0;
        arguments += strcspn(arguments, " ");
        if (n-- == 0 || again) return;
    }
    *kind = '\0';
}

static void complete_argument(const struct usage *usage, int before)
{
    char kind[80];
    if (usage->commands) {
        puts("words");
        for (const struct command *const *command = usage->commands; *command; command++)
            offer((*command)->name, (*command)->summary);
        return;
    }
    argument_kind(usage->arguments, before, kind, sizeof kind);
    if (complete_kind(usage, kind)) return;
    puts("words");
    if (!strchr(kind, '|')) return;
    for (char *name = kind, *end; name; name = end) {
        end = strchr(name, '|');
        if (end) *end++ = '\0';
        offer(name, NULL);
    }
}

void complete_word(const struct usage *usage, const char *word, bool options_ended, int before)
{
    typed = word;
    if (!options_ended && word[0] == '-') complete_option(usage, word);
    else complete_argument(usage, before);
}
