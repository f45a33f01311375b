/* Streams as fast as the window lets them go: flow and its kin differ in the plan only. */
#include "modes.h"
#include "report.h"
#include <stdio.h>

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

static int finish(struct run *run, const struct span *span)
{
    int code = report_run(run, span);
    report_end();
    run_close(run);
    return code;
}

static int stream(const struct options *options, const struct plan *plan)
{
    static struct run run;
    struct span span;
    run_open(&run, options, plan);
    run_connect_subscribers(&run, plan->subscribers);
    run_subscribe(&run, 0);
    run_for(&run, seconds_ns(options->warmup_s));
    run_measured(&run, options->seconds, &span);
    run_drain(&run);
    report_begin(options);
    return finish(&run, &span);
}

int mode_flow(const struct options *options)
{
    struct plan plan = flow_plan(options);
    if (options->protocol == &protocol_raw && plan.publishers > (plan.paired ? 256 : 1)) {
        fail(EXIT_USAGE, "raw does not support flow of several publishers, unless each of at most 256 has its own "
                         "topic and subscriber");
    }
    if (options->protocol == &protocol_raw && plan.paired && options->interleave) {
        fail(EXIT_USAGE, "raw does not support flow with interleaved topics that have their own subscribers");
    }
    return stream(options, &plan);
}
