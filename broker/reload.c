#include "reload.h"

#include <signal.h>
#include <stdio.h>

#include "access/verifier.h"
#include "changes.h"
#include "log.h"
#include "metrics/metrics.h"
#include "reach.h"

/* What takes over a part of the configuration. Each is asked to prepare before any applies. */
struct part {
    /* May fail: then nothing has changed, text has one sentence, and nothing is to be discarded. */
    int (*prepare)(struct server *server, const struct config *fresh, char *text, size_t text_cap);
    void (*apply)(struct server *server);   /* can't fail */
    void (*discard)(struct server *server); /* another part could not prepare */
};

static struct broker_limits prepared_limits;
static struct address_caps prepared_caps;

static int limits_prepare(struct server *server, const struct config *fresh, char *text, size_t text_cap)
{
    (void)server, (void)text, (void)text_cap;
    prepared_limits = fresh->limits;
    prepared_caps = fresh->caps;
    return 0;
}

static void limits_apply(struct server *server)
{
    broker_set_limits(server->broker, &prepared_limits);
    server->callers.caps = prepared_caps;
}

static void limits_discard(struct server *server)
{
    (void)server;
}

static int log_part_prepare(struct server *server, const struct config *fresh, char *text, size_t text_cap)
{
    (void)server;
    return log_prepare(&fresh->log, text, text_cap);
}

static void log_part_apply(struct server *server)
{
    (void)server;
    log_apply();
}

static void log_part_discard(struct server *server)
{
    (void)server;
    log_discard();
}

/* The log's file is the last: it keeps the descriptor that the others only need for a moment. */
static const struct part parts[] = {
    {limits_prepare, limits_apply, limits_discard},
    {verifier_prepare, verifier_apply, verifier_discard},
    {tls_prepare, tls_apply, tls_discard},
    {metrics_prepare, metrics_apply, metrics_discard},
    {log_part_prepare, log_part_apply, log_part_discard},
};
#define PARTS_COUNT (sizeof parts / sizeof *parts)

/* All or none. Returns whether all did. */
static bool prepare_all(struct server *server, const struct config *fresh, char *text, size_t text_cap)
{
    for (size_t i = 0; i < PARTS_COUNT; i++) {
        if (parts[i].prepare(server, fresh, text, text_cap) == 0) continue;
        while (i > 0) parts[--i].discard(server);
        return false;
    }
    return true;
}

static void say_refused(const struct reload *reload, const char *why)
{
    char whole[1500];
    log_reopen(); /* whoever renames the file also counts on it when the configuration is wrong */
    struct broker *broker = reload->server->broker;
    snprintf(whole, sizeof whole, "%s", why);
    reach_explain(&reload->options->config, reload->options->given.file, whole, sizeof whole);
    broker_audit_reload(broker, broker_limits_of(broker)->audit, false, whole);
    log_line(EVENT_CONFIG_REFUSED, NULL, "the configuration was not loaded again, what was loaded before holds: %s",
             whole);
    notify_reloaded(reload->notifier, whole);
}

static void say_done(const struct reload *reload, bool audited_before, const struct config_changes *changes)
{
    char what[2 * CHANGES_TEXT_MAX + 100];
    snprintf(what, sizeof what, "%s%s%s%s",
             changes->taken[0] != '\0' ? "from now on holds: " : "nothing changes at once", changes->taken,
             changes->waiting[0] != '\0' ? "; after a restart: " : "", changes->waiting);
    broker_audit_reload(reload->server->broker, audited_before, true, what);
    log_line(EVENT_CONFIG_LOADED, NULL, "the configuration was loaded again; %s", what);
    notify_reloaded(reload->notifier, NULL);
}

static void load(struct reload *reload)
{
    struct config *running = &reload->options->config, fresh;
    struct config_changes changes;
    char text[1000];
    if (reload->options->given.file == NULL) {
        log_line(EVENT_CONFIG_NONE, NULL,
                 "there is no configuration file to load again: the broker was started without --config");
        notify_reloaded(reload->notifier, NULL);
        return;
    }
    if (options_load_again(reload->options, &fresh, text, sizeof text) != 0) {
        say_refused(reload, text);
        return;
    }
    config_compare(running, &fresh, &changes);
    bool audited_before = running->limits.audit;
    if (config_set_back(&fresh, running, text, sizeof text) == 0 &&
        prepare_all(reload->server, &fresh, text, sizeof text)) {
        for (size_t i = 0; i < PARTS_COUNT; i++) parts[i].apply(reload->server);
        config_adopt(running, &fresh);
        say_done(reload, audited_before, &changes);
    } else {
        say_refused(reload, text);
    }
    config_free(&fresh);
}

/* A descriptor is needed for each file, one after the other: when there is none, the reserve is for this, too. */
static void on_signal(uv_signal_t *signal, int signum)
{
    (void)signum;
    struct reload *reload = signal->data;
    notify_reloading(reload->notifier);
    server_lend_reserve(reload->server, true);
    load(reload);
    server_lend_reserve(reload->server, false);
}

void reload_watch(struct reload *reload, struct server *server, struct options *options, struct notifier *notifier)
{
    *reload = (struct reload){.server = server, .options = options, .notifier = notifier};
    uv_signal_init(&server->loop, &reload->signal);
    reload->signal.data = reload;
    uv_signal_start(&reload->signal, on_signal, SIGHUP);
}
