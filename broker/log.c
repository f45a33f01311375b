#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log_form.h"

/* Of the lines of one event. */
struct share {
    uint64_t second; /* the one that is counted */
    uint32_t count, unsaid;
};

struct sink {
    struct log_config config;
    int fd;
    bool is_journal; /* it wants to be told how grave a line is */
    bool is_torn;    /* of the last line only a part was written */
};

static struct sink current = {.config = {.level = LOG_INFO}, .fd = STDERR_FILENO}, fresh = {.fd = -1};
static struct share shares[EVENTS_COUNT];
static bool are_unsaid;     /* any of them */
static uint64_t lost_count; /* lines that could not be written */
static int lost_errno;

static uint64_t now_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

/* sd-daemon(3). */
static char priority(enum log_level level)
{
    switch (level) {
    case LOG_ERROR: return '3';
    case LOG_WARN: return '4';
    case LOG_AUDIT: return '5';
    case LOG_INFO: return '6';
    case LOG_DEBUG: return '7';
    }
    return '6';
}

/* Whoever reads what we say, and stops reading, must not stop the broker: a full pipe loses the line. */
static bool would_wait(int fd)
{
    struct pollfd out = {.fd = fd, .events = POLLOUT};
    return poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT);
}

/* Returns 0 or errno. */
static int put_bytes(struct sink *sink, const char *bytes, size_t len)
{
    if (would_wait(sink->fd)) return EAGAIN;
    ssize_t done = write(sink->fd, bytes, len);
    if (done < 0) return errno;
    sink->is_torn = (size_t)done < len;
    return sink->is_torn ? ENOSPC : 0;
}

static bool put(struct sink *sink, enum log_level level, const struct log_line *line)
{
    char bytes[LOG_LINE_MAX + 8];
    size_t len = 0;
    if (sink->is_torn) bytes[len++] = '\n';
    if (sink->is_journal) len += (size_t)sprintf(bytes + len, "<%c>", priority(level));
    memcpy(bytes + len, line->bytes, line->len);
    int error = put_bytes(sink, bytes, len + line->len);
    if (error == 0) return true;
    lost_count++;
    lost_errno = error;
    return false;
}

/* Times are for whoever has none: people at a terminal see the lines come, and the journal has its own. */
static bool put_record(enum log_level level, const char *name, const struct log_record *record)
{
    struct log_line line;
    bool has_time = current.fd != STDERR_FILENO || current.config.form != LOG_FORM_TEXT;
    log_form(&line, (enum log_form)current.config.form, level, name, has_time ? now_ms(CLOCK_REALTIME) : 0, record);
    return put(&current, level, &line);
}

/* ---- what is missing ---------------------------------------------------------------------------------------- */

bool log_wants(enum log_level level)
{
    return level == LOG_AUDIT || level <= current.config.level;
}

/* There is room again, perhaps. False: there isn't. */
static bool tell_lost(void)
{
    char text[200];
    if (lost_count == 0) return true;
    uint64_t count = lost_count;
    snprintf(text, sizeof text, "%llu lines of the log could not be written: %s", (unsigned long long)count,
             lost_errno == EAGAIN ? "whoever reads them did not" : strerror(lost_errno));
    struct log_record record = {EVENT_LINES_LOST, LOG_FIELDS(log_number("count", count)), text};
    if (!put_record(LOG_WARN, event_name(EVENT_LINES_LOST), &record)) {
        lost_count = count; /* without this one */
        return false;
    }
    lost_count = 0;
    return true;
}

static void tell_share(enum log_event of)
{
    char text[100];
    const char *name = event_name(of);
    enum log_level level = event_level(of);
    snprintf(text, sizeof text, "%u more lines of the event '%s' were left out", shares[of].unsaid, name);
    struct log_record record = {of, LOG_FIELDS(log_word("of", name), log_number("count", shares[of].unsaid)),
                                level == LOG_AUDIT ? NULL : text};
    put_record(level, "left_out", &record);
    shares[of].unsaid = 0;
}

/* Of seconds that are over. */
static void tell_shares(uint64_t second)
{
    if (!are_unsaid) return;
    are_unsaid = false;
    for (enum log_event event = 0; event < EVENTS_COUNT; event++) {
        if (shares[event].unsaid == 0) continue;
        if (shares[event].second != second) tell_share(event);
        else are_unsaid = true;
    }
}

static bool may_write(enum log_event event, uint64_t second)
{
    struct share *share = &shares[event];
    if (share->second != second) {
        share->second = second;
        share->count = 0;
    }
    if (share->count >= event_lines_a_second(event)) {
        share->unsaid++;
        are_unsaid = true;
        return false;
    }
    share->count++;
    return true;
}

