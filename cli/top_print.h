/* `pubsub top` without a full screen: as text, or as JSON. */
#ifndef CLI_TOP_PRINT_H
#define CLI_TOP_PRINT_H

#include "output.h"
#include "top_options.h"

/* A table of each view that is to be shown, in `width` places (TOP_WIDTH_ANY). What others have named is escaped. */
void top_print_text(struct output *out, const struct top_options *options, const struct top_model *model, size_t width);

/* One object in a line: {"now_ms", "elapsed_ms" (since the report before; null: there is none), "broker": {...}, and of each
 * view "name": {"total", "list": [{...}]}}. A rate that is not known is null. */
void top_print_json(struct output *out, const struct top_options *options, const struct top_model *model);

#endif
