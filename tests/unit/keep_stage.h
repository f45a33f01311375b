/* The scripted broker of client_stage.h for a client with an outbox file, which is opened again and again. */
#ifndef KEEP_STAGE_H
#define KEEP_STAGE_H

#include "client_stage.h"

extern char path[96]; /* of the outbox file */

int keep_set_up(void **state);
int keep_tear_down(void **state);

void on_dropped(pubsub *client, const struct pubsub_dropped *dropped, void *user); /* writes to the log */
struct pubsub_options file_options(struct stage *stage);

/* The same client, as the next start of its program has it. */
void open_client(struct stage *stage, const struct pubsub_options *options);
void close_client(struct stage *stage);

void welcome(struct stage *stage, const char *log); /* lets it connect; the log is this then */

/* A message of 200 bytes. Returns as pubsub_publish(). */
int publish_letter(struct stage *stage, char letter, enum pubsub_ack ack);

#endif