void log_write(const struct log_record *record)
{
    enum log_level level = event_level(record->event);
    if (!log_wants(level)) return;
    uint64_t second = now_ms(CLOCK_MONOTONIC) / 1000;
    tell_shares(second);
    if (!may_write(record->event, second)) return;
    if (tell_lost()) put_record(level, event_name(record->event), record);
    else lost_count++;
}

void log_line(enum log_event event, const struct log_field *fields, const char *format, ...)
{
    char text[LOG_LINE_MAX];
    va_list arguments;
    if (!log_wants(event_level(event))) return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_write(&(struct log_record){.event = event, .fields = fields, .text = text});
}

/* ---- whoever has started it --------------------------------------------------------------------------------- */

/* systemd says which device and inode stderr has if that is the journal; it may have been directed elsewhere since. */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;
    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &status) == 0 &&
           status.st_dev == (dev_t)device && status.st_ino == (ino_t)inode;
}

static void tell_starter(enum log_event event, const char *text, const char *plain)
{
    bool is_elsewhere = current.fd != STDERR_FILENO, is_plain = current.config.form == LOG_FORM_TEXT;
    if (is_elsewhere || !is_plain) log_write(&(struct log_record){.event = event, .text = text});
    if (!is_elsewhere && !is_plain) return;
    if (is_journal(STDERR_FILENO)) fprintf(stderr, "<%c>", priority(event_level(event)));
    fprintf(stderr, "%s\n", plain);
}

void log_ready(const char *text)
{
    tell_starter(EVENT_READY, text, text);
}

void log_start_failed(const char *text)
{
    char plain[LOG_LINE_MAX];
    snprintf(plain, sizeof plain, "pubsubd: %s", text);
    tell_starter(EVENT_START_FAILED, text, plain);
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

static int fail(const char *path, int error, char *text, size_t text_cap)
{
    snprintf(text, text_cap, "[log] file '%s' cannot be opened: %s", path, strerror(error));
    return -1;
}

/* Of the last line that was written there, perhaps by another process, the disk took only a part. */
static bool is_torn_at_end(const char *path)
{
    struct stat status;
    char last = '\n';
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    bool is_known = pread(fd, &last, 1, status.st_size - 1) == 1;
    close(fd);
    return is_known && last != '\n';
}

static int open_sink(struct sink *sink, const struct log_config *config, char *text, size_t text_cap)
{
    int fd = STDERR_FILENO;
    bool is_torn = config->file[0] != '\0' && is_torn_at_end(config->file);
    /* Without O_NONBLOCK a named pipe that nobody reads would hold us here. */
    if (config->file[0] != '\0')
        fd = open(config->file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd < 0) return fail(config->file, errno, text, text_cap);
    *sink = (struct sink){
        .config = *config, .fd = fd, .is_journal = fd == STDERR_FILENO && is_journal(fd), .is_torn = is_torn};
    return 0;
}

static void close_sink(struct sink *sink)
{
    if (sink->fd >= 0 && sink->fd != STDERR_FILENO) close(sink->fd);
    sink->fd = -1;
}

int log_prepare(const struct log_config *config, char *text, size_t text_cap)
{
    return open_sink(&fresh, config, text, text_cap);
}

void log_apply(void)
{
    close_sink(&current);
    current = fresh;
    fresh.fd = -1;
}

void log_discard(void)
{
    close_sink(&fresh);
}

void log_reopen(void)
{
    char text[400];
    if (log_prepare(&current.config, text, sizeof text) == 0) log_apply();
}

int log_open(const struct log_config *config, char *text, size_t text_cap)
{
    if (log_prepare(config, text, text_cap) != 0) return -1;
    log_apply();
    return 0;
}

int log_check(const struct log_config *config, char *text, size_t text_cap)
{
    char copy[sizeof config->file];
    struct stat status;
    if (config->file[0] == '\0') return 0;
    strcpy(copy, config->file);
    bool exists = stat(config->file, &status) == 0;
    if (exists && S_ISDIR(status.st_mode)) return fail(config->file, EISDIR, text, text_cap);
    if (!exists && errno != ENOENT) return fail(config->file, errno, text, text_cap);
    if (faccessat(AT_FDCWD, exists ? config->file : dirname(copy), exists ? W_OK : W_OK | X_OK, AT_EACCESS) == 0)
        return 0;
    return fail(config->file, errno, text, text_cap);
}

void log_close(void)
{
    tell_shares(UINT64_MAX);
    tell_lost();
}
