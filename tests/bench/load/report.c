#include "report.h"
#include "modes.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void key_of(const char *key)
{
    printf(", \"%s\": ", key);
}

static void put_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        if ((unsigned char)*text >= ' ') putchar(*text);
    }
    putchar('"');
}

void report_text(const char *key, const char *value)
{
    key_of(key);
    put_quoted(value);
}

void report_number(const char *key, double value)
{
    key_of(key);
    if (isfinite(value)) printf("%.6g", value);
    else printf("null");
}

void report_count(const char *key, uint64_t value)
{
    key_of(key);
    printf("%" PRIu64, value);
}

void report_bool(const char *key, bool value)
{
    key_of(key);
    printf(value ? "true" : "false");
}

void report_null(const char *key)
{
    report_number(key, NAN);
}

void report_kib(const char *key, int64_t kib)
{
    report_number(key, kib < 0 ? NAN : (double)kib);
}

void report_begin(const struct options *options)
{
    printf("{\"protocol\": \"%s\"", options->protocol->name);
    report_text("url", options->url);
    report_text("mode", options->mode->name);
}

static double span_s(const struct span *span)
{
    return (double)(span->end.at_ns - span->begin.at_ns) / NS_PER_S;
}

double broker_cpu_us_per(const struct run *run, const struct span *span, uint64_t count)
{
    if (run->broker.pid == 0 || count == 0) return NAN;
    return (double)(span->end.broker_cpu_ns - span->begin.broker_cpu_ns) / 1000 / (double)count;
}

void report_latency(const struct histogram *latency)
{
    static const struct {
        const char *key;
        double share;
    } percentiles[] = {{"p50_us", 0.5}, {"p99_us", 0.99}, {"p999_us", 0.999}, {"max_us", 1}};
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
        double us = (double)histogram_at(latency, percentiles[i].share) / 1000;
        report_number(percentiles[i].key, latency->total > 0 ? us : NAN);
    }
}

static void report_shares(const struct run *run, const struct span *span)
{
    double own_s = (double)(span->end.own_cpu_ns - span->begin.own_cpu_ns) / NS_PER_S;
    report_number("broker_cpu_share", broker_cpu_us_per(run, span, 1) / 1e6 / span_s(span));
    report_number("generator_cpu_share", own_s / span_s(span));
}

void report_span(const struct run *run, const struct span *span)
{
    double seconds = span_s(span);
    uint64_t published = span->end.published - span->begin.published;
    uint64_t delivered = span->end.received - span->begin.received;
    report_number("seconds", seconds);
    report_count("published", published);
    report_count("delivered", delivered);
    report_number("cpu_us_per_delivered", broker_cpu_us_per(run, span, delivered));
    report_number("cpu_us_per_published", broker_cpu_us_per(run, span, published));
    report_number("delivered_per_s", (double)delivered / seconds);
    report_number("published_per_s", (double)published / seconds);
    report_number("mb_per_s", (double)span->payload_bytes / 1e6 / seconds);
    report_latency(&run->latency);
    report_shares(run, span);
}

void report_stored(const struct run *run, const struct span *span)
{
    uint64_t acked = span->end.acked - span->begin.acked;
    report_number("seconds", span_s(span));
    report_count("acked", acked);
    report_number("acked_per_s", (double)acked / span_s(span));
    report_number("cpu_us_per_acked", broker_cpu_us_per(run, span, acked));
    report_latency(&run->latency);
    report_shares(run, span);
}

void report_memory(const struct process *broker)
{
    report_kib("rss_kib", process_status_kib(broker, "VmRSS:"));
    report_kib("peak_kib", process_status_kib(broker, "VmHWM:"));
}

void report_end(void)
{
    puts("}");
    if (fflush(stdout) != 0 || ferror(stdout)) fail(EXIT_MEASUREMENT, "the report can't be written");
}

void report_run_begin(const struct run *run)
{
    report_begin(run->options);
    report_count("payload", plan_payload_mean(run->plan));
    report_count("publishers", run->publisher_count);
    report_count("subscribers", run->subscriber_count);
    report_count("topics", run->plan->topics);
}

int report_run_end(struct run *run)
{
    uint64_t wrong = run->wrong;
    report_count("lost", run_lost(run));
    report_count("wrong", wrong);
    report_memory(&run->broker);
    report_end();
    run_close(run);
    if (wrong > 0) fail(EXIT_MEASUREMENT, "%" PRIu64 " messages were wrong", wrong);
    return 0;
}

int report_run(struct run *run, const struct span *span)
{
    report_run_begin(run);
    report_span(run, span);
    return report_run_end(run);
}

void report_growth(const char *key, int64_t before_kib, int64_t after_kib, uint64_t count)
{
    report_number(key, before_kib < 0 || after_kib < 0 ? NAN : (double)(after_kib - before_kib) * 1024 / (double)count);
}
