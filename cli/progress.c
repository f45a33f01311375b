#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"
#include "output.h"

#define FIRST_NS UINT64_C(1000000000)
#define EVERY_NS UINT64_C(250000000)
#define BAR_WIDTH 24u
#define LINE_CAP 160u

static bool shown;
static uint64_t begin_ns, next_ns, end_ns;

static void open_err(struct output *err, char *buf, size_t cap)
{
    output_open_on(err, STDERR_FILENO, buf, cap);
}

void progress_from(uint64_t ns)
{
    begin_ns = ns;
    next_ns = end_ns = 0;
}

void progress_until(uint64_t ns)
{
    end_ns = ns;
}

/* How much of the work is done, 0 to 1; negative: nobody knows. */
static double share_done(uint64_t now, uint64_t messages, uint64_t total)
{
    double share = -1;
    if (total) share = (double)messages / (double)total;
    if (end_ns > begin_ns) {
        double of_time = (double)(now - begin_ns) / (double)(end_ns - begin_ns);
        if (of_time > share) share = of_time;
    }
    return share > 1 ? 1 : share;
}

/* What the terminal has room for: a line that wraps could not be wiped away. */
static size_t line_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 79;
    return size.ws_col - 1u;
}

/* "[######------------------]  25 %  " */
static size_t put_bar(char *line, double share)
{
    char bar[BAR_WIDTH + 1];
    unsigned full = (unsigned)(share * BAR_WIDTH);
    memset(bar, '#', full);
    memset(bar + full, '-', BAR_WIDTH - full);
    bar[BAR_WIDTH] = '\0';
    return (size_t)snprintf(line, LINE_CAP, "[%s] %3.0f %%  ", bar, 100 * share);
}

static void make_line(char line[LINE_CAP], uint64_t now, uint64_t messages, uint64_t total)
{
    double seconds = (double)(now - begin_ns) / 1e9, share = share_done(now, messages, total);
    size_t len = share >= 0 ? put_bar(line, share) : 0, width = line_width();
    len += (size_t)snprintf(line + len, LINE_CAP - len, "%" PRIu64, messages);
    if (total) len += (size_t)snprintf(line + len, LINE_CAP - len, " of %" PRIu64, total);
    snprintf(line + len, LINE_CAP - len, " messages, %.0f a second", (double)messages / seconds);
    if (width < LINE_CAP) line[width] = '\0';
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
    char line[LINE_CAP];
    make_line(line, now, messages, total);
    output_format(&err, "\r\033[K%s", line);
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
