/* Modes about what is kept: stored and acknowledged, and read again. What was stored is always counted by reading it.
 */
#include "modes.h"
#include "report.h"
#include <math.h>
#include <time.h>

enum {
    SETTLE_POLL_MS = 50,
    SETTLED_POLLS = 10, /* so many times without growth: the broker does nothing more */
    SETTLE_POLLS_MAX = 400,
    STORE_IN_FLIGHT = 4096, /* where storing is not what is measured */
};

static struct run run;

/* Each publisher has a topic of its own in the stream. */
static struct plan stored_plan(const struct options *options, uint32_t publishers, uint32_t subscribers)
{
    return (struct plan){.kind = PLAN_ROTATION,
                         .protocol = options->protocol,
                         .publishers = publishers,
                         .subscribers = subscribers,
                         .payload_bytes = options->payload_bytes,
                         .topics = publishers,
                         .step = publishers,
                         .level = LEVEL_STORED,
                         .seed = options->seed};
}

static struct plan live_plan(const struct options *options)
{
    return (struct plan){.kind = PLAN_ROTATION,
                         .protocol = options->protocol,
                         .publishers = 1,
                         .subscribers = options->subscribers,
                         .payload_bytes = options->payload_bytes,
                         .topics = 1,
                         .step = 1,
                         .seed = options->seed};
}

static void open_stream(const struct options *options, const struct plan *plan)
{
    uint8_t request[CONTROL_MAX];
    run_open(&run, options, plan);
    struct link *link = &run.publishers[0].link;
    if (!run.protocol->keep) return;
    link_send(&run, link, request, run.protocol->keep(request));
    link_await(&run, link, &link->confirmed, 1);
}

static void ask_all(void)
{
    for (uint32_t s = 0; s < run.subscriber_count; s++) read_ask(&run, &run.subscribers[s].link);
}

/* What is missing of what was acknowledged: found by reading all of it, to the last byte. */
static uint64_t read_back(void)
{
    if (!run.protocol->read) return 0;
    run.content_mask = 0;
    run_connect_subscribers(&run, 1);
    ask_all();
    run_drain(&run);
    return run_lost(&run);
}

/* The end of a report: what was lost and wrong, and the broker's memory. */
static int finish(uint64_t lost, uint64_t wrong)
{
    report_count("lost", lost);
    report_count("wrong", wrong);
    report_memory(&run.broker);
    report_end();
    run_close(&run);
    if (wrong > 0) fail(EXIT_MEASUREMENT, "%llu messages were wrong", (unsigned long long)wrong);
    return 0;
}

/* Publishers that wait for each message, or batch, or go on with so many unacknowledged. */
int mode_stored(const struct options *options)
{
    struct plan plan = stored_plan(options, options->publishers, 1);
    struct span span;
    open_stream(options, &plan);
    run_for(&run, seconds_ns(options->warmup_s));
    run_measured(&run, options->seconds, &span);
    run_drain(&run);
    if (run_acked(&run) < run.published)
        fail(EXIT_MEASUREMENT, "the broker acknowledged %llu of %llu messages", (unsigned long long)run_acked(&run),
             (unsigned long long)run.published);
    uint64_t lost = read_back();
    report_run_begin(&run);
    report_count("in_flight", run.in_flight);
    report_stored(&run, &span);
    report_count("stored", run.published);
    if (run.protocol->read) report_count("read_back", run.received);
    else report_null("read_back");
    return finish(lost, run.wrong);
}

/* Stores what is to be read. */
static void store(const struct options *options, const struct plan *plan)
{
    open_stream(options, plan);
    if (run.in_flight > STORE_IN_FLIGHT) run.in_flight = STORE_IN_FLIGHT;
    run_until_published(&run, options->messages);
    run_drain(&run);
    if (run_acked(&run) < run.published)
        fail(EXIT_MEASUREMENT, "the broker acknowledged %llu of %llu messages", (unsigned long long)run_acked(&run),
             (unsigned long long)run.published);
}

