/* A program, or a command, that has commands: finds the one that was typed and runs it. Adding a command is a row in
 * the list of whoever has it: help, suggestions, completion and man pages are made from that. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli.h"

/* Runs argv[0] of argv[0..argc), argc > 0.
 *   of        whose commands they are: "pubsub", "pubsub stream"
 *   commands  ended by NULL
 * Returns its exit code; CLI_EXIT_USAGE if there is none of that name: complained, with the one that may be meant. */
int commands_run(const char *of, const struct command *const *commands, int argc, char **argv,
                 const struct connection_options *connection);

/* `pubsub help COMMAND...`: what COMMAND... --help prints. argv[0..argc) are the words, argc > 0. Returns as above. */
int commands_help(const char *of, const struct command *const *commands, int argc, char **argv,
                  const struct connection_options *connection);

#endif
