/* Modes in which little moves: one message at a time, and none at all. */
#include "modes.h"
#include "report.h"
#include <math.h>

static struct run run;

static struct plan plan_of(const struct options *options, uint32_t publishers, uint32_t subscribers)
{
    return (struct plan){.kind = PLAN_ROTATION,
                         .protocol = options->protocol,
                         .publishers = publishers,
                         .subscribers = subscribers,
                         .payload_bytes = options->payload_bytes,
                         .topics = 1,
                         .step = 1,
                         .seed = options->seed};
}

static void exchange_for(double seconds)
{
    uint64_t end = now_ns() + seconds_ns(seconds);
    while (now_ns() < end) {
        uint64_t taken = run_exchange(&run);
        if (run.received < run.published)
            fail(EXIT_MEASUREMENT, "a message did not come within %g s", (double)taken / NS_PER_S);
        histogram_add(&run.latency, taken);
    }
}

/* One publisher, one subscriber, one message: how long it takes. The waiting is in epoll, as in an ordinary program. */
int mode_pingpong(const struct options *options)
{
    static const struct {
        const char *key;
        double share;
    } percentiles[] = {{"p50_ns", 0.5}, {"p90_ns", 0.9}, {"p99_ns", 0.99}, {"p999_ns", 0.999}};
    struct plan plan = plan_of(options, 1, 1);
    struct span span;
    run_open(&run, options, &plan);
    run_connect_subscribers(&run, 1);
    run_subscribe(&run, 0);
    exchange_for(options->warmup_s);
    histogram_clear(&run.latency);
    run_sample(&run, &span.begin);
    exchange_for(options->seconds);
    run_sample(&run, &span.end);
    span.payload_bytes = (span.end.received - span.begin.received) * options->payload_bytes;
    report_run_begin(&run);
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
        report_count(percentiles[i].key, histogram_at(&run.latency, percentiles[i].share));
    }
    report_span(&run, &span);
    return report_run_end(&run);
}

/* Connections that have said hello and nothing else; what they take when the broker has had time to tidy up. */
int mode_idle(const struct options *options)
{
    struct plan plan = plan_of(options, 0, options->subscribers);
    struct span span = {.payload_bytes = 0};
    run_open(&run, options, &plan);
    int64_t before_kib = process_status_kib(&run.broker, "VmRSS:");
    run_sample(&run, &span.begin);
    run_connect_subscribers(&run, options->subscribers);
    run_sample(&run, &span.end);
    run_for(&run, seconds_ns(options->warmup_s));
    int64_t after_kib = process_status_kib(&run.broker, "VmRSS:");
    report_run_begin(&run);
    report_number("connect_seconds", (double)(span.end.at_ns - span.begin.at_ns) / NS_PER_S);
    report_kib("rss_before_kib", before_kib);
    report_kib("rss_after_kib", after_kib);
    report_growth("bytes_per_connection", before_kib, after_kib, options->subscribers);
    report_span(&run, &span); /* while they connected */
    return report_run_end(&run);
}
