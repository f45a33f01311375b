/* The whole core as one file to compile: what firmware takes instead of core*.c, for the compiler makes less code of
 * it. */
#define CORE_LOCAL static

#include "core.c"
#include "core_frames.c"
#include "core_message.c"
#include "core_publish.c"
#include "core_read.c"
#include "core_send.c"
#include "core_subscribe.c"
#include "core_write.c"
