/* Subscriptions from SUB to their end, the groups that they form, and the retained values that they ask for. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define DEFAULT_BLOCK_MS 1000
#define SWEEP_LAG_MS 100 /* how long the broker may take to see that something has expired */

struct model_sub *model_find_sub(const struct conn *conn, uint32_t sid)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        if (sub->conn == conn && sub->live && sub->sid == sid) return sub;
    return NULL;
}

struct queue_model *sub_queue(struct model_sub *sub)
{
    return sub->group != NULL ? &sub->group->queue : &sub->own;
}

uint64_t sub_allowed(const struct model_sub *sub)
{
    if (sub->group != NULL) return sub->group->queue.max_bytes;
    uint64_t others = 0, budget = sub->conn->model->limits.session_queue_bytes;
    for (const struct model_sub *other = sub->conn->model->subs; other != NULL; other = other->next)
        if (other->conn == sub->conn && other->live && other != sub) others += other->own.bytes;
    uint64_t left = budget > others ? budget - others : 0;
    return left < sub->own.max_bytes ? left : sub->own.max_bytes;
}

uint64_t sub_sent(const struct model_sub *sub)
{
    return sub->sent_live + sub->sent_retained + sub->sent_read;
}

bool sub_has_credit(const struct model_sub *sub)
{
    return sub_sent(sub) < sub->credit;
}

bool sub_is_ready(const struct model_sub *sub)
{
    const struct conn *conn = sub->conn;
    bool open = conn->state == CONN_READY || conn->state == CONN_ENDING;
    return sub->live && open && !conn->link->refused && sub_has_credit(sub);
}

/* ---- groups ---- */

static bool is_member(const struct model_sub *sub, const struct model_group *group)
{
    return sub->live && sub->group == group;
}

uint32_t sub_rx_max(const struct model_sub *sub)
{
    return sub->conn->rx_max > 0 ? sub->conn->rx_max : QUEUE_ANY_LENGTH;
}

static bool is_open(const struct model *model, const struct model_group *group)
{
    for (const struct model_sub *sub = model->subs; sub != NULL; sub = sub->next)
        if (is_member(sub, group) && sub->matches) return true;
    return false;
}

static struct model_group *find_group(const struct model *model, const char *name, const struct name *pattern)
{
    struct model_group *group = model->groups;
    for (; group != NULL; group = group->next)
        if (strcmp(group->name, name) == 0 && name_equal(&group->pattern, pattern) && is_open(model, group)) break;
    return group;
}

static void leave_group(struct model_sub *sub)
{
    struct model_group *group = sub->group;
    if (group == NULL) return;
    sub->group = NULL;
    if (group->reader != NULL) reader_release(group->reader, sub);
    if (--group->members > 0) return;
    queue_model_free(&group->queue);
    reader_free(group->reader);
    group->reader = NULL;
}

static struct model_group *join_group(const struct conn *conn, const char *name, const struct name *pattern)
{
    struct model *model = conn->model;
    struct model_group *group = find_group(model, name, pattern);
    if (group == NULL) {
        group = calloc(1, sizeof *group);
        if (group == NULL) abort();
        strcpy(group->name, name);
        group->pattern = *pattern;
        group->rx_max = conn->rx_max;
        group->next = model->groups;
        model->groups = group;
    }
    group->members++;
    return group;
}

/* ---- ends ---- */

static void end_sub(struct model_sub *sub)
{
    if (sub->sid > 0) sub->conn->model->live_subs--;
    leave_group(sub);
    sub->live = sub->matches = false;
    queue_model_free(&sub->own);
    reader_free(sub->reader);
    sub->reader = NULL;
}

void subs_end(struct conn *conn)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        if (sub->conn == conn && sub->live) end_sub(sub);
}

/* Others in the group get what it was not sent; the last one gets it all itself. */
static void leave_gently(struct model_sub *sub)
{
    struct model_group *group = sub->group;
    if (group->members == 1) {
        struct losses *behind = &group->queue.behind;
        uint64_t untold = losses_sum(behind);
        for (uint32_t i = group->queue.first; i < group->queue.end; i++)
            untold += losses_sum(&group->queue.items[i].before);
        sub->own.lost = sub->gaps_live + untold;
        sub->own.matched = sub->sent_live + sub->own.lost;
        sub->member = false;
        queue_model_move(&sub->own, &group->queue);
    }
    leave_group(sub);
}

void subs_detach(struct conn *conn)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next) {
        if (sub->conn != conn || !sub->live) continue;
        sub->matches = false;
        if (sub_reader(sub) != NULL) sub->drain_due = false; /* what is stored is no more delivered */
        if (sub->group != NULL) leave_gently(sub);
    }
}

