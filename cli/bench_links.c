#include "bench_links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli.h"
#include "signals.h"

#define OTHER_DESCRIPTORS 16 /* standard streams, signals, what the libraries open */
#define ALL_MS 1000          /* the library's shortest timer is a keepalive of seconds */

/* Many systems let a program have more descriptors than it gets without asking. */
static void allow_descriptors(size_t count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count) return;
    limit.rlim_cur = count < limit.rlim_max ? count : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* opening the connection that is one too many says so */
}

void bench_links_open(struct bench_links *links, size_t cap)
{
    *links = (struct bench_links){.cap = cap};
    links->list = calloc(cap, sizeof(struct link *));
    links->fds = calloc(cap + 1, sizeof *links->fds);
    if (!links->list || !links->fds) {
        complain("out of memory");
        exit(CLI_EXIT_ERROR);
    }
    allow_descriptors(cap + OTHER_DESCRIPTORS);
}

void bench_links_close(struct bench_links *links)
{
    free(links->list);
    free(links->fds);
    *links = (struct bench_links){0};
}

void bench_links_add(struct bench_links *links, struct link *link)
{
    links->list[links->count++] = link;
}

static int wait_for_any(struct bench_links *links, int64_t timeout_ms)
{
    links->fds[0] = (struct pollfd){.fd = signal_caught() ? -1 : signal_wake_fd(), .events = POLLIN};
    for (size_t i = 0; i < links->count; i++) {
        const pubsub *client = links->list[i]->client;
        links->fds[1 + i] = (struct pollfd){.fd = pubsub_fd(client), .events = pubsub_poll_events(client)};
    }
    if (timeout_ms < 0 || timeout_ms > ALL_MS) timeout_ms = ALL_MS;
    if (poll(links->fds, 1 + links->count, (int)timeout_ms) >= 0 || errno == EINTR) return CLI_EXIT_DONE;
    complain("cannot wait for input: %s", strerror(errno));
    return CLI_EXIT_ERROR;
}

int bench_links_step(struct bench_links *links, int64_t timeout_ms)
{
    int result = wait_for_any(links, timeout_ms);
    if (result != CLI_EXIT_DONE) return result;
    uint64_t now = now_ns();
    bool all = now >= links->all_ns;
    if (all) links->all_ns = now + UINT64_C(1000000) * ALL_MS;
    for (size_t i = 0; i < links->count; i++) {
        if (!all && links->fds[1 + i].revents == 0) continue;
        int processed = link_process(links->list[i]);
        if (processed != CLI_EXIT_DONE) result = processed;
        if (processed != CLI_EXIT_DONE && processed < CLI_EXIT_SIGNAL) return processed;
    }
    return signal_caught() ? CLI_EXIT_SIGNAL + signal_caught() : result;
}
