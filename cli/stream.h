/* The commands of `pubsub stream`. */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include "cli.h"

extern const struct command stream_ls_command, stream_info_command, stream_rm_command, stream_export_command,
    stream_import_command;

/* The one argument NAME of a command. NULL: complained, there is none or there are more. */
const char *stream_argument(const char *command, char **arguments, int count);

struct streams;
struct stream;
/* The stream of that name or number; NULL: complained, there is none. */
const struct stream *stream_named(const struct streams *streams, const char *name);

#endif
