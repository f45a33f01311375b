#include "bench_report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json_out.h"

#define NUMBER_MAX 32 /* bytes of a number as text */

struct rates {
    double seconds, messages_per_s, mb_per_s; /* the rates are 0 if there was no time to have one */
};

/* sub begins with a message, so that the time is that between them: one less. */
static struct rates rates_of(const struct bench_options *options, const struct bench_result *result)
{
    struct rates rates = {0};
    if (result->messages == 0 || result->last_ns <= result->begin_ns) return rates;
    double all = (double)result->messages, counted = options->kind == BENCH_SUB ? all - 1 : all;
    rates.seconds = (double)(result->last_ns - result->begin_ns) / 1e9;
    rates.messages_per_s = counted / rates.seconds;
    rates.mb_per_s = counted / all * (double)result->bytes / 1e6 / rates.seconds;
    return rates;
}

/* ---- JSON ---- */

static void put_us(struct output *out, const struct bench_result *result, const char *name, uint64_t ns)
{
    if (result->latency.samples == 0) {
        output_format(out, ",\"%s\":null", name);
    } else {
        output_format(out, ",\"%s\":%.3f", name, (double)ns / 1e3);
    }
}

static void put_json(struct output *out, const struct bench_options *options, const struct bench_result *result)
{
    static const char *const ends[] = {
        [BENCH_RUNNING] = "",
        [BENCH_END_COUNT] = "count",
        [BENCH_END_TIME] = "time",
        [BENCH_END_PUBLISHERS] = "publishers",
        [BENCH_END_IDLE] = "idle",
        [BENCH_END_SIGNAL] = "signal",
        [BENCH_END_FAILURE] = "failure",
    };
    const struct rates rates = rates_of(options, result);
    const struct bench_histogram *latency = &result->latency;
    output_format(out, "{\"kind\":\"%s\",\"topic\":", bench_kind_names[options->kind]);
    json_out_text(out, (mps_view){(const uint8_t *)options->topic_text, (uint32_t)strlen(options->topic_text)});
    if (options->kind != BENCH_SUB) {
        output_format(out, ",\"size\":%" PRIu64 ",\"topics\":%llu", options->size, options->topics);
    }
    if (options->kind == BENCH_FAN) output_format(out, ",\"subscribers\":%llu", options->subscribers);
    output_format(out, ",\"seconds\":%.6f,\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64, rates.seconds, result->messages,
                  result->bytes);
    output_format(out, ",\"messages_per_s\":%.1f,\"mb_per_s\":%.3f", rates.messages_per_s, rates.mb_per_s);
    put_us(out, result, "p50_us", bench_histogram_at(latency, 0.5));
    put_us(out, result, "p99_us", bench_histogram_at(latency, 0.99));
    put_us(out, result, "p999_us", bench_histogram_at(latency, 0.999));
    put_us(out, result, "max_us", latency->max_ns);
    output_format(out, ",\"samples\":%" PRIu64 ",\"lost\":%" PRIu64, latency->samples, result->lost);
    if (options->kind != BENCH_PUB) output_format(out, ",\"lost_told\":%" PRIu64, result->told);
    output_format(out, ",\"wrong\":%" PRIu64 ",\"end\":\"%s\"}\n", result->wrong, ends[result->end]);
}

/* ---- table ---- */

/* "1,234,567" */
static void number_text(char text[NUMBER_MAX], uint64_t number)
{
    char digits[NUMBER_MAX];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, number);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) *text++ = ',';
        *text++ = digits[i];
    }
    *text = '\0';
}

static void put_number(struct output *out, int width, uint64_t number)
{
    char text[NUMBER_MAX];
    number_text(text, number);
    output_format(out, "%*s", width, text);
}

static void put_time(struct output *out, const struct bench_result *result, uint64_t ns)
{
    char text[BENCH_TIME_TEXT_MAX] = "-";
    if (result->latency.samples > 0) bench_time_text(text, ns);
    output_format(out, "%9s", text);
}

static void put_what(struct output *out, const struct bench_options *options, const struct rates *rates)
{
    static const char *const counted[] = {
        [BENCH_PUB] = "acknowledged",
        [BENCH_SUB] = "received",
        [BENCH_FAN] = "received",
        [BENCH_LATENCY] = "received one at a time",
    };
    char topics[64] = "", subscribers[64] = "", size[64] = "";
    if (options->topics > 1) snprintf(topics, sizeof topics, "%llu topics below ", options->topics);
    if (options->kind == BENCH_FAN) {
        snprintf(subscribers, sizeof subscribers, ", %llu subscriber%s", options->subscribers,
                 options->subscribers == 1 ? "" : "s");
    }
    if (options->kind != BENCH_SUB) snprintf(size, sizeof size, " of %" PRIu64 " bytes", options->size);
    output_format(out, "%s: messages%s %s in %.2f s%s, on %s", bench_kind_names[options->kind], size,
                  counted[options->kind], rates->seconds, subscribers, topics);
    output_escaped(out, options->topic_text, strlen(options->topic_text), true);
    output_text(out, "\n\n");
}

static void put_losses(struct output *out, const struct bench_options *options, const struct bench_result *result)
{
    char number[NUMBER_MAX];
    number_text(number, result->lost);
    if (result->lost > 0 && options->kind == BENCH_PUB) {
        output_format(out, "\nlost %s: published and not acknowledged\n", number);
    } else if (result->lost > 0) {
        output_format(out, "\nlost %s", number);
        number_text(number, result->told);
        output_format(out, " (told by the broker: %s)\n", number);
    }
    number_text(number, result->wrong);
    if (result->wrong > 0) output_format(out, "\nwrong %s: other content or order than was sent\n", number);
    if (options->kind == BENCH_PUB && result->matched == 0) output_text(out, "\nnobody was subscribed\n");
}

static void put_table(struct output *out, const struct bench_options *options, const struct bench_result *result)
{
    static const char *const what[] = {
        [BENCH_PUB] = "from publish to acknowledgement",
        [BENCH_SUB] = "from publish to arrival",
        [BENCH_FAN] = "from publish to arrival",
        [BENCH_LATENCY] = "from publish to arrival",
    };
    const struct rates rates = rates_of(options, result);
    const struct bench_histogram *latency = &result->latency;
    put_what(out, options, &rates);
    output_text(out, "      messages    messages/s        MB/s      p50      p99    p99.9      max        lost\n");
    put_number(out, 14, result->messages);
    put_number(out, 14, (uint64_t)(rates.messages_per_s + 0.5));
    output_format(out, "%12.1f", rates.mb_per_s);
    put_time(out, result, bench_histogram_at(latency, 0.5));
    put_time(out, result, bench_histogram_at(latency, 0.99));
    put_time(out, result, bench_histogram_at(latency, 0.999));
    put_time(out, result, latency->max_ns);
    put_number(out, 12, result->lost);
    output_char(out, '\n');
    put_losses(out, options, result);
    if (latency->samples == 0) return;
    output_format(out, "\nlatency %s, %" PRIu64 " samples\n", what[options->kind], latency->samples);
    bench_histogram_draw(latency, out);
}

int bench_report(const struct bench_options *options, const struct bench_result *result)
{
    struct output out;
    output_open(&out, STDOUT_FILENO);
    if (options->json) put_json(&out, options, result);
    else put_table(&out, options, result);
    output_flush(&out);
    int error = out.error;
    output_close(&out);
    if (error == 0 || error == EPIPE || error == EINTR) return CLI_EXIT_DONE;
    complain("cannot write to standard output: %s", strerror(error));
    return CLI_EXIT_ERROR;
}
