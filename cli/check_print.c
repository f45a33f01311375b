#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "cli.h"
#include "output.h"
#include "rounded.h"

static const char *const status_names[] = {"ok", "warning", "critical", "unknown"};
static const char *const nagios_names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};

#define ITEM_TEXT_MAX 96

static void put_text(char text[ITEM_TEXT_MAX], const struct check *check, enum check_subject subject)
{
    const struct check_item *item = &check->items[subject];
    char lag[ROUNDED_TEXT_MAX];
    switch (subject) {
    case CHECK_MEMORY:
        snprintf(text, ITEM_TEXT_MAX, "%.0f %% of the memory for %s is taken", item->value,
                 check->queue_percent >= check->input_percent ? "queues" : "input");
        break;
    case CHECK_LAG:
        rounded_lag(lag, (uint64_t)(item->value * 1000 + 0.5));
        snprintf(text, ITEM_TEXT_MAX, check->slowest ? "a lag of %s" : "no lag", lag);
        break;
    case CHECK_LOST:
        snprintf(text, ITEM_TEXT_MAX, "%.0f message%s lost", item->value, item->value == 1 ? "" : "s");
        if (check->within_s > 0) {
            size_t len = strlen(text);
            snprintf(text + len, ITEM_TEXT_MAX - len, " in %g s", check->within_s);
        }
        break;
    case CHECK_DISK: snprintf(text, ITEM_TEXT_MAX, "%.0f %% of the disk is free", item->value); break;
    }
}

/* Somebody else's text, in quotes; without the '|' that begins performance data. */
static void put_name(struct output *out, const char *before, mps_view name)
{
    output_text(out, before);
    output_char(out, '\'');
    for (uint32_t at = 0; at < name.len;) {
        const char *rest = (const char *)name.ptr + at;
        const char *bar = memchr(rest, '|', name.len - at);
        uint32_t len = bar ? (uint32_t)(bar - rest) : name.len - at;
        output_name(out, rest, len);
        if (bar) output_text(out, "\\x7c");
        at += len + (bar != NULL);
    }
    output_char(out, '\'');
}

static void put_slowest(struct output *out, const struct report_reader *slowest)
{
    if (slowest->client.ptr) put_name(out, " of client ", slowest->client);
    else put_name(out, " of group ", slowest->group);
    put_name(out, ", pattern ", slowest->pattern);
}

/* All that was looked at; the worst first. */
static void put_items(struct output *out, const struct check *check)
{
    const char *between = "";
    for (int status = CHECK_CRITICAL; status >= CHECK_OK; status--) {
        for (int i = 0; i < CHECK_SUBJECTS; i++) {
            const struct check_item *item = &check->items[i];
            char text[ITEM_TEXT_MAX];
            if (!item->is_asked || (int)item->status != status) continue;
            put_text(text, check, (enum check_subject)i);
            output_text(out, between);
            output_text(out, text);
            if (i == CHECK_LAG && check->slowest) put_slowest(out, check->slowest);
            between = "; ";
        }
    }
}

static void put_line(struct output *out, const struct check *check)
{
    output_format(out, "%s: ", status_names[check->status]);
    put_items(out, check);
    output_char(out, '\n');
}

/* ---- nagios ---- */

/* 'label'=value[unit];[warn];[crit];[min];[max]; a limit with a colon behind: less is bad. */
static void put_performance(struct output *out, const struct check_item *item, const char *label, double value,
                            const char *unit, const char *rest)
{
    const char *colon = strcmp(label, "disk_free") == 0 ? ":" : "";
    output_format(out, " %s=%.*f%s;%.10g%s;", label, strcmp(label, "lost") == 0 ? 0 : 3, value, unit, item->warning,
                  colon);
    if (item->has_critical) output_format(out, "%.10g%s", item->critical, colon);
    output_text(out, rest);
}

static void put_nagios(struct output *out, const struct check *check)
{
    const struct check_item *items = check->items;
    output_format(out, "PUBSUB %s - ", nagios_names[check->status]);
    if (check->status == CHECK_UNKNOWN) {
        size_t len = strcspn(check->why, "|");
        output_name(out, check->why, len);
        output_char(out, '\n');
        return;
    }
    put_items(out, check);
    output_text(out, " |");
    if (items[CHECK_MEMORY].is_asked) {
        put_performance(out, &items[CHECK_MEMORY], "queue_memory", check->queue_percent, "%", ";0;100");
        put_performance(out, &items[CHECK_MEMORY], "input_memory", check->input_percent, "%", ";0;100");
    }
    if (items[CHECK_LAG].is_asked) put_performance(out, &items[CHECK_LAG], "lag", items[CHECK_LAG].value, "s", ";0");
    if (items[CHECK_LOST].is_asked)
        put_performance(out, &items[CHECK_LOST], "lost", items[CHECK_LOST].value, check->within_s > 0 ? "" : "c", ";0");
    if (items[CHECK_DISK].is_asked)
        put_performance(out, &items[CHECK_DISK], "disk_free", items[CHECK_DISK].value, "%", ";0;100");
    output_char(out, '\n');
}

/* ---- prometheus ---- */

static void put_head(struct output *out, const char *name, const char *type, const char *help)
{
    output_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_prometheus(struct output *out, const struct check *check)
{
    const struct check_item *items = check->items;
    put_head(out, "pubsub_check_status", "gauge", "0 all is well, 1 warning, 2 critical, 3 unknown.");
    output_format(out, "pubsub_check_status %d\n", (int)check->status);
    if (check->status == CHECK_UNKNOWN) return;
    if (items[CHECK_MEMORY].is_asked) {
        put_head(out, "pubsub_check_memory_ratio", "gauge", "Memory that is taken, of its budget.");
        output_format(out, "pubsub_check_memory_ratio{budget=\"queues\"} %.10g\n", check->queue_percent / 100);
        output_format(out, "pubsub_check_memory_ratio{budget=\"input\"} %.10g\n", check->input_percent / 100);
    }
    if (items[CHECK_LAG].is_asked) {
        put_head(out, "pubsub_check_lag_seconds", "gauge", "How long the first message of some queue has waited.");
        output_format(out, "pubsub_check_lag_seconds %.10g\n", items[CHECK_LAG].value);
    }
    if (items[CHECK_LOST].is_asked && check->within_s > 0) {
        put_head(out, "pubsub_check_lost", "gauge", "Messages lost while the check waited.");
        output_format(out, "pubsub_check_lost %.0f\n", items[CHECK_LOST].value);
    } else if (items[CHECK_LOST].is_asked) {
        put_head(out, "pubsub_check_lost_total", "counter", "Messages lost since the start of the broker.");
        output_format(out, "pubsub_check_lost_total %.0f\n", items[CHECK_LOST].value);
    }
    if (items[CHECK_DISK].is_asked) {
        put_head(out, "pubsub_check_disk_free_ratio", "gauge", "What is free on the disk of the data directory.");
        output_format(out, "pubsub_check_disk_free_ratio %.10g\n", items[CHECK_DISK].value / 100);
    }
}

bool check_print(const struct check *check, enum check_form form)
{
    char room[4096];
    struct output out;
    output_open_on(&out, STDOUT_FILENO, room, sizeof room);
    switch (form) {
    case CHECK_TEXT:
        if (check->status != CHECK_UNKNOWN) put_line(&out, check);
        break;
    case CHECK_NAGIOS: put_nagios(&out, check); break;
    case CHECK_PROMETHEUS: put_prometheus(&out, check); break;
    }
    if (output_flush(&out)) return true;
    complain("cannot write to standard output: %s", strerror(out.error));
    return false;
}
