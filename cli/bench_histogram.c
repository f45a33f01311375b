#include "bench_histogram.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli.h"

#define BAR_WIDTH 50

/* ---- buckets ---- */

static unsigned bucket_of(uint64_t ns)
{
    if (ns < BENCH_HISTOGRAM_EXACT_NS) return (unsigned)ns;
    if (ns > BENCH_HISTOGRAM_MAX_NS) ns = BENCH_HISTOGRAM_MAX_NS;
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns) - BENCH_HISTOGRAM_BITS;
    return (octave << BENCH_HISTOGRAM_BITS) + (unsigned)(ns >> octave);
}

/* The least value of a bucket. */
static uint64_t bottom_of(unsigned bucket)
{
    if (bucket < BENCH_HISTOGRAM_EXACT_NS) return bucket;
    unsigned octave = (bucket >> BENCH_HISTOGRAM_BITS) - 1;
    return (uint64_t)(bucket - (octave << BENCH_HISTOGRAM_BITS)) << octave;
}

static uint64_t middle_of(unsigned bucket)
{
    uint64_t bottom = bottom_of(bucket), next = bottom_of(bucket + 1);
    return bottom + (next - bottom) / 2;
}

void bench_histogram_add(struct bench_histogram *histogram, uint64_t ns)
{
    histogram->buckets[bucket_of(ns)]++;
    histogram->samples++;
    if (ns > histogram->max_ns) histogram->max_ns = ns;
}

uint64_t bench_histogram_at(const struct bench_histogram *histogram, double share)
{
    double wanted = share * (double)histogram->samples;
    uint64_t seen = 0;
    if (histogram->samples == 0) return 0;
    for (unsigned bucket = 0; bucket < BENCH_HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (histogram->buckets[bucket] == 0 || (double)seen < wanted) continue;
        uint64_t ns = middle_of(bucket);
        return ns < histogram->max_ns ? ns : histogram->max_ns;
    }
    return histogram->max_ns;
}

/* ---- text ---- */

void bench_time_text(char text[BENCH_TIME_TEXT_MAX], uint64_t ns)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)ns;
    int unit = 0;
    while (value >= 999.5 && unit < 3) {
        value /= 1000;
        unit++;
    }
    int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(text, BENCH_TIME_TEXT_MAX, "%.*f %s", digits, value, units[unit]);
}

/* 1, 2, 5, 10, 20, 50, ... */
static uint64_t next_step(uint64_t step)
{
    uint64_t tens = 1;
    while (step / tens >= 10) tens *= 10;
    return step / tens == 2 ? 5 * tens : 2 * step;
}

static uint64_t count_between(const struct bench_histogram *histogram, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t count = 0;
    for (unsigned bucket = 0; bucket < BENCH_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t ns = middle_of(bucket);
        if (ns >= from_ns && ns < to_ns) count += histogram->buckets[bucket];
    }
    return count;
}

static void draw_bar(struct output *out, uint64_t to_ns, uint64_t count, uint64_t most, uint64_t samples)
{
    char below[BENCH_TIME_TEXT_MAX], bar[BAR_WIDTH + 1];
    size_t len = (size_t)((double)count / (double)most * BAR_WIDTH + 0.5);
    for (size_t i = 0; i < len; i++) bar[i] = '#';
    bar[len] = '\0';
    if (len == 0 && count > 0) snprintf(bar, sizeof bar, ".");
    bench_time_text(below, to_ns);
    output_format(out, "  < %7s %6.2f %%%s%s\n", below, 100 * (double)count / (double)samples, *bar ? " " : "", bar);
}

void bench_histogram_draw(const struct bench_histogram *histogram, struct output *out)
{
    uint64_t left = histogram->samples, most = 0;
    for (uint64_t from = 0, to = 1; to < BENCH_HISTOGRAM_MAX_NS; from = to, to = next_step(to)) {
        uint64_t count = count_between(histogram, from, to);
        if (count > most) most = count;
    }
    for (uint64_t from = 0, to = 1; left > 0 && to < BENCH_HISTOGRAM_MAX_NS; from = to, to = next_step(to)) {
        uint64_t count = count_between(histogram, from, to);
        bool begun = left < histogram->samples || count > 0;
        if (begun) draw_bar(out, to, count, most, histogram->samples);
        left -= count;
    }
}
