/* Modes with a subscriber that does not keep up. */
#include "mix.h"
#include "modes.h"
#include "report.h"

static struct run run;

static void report_slow(const struct subscriber *slow)
{
    uint64_t missed = run_expected(&run, slow) - slow->received;
    report_count("slow_received", slow->received);
    if (run.protocol->tells_loss) report_count("slow_told", slow->link.told);
    else report_null("slow_told");
    report_count("slow_missed", missed);
    report_count("slow_lost", missed);
    report_bool("slow_closed", slow->link.fd < 0);
}

/* The slow one reads at last; what the broker held back from the others because of it comes then. */
static void finish(struct subscriber *slow)
{
    run_drain(&run);
    run_catch_up(&run, slow);
    run_drain(&run);
}

static double rate(const struct span *span)
{
    return (double)(span->end.received - span->begin.received) * NS_PER_S /
           (double)(span->end.at_ns - span->begin.at_ns);
}

static void report_stall(const struct span *alone, const struct span *beside)
{
    uint64_t received_alone = alone->end.received - alone->begin.received;
    uint64_t received_beside = beside->end.received - beside->begin.received;
    report_number("fast_alone_per_s", rate(alone));
    report_number("fast_beside_per_s", rate(beside));
    report_number("ratio", rate(beside) / rate(alone));
    report_number("cpu_us_alone", broker_cpu_us_per(&run, alone, received_alone));
    report_number("cpu_us_beside", broker_cpu_us_per(&run, beside, received_beside));
}

/* A subscriber that never reads beside one that does, and what it finds when it reads at last. */
int mode_stall(const struct options *options)
{
    struct plan plan = {.kind = PLAN_ROTATION,
                        .protocol = options->protocol,
                        .publishers = 1,
                        .subscribers = 2,
                        .payload_bytes = options->payload_bytes,
                        .topics = 1,
                        .step = 1,
                        .seed = options->seed};
    struct span alone, beside;
    run_open(&run, options, &plan);
    run_connect_subscribers(&run, 1);
    run_subscribe(&run, 0);
    run_for(&run, seconds_ns(options->warmup_s));
    run_measured(&run, options->seconds, &alone);
    run_drain(&run);
    struct subscriber *slow = &run.subscribers[1];
    run_connect_subscribers(&run, 1);
    run_subscribe(&run, 1);
    run_set_apart(&run, slow);
    run_measured(&run, options->seconds, &beside);
    finish(slow);
    report_run_begin(&run);
    report_stall(&alone, &beside);
    report_slow(slow);
    report_span(&run, &beside);
    return report_run_end(&run);
}

int mode_mixed(const struct options *options)
{
    static struct mix mix;
    struct plan plan = {.kind = PLAN_MIXED,
                        .protocol = options->protocol,
                        .publishers = options->publishers,
                        .subscribers = MIX_SUBSCRIBERS,
                        .topics = MIX_TOPICS,
                        .seed = options->seed,
                        .mix = &mix};
    struct span span;
    mix_make(&mix, options->protocol, options->seed);
    run_open(&run, options, &plan);
    run_connect_subscribers(&run, MIX_SUBSCRIBERS);
    run_subscribe(&run, 0);
    struct subscriber *slow = &run.subscribers[MIX_SUBSCRIBERS - 1];
    run_set_apart(&run, slow);
    run_for(&run, seconds_ns(options->warmup_s));
    run_measured(&run, options->seconds, &span);
    finish(slow);
    report_run_begin(&run);
    report_slow(slow);
    report_span(&run, &span);
    return report_run_end(&run);
}
