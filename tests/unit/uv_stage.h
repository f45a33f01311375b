/* A scripted broker (client_stage.h) for a client on a libuv loop, and a resolver for it. A handle's memory is freed in its
 * close callback, so that a sanitizer sees whoever uses it later. */
#ifndef UV_STAGE_H
#define UV_STAGE_H

#include "client_stage.h"

#include <pubsub/uv.h>
#include <stdbool.h>

/* What happens on the loop, and who asked the resolver. */
struct uv_stage {
    uv_loop_t loop;
    struct pubsub_uv *bus;     /* NULL: none, or it is closed */
    int closed_count;          /* close callbacks */
    int port;                  /* of the broker that listens at 127.0.0.1; 0: it listens at its Unix socket */
};
extern struct uv_stage on_loop;

/* The resolver knows: broker.test; two.test, of which only the second address has a broker; slow.test, which is
 * broker.test, but not before the gate is opened; late.test and late-too.test, which are broker.test, but it takes 60 ms to
 * say so. Each name that ends otherwise does not exist. */
void uv_stage_gate(bool open);
int uv_stage_lookups(void);          /* how often it was asked for a name */
bool uv_stage_lookups_blocked(void); /* any of them on the loop's thread */

int uv_stage_set_up(void **state);
int uv_stage_set_up_tcp(void **state); /* with .port */
/* Closes the handle if there is one. Nothing may be left on the loop then, and nothing looked up on its thread. */
int uv_stage_tear_down(void **state);

void uv_stage_init(struct stage *stage, const struct pubsub_options *options); /* on_loop.bus, stage->client */
void uv_stage_connect(struct stage *stage, const struct pubsub_options *options); /* and has a WELCOME */
void uv_stage_on_closed(struct pubsub_uv *bus);
void uv_stage_until(struct stage *stage, bool (*done)(void));
bool uv_stage_is_closed(void);

#endif
