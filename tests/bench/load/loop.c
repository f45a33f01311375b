/* The loop: publishers write while the window has room, subscribers are read when there is something. */
#include "run.h"
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

enum {
    EVENTS = 1024,
    WAIT_MS = 50,    /* nobody waits longer without looking at the clock */
    PACE_MS = 1,     /* with a rate: how often messages become due */
    SLOW_SHARE = 10, /* who is apart in a mixed load reads one part of so many */
    SLOW_READ_BYTES = 16384,
};
#define FORGIVE_NS \
    ((uint64_t)NS_PER_S) /* a silence after which what is missing is given up, as far as the window goes */
#define SLOW_READ_NS ((uint64_t)NS_PER_S / 50)

static uint64_t settled(const struct subscriber *subscriber)
{
    return subscriber->received + subscriber->skipped + subscriber->forgiven;
}

static uint64_t missing(const struct run *run, const struct subscriber *subscriber)
{
    uint64_t expected = run_expected(run, subscriber), done = settled(subscriber);
    return expected > done ? expected - done : 0;
}

/* Published minus received by the slowest: all are looked at only when the one that was the slowest has moved. */
static uint64_t missing_to_slowest(struct run *run)
{
    struct subscriber *slowest = &run->subscribers[run->slowest];
    bool moved = run->plan->kind == PLAN_MIXED || slowest->apart || settled(slowest) != run->slowest_at;
    for (uint32_t s = 0; moved && s < run->subscriber_count; s++) {
        struct subscriber *subscriber = &run->subscribers[s];
        if (subscriber->apart) continue;
        if (slowest->apart || missing(run, subscriber) > missing(run, slowest)) {
            slowest = subscriber;
            run->slowest = s;
        }
    }
    run->slowest_at = settled(slowest);
    return missing(run, slowest);
}

/* Under way to subscribers. What is stored is limited by its acknowledgements alone. */
static uint64_t outstanding(struct run *run)
{
    if (run->plan->level == LEVEL_STORED) return 0;
    if (!plan_has_owners(run->plan)) return missing_to_slowest(run);
    uint64_t done = run->received + run->skipped + run->forgiven;
    return run->published > done ? run->published - done : 0;
}

/* What does not come after so long a silence will not come, and others would wait for it for ever. */
static void forgive(struct run *run)
{
    for (uint32_t s = 0; s < run->subscriber_count; s++) {
        struct subscriber *subscriber = &run->subscribers[s];
        uint64_t pardoned = missing(run, subscriber);
        if (subscriber->apart) continue;
        subscriber->forgiven += pardoned;
        run->forgiven += pardoned;
    }
}

