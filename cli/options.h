/* Options of a command as a table, from which both the parser and the help are made, so that the help can't lie.
 * Limits: OPTION_TABLES_MAX tables a command. Nothing is allocated; values point into argv. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTION_TABLES_MAX 8

/* Takes an option's value (NULL if it has none). False: complained, the usage is wrong. */
typedef bool (*option_setter)(void *into, const char *value);

struct option_row {
    char letter;       /* 0: none */
    const char *name;  /* long name without the dashes; NULL: none */
    const char *value; /* name of its value for the help; NULL: it has none. "[N]": a number that may be left out, for
                          options without a letter */
    option_setter set;
    const char *help; /* "; default ..." included where there is one */
};

/* Some rows and where their setters store. A row without setter ends the table. */
struct option_table {
    const char *title; /* over its rows in the help; NULL: they go on under the title before */
    const struct option_row *rows;
    void *into;
};

struct command;

struct usage {
    const char *command;                                      /* "pubsub pub" */
    const char *arguments;                                    /* "TOPIC [MSG]" */
    const char *summary;                                      /* what it does, a sentence or a few lines */
    const struct option_table *tables[OPTION_TABLES_MAX + 1]; /* ended by NULL */
    const struct command *const *commands;                    /* those that it has, ended by NULL; NULL: it has none */
    const char *notes;                                        /* after the options; NULL: none */
    const char *const *examples;                              /* ended by NULL */
    const int *exit_codes;                                    /* those that can happen, ended by a negative number */
    const char *own_exit_codes; /* lines of the help, of a command whose codes mean something else; NULL: exit_codes */
};

enum options_result { OPTIONS_OK, OPTIONS_HELP, OPTIONS_WRONG };

/* Parses argv[0..argc). What isn't an option is moved to the front of argv, *argument_count of them; with
 * stop_at_argument parsing ends at the first such, and all from there on is moved.
 * "--" ends the options, a lone "-" is an argument. OPTIONS_HELP: --help was there, and is printed, or a word was completed. OPTIONS_WRONG:
 * complained. */
enum options_result options_parse(const struct usage *usage, int argc, char **argv, bool stop_at_argument,
                                  int *argument_count);

/* The option of that long name, len bytes of it, and where its table stores; or NULL. */
const struct option_row *option_find(const struct usage *usage, const char *name, size_t len, void **into);

/* Complains that options or arguments don't go together: why, and where to read about them. Returns false. */
bool options_wrong(const char *command, const char *why);

/* A whole number of at least `least`, decimal. False: complained, naming the option. */
bool option_number(const char *option, const char *value, unsigned long long least, unsigned long long *number);

/* A time as people write it, of at least least_ms and at most most_ms (0: no limit). False: complained. */
bool option_time(const char *option, const char *value, uint64_t least_ms, uint64_t most_ms, uint64_t *ms);

/* The place of value in names, which NULL ends; or -1: complained, with all of them. */
int option_choice(const char *option, const char *value, const char *const *names);

#endif
