#include "trace_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "moment.h"
#include "sizes.h"

/* ---- fields ---- */

static mps_view field(mps_view map, const char *key)
{
    return mps_document_find(map, key, strlen(key));
}

uint64_t trace_number(mps_view map, const char *key)
{
    struct mps_head head;
    mps_view raw = field(map, key);
    return raw.ptr && mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_UINT ? head.number : 0;
}

mps_view trace_text(mps_view map, const char *key)
{
    struct mps_head head;
    mps_view raw = field(map, key);
    if (!raw.ptr || mps_head_read(raw.ptr, raw.len, &head) != 1 || head.type != MPS_STR) return (mps_view){NULL, 0};
    return (mps_view){raw.ptr + head.head_len, head.count};
}

static bool flag(mps_view map, const char *key)
{
    struct mps_head head;
    mps_view raw = field(map, key);
    return raw.ptr && mps_head_read(raw.ptr, raw.len, &head) == 1 && head.type == MPS_BOOL && head.boolean;
}

static bool is(mps_view text, const char *word)
{
    return text.ptr && mps_view_equal(text, mps_text(word));
}

/* ---- words ---- */

static void put(struct output *out, mps_view text)
{
    output_name(out, (const char *)text.ptr, text.len);
}

static void put_quoted(struct output *out, mps_view text)
{
    output_char(out, '\'');
    put(out, text);
    output_char(out, '\'');
}

/* "85 us", "5.94 ms", "12.3 s" */
static void write_us(char text[32], uint64_t us)
{
    if (us < 1000) snprintf(text, 32, "%" PRIu64 " us", us);
    else if (us < 10000) snprintf(text, 32, "%.2f ms", (double)us / 1e3);
    else if (us < 1000000) snprintf(text, 32, "%.0f ms", (double)us / 1e3);
    else snprintf(text, 32, "%.1f s", (double)us / 1e6);
}

static void put_us(struct output *out, uint64_t us)
{
    char text[32];
    write_us(text, us);
    output_text(out, text);
}

/* The column of times; without one, of nothing. */
static void begin_line(struct output *out, mps_view step)
{
    char text[32] = "";
    if (field(step, "at_us").ptr) write_us(text, trace_number(step, "at_us"));
    output_format(out, "  %9s  ", text);
}

