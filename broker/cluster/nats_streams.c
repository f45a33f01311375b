/* Streams and records of an engine that has none: they are away. */
#include <stdio.h>
#include <stdlib.h>

#include "nats_parts.h"

struct nats_storing {
    struct nats_engine *engine;
    struct store_read *refused; /* requests to be answered in poll() */
};

bool nats_storing_open(struct nats_engine *engine, char text[STORE_TEXT_MAX])
{
    (void)text;
    struct nats_storing *storing = calloc(1, sizeof *storing);
    if (storing == NULL) abort();
    storing->engine = engine;
    engine->storing = storing;
    return true;
}

bool nats_storing_is_up(const struct nats_storing *storing)
{
    (void)storing;
    return false;
}

void nats_storing_open_stream(struct nats_storing *storing, const struct engine_stream *stream)
{
    (void)storing, (void)stream;
}

bool nats_storing_append(struct nats_storing *storing, const struct engine_append *append, char text[STORE_TEXT_MAX])
{
    (void)storing, (void)append;
    snprintf(text, STORE_TEXT_MAX, "the shared streams are away");
    return false;
}

void nats_storing_flush(struct nats_storing *storing)
{
    (void)storing;
}

void nats_storing_read(struct nats_storing *storing, struct store_read *read)
{
    read->next = storing->refused;
    storing->refused = read;
    nats_wake(storing->engine);
}

bool nats_storing_put(struct nats_storing *storing, const struct engine_put *put)
{
    (void)storing, (void)put;
    return false;
}

void nats_storing_poll(struct nats_storing *storing, bool is_up)
{
    (void)is_up;
    struct engine *base = &storing->engine->base;
    for (struct store_read *read; (read = storing->refused) != NULL;) {
        storing->refused = read->next;
        read->code = STORE_FAILED;
        read->bytes = NULL;
        snprintf(read->text, sizeof read->text, "the shared streams are away");
        base->events.read_done(base->events.arg, read);
    }
}

void nats_storing_figures(struct nats_storing *storing, struct engine_figures *figures)
{
    (void)storing, (void)figures;
}

void nats_storing_close(struct nats_storing *storing, uint64_t until_ms)
{
    (void)storing, (void)until_ms;
}

void nats_storing_free(struct nats_storing *storing)
{
    for (struct store_read *read; (read = storing->refused) != NULL;) {
        storing->refused = read->next;
        free(read);
    }
    free(storing);
}