static uint64_t due_by_rate(struct run *run, uint64_t now)
{
    uint64_t rate = run->options->rate;
    if (rate == 0) return UINT64_MAX;
    double due = (double)(now - run->paced_from_ns) * (double)rate / NS_PER_S;
    return (uint64_t)due > run->paced_count ? (uint64_t)due - run->paced_count : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many messages a publisher may make now: 0 unless there is room for a batch. */
static uint64_t may_make(const struct run *run, const struct publisher *publisher, uint64_t room, uint64_t due)
{
    uint64_t unacked = run->plan->level != LEVEL_NONE ? publisher->sent - publisher->link.acked : 0;
    uint64_t count = least(least(room, due), run->in_flight - least(unacked, run->in_flight));
    return publisher->batch_len > 0 || count < least(run->batch_least, due) ? 0 : count;
}

/* Lets each publisher that can make a batch make one. True: one of them could make another. */
static bool publish_all(struct run *run, uint64_t now, uint64_t most)
{
    uint64_t gone = outstanding(run), room = run->window > gone ? run->window - gone : 0;
    uint64_t due = least(due_by_rate(run, now), most);
    bool again = false;
    if (run->publisher_count == 0) return false;
    if (room == 0 && now > run->heard_ns + FORGIVE_NS) forgive(run);
    for (uint32_t i = 0; i < run->publisher_count; i++) {
        struct publisher *publisher = &run->publishers[(run->turn + i) % run->publisher_count];
        uint64_t count = may_make(run, publisher, room, due), before = run->published;
        if (count == 0) continue;
        publish_batch(run, publisher, count);
        uint64_t made = run->published - before;
        room -= made;
        due -= made;
        run->paced_count += made;
        again = again || (due >= run->batch_least && may_make(run, publisher, room, due) > 0);
    }
    run->turn = (run->turn + 1) % run->publisher_count;
    return again;
}

static void handle(struct run *run, const struct epoll_event *event)
{
    struct link *link = event->data.ptr;
    if (link->fd >= 0 && (event->events & EPOLLOUT) != 0) publish_rest(run, link->publisher);
    if (link->fd < 0 || (event->events & ~(uint32_t)EPOLLOUT) == 0) return;
    while (link_receive(run, link, READ_BYTES) && link->tls && tls_holds(link->tls)) {
    }
}

static void receive_all(struct run *run, int wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(run->epoll, events, EVENTS, wait_ms);
    if (count < 0 && errno != EINTR) fail(EXIT_MEASUREMENT, "epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) handle(run, &events[i]);
}

/* Who is slow in a mixed load reads when it is behind its part of what was published for it; and a little in any case,
 * or a broker that holds publishers for it would never go on. */
static void receive_slowly(struct run *run, uint64_t now)
{
    if (run->plan->kind != PLAN_MIXED) return;
    bool in_any_case = now > run->slow_read_ns + SLOW_READ_NS;
    if (in_any_case) run->slow_read_ns = now;
    for (uint32_t s = 0; s < run->subscriber_count; s++) {
        struct subscriber *subscriber = &run->subscribers[s];
        bool behind = subscriber->link.bytes < subscriber->expected_bytes / SLOW_SHARE;
        if (subscriber->apart && (behind || in_any_case) && subscriber->link.fd >= 0)
            link_receive(run, &subscriber->link, SLOW_READ_BYTES);
    }
}

static void turn(struct run *run, uint64_t now, uint64_t most)
{
    bool again = publish_all(run, now, most);
    receive_all(run, again ? 0 : run->options->rate > 0 ? PACE_MS : WAIT_MS);
    receive_slowly(run, now);
}

/* Returns the time, from which on messages are due by the rate and a silence counts. */
static uint64_t begin_pace(struct run *run)
{
    run->paced_count = 0;
    return run->paced_from_ns = run->heard_ns = now_ns();
}

void run_for(struct run *run, uint64_t ns)
{
    uint64_t now = begin_pace(run), end = now + ns;
    for (; now < end; now = now_ns()) turn(run, now, UINT64_MAX);
}

void run_until_published(struct run *run, uint64_t count)
{
    begin_pace(run);
    while (run->published < count) turn(run, now_ns(), count - run->published);
}

void run_measured(struct run *run, double seconds, struct span *span)
{
    histogram_clear(&run->latency);
    run->sampling = true;
    run_sample(run, &span->begin);
    run_for(run, seconds_ns(seconds));
    run_sample(run, &span->end);
    run->sampling = false;
    span->payload_bytes = (span->end.received - span->begin.received) * plan_payload_mean(run->plan);
}

uint64_t run_exchange(struct run *run)
{
    uint64_t begin = now_ns(), now = begin;
    uint64_t due = run->received + 1;
    publish_batch(run, &run->publishers[0], 1);
    for (; run->received < due && now < begin + run->silence_ns; now = now_ns()) receive_all(run, WAIT_MS);
    return now - begin;
}

static bool all_here(const struct run *run)
{
    for (uint32_t p = 0; p < run->publisher_count; p++) {
        const struct publisher *publisher = &run->publishers[p];
        if (publisher->batch_len > 0 || (run->plan->level != LEVEL_NONE && publisher->link.acked < publisher->sent))
            return false;
    }
    for (uint32_t s = 0; s < run->subscriber_count; s++) {
        const struct subscriber *subscriber = &run->subscribers[s];
        uint64_t seen =
            subscriber->received + subscriber->skipped; /* what others have overtaken does not come any more */
        bool done = subscriber->apart || subscriber->link.at_end;
        if (!done && seen < run_expected(run, subscriber)) return false;
    }
    return true;
}

void run_drain(struct run *run)
{
    run->heard_ns = now_ns();
    while (!all_here(run) && now_ns() < run->heard_ns + run->silence_ns) receive_all(run, WAIT_MS);
}

void run_set_apart(struct run *run, struct subscriber *subscriber)
{
    subscriber->apart = subscriber->link.may_close = true;
    epoll_ctl(run->epoll, EPOLL_CTL_DEL, subscriber->link.fd, NULL);
}

void run_catch_up(struct run *run, struct subscriber *subscriber)
{
    struct link *link = &subscriber->link;
    run->heard_ns = now_ns();
    while (link->fd >= 0 && subscriber->received + link->told < run_expected(run, subscriber) &&
           now_ns() < run->heard_ns + run->silence_ns) {
        if (link_receive(run, link, READ_BYTES)) continue;
        struct pollfd poll_fd = {.fd = link->fd, .events = POLLIN};
        poll(&poll_fd, 1, WAIT_MS);
    }
}
