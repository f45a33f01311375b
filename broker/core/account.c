#include "account.h"
#include "sure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS UINT64_C(1000000)
/* Accounts of users who are away, of 100 bytes each. Of one more that one goes which would be forgotten first. */
#define AWAY_MAX 65536u

/* How far ahead of time each of the two buckets is used up, as the moment when it will be empty again: it may hold what
 * a second brings. */
struct account {
    struct hash_node in_accounts; /* of the broker, if it has a name */
    uint32_t sessions_count;
    struct timer expiry;        /* in broker.account_expiries, while there is no session */
    uint64_t msgs_ns, bytes_ns; /* monotonic */
    uint8_t name_len;
    char name[ACCESS_NAME_MAX];
};

static bool has_name(const struct hash_node *node, const void *key)
{
    const struct account *account = container_of(node, struct account, in_accounts);
    const mps_view *name = key;
    return account->name_len == name->len && memcmp(account->name, name->ptr, name->len) == 0;
}

static struct account *find(const struct broker *broker, mps_view name)
{
    uint64_t hash = hash_bytes(broker->seed, name.ptr, name.len);
    struct hash_node *node = hash_find(&broker->accounts, hash, has_name, &name);
    return node != NULL ? container_of(node, struct account, in_accounts) : NULL;
}

static bool is_metered(const struct broker_limits *limits)
{
    return limits->publish_rate > 0 || limits->publish_rate_bytes > 0;
}

bool account_admits(struct session *session, mps_view user)
{
    struct broker *broker = session->broker;
    uint32_t most = broker->limits.connections_per_user;
    const struct account *account = most > 0 && user.ptr != NULL ? find(broker, user) : NULL;
    if (account == NULL || account->sessions_count < most) return true;
    broker_note_refusal(broker, REFUSED_USER);
    session_byef(session, MPS_TOO_MANY, "user '%s' has %u connections, the limit is %u (connections_per_user)",
                 printable(user), account->sessions_count, most);
    return false;
}

void account_open(struct session *session)
{
    struct broker *broker = session->broker;
    const struct broker_limits *limits = &broker->limits;
    mps_view user = origin_user(session->origin);
    bool is_named = user.ptr != NULL;
    session->is_metered = is_metered(limits);
    if (!session->is_metered && (!is_named || limits->connections_per_user == 0)) return;
    struct account *account = is_named ? find(broker, user) : NULL;
    if (account == NULL) {
        account = sure_zeroed(sizeof *account);
        timer_init(&account->expiry);
        if (is_named) {
            account->name_len = (uint8_t)user.len;
            memcpy(account->name, user.ptr, user.len);
            hash_add(&broker->accounts, &account->in_accounts, hash_bytes(broker->seed, user.ptr, user.len));
        }
    }
    timer_cancel(&broker->account_expiries, &account->expiry);
    account->sessions_count++;
    session->account = account;
}

void accounts_limits_changed(struct broker *broker)
{
    bool metered = is_metered(&broker->limits);
    for (struct session *session = broker->sessions; session != NULL; session = session->next) {
        if (session->state != SESSION_READY) continue;
        if (session->account == NULL) account_open(session);
        else session->is_metered = metered;
    }
}

static uint64_t level_ns(uint64_t empty_ns, uint64_t now_ns)
{
    return empty_ns > now_ns ? empty_ns - now_ns : 0;
}

static void forget(struct broker *broker, struct account *account)
{
    timer_cancel(&broker->account_expiries, &account->expiry);
    if (account->name_len > 0) hash_remove(&broker->accounts, &account->in_accounts);
    free(account);
}

static bool forget_first(struct broker *broker, uint64_t due_ms)
{
    struct timer *timer = timer_take_due(&broker->account_expiries, due_ms);
    if (timer == NULL) return false;
    forget(broker, container_of(timer, struct account, expiry));
    return true;
}