void subs_free(struct conn *conn)
{
    for (struct model_sub **p = &conn->model->subs; *p != NULL;) {
        struct model_sub *sub = *p;
        if (sub->conn != conn) {
            p = &sub->next;
            continue;
        }
        *p = sub->next;
        deliveries_free_snapshots(sub);
        queue_model_free(&sub->own);
        free(sub);
    }
}

void subs_sweep(struct model *model)
{
    uint64_t now_ms = model->world->now_ms;
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next)
        if (sub->live) queue_model_sweep(sub_queue(sub), now_ms);
}

void subs_close_overflowed(struct model *model)
{
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (!sub->live || !sub->conn->too_slow) continue;
        model->byes_slow++;
        model_die(sub->conn, MPS_SLOW_CONSUMER);
    }
}

void subs_turned(struct model *model)
{
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (sub->group != NULL && sub->live) deliveries_settle_group(sub);
        sub->turn_number = 0;
    }
    for (struct model_group *group = model->groups; group != NULL; group = group->next) {
        group->fresh = group->queue.matched;
    }
}

/* ---- SUB ---- */

static void begin_snapshot(struct model_sub *sub, bool with_values)
{
    struct model *model = sub->conn->model;
    struct model_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) abort();
    snapshot->live_from = sub->own.matched;
    snapshot->began_at = sub->conn->link->taken;
    uint32_t cap = 0;
    for (uint32_t i = 0; i < model->topics_count && with_values; i++) {
        const struct model_topic *topic = &model->topics[i];
        if (!topic->set || !name_matches(&sub->pattern, &topic->name)) continue;
        if (!reader_wants_snapshot_of(sub->reader, &topic->name)) continue;
        GROW(snapshot->entries, snapshot->count, cap);
        snapshot->entries[snapshot->count++] =
            (struct snapshot_entry){.topic = i, .message = topic->message, .dies_ms = topic->dies_ms};
    }
    for (struct model_snapshot *s = sub->snapshots; s != NULL && with_values; s = s->next) s->superseded = true;
    snapshot->next = sub->snapshots;
    sub->snapshots = snapshot;
}

/* Values that a new filter rejects need not come any more, even if a later one accepts them again. */
static void filter_snapshots(struct model_sub *sub)
{
    const struct model *model = sub->conn->model;
    for (struct model_snapshot *s = sub->snapshots; s != NULL; s = s->next) {
        s->too_large_most = s->count - s->too_large_told; /* some may be accepted again */
        for (uint32_t i = 0; i < s->count; i++) {
            struct snapshot_entry *entry = &s->entries[i];
            entry->filtered |= !filter_accepts(sub->filter, &model->messages[entry->message].document,
                                               &model->topics[entry->topic].name);
        }
    }
}

static uint64_t grant(uint64_t asked, uint64_t by_default, uint64_t cap)
{
    uint64_t wanted = asked > 0 ? asked : by_default;
    return wanted < cap ? wanted : cap;
}

