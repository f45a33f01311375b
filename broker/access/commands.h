/* pubsubd's commands that make the files of tokens and passwords: pubsubd token .., pubsubd passwd .. */
#ifndef BROKER_ACCESS_COMMANDS_H
#define BROKER_ACCESS_COMMANDS_H

/* Runs argv[1], if it is such a command. Returns its exit code, or -1: it is none. Codes: 0 done; 1 the file can't be read or
 * written, or there is no such entry; 2 wrong arguments. */
int access_command(int argc, char **argv);

#endif
