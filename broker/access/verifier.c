#include "verifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "credentials.h"
#include "limiter.h"
#include "log.h"

/* A password that waits, or is being checked. */
struct check {
    uv_work_t work;
    struct check *next;
    struct verifier *verifier;
    struct session *session; /* NULL: it is not interested any more */
    struct password_check password;
    enum password_result result;
    char address[PEER_ADDRESS_MAX];
    char user[ACCESS_NAME_MAX + 1]; /* whose failures these are; longer names are cut off */
};

/* Passwords stand in memory that is locked and in no dump. All of it is made beforehand: the kernel would let the loop
 * wait for a mapping of its own while a thread maps the 64 MiB that a check needs, for 200 ms on a busy machine. */
struct rooms {
    char *memory; /* NULL: no password was ever taken */
    bool is_taken[CHECKS_MAX];
};

struct verifier {
    struct server *server;
    struct credentials *credentials, *prepared;
    struct access *prepared_access;
    struct check *first, *last; /* the first one is being checked */
    int count;
    struct rooms rooms;
    struct limiter limiter;
    uint64_t no_memory_ms; /* when it was said last that there was none; 0: never */
};

/* ---- limits -------------------------------------------------------------------------------------------------- */

/* Who it is, for counting. */
static void address_of(const struct link *link, char address[PEER_ADDRESS_MAX])
{
    struct peer peer;
    peer_of_socket(&peer, link->fd);
    limiter_who(&peer, address);
}

static int checks_of(const struct verifier *verifier, const char *address)
{
    int count = 0;
    for (const struct check *check = verifier->first; check != NULL; check = check->next)
        count += strcmp(check->address, address) == 0;
    return count;
}

/* ---- passwords ----------------------------------------------------------------------------------------------- */

static int make_rooms(struct rooms *rooms)
{
    if (rooms->memory == NULL) rooms->memory = sodium_allocarray(CHECKS_MAX, PASSWORD_MAX + 1);
    return rooms->memory != NULL ? 0 : -1;
}

/* There is one: as many as there are checks. */
static char *take_room(struct rooms *rooms)
{
    int at = 0;
    while (rooms->is_taken[at]) at++;
    rooms->is_taken[at] = true;
    return rooms->memory + (size_t)at * (PASSWORD_MAX + 1);
}

static void leave_room(struct rooms *rooms, const char *room)
{
    rooms->is_taken[(size_t)(room - rooms->memory) / (PASSWORD_MAX + 1)] = false;
}

static void run(uv_work_t *work)
{
    struct check *check = work->data;
    worker_gives_way();
    check->result = password_check_run(&check->password);
}

static void done(uv_work_t *work, int status);

static void check_free(struct check *check)
{
    struct verifier *verifier = check->verifier;
    verifier->count--;
    leave_room(&verifier->rooms, check->password.password);
    password_check_end(&check->password);
    free(check);
}

static void drop_first(struct verifier *verifier)
{
    struct check *check = verifier->first;
    verifier->first = check->next;
    if (verifier->first == NULL) verifier->last = NULL;
    check_free(check);
}

/* Those that nobody waits for any more need no answer: they would keep others waiting, and the broker from ending. */
static void begin_first(struct verifier *verifier)
{
    while (verifier->first != NULL && verifier->first->session == NULL) drop_first(verifier);
    struct check *check = verifier->first;
    if (check == NULL) return;
    check->work.data = check;
    if (uv_queue_work(&verifier->server->loop, &check->work, run, done) != 0)
        abort(); /* it fails without a function only */
}

/* Once a minute is enough: whoever comes is told each time. */
static void say_no_memory(struct verifier *verifier)
{
    uint64_t now_ms = uv_now(&verifier->server->loop);
    if (verifier->no_memory_ms != 0 && now_ms - verifier->no_memory_ms < 60000) return;
    verifier->no_memory_ms = now_ms;
    log_line(EVENT_PASSWORD_MEMORY, NULL,
             "there is no memory to check passwords, of which each takes 64 MiB or what its hash says: "
             "whoever comes with one is told to try again later");
}

static void tell(struct check *check)
{
    struct verifier *verifier = check->verifier;
    struct verdict verdict = {.is_unchecked = check->result == PASSWORD_NO_MEMORY};
    switch (check->result) {
    case PASSWORD_RIGHT: verdict = check->password.verdict; break;
    case PASSWORD_WRONG:
        limiter_note_failure(&verifier->limiter, check->address, check->user, strlen(check->user),
                             uv_now(&verifier->server->loop));
        break;
    case PASSWORD_NO_MEMORY: say_no_memory(verifier); break;
    }
    if (check->session != NULL) session_verified(check->session, &verdict);
}

/* on_turn() follows in the same iteration. */
static void done(uv_work_t *work, int status)
{
    struct check *check = work->data;
    struct verifier *verifier = check->verifier;
    (void)status;
    tell(check);
    drop_first(verifier);
    begin_first(verifier);
}

static enum verify_answer ask_password(struct verifier *verifier, struct session *session, const struct proof *proof,
                                       const char *address)
{
    if (verifier->count >= CHECKS_MAX || checks_of(verifier, address) >= CHECKS_OF_ADDRESS) return VERIFY_BUSY;
    struct check *check = calloc(1, sizeof *check);
    if (check == NULL) return VERIFY_NO_MEMORY;
    char *room = take_room(&verifier->rooms);
    if (!password_check_begin(&check->password, verifier->credentials, proof->user, proof->user_len, proof->secret,
                              proof->secret_len, room)) {
        leave_room(&verifier->rooms, room);
        free(check);
        return VERIFY_DONE; /* no password is so long */
    }
    check->verifier = verifier;
    check->session = session;
    strcpy(check->address, address);
    snprintf(check->user, sizeof check->user, "%.*s", (int)(proof->user_len < 64 ? proof->user_len : 64),
             (const char *)proof->user);
    if (verifier->last != NULL) verifier->last->next = check;
    else verifier->first = check;
    verifier->last = check;
    if (verifier->count++ == 0) begin_first(verifier);
    return VERIFY_LATER;
}

