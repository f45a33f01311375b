#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include "nearest.h"

#define NAMES_MAX 32

static const struct command *find(const struct command *const *commands, const char *name)
{
    for (; *commands; commands++) {
        if (strcmp((*commands)->name, name) == 0) return *commands;
    }
    return NULL;
}

/* The command whose name was written out, as "publish" or "subscribe", or cut short. */
static const char *related(const char *typed, const char *const *names)
{
    for (; *names; names++) {
        size_t typed_len = strlen(typed), len = strlen(*names), least = typed_len < len ? typed_len : len;
        if (least > 1 && strncmp(typed, *names, least) == 0) return *names;
    }
    return NULL;
}

static int unknown(const char *of, const struct command *const *commands, const char *name)
{
    const char *names[NAMES_MAX + 1] = {NULL};
    const char *group = strchr(of, ' '); /* " stream" */
    for (int i = 0; commands[i] && i < NAMES_MAX; i++) names[i] = commands[i]->name;
    const char *nearest = nearest_name(name, names);
    if (!nearest) nearest = related(name, names);
    group = group ? group + 1 : "";
    const char *blank = *group ? " " : "";
    if (nearest) complain("unknown command '%s%s%s'; did you mean '%s'?", group, blank, name, nearest);
    else complain("unknown command '%s%s%s'; see '%s --help'", group, blank, name, of);
    return CLI_EXIT_USAGE;
}

int commands_run(const char *of, const struct command *const *commands, int argc, char **argv,
                 const struct connection_options *connection)
{
    const struct command *command = find(commands, argv[0]);
    return command ? command->run(argc - 1, argv + 1, connection) : unknown(of, commands, argv[0]);
}

int commands_help(const char *of, const struct command *const *commands, int argc, char **argv,
                  const struct connection_options *connection)
{
    static char help[] = "--help";
    char **words = malloc(((size_t)argc + 2) * sizeof *words);
    if (!words) {
        complain("out of memory");
        return CLI_EXIT_ERROR;
    }
    memcpy(words, argv, (size_t)argc * sizeof *words);
    words[argc] = help;
    words[argc + 1] = NULL;
    int result = commands_run(of, commands, argc + 1, words, connection);
    free(words);
    return result;
}
