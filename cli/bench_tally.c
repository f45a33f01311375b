#include "bench_tally.h"

#include "cli.h"

struct bench_run {
    uint32_t run;
    bool ended;
    uint64_t next; /* number that comes next if nothing is lost */
};

static struct bench_run *runs_of(struct bench_tally *tally, size_t *count)
{
    *count = tally->runs.len / sizeof(struct bench_run);
    return (struct bench_run *)(void *)tally->runs.data;
}

static struct bench_run *add_run(struct bench_tally *tally, uint32_t run, uint64_t next)
{
    const struct bench_run added = {.run = run, .next = next};
    size_t count;
    buffer_append(&tally->runs, &added, sizeof added);
    struct bench_run *runs = runs_of(tally, &count);
    tally->last_run = count - 1;
    tally->open_runs++;
    return &runs[count - 1];
}

static struct bench_run *find_run(struct bench_tally *tally, uint32_t run)
{
    size_t count;
    struct bench_run *runs = runs_of(tally, &count);
    if (count > 0 && runs[tally->last_run].run == run) return &runs[tally->last_run];
    for (size_t i = 0; i < count; i++) {
        if (runs[i].run != run) continue;
        tally->last_run = i;
        return &runs[i];
    }
    return NULL;
}

void bench_tally_free(struct bench_tally *tally)
{
    buffer_free(&tally->runs);
}

void bench_tally_expect(struct bench_tally *tally, uint32_t run)
{
    add_run(tally, run, 0);
}

/* A clock of the same host can't be ahead: the message was sent before it came. */
static void take_latency(struct bench_tally *tally, uint64_t sent_ns, struct bench_histogram *latency)
{
    uint64_t now = now_ns();
    if (now >= sent_ns) bench_histogram_add(latency, now - sent_ns);
    tally->last_sent_ns = sent_ns;
}

void bench_tally_message(struct bench_tally *tally, const void *payload, size_t len, uint16_t host,
                         struct bench_histogram *latency)
{
    struct bench_head head;
    if (!bench_payload_read(payload, len, &head)) {
        tally->wrong++;
        tally->foreign++;
        return;
    }
    if (head.end) {
        bench_tally_end(tally, head.run, head.number);
        return;
    }
    struct bench_run *run = find_run(tally, head.run);
    if (!run) run = add_run(tally, head.run, head.number);
    if (head.number < run->next) {
        tally->wrong++;
        return;
    }
    tally->missing += head.number - run->next;
    run->next = head.number + 1;
    if (tally->received++ == 0) tally->first_ns = now_ns();
    tally->bytes += len;
    if (head.sent_ns != tally->last_sent_ns && head.host == host) take_latency(tally, head.sent_ns, latency);
}

void bench_tally_end(struct bench_tally *tally, uint32_t number_of_run, uint64_t number)
{
    struct bench_run *run = find_run(tally, number_of_run);
    if (!run) run = add_run(tally, number_of_run, number);
    if (run->ended) return;
    if (number > run->next) tally->missing += number - run->next;
    run->next = number;
    run->ended = true;
    tally->open_runs--;
}

uint64_t bench_tally_lost(const struct bench_tally *tally)
{
    return tally->missing > tally->told ? tally->missing : tally->told;
}

bool bench_tally_ended(const struct bench_tally *tally)
{
    return tally->runs.len > 0 && tally->open_runs == 0;
}
