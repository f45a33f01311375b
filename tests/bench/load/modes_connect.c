/* Connections that come, are greeted, and go: as many as the broker takes, a fixed number of them under way at a time.
 */
#include "modes.h"
#include "report.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum { EVENTS = 256, PATIENCE_MS = 10000 };

static struct run run;

/* One of those under way, beside its link. */
static struct slot {
    uint64_t began_ns;
    SSL_SESSION *session; /* to be resumed next */
} * slots;

static uint64_t made, resumed;

static struct slot *slot_of(const struct link *link)
{
    return &slots[link->subscriber - run.subscribers];
}

static void begin(struct link *link)
{
    struct slot *slot = slot_of(link);
    struct terms terms = {.number = (uint32_t)(slot - slots)};
    slot->began_ns = now_ns();
    link_start(&run, link, &terms, slot->session);
    short wants = link_go_on(&run, link);
    struct epoll_event event = {.events = wants ? (uint32_t)wants : EPOLLOUT, .data.ptr = link};
    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, link->fd, &event) < 0)
        fail(EXIT_MEASUREMENT, "epoll_ctl: %s", strerror(errno));
}

/* The broker has answered. What it sent of sessions came before that. */
static void end(struct link *link)
{
    struct slot *slot = slot_of(link);
    made++;
    if (run.sampling) histogram_add(&run.latency, now_ns() - slot->began_ns);
    if (link->tls && tls_was_resumed(link->tls)) resumed++;
    SSL_SESSION *newer = run.options->resume ? tls_session(link->tls) : NULL;
    if (newer) {
        tls_forget(slot->session);
        slot->session = newer;
    }
    link_close(link);
}

static void go_on(struct link *link)
{
    short wants = link_go_on(&run, link);
    if (wants == 0) {
        end(link);
        begin(link);
        return;
    }
    struct epoll_event event = {.events = (uint32_t)wants, .data.ptr = link};
    epoll_ctl(run.epoll, EPOLL_CTL_MOD, link->fd, &event);
}

static void connect_for(double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t until = now_ns() + seconds_ns(seconds);
    while (now_ns() < until) {
        int count = epoll_wait(run.epoll, events, EVENTS, PATIENCE_MS);
        if (count == 0) fail(EXIT_MEASUREMENT, "%s answered nobody within %d s", run.options->url, PATIENCE_MS / 1000);
        if (count < 0 && errno != EINTR) fail(EXIT_MEASUREMENT, "epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++) go_on(events[i].data.ptr);
    }
}

static void require_resuming(const struct options *options)
{
    if (!options->resume) return;
    if (!tls_is_wanted(options->url)) fail(EXIT_USAGE, "--resume needs a url that begins with tls://");
}

static void open_all(const struct options *options, const struct plan *plan)
{
    run_open(&run, options, plan);
    slots = allocate(options->subscribers, sizeof *slots);
    for (uint32_t s = 0; s < options->subscribers; s++) {
        run.subscribers[s].link.subscriber = &run.subscribers[s];
        run.subscriber_count++;
        begin(&run.subscribers[s].link);
    }
}

static int close_all(void)
{
    for (uint32_t s = 0; s < run.subscriber_count; s++) tls_forget(slots[s].session);
    free(slots);
    return report_run_end(&run);
}

int mode_connects(const struct options *options)
{
    struct plan plan = {.kind = PLAN_ROTATION,
                        .protocol = options->protocol,
                        .subscribers = options->subscribers,
                        .payload_bytes = options->payload_bytes,
                        .topics = 1,
                        .step = 1,
                        .seed = options->seed};
    struct span span = {.payload_bytes = 0};
    require_resuming(options);
    open_all(options, &plan);
    connect_for(options->warmup_s);
    uint64_t made_before = made, resumed_before = resumed;
    run.sampling = true;
    run_sample(&run, &span.begin);
    connect_for(options->seconds);
    run_sample(&run, &span.end);
    uint64_t count = made - made_before;
    if (options->resume && resumed == 0)
        fail(EXIT_USAGE, "the broker at %s does not support resuming sessions", options->url);
    double seconds = (double)(span.end.at_ns - span.begin.at_ns) / NS_PER_S;
    report_run_begin(&run);
    report_count("connects", count);
    report_number("connects_per_s", (double)count / seconds);
    report_number("cpu_us_per_connect", broker_cpu_us_per(&run, &span, count));
    report_number("resumed_share", count > 0 ? (double)(resumed - resumed_before) / (double)count : NAN);
    report_span(&run, &span);
    return close_all();
}
