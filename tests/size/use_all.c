/* Uses every function of the core, so that a linker keeps all of it. Never runs. */
#include <pubsub/core.h>

extern uint8_t state_bytes[sizeof(struct pubsub_core)];
uint8_t state_bytes[sizeof(struct pubsub_core)];
extern struct pubsub_core *volatile core;
extern void *volatile any;
struct pubsub_core *volatile core;
void *volatile any;

int main(void)
{
    size_t len = 0;
    const char *auth;
    void *at;
    pubsub_core_init(core, any, 256, any, 128);
    pubsub_core_restart(core, 1);
    pubsub_core_set_input(core, any, 256, 256);
    pubsub_core_received(core, pubsub_core_input(core, &at));
    pubsub_core_next(core, any);
    pubsub_core_written(core, pubsub_core_output(core, any));
    pubsub_core_hello(core, any);
    pubsub_core_publish(core, any, any, 1, any, any);
    pubsub_core_ping(core, any, 1);
    pubsub_core_bye(core, 0);
#if PUBSUB_CORE_WILL
    pubsub_core_will(any, any, 1, &len);
#endif
#if PUBSUB_CORE_PROOF
    pubsub_core_proof(any, &auth, any, 1, &len);
#endif
#if PUBSUB_CORE_SUBSCRIBE
    pubsub_core_subscribe(core, 1, any, any);
    pubsub_core_unsubscribe(core, 1);
#endif
#if PUBSUB_CORE_PIECES
    pubsub_core_take_pieces(core, 1);
#endif
#if PUBSUB_CORE_STREAMS
    pubsub_core_ack(core, 1, 1, 1, PUBSUB_ACKED_ONE, 0);
#endif
#if PUBSUB_CORE_CREDIT
    pubsub_core_credit(core, 1, 1, false);
#endif
#if PUBSUB_CORE_STAT
    pubsub_core_ask_stat(core, 1);
#endif
    (void)len;
    (void)auth;
    return 0;
}
