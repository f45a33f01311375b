#include "help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define HELP_COLUMN 24
#define COMMAND_WIDTH 9

/* What is put around headings and around what can be typed: nothing, or the terminal's colours. */
struct style {
    const char *heading, *word, *end;
};

static struct style style_of_output(void)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    bool plain = (no_color && *no_color) || !terminal || strcmp(terminal, "dumb") == 0 || !isatty(STDOUT_FILENO);
    return plain ? (struct style){"", "", ""} : (struct style){"\033[1m", "\033[36m", "\033[0m"};
}

static void print_heading(const struct style *style, const char *text)
{
    printf("\n%s%s%s\n", style->heading, text, style->end);
}

/* A column of what can be typed, and beside it what it means; lines after the first begin there, too. */
static void print_row(const struct style *style, const char *left, const char *help)
{
    int len = (int)strlen(left);
    bool fits = len + 2 <= HELP_COLUMN;
    printf("%s%s%s%*s", style->word, left, style->end, fits ? HELP_COLUMN - len : 0, "");
    if (!fits) printf("\n%*s", HELP_COLUMN, "");
    for (const char *p = help; *p; p++) {
        putchar(*p);
        if (*p == '\n') printf("%*s", HELP_COLUMN, "");
    }
    putchar('\n');
}

static void print_option(const struct style *style, const struct option_row *row)
{
    char left[80];
    int len;
    if (row->letter && row->name) {
        len = snprintf(left, sizeof left, "  -%c, --%s", row->letter, row->name);
    } else if (row->letter) {
        len = snprintf(left, sizeof left, "  -%c", row->letter);
    } else {
        len = snprintf(left, sizeof left, "      --%s", row->name);
    }
    if (row->value) snprintf(left + len, sizeof left - (size_t)len, " %s", row->value);
    print_row(style, left, row->help);
}

static void print_options(const struct style *style, const struct usage *usage)
{
    for (size_t t = 0; usage->tables[t]; t++) {
        if (usage->tables[t]->title) print_heading(style, usage->tables[t]->title);
        for (const struct option_row *row = usage->tables[t]->rows; row->set; row++) print_option(style, row);
    }
    if (!usage->tables[0]) print_heading(style, "Options");
    print_row(style, "  -h, --help", "print this and end");
}

static void print_commands(const struct style *style, const struct command *const *commands)
{
    print_heading(style, "Commands, each with --help of its own");
    for (; *commands; commands++) {
        printf("  %s%-*s%s%s\n", style->word, COMMAND_WIDTH, (*commands)->name, style->end, (*commands)->summary);
    }
}

static void print_exit_codes(const int *wanted)
{
    for (; *wanted >= 0; wanted++) {
#define EXIT(number, NAME, text) \
    if (*wanted == (number)) printf("  %3d  %s\n", (number), (text));
        EXIT_CODES(EXIT)
#undef EXIT
    }
}

void help_print(const struct usage *usage)
{
    const struct style style = style_of_output();
    printf("%sUsage:%s %s [OPTION]...%s%s\n\n%s\n", style.heading, style.end, usage->command,
           *usage->arguments ? " " : "", usage->arguments, usage->summary);
    if (usage->commands) print_commands(&style, usage->commands);
    print_options(&style, usage);
    if (usage->notes) printf("\n%s\n", usage->notes);
    print_heading(&style, "Examples");
    for (const char *const *example = usage->examples; *example; example++) printf("  %s\n", *example);
    print_heading(&style, "Exit codes");
    if (usage->own_exit_codes) fputs(usage->own_exit_codes, stdout);
    else print_exit_codes(usage->exit_codes);
    printf("  128 + N  ended by signal N\n");
}