static uint32_t count_subs(const struct conn *conn)
{
    uint32_t count = 0;
    for (const struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        count += sub->conn == conn && sub->live && sub->sid > 0;
    return count;
}

/* The options of a queue as they are granted. */
static struct queue_model granted(const struct model *model, const struct sub_options *o)
{
    return (struct queue_model){
        .policy = o->policy,
        .then = o->then,
        .max_msgs = grant(o->max_msgs, model->limits.queue_msgs_count, model->limits.queue_msgs_cap_count),
        .max_bytes = grant(o->max_bytes, model->limits.queue_bytes, model->limits.queue_bytes_cap),
        .block_ms = o->block_ms > 0 ? o->block_ms : DEFAULT_BLOCK_MS};
}

static bool same_options(const struct queue_model *a, const struct queue_model *b)
{
    return a->policy == b->policy && a->then == b->then && a->max_msgs == b->max_msgs && a->max_bytes == b->max_bytes &&
           a->block_ms == b->block_ms;
}

/* Whether others are in the group already, with other options. */
static bool differs(const struct conn *conn, const struct model_sub *sub, const struct action *action)
{
    if (action->options.group[0] == '\0') return false;
    const struct model *model = conn->model;
    const struct model_group *group = find_group(model, action->options.group, &action->name);
    if (group == NULL || (sub != NULL && group->members == 1)) return false;
    struct queue_model asked = granted(model, &action->options);
    return !same_options(&asked, &group->queue) || action->options.filter != group->filter ||
           conn->rx_max != group->rx_max || reader_differs(group->reader, &action->options);
}

/* Why it can't read as it asks; returns the new count of codes. */
static uint32_t judge_reader(struct conn *conn, const struct model_sub *sub, const struct action *action,
                             uint32_t *codes, uint32_t count)
{
    const struct sub_options *o = &action->options;
    const struct model_reader *reader = sub != NULL ? sub_reader(sub) : NULL;
    bool asks = reader_is_asked(o);
    if (sub != NULL && (reader != NULL) != asks) codes[count++] = MPS_BAD_OPTION;
    if (reader != NULL && asks && reader->ack != o->ack) codes[count++] = MPS_BAD_OPTION;
    if (!asks) return count;
    if (o->durable || o->no_local) codes[count++] = MPS_BAD_OPTION;
    if (!reader_can_begin(conn->model, &action->name, o)) codes[count++] = MPS_NO_HISTORY;
    return count;
}

/* All reasons for which the SUB may be refused; in which order they are looked for is open. */
static void judge(struct conn *conn, const struct model_sub *sub, const struct action *action, struct want *answer)
{
    struct model *model = conn->model;
    const char *group = sub != NULL && sub->group != NULL ? sub->group->name : "";
    uint32_t *codes = answer->codes, count = 0;
    bool bad_name =
        action->code == MPS_BAD_TOPIC || action->code == MPS_NOT_AUTHORISED || action->code == MPS_NO_HISTORY;
    bool spoiled = action->code != 0; /* then it is written without the group */
    bool other_group = sub != NULL && strcmp(group, spoiled ? "" : action->options.group) != 0;
    if (action->code != 0) codes[count++] = action->code;
    if (sub != NULL && (!name_equal(&sub->pattern, &action->name) || bad_name)) codes[count++] = MPS_SID_IN_USE;
    if (other_group) codes[count++] = MPS_BAD_OPTION;
    if (sub == NULL && count_subs(conn) >= model->limits.max_subs_count) codes[count++] = MPS_TOO_MANY_SUBS;
    if (!other_group && differs(conn, sub, action)) codes[count++] = MPS_GROUP_DIFFERS;
    count = judge_reader(conn, sub, action, codes, count);
    if (spoiled && !reader_can_begin(model, &action->name, &action->options)) codes[count++] = MPS_NO_HISTORY;
    answer->codes_count = count;
    answer->code = codes[0];
}

static struct model_sub *add_sub(struct conn *conn, uint32_t sid, const struct name *pattern)
{
    struct model_sub *sub = calloc(1, sizeof *sub);
    if (sub == NULL) abort();
    *sub = (struct model_sub){.conn = conn,
                              .sid = sid,
                              .pattern = *pattern,
                              .filter = NO_FILTER,
                              .live = true,
                              .matches = true,
                              .credit = UINT64_MAX,
                              .next = conn->model->subs};
    conn->model->subs = sub;
    return sub;
}

void subs_add_inbox(struct conn *conn)
{
    static const struct sub_options by_default = {0};
    struct name nowhere = {0}; /* until WELCOME has said where it is */
    struct queue_model options = granted(conn->model, &by_default);
    add_sub(conn, 0, &nowhere)->own = options;
}

static void set_queue(struct queue_model *queue, const struct queue_model *options, uint64_t now_ms)
{
    bool latest = options->policy == MPS_POLICY_LATEST && queue->policy != MPS_POLICY_LATEST;
    queue->policy = options->policy;
    queue->then = options->then;
    queue->max_msgs = options->max_msgs;
    queue->max_bytes = options->max_bytes;
    queue->block_ms = options->block_ms;
    queue->gave_up = false;
    queue_model_sweep(queue, now_ms);
    if (latest) queue_model_keep_latest(queue);
    queue_model_cut_down(queue, queue->max_msgs, queue->max_bytes, MPS_GAP_DROP_OLD);
}

/* The first of a group makes its reader. */
static void begin_reading(struct model_sub *sub, const struct sub_options *o)
{
    struct model *model = sub->conn->model;
    struct model_reader **reader = sub->group != NULL ? &sub->group->reader : &sub->reader;
    if (*reader == NULL && reader_is_asked(o)) *reader = reader_new(model, &sub->pattern, o);
}

void subs_do_sub(struct conn *conn, const struct action *action)
{
    struct model *model = conn->model;
    const struct sub_options *o = &action->options;
    struct model_sub *sub = model_find_sub(conn, action->sid);
    struct want *answer = want_answer(conn, WANT_SUBACK);
    answer->sid = action->sid;
    answer->column = action->flags;
    judge(conn, sub, action, answer);
    if (answer->code != 0) return;
    bool is_new = sub == NULL;
    if (is_new) {
        sub = add_sub(conn, action->sid, &action->name);
        model->live_subs++;
        sub->member = o->group[0] != '\0';
        if (sub->member) sub->group = join_group(conn, o->group, &action->name);
        begin_reading(sub, o);
    } else if (sub_reader(sub) != NULL) {
        reader_change(sub_reader(sub), o, o->filter != sub->filter);
    }
    readers_ask_for_mark(sub, o);
    answer->sub = sub;
    struct queue_model options = granted(model, o);
    if (o->max_msgs > options.max_msgs) answer->max_msgs = options.max_msgs;
    if (o->max_bytes > options.max_bytes) answer->max_bytes = options.max_bytes;
    bool joins = is_new && sub->group != NULL && sub->group->members > 1; /* with the options that it has already */
    if (!joins) set_queue(sub_queue(sub), &options, model->world->now_ms);
    sub->filter = o->filter;
    if (sub->group != NULL) sub->group->filter = o->filter;
    sub->no_local = o->no_local;
    if (is_new || o->credit > sub->credit) sub->credit = o->credit;
    if (o->retained < 2) begin_snapshot(sub, sub->group == NULL && (o->retained == 0 || is_new));
    filter_snapshots(sub);
}

/* ---- the other operations on a sid ---- */

struct sub_counts sub_counts(struct model_sub *sub)
{
    uint64_t now_ms = sub->conn->model->world->now_ms;
    struct sub_counts counts = {.sent = sub_sent(sub)};
    if (sub->member) { /* it holds nothing: what it was not sent is its group's */
        counts.lost = sub->gaps_live + sub->gaps_retained + sub->gaps_read;
        counts.matched = counts.sent + counts.lost;
        return counts;
    }
    struct queue_model *queue = &sub->own;
    queue_model_sweep(queue, now_ms);
    counts.matched = queue->matched + sub->sent_retained + sub->gaps_retained + sub->sent_read + sub->gaps_read;
    counts.lost = queue->lost + sub->gaps_retained + sub->gaps_read;
    counts.queued = queue_model_msgs(queue);
    counts.queued_bytes = queue->bytes;
    queue_model_lag(queue, now_ms, SWEEP_LAG_MS, &counts.lag_msgs, &counts.lag_bytes);
    return counts;
}

bool sub_counts_are(const struct sub_counts *due, uint64_t matched, uint64_t sent, uint64_t lost, uint64_t queued,
                    uint64_t queued_bytes)
{
    if (queued < due->queued || queued_bytes < due->queued_bytes) return false;
    uint64_t more = queued - due->queued;
    return matched == due->matched && sent == due->sent && lost + more == due->lost && more <= due->lag_msgs &&
           queued_bytes - due->queued_bytes <= due->lag_bytes && (queued == 0) == (queued_bytes == 0);
}

void subs_do_unsub(struct conn *conn, const struct action *action)
{
    if (action->sid == 0) {
        want_err(conn, MPS_BAD_OPTION, MPS_OP_UNSUB);
        return;
    }
    struct want *answer = want_answer(conn, WANT_ENDED);
    answer->sid = action->sid;
    answer->sub = model_find_sub(conn, action->sid);
    if (answer->sub == NULL) return;
    answer->counts = sub_counts(answer->sub);
    end_sub(answer->sub);
}

void subs_do_credit(struct conn *conn, const struct action *action)
{
    struct model_sub *sub = action->sid > 0 ? model_find_sub(conn, action->sid) : NULL;
    if (sub == NULL) {
        want_err(conn, MPS_BAD_OPTION, MPS_OP_CREDIT);
        return;
    }
    if (action->credit > sub->credit) sub->credit = action->credit;
    if (!action->drain) return;
    sub->drains_most++;
    sub->drain_due = true;
    sub->drain_number = sub->own.matched;
    readers_drain(sub);
}

void subs_do_stat(struct conn *conn, const struct action *action)
{
    struct model_sub *sub = model_find_sub(conn, action->sid);
    if (sub == NULL) {
        want_err(conn, MPS_BAD_OPTION, MPS_OP_STAT);
        return;
    }
    struct want *answer = want_answer(conn, WANT_STAT);
    answer->sid = action->sid;
    answer->sub = sub;
    answer->counts = sub_counts(sub);
    answer->loose = conn->too_slow;
}
