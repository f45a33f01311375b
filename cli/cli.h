/* What all commands of `pubsub` share: exit codes, the one way to complain, and what a command is.
 * Thread: the program has one. */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes: EXIT(number, NAME, what it means, for the help). A signal ends with 128 + its number. */
#define EXIT_CODES(EXIT)                                                             \
    EXIT(0, DONE, "done")                                                            \
    EXIT(1, ERROR, "another error")                                                  \
    EXIT(2, USAGE, "wrong usage")                                                    \
    EXIT(3, CONNECT, "cannot connect")                                               \
    EXIT(4, AUTH, "not authorised, or not believed who this is")                     \
    EXIT(5, REFUSED, "refused (too large, quota, bad topic, option or filter)")      \
    EXIT(6, NOBODY, "nobody answers, or fewer subscriptions matched than --require") \
    EXIT(7, LOST, "connection lost and not resumed")                                 \
    EXIT(8, GAP, "messages were lost, with --fail-on-gap")                           \
    EXIT(124, TIME, "time ran out before all messages or answers were there")

enum exit_code {
#define EXIT(number, NAME, text) CLI_EXIT_##NAME = (number),
    EXIT_CODES(EXIT)
#undef EXIT
        CLI_EXIT_SIGNAL = 128,
};

/* Prints one line to stderr that starts with "pubsub: ". Control characters in it are escaped: names of topics and
 * texts of the broker are other people's. A progress line on the terminal is cleared before. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

const char *last_complaint(void); /* its text; "": there was none */

/* Shows on stderr, if that is a terminal, a text and below it a mark at one of its bytes, 1-based. */
void point_at(const char *text, size_t column);

/* The exit code for a PUBSUB_E* error that ended a connection, and for a code with which the broker refused something.
 */
int exit_code_of_error(int error);
int exit_code_of_refusal(uint32_t code);

uint64_t now_ns(void);   /* monotonic */
uint64_t start_ns(void); /* when the program started, near enough; monotonic */

/* A command, e.g. `pubsub pub`. The arguments begin after the command's name; connection holds what was said before. */
struct connection_options;
struct command {
    const char *name;
    const char *summary; /* one line for `pubsub --help` */
    int (*run)(int argc, char **argv, const struct connection_options *connection);
};
extern const struct command pub_command, sub_command, req_command, reply_command, get_command, stream_command,
    bench_command, status_command, top_command, check_command, trace_command, context_command;

#endif