static const char *reason_words(mps_view reason)
{
    static const struct {
        const char *reason, *words;
    } all[] = {
        {"drop_old", "the queue was full, the oldest went"},
        {"drop_new", "the queue was full, this one was refused"},
        {"superseded", "a newer one of its key came"},
        {"expired", "its time to live was over"},
        {"retention", "retention had removed it"},
        {"offline_limit", "the queue was full while the client was away"},
        {"too_large", "it is longer than the client takes"},
        {"max_tries", "it was tried too often"},
        {"blocked_too_long", "its publisher had waited for the queue as long as it may"},
        {"memory_budget", "the broker's memory for queues was used up"},
        {"damaged", "it can't be read any more"},
        {"not_allowed_any_more", "it may not be received any more"},
        {"unsubscribed", "the subscription ended"},
        {"closed", "the connection ended"},
        {"session_over", "the session ended"},
        {"no_members", "the group's last member left"},
        {"unstored", "its stream does not have it"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (is(reason, all[i].reason)) return all[i].words;
    }
    return NULL;
}

static void put_reason(struct output *out, mps_view reason)
{
    const char *words = reason_words(reason);
    if (!reason.ptr) return;
    output_text(out, ": ");
    put(out, reason);
    if (words) output_format(out, ", %s", words);
}

/* ---- who ---- */

static char *copy(mps_view text)
{
    char *own = strndup(text.ptr ? (const char *)text.ptr : "", text.len);
    if (own) return own;
    complain("out of memory");
    exit(CLI_EXIT_ERROR);
}

static char *holder_name(mps_view step)
{
    char name[256];
    mps_view group = trace_text(step, "group"), client = trace_text(step, "client");
    if (group.ptr) snprintf(name, sizeof name, "group %.*s", (int)group.len, (const char *)group.ptr);
    else
        snprintf(name, sizeof name, "%.*s/%" PRIu64, (int)client.len, client.ptr ? (const char *)client.ptr : "",
                 trace_number(step, "sid"));
    return copy(mps_text(name));
}

/* Whom this step speaks of: told before with the number of its copy, or in it. The caller frees what is in it. */
static struct trace_holder holder_of(const struct trace_message *message, mps_view step)
{
    uint64_t number = trace_number(step, "copy");
    if (field(step, "pattern").ptr || number == 0 || number > message->count)
        return (struct trace_holder){.who = holder_name(step), .pattern = copy(trace_text(step, "pattern"))};
    const struct trace_holder *known = &message->holders[number - 1];
    return (struct trace_holder){.who = copy(mps_text(known->who)),
                                 .member = known->member ? copy(mps_text(known->member)) : NULL,
                                 .pattern = copy(mps_text(known->pattern))};
}

static void holder_free(struct trace_holder *holder)
{
    free(holder->who);
    free(holder->member);
    free(holder->pattern);
}

/* Copies are numbered from 1 in the order in which they are told of first. */
static void remember(struct trace_message *message, mps_view step)
{
    if (trace_number(step, "copy") != message->count + 1) return;
    if (message->count == message->cap) {
        message->cap = message->cap ? 2 * message->cap : 16;
        struct trace_holder *more = realloc(message->holders, message->cap * sizeof *more);
        if (!more) {
            complain("out of memory");
            exit(CLI_EXIT_ERROR);
        }
        message->holders = more;
    }
    message->holders[message->count++] = holder_of(message, step);
}

static void put_holder(struct output *out, const struct trace_holder *holder)
{
    if (holder->member) {
        put(out, mps_text(holder->member));
        output_text(out, ", of ");
    }
    put(out, mps_text(holder->who));
    if (*holder->pattern) {
        output_char(out, ' ');
        put_quoted(out, mps_text(holder->pattern));
    }
}

/* ---- steps ---- */

static void put_waited(struct output *out, mps_view step, const char *where)
{
    if (!field(step, "waited_us").ptr) return;
    output_text(out, " after ");
    put_us(out, trace_number(step, "waited_us"));
    output_text(out, where);
}

static void print_queued(struct output *out, const struct trace_holder *holder, mps_view step)
{
    uint64_t ahead = trace_number(step, "ahead"), members = trace_number(step, "members");
    output_text(out, is(trace_text(step, "step"), "reads") ? "to be read from its stream by " : "queued for ");
    put_holder(out, holder);
    if (members > 0) output_format(out, ", of %" PRIu64 " member%s", members, members == 1 ? "" : "s");
    if (flag(step, "away")) output_text(out, ", who is away");
    if (!field(step, "policy").ptr) return;
    output_text(out, ", ");
    put(out, trace_text(step, "policy"));
    if (ahead > 0) output_format(out, ", behind %" PRIu64 " message%s", ahead, ahead == 1 ? "" : "s");
}

static void print_not(struct output *out, const struct trace_holder *holder, mps_view step)
{
    mps_view why = trace_text(step, "why"), filter = trace_text(step, "filter");
    output_text(out, is(why, "pattern") ? "near: " : "not for ");
    put_holder(out, holder);
    if (is(why, "pattern")) {
        output_text(out, " is nearly the topic, but does not match it");
    } else if (is(why, "filter")) {
        output_text(out, ": its filter rejects it: ");
        put(out, filter);
    } else if (is(why, "no_local")) {
        output_text(out, ": it published it itself (no_local)");
    } else if (is(why, "not_allowed")) {
        output_text(out, ": its permissions keep it away");
    } else {
        output_text(out, ": ");
        put(out, why);
    }
}

/* Who has it after this step. */
static void note_member(struct trace_message *message, mps_view step)
{
    uint64_t number = trace_number(step, "copy");
    if (number < 1 || number > message->count) return;
    struct trace_holder *holder = &message->holders[number - 1];
    free(holder->member);
    holder->member = is(trace_text(step, "step"), "returned") ? NULL : holder_name(step);
}

/* A group gave it to a member, or took it back. */
static void print_move(struct output *out, const struct trace_holder *holder, mps_view step)
{
    bool given = is(trace_text(step, "step"), "given");
    output_text(out, given ? "given to " : "taken back from ");
    put_holder(out, holder);
    put_waited(out, step, given ? " in the group's queue" : ", as its connection took no more");
}

/* A newer broker says more. */
static void put_unknown(struct output *out, mps_view step)
{
    put(out, step);
    output_text(out, ": ");
}

static void print_fate(struct output *out, const struct trace_holder *holder, mps_view step)
{
    mps_view name = trace_text(step, "step");
    if (is(name, "sent")) output_text(out, "written to ");
    else if (is(name, "lost")) output_text(out, "LOST for ");
    else if (is(name, "ended")) output_text(out, "thrown away for ");
    else if (is(name, "waits")) output_text(out, "still waits for ");
    else if (is(name, "spilled")) output_text(out, "put outside of memory for ");
    else if (is(name, "fetched")) output_text(out, "fetched into memory for ");
    else put_unknown(out, name);
    put_holder(out, holder);
    put_waited(out, step, "");
    put_reason(out, trace_text(step, "reason"));
}

static void print_stored(struct output *out, mps_view step)
{
    bool stored = is(trace_text(step, "step"), "stored");
    output_text(out, stored ? "stored in stream " : "NOT STORED in stream ");
    put(out, trace_text(step, "stream"));
    output_format(out, " at %" PRIu64, trace_number(step, "seq"));
}

static void print_relayed(struct output *out, mps_view step)
{
    output_text(out, is(trace_text(step, "step"), "relayed") ? "sent to the broker " : "NOT SENT to the broker ");
    put(out, trace_text(step, "broker"));
}

static void print_step(struct output *out, struct trace_message *message, mps_view step)
{
    mps_view name = trace_text(step, "step");
    bool first = is(name, "queued") || is(name, "reads");
    if (first) remember(message, step);
    else if (!is(name, "returned") && !is(name, "not") && field(step, "client").ptr) note_member(message, step);
    struct trace_holder holder = holder_of(message, step);
    begin_line(out, step);
    if (first) print_queued(out, &holder, step);
    else if (is(name, "not")) print_not(out, &holder, step);
    else if (is(name, "given") || is(name, "returned")) print_move(out, &holder, step);
    else if (is(name, "stored") || is(name, "unstored")) print_stored(out, step);
    else if (is(name, "relayed") || is(name, "unrelayed")) print_relayed(out, step);
    else print_fate(out, &holder, step);
    output_char(out, '\n');
    holder_free(&holder);
    if (is(name, "returned")) note_member(message, step);
}

/* ---- events ---- */

static void put_publisher(struct output *out, mps_view event)
{
    mps_view client = trace_text(event, "client"), user = trace_text(event, "user"), peer = trace_text(event, "peer"),
             listener = trace_text(event, "listener"), broker = trace_text(event, "broker");
    output_text(out, client.ptr ? "from " : broker.ptr ? "from the broker " : "from the broker itself");
    put(out, client.ptr ? client : broker);
    if (user.ptr) {
        output_text(out, ", user ");
        put(out, user);
    }
    if (peer.ptr) {
        output_text(out, ", at ");
        put(out, peer);
    }
    if (listener.ptr) {
        output_text(out, " by listener ");
        put(out, listener);
    }
}

static void begin_message(struct trace_printer *printer, uint64_t number)
{
    if (printer->numbers) output_format(printer->out, "#%" PRIu64 " ", number);
    put(printer->out, mps_text(printer->messages[number - 1].topic));
    printer->last = number;
}

static void print_message(struct trace_printer *printer, uint64_t number, mps_view event)
{
    static const char *const levels[] = {"", ", to be acknowledged as routed", ", to be acknowledged as stored",
                                         ", to be acknowledged as replicated"};
    struct output *out = printer->out;
    uint64_t bytes = trace_number(event, "bytes"), level = trace_number(event, "level"),
             held_ms = trace_number(event, "held_ms");
    char moment[MOMENT_TEXT_MAX], time[QUANTITY_TEXT_MAX];
    printer->messages[number - 1].topic = copy(trace_text(event, "topic"));
    begin_message(printer, number);
    moment_write(moment, trace_number(event, "time_ms"));
    output_format(out, ": %" PRIu64 " bytes, %s, ", bytes, moment);
    put_publisher(out, event);
    output_text(out, level < sizeof levels / sizeof *levels ? levels[level] : "");
    if (flag(event, "retain")) output_text(out, ", retained");
    if (field(event, "ttl_ms").ptr) {
        time_write(time, trace_number(event, "ttl_ms"));
        output_format(out, ", good for %s", time);
    }
    output_char(out, '\n');
    if (held_ms > 0) output_format(out, "             its publisher was held for %" PRIu64 " ms before\n", held_ms);
    if (field(event, "stream").ptr) {
        output_text(out, "             kept by stream ");
        put(out, trace_text(event, "stream"));
        output_format(out, ", as its number %" PRIu64 "\n", trace_number(event, "seq"));
    }
    if (!field(event, "code").ptr) return;
    output_format(out, "             REFUSED (%" PRIu64 "): ", trace_number(event, "code"));
    put(out, trace_text(event, "text"));
    output_char(out, '\n');
}

static void print_done(struct output *out, mps_view event)
{
    uint64_t matched = trace_number(event, "matched"), sent = trace_number(event, "sent"),
             lost = trace_number(event, "lost"), ended = trace_number(event, "ended"),
             others = trace_number(event, "others") + trace_number(event, "near") + trace_number(event, "not"),
             waiting = matched - sent - lost - ended;
    output_format(out, "             %" PRIu64 " matched: %" PRIu64 " written", matched, sent);
    if (lost > 0) output_format(out, ", %" PRIu64 " LOST", lost);
    if (ended > 0) output_format(out, ", %" PRIu64 " thrown away", ended);
    if (waiting > 0) output_format(out, ", %" PRIu64 " still waiting", waiting);
    if (matched > trace_number(event, "told"))
        output_format(out, " (of which %" PRIu64 " are shown)", trace_number(event, "told"));
    output_format(out, "; %" PRIu64 " other subscription%s\n", others, others == 1 ? "" : "s");
}

static void print_steps(struct trace_printer *printer, uint64_t number, mps_view event)
{
    char path[32];
    mps_view step;
    for (int i = 0; snprintf(path, sizeof path, "steps[%d]", i), (step = field(event, path)).ptr; i++)
        print_step(printer->out, &printer->messages[number - 1], step);
}

void trace_print(struct trace_printer *printer, mps_view event)
{
    mps_view kind = trace_text(event, "event");
    uint64_t number = trace_number(event, "number");
    if (number < 1 || number > TRACE_MESSAGES_MAX) return;
    bool known = printer->messages[number - 1].topic != NULL;
    if (is(kind, "message") && !known) print_message(printer, number, event);
    if (!known || is(kind, "message")) return;
    if (printer->last != number) {
        begin_message(printer, number);
        output_text(printer->out, ", continued:\n");
    }
    if (is(kind, "steps")) print_steps(printer, number, event);
    else if (is(kind, "done")) print_done(printer->out, event);
}

void trace_printer_free(struct trace_printer *printer)
{
    for (int i = 0; i < TRACE_MESSAGES_MAX; i++) {
        struct trace_message *message = &printer->messages[i];
        for (size_t k = 0; k < message->count; k++) holder_free(&message->holders[k]);
        free(message->holders);
        free(message->topic);
    }
}
