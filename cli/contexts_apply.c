#include <stdlib.h>

#include "contexts.h"
#include "credentials.h"

/* Of what proves who somebody is a part goes only with its other parts. */
static void apply(struct connection_options *to, const struct connection_options *from)
{
    bool names_user = to->user != NULL, names_token = to->token_file != NULL;
    bool says_where = to->url != NULL, with_tls = !says_where || credentials_url_has_tls(to->url);
    if (!to->url) to->url = from->url;
    if (!names_user && !names_token) to->user = from->user;
    if (!names_user && !names_token && !to->password_file) to->password_file = from->password_file;
    if (!names_user && !names_token && !to->password_file) to->token_file = from->token_file;
    if (with_tls && !to->ca) to->ca = from->ca;
    if (with_tls && !to->certificate && !to->certificate_key) {
        to->certificate = from->certificate;
        to->certificate_key = from->certificate_key;
    }
    if (!says_where && from->auth_in_clear) to->auth_in_clear = true;
}

static bool is_set(const char *text)
{
    return text && *text;
}

/* The context that counts; NULL: none. in_use: the one in use does, if there is one. */
static const char *name_of(const struct connection_options *connection, bool *in_use)
{
    const char *named = getenv("PUBSUB_CONTEXT");
    *in_use = false;
    if (connection->context) return connection->context;
    if (connection->url) return NULL;
    if (is_set(named)) return named;
    *in_use = !is_set(getenv("PUBSUB_URL"));
    return NULL;
}

int contexts_apply(struct connection_options *connection)
{
    static struct contexts *contexts; /* read once, for all connections; what it says lives as long as the program */
    struct context context;
    bool in_use, found = false;
    const char *name = name_of(connection, &in_use);
    if (!name && !in_use) return CLI_EXIT_DONE;
    /* Services often have no home, or one that they can't look into: there nothing is in use. */
    if (in_use && !contexts && !contexts_can_be_read()) return CLI_EXIT_DONE;
    if (!contexts) contexts = contexts_open(false);
    if (!contexts) return CLI_EXIT_USAGE;
    if (name) found = contexts_find(contexts, name, &context);
    else found = contexts_in_use(contexts, &context);
    if (found) apply(connection, &context.connection);
    return found || !name ? CLI_EXIT_DONE : CLI_EXIT_USAGE;
}