/* ---- env ----------------------------------------------------------------------------------------------------- */

static struct verifier *verifier_of(struct env *env)
{
    return ((struct server *)(void *)env)->verifier;
}

static enum verify_answer env_verify(struct env *env, struct link *link, struct session *session,
                                     const struct proof *proof, struct verdict *verdict)
{
    struct verifier *verifier = verifier_of(env);
    const struct credentials *credentials = verifier->credentials;
    uint64_t now_ms = uv_now(&verifier->server->loop);
    char address[PEER_ADDRESS_MAX];
    bool is_there = proof->is_token ? credentials_have_tokens(credentials) : credentials_have_passwords(credentials);
    if (!is_there) return VERIFY_UNAVAILABLE;
    address_of(link, address);
    if (!limiter_allows(&verifier->limiter, address, proof->user, proof->user_len, now_ms)) return VERIFY_LIMITED;
    if (!proof->is_token) return ask_password(verifier, session, proof, address);
    credentials_find_token(credentials, proof->secret, proof->secret_len, verdict);
    if (!verdict->is_good) limiter_note_failure(&verifier->limiter, address, NULL, 0, now_ms);
    return VERIFY_DONE;
}

/* Takes out a check that waits behind `before`. */
static void drop_next(struct verifier *verifier, struct check *before)
{
    struct check *check = before->next;
    before->next = check->next;
    if (verifier->last == check) verifier->last = before;
    check_free(check);
}

/* The first one is at work in a thread: it comes to its end. */
static void env_verify_forget(struct env *env, struct session *session)
{
    struct verifier *verifier = verifier_of(env);
    struct check *first = verifier->first;
    if (first == NULL) return;
    if (first->session == session) first->session = NULL;
    for (struct check *check = first; check->next != NULL;) {
        if (check->next->session == session) drop_next(verifier, check);
        else check = check->next;
    }
}

/* ---- the configuration --------------------------------------------------------------------------------------- */

static struct verifier *verifier_new(struct server *server)
{
    struct verifier *verifier = calloc(1, sizeof *verifier);
    if (verifier == NULL || sodium_init() < 0) abort(); /* at the start */
    verifier->server = server;
    randombytes_buf(&verifier->limiter.seed, sizeof verifier->limiter.seed);
    server->env.verify = env_verify;
    server->env.verify_forget = env_verify_forget;
    return verifier;
}

int verifier_prepare(struct server *server, const struct config *config, char *text, size_t text_cap)
{
    if (server->verifier == NULL) server->verifier = verifier_new(server);
    struct verifier *verifier = server->verifier;
    struct access *access = config->access != NULL ? access_copy(config->access) : access_new();
    verifier->prepared = credentials_load(config->passwords, config->tokens, access, text, text_cap);
    verifier->prepared_access = access;
    if (verifier->prepared != NULL && credentials_have_passwords(verifier->prepared) &&
        make_rooms(&verifier->rooms) < 0)
        snprintf(text, text_cap, "there is no memory for passwords");
    else if (verifier->prepared != NULL) return 0;
    verifier_discard(server);
    return -1;
}

int verifier_check(const struct config *config, bool *somebody_has_a_name, char *text, size_t text_cap)
{
    if (sodium_init() < 0) abort();
    struct access *access = config->access != NULL ? access_copy(config->access) : access_new();
    struct credentials *credentials = credentials_load(config->passwords, config->tokens, access, text, text_cap);
    *somebody_has_a_name =
        credentials != NULL && (credentials_have_passwords(credentials) || credentials_have_tokens(credentials) ||
                                access_has_certificates(access));
    access_unref(access);
    credentials_free(credentials);
    return credentials != NULL ? 0 : -1;
}

/* What is in memory now must not come to light by a crash. LeakSanitizer looks into its own process in a way that this
 * forbids. */
static void keep_out_of_dumps(void)
{
#ifndef __SANITIZE_ADDRESS__
    prctl(PR_SET_DUMPABLE, 0);
#endif
}

void verifier_apply(struct server *server)
{
    struct verifier *verifier = server->verifier;
    credentials_free(verifier->credentials);
    verifier->credentials = verifier->prepared;
    verifier->prepared = NULL;
    server->has_certificate_users = access_has_certificates(verifier->prepared_access);
    if (verifier_is_configured(server)) keep_out_of_dumps();
    broker_set_access(server->broker, verifier->prepared_access);
    verifier->prepared_access = NULL;
}

void verifier_discard(struct server *server)
{
    struct verifier *verifier = server->verifier;
    credentials_free(verifier->prepared);
    access_unref(verifier->prepared_access);
    verifier->prepared = NULL;
    verifier->prepared_access = NULL;
}

bool verifier_is_configured(const struct server *server)
{
    const struct credentials *credentials = server->verifier->credentials;
    return credentials_have_passwords(credentials) || credentials_have_tokens(credentials) ||
           server->has_certificate_users;
}

void verifier_free(struct server *server)
{
    if (server->verifier == NULL) return;
    credentials_free(server->verifier->credentials);
    sodium_free(server->verifier->rooms.memory);
    free(server->verifier);
    server->verifier = NULL;
}