/* A user who leaves and comes back at once finds what he has used up as it was. */
void account_close(struct session *session)
{
    struct account *account = session->account;
    struct broker *broker = session->broker;
    session->account = NULL;
    session->is_metered = false;
    if (account == NULL || --account->sessions_count > 0) return;
    uint64_t empty_ns = account->msgs_ns > account->bytes_ns ? account->msgs_ns : account->bytes_ns;
    if (account->name_len == 0 || empty_ns <= broker->now_ms * MS_NS) {
        forget(broker, account);
        return;
    }
    if (broker->account_expiries.count >= AWAY_MAX) forget_first(broker, UINT64_MAX - 1);
    timer_set(&broker->account_expiries, &account->expiry, (empty_ns + MS_NS - 1) / MS_NS);
}

void account_forget_due(struct broker *broker)
{
    while (forget_first(broker, broker->now_ms)) {
    }
}

void accounts_free(struct broker *broker)
{
    while (forget_first(broker, UINT64_MAX - 1)) {
    }
    heap_free(&broker->account_expiries);
    hash_free(&broker->accounts);
}

static void add(uint64_t *empty_ns, uint64_t now_ns, uint64_t amount, uint64_t rate)
{
    if (rate > 0) *empty_ns = now_ns + level_ns(*empty_ns, now_ns) + amount * SECOND_NS / rate;
}

/* The one of the two that is fuller than it may be, by how much; 0: none is. */
static uint64_t excess_ns(const struct account *account, uint64_t now_ns, bool *of_msgs)
{
    uint64_t msgs = level_ns(account->msgs_ns, now_ns), bytes = level_ns(account->bytes_ns, now_ns);
    *of_msgs = msgs >= bytes;
    uint64_t most = *of_msgs ? msgs : bytes;
    return most > SECOND_NS ? most - SECOND_NS : 0;
}

static bool is_at_ease(const struct account *account, uint64_t now_ns)
{
    return level_ns(account->msgs_ns, now_ns) < SECOND_NS / 2 && level_ns(account->bytes_ns, now_ns) < SECOND_NS / 2;
}

static void take(struct session *session, const struct run *run, uint64_t now_ns)
{
    struct account *account = session->account;
    const struct broker_limits *limits = &session->broker->limits;
    if (is_at_ease(account, now_ns)) session->over_since_ms = UINT64_MAX;
    add(&account->msgs_ns, now_ns, run->count, limits->publish_rate);
    add(&account->bytes_ns, now_ns, run->len, limits->publish_rate_bytes);
}

enum account_verdict account_judge(struct session *session, const struct run *run, char *text, size_t text_cap)
{
    struct broker *broker = session->broker;
    const struct broker_limits *limits = &broker->limits;
    uint64_t now_ms = broker->now_ms, now_ns = now_ms * MS_NS;
    bool of_msgs;
    uint64_t excess = excess_ns(session->account, now_ns, &of_msgs);
    if (excess == 0) {
        take(session, run, now_ns);
        return ACCOUNT_TAKE;
    }
    if (session->over_since_ms == UINT64_MAX) session->over_since_ms = now_ms;
    uint64_t end_ms = session->over_since_ms + limits->publish_delay_ms,
             free_ms = now_ms + (excess + MS_NS - 1) / MS_NS;
    if (now_ms < end_ms) {
        hold_begin(session, &broker->rate_box, run->longest, 0, free_ms < end_ms ? free_ms : end_ms);
        return ACCOUNT_WAIT;
    }
    broker_note_refusal(broker, of_msgs ? REFUSED_RATE : REFUSED_RATE_BYTES);
    snprintf(text, text_cap, "more than %llu %s a second are published (%s), and for longer than %u ms",
             (unsigned long long)(of_msgs ? limits->publish_rate : limits->publish_rate_bytes),
             of_msgs ? "messages" : "bytes", of_msgs ? "publish_rate" : "publish_rate_bytes", limits->publish_delay_ms);
    return ACCOUNT_REFUSE;
}
