/* A broker in a few lines, above the tables of `pubsub top`. */
#ifndef CLI_TOP_SUMMARY_H
#define CLI_TOP_SUMMARY_H

#include "buffer.h"
#include "top_model.h"

/* Append a line, without its end, of as many facts as fit into `width` places (TOP_WIDTH_ANY of top_layout.h: all): its
 * traffic; its memory and age. */
void top_summary_traffic(const struct top_model *model, size_t width, struct buffer *line);
void top_summary_memory(const struct top_model *model, size_t width, struct buffer *line);

/* "topics 12", "topics 500 of 4000", "subscriptions 12, 1 slow"; of 4000 that there are 500 are listed. */
void top_summary_view(const struct top_model *model, enum top_view_name view, struct buffer *line);

#endif
