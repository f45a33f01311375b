#include "progress.h"

#include <inttypes.h>
#include <unistd.h>

#include "cli.h"
#include "output.h"

#define FIRST_NS UINT64_C(1000000000)
#define EVERY_NS UINT64_C(250000000)

static bool shown;
static uint64_t begin_ns, next_ns;

static void open_err(struct output *err, char *buf, size_t cap)
{
    output_open_on(err, STDERR_FILENO, buf, cap);
}

void progress_from(uint64_t ns)
{
    begin_ns = ns;
    next_ns = 0;
}

void progress_show(uint64_t messages, uint64_t total)
{
    uint64_t now = now_ns();
    if (begin_ns == 0) begin_ns = start_ns();
    if (next_ns == 0) next_ns = begin_ns + FIRST_NS;
    if (now < next_ns) return;
    next_ns = now + EVERY_NS;
    char buf[256];
    struct output err;
    open_err(&err, buf, sizeof buf);
    if (!err.terminal) return;
    double seconds = (double)(now - begin_ns) / 1e9;
    output_format(&err, "\r\033[K%" PRIu64, messages);
    if (total) output_format(&err, " of %" PRIu64, total);
    output_format(&err, " messages, %.0f a second", (double)messages / seconds);
    output_flush(&err);
    shown = true;
}

void progress_clear(struct output *err)
{
    if (shown) output_text(err, "\r\033[K");
    shown = false;
}

void progress_end(void)
{
    char buf[16];
    struct output err;
    open_err(&err, buf, sizeof buf);
    progress_clear(&err);
    output_flush(&err);
}