static double span_per_s(const struct span *span)
{
    return (double)(span->end.received - span->begin.received) * NS_PER_S /
           (double)(span->end.at_ns - span->begin.at_ns);
}

static double span_cpu_us(const struct span *span)
{
    return broker_cpu_us_per(&run, span, span->end.received - span->begin.received);
}

/* All subscribers read the whole stream. */
static void read_all(struct span *span)
{
    run_sample(&run, &span->begin);
    ask_all();
    run_drain(&run);
    run_sample(&run, &span->end);
    span->payload_bytes = (span->end.received - span->begin.received) * run.options->payload_bytes;
}

/* First messages that are not kept, from one publisher to the subscribers; then, in the same broker, a stream is filled
 * and read by as many. */
int mode_replay(const struct options *options)
{
    struct plan live = live_plan(options), plan = stored_plan(options, 1, options->subscribers);
    struct span span;
    run_open(&run, options, &live);
    run_connect_subscribers(&run, live.subscribers);
    run_subscribe(&run, 0);
    run_for(&run, seconds_ns(options->warmup_s));
    run_measured(&run, options->seconds, &span);
    run_drain(&run);
    double live_per_s = span_per_s(&span), live_cpu_us = span_cpu_us(&span);
    uint64_t lost = run_lost(&run), wrong = run.wrong;
    run_close(&run);
    store(options, &plan);
    run_connect_subscribers(&run, plan.subscribers);
    read_all(&span);
    report_run_begin(&run);
    report_number("live_per_s", live_per_s);
    report_number("live_cpu_us", live_cpu_us);
    report_number("replay_share", span_per_s(&span) / live_per_s);
    report_count("stored", run.published);
    report_span(&run, &span);
    return finish(lost + run_lost(&run), wrong + run.wrong);
}

/* Until the broker's memory has stopped growing. Returns it in KiB. */
static int64_t settle(void)
{
    const struct timespec poll = {.tv_nsec = SETTLE_POLL_MS * 1000000L};
    int64_t most = -1;
    for (int polls = 0, still = 0; polls < SETTLE_POLLS_MAX && still < SETTLED_POLLS; polls++, still++) {
        int64_t kib = process_status_kib(&run.broker, "VmRSS:");
        if (kib > most) {
            most = kib;
            still = 0;
        }
        nanosleep(&poll, NULL);
    }
    return most;
}

/* Many readers ask for the whole stream. None reads on until the broker has made ready for all what it wants to; then
 * all do. */
int mode_readers(const struct options *options)
{
    struct plan plan = stored_plan(options, 1, options->subscribers);
    struct span span;
    store(options, &plan);
    run_connect_subscribers(&run, plan.subscribers);
    int64_t before_kib = process_status_kib(&run.broker, "VmRSS:");
    bool fresh_peak = process_forget_peak(&run.broker);
    ask_all();
    int64_t waiting_kib = settle();
    run_sample(&run, &span.begin);
    run_drain(&run);
    run_sample(&run, &span.end);
    span.payload_bytes = (span.end.received - span.begin.received) * options->payload_bytes;
    int64_t peak_kib = fresh_peak ? process_status_kib(&run.broker, "VmHWM:") : -1;
    double stream_bytes = (double)run.published * options->payload_bytes;
    bool known = before_kib >= 0 && peak_kib >= 0;
    report_run_begin(&run);
    report_count("stored", run.published);
    report_kib("rss_before_kib", before_kib);
    report_kib("rss_waiting_kib", waiting_kib);
    report_growth("bytes_per_reader", before_kib, peak_kib, plan.subscribers);
    report_number("copies", known ? (double)(peak_kib - before_kib) * 1024 / stream_bytes : NAN);
    report_span(&run, &span);
    return finish(run_lost(&run), run.wrong);
}
