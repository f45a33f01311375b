/* Streams as fast as the window lets them go: these modes differ in their plan, and in what else they look at. */
#include "modes.h"
#include "relay.h"
#include "report.h"

static struct run run;

static struct plan basic_plan(const struct options *options)
{
    return (struct plan){.kind = PLAN_ROTATION,
                         .protocol = options->protocol,
                         .publishers = options->publishers,
                         .subscribers = options->subscribers,
                         .payload_bytes = options->payload_bytes,
                         .topics = options->topics,
                         .step = options->publishers,
                         .seed = options->seed};
}

static struct plan flow_plan(const struct options *options)
{
    struct plan plan = basic_plan(options);
    if (options->interleave) plan.step = 1;
    plan.paired = plan.topics > 1 && plan.topics == plan.publishers && plan.topics == plan.subscribers;
    return plan;
}

static void connect_all(const struct options *options, const struct plan *plan)
{
    run_open(&run, options, plan);
    run_connect_subscribers(&run, plan->subscribers);
}

static void stream(const struct options *options, struct span *span)
{
    run_for(&run, seconds_ns(options->warmup_s));
    run_measured(&run, options->seconds, span);
    run_drain(&run);
}

static int simple_stream(const struct options *options, const struct plan *plan)
{
    struct span span;
    connect_all(options, plan);
    run_subscribe(&run, 0);
    stream(options, &span);
    return report_run(&run, &span);
}

int mode_flow(const struct options *options)
{
    struct plan plan = flow_plan(options);
    bool apart = plan.paired && !options->interleave && plan.publishers <= RELAY_CHANNELS;
    if (options->protocol == &protocol_raw && plan.publishers > 1 && !apart) {
        fail(EXIT_USAGE,
             "raw does not support flow of several publishers, unless each of at most %d has a topic and a "
             "subscriber of its own",
             RELAY_CHANNELS);
    }
    return simple_stream(options, &plan);
}

int mode_acked(const struct options *options)
{
    struct plan plan = flow_plan(options);
    struct span span;
    plan.level = LEVEL_ROUTED;
    connect_all(options, &plan);
    run_subscribe(&run, 0);
    stream(options, &span);
    report_run_begin(&run);
    report_count("acked", run_acked(&run));
    report_count("unacked", run.published - run_acked(&run));
    report_span(&run, &span);
    return report_run_end(&run);
}

/* Each subscriber has at least one of the subscriptions. */
static struct plan random_plan(const struct options *options, uint32_t subscriptions, bool wildcards)
{
    struct plan plan = basic_plan(options);
    if (subscriptions < options->subscribers) {
        fail(EXIT_USAGE, "--subscribers is %u, which is more than the %u subscriptions", options->subscribers,
             subscriptions);
    }
    plan.kind = PLAN_RANDOM;
    plan.topics = subscriptions;
    plan.wildcards = wildcards;
    return plan;
}

int mode_wildcards(const struct options *options)
{
    struct plan plan = random_plan(options, options->wildcards, true);
    return simple_stream(options, &plan);
}

int mode_scale_subs(const struct options *options)
{
    struct plan plan = random_plan(options, options->subscriptions, false);
    struct span span;
    connect_all(options, &plan);
    int64_t before_kib = process_status_kib(&run.broker, "VmRSS:");
    uint64_t begin = now_ns();
    run_subscribe(&run, 0);
    uint64_t taken = now_ns() - begin;
    int64_t after_kib = process_status_kib(&run.broker, "VmRSS:");
    stream(options, &span);
    report_run_begin(&run);
    report_count("subscriptions", options->subscriptions);
    report_number("subscribe_seconds", (double)taken / NS_PER_S);
    report_kib("rss_before_kib", before_kib);
    report_kib("rss_after_kib", after_kib);
    report_growth("bytes_per_subscription", before_kib, after_kib, options->subscriptions);
    report_span(&run, &span);
    return report_run_end(&run);
}

/* First once through all topics, which are new to the broker then, and on for as long as is measured. */
int mode_scale_topics(const struct options *options)
{
    struct plan plan = basic_plan(options);
    struct span first, span;
    plan.everything = true;
    connect_all(options, &plan);
    run_subscribe(&run, 0);
    int64_t before_kib = process_status_kib(&run.broker, "VmRSS:");
    run_sample(&run, &first.begin);
    run_until_published(&run, options->topics);
    run_drain(&run);
    run_sample(&run, &first.end);
    int64_t after_kib = process_status_kib(&run.broker, "VmRSS:");
    run_measured(&run, options->seconds, &span);
    run_drain(&run);
    report_run_begin(&run);
    report_number("first_pass_seconds", (double)(first.end.at_ns - first.begin.at_ns) / NS_PER_S);
    report_number("first_pass_cpu_us_per_delivered", broker_cpu_us_per(&run, &first, first.end.received));
    report_kib("rss_before_kib", before_kib);
    report_kib("rss_after_kib", after_kib);
    report_growth("bytes_per_topic", before_kib, after_kib, options->topics);
    report_span(&run, &span);
    return report_run_end(&run);
}

int mode_scale_conns(const struct options *options)
{
    struct plan plan = basic_plan(options);
    plan.publishers = plan.topics = plan.step = 1;
    return simple_stream(options, &plan);
}
