#include "config_settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_MS UINT64_C(1000)
#define HOUR_MS (3600 * SECOND_MS)
#define DAY_MS (24 * HOUR_MS)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

#define FIELD(name) offsetof(struct broker_limits, name), sizeof(((struct broker_limits *)0)->name)

/* The ranges keep every sum and product of these numbers
 * within the types that the core and the wire have for them. */
/* clang-format off */
const struct setting settings[SETTINGS_COUNT] = {
    {"broker", "sys_interval", KIND_MS, FIELD(sys_ms), 100, DAY_MS, "no reports", NULL,
     "Time between two reports of the broker about itself under $SYS"},
    {"limits", "max_payload", KIND_SIZE, FIELD(max_payload), KIB, 256 * MIB, NULL, NULL,
     "The largest payload of a message"},
    {"limits", "max_connections", KIND_COUNT, FIELD(max_sessions_count), 1, 1000000, NULL, NULL,
     "Connections at the same time; the system's limit of open files has to allow them, too"},
    {"limits", "max_subscriptions", KIND_COUNT, FIELD(max_subs_count), 1, 10000000, NULL, NULL,
     "Subscriptions of one connection"},
    {"limits", "queue_messages", KIND_COUNT, FIELD(queue_msgs_count), 1, 1000000000, NULL, "queue_messages_cap",
     "Messages in the queue of a subscription that does not ask for another limit"},
    {"limits", "queue_bytes", KIND_SIZE, FIELD(queue_bytes), KIB, TIB, NULL, "queue_bytes_cap",
     "Bytes in the queue of a subscription that does not ask for another limit"},
    {"limits", "queue_messages_cap", KIND_COUNT, FIELD(queue_msgs_cap_count), 1, 1000000000, NULL, NULL,
     "The most messages that a subscription may ask for"},
    {"limits", "queue_bytes_cap", KIND_SIZE, FIELD(queue_bytes_cap), KIB, TIB, NULL, NULL,
     "The most bytes that a subscription may ask for"},
    {"limits", "connection_queue_bytes", KIND_SIZE, FIELD(session_queue_bytes), KIB, TIB, NULL, NULL,
     "Bytes in all queues of one connection"},
    {"limits", "queue_total_bytes", KIND_SIZE, FIELD(queue_total_bytes), MIB, TIB, NULL, NULL,
     "Memory of all queued messages; by default half of what the machine or the cgroup has"},
    {"limits", "retained_bytes", KIND_SIZE, FIELD(retained_bytes), KIB, TIB, NULL, NULL,
     "Memory of all retained messages"},
    {"limits", "publish_window", KIND_COUNT, FIELD(pub_window_count), 1, 1000000, NULL, NULL,
     "Publishes of one connection that may wait for their answer"},
    {"limits", "handshake_timeout", KIND_MS, FIELD(handshake_ms), 100, HOUR_MS, NULL, NULL,
     "Time that a new connection has to introduce itself"},
    {"limits", "closing_timeout", KIND_MS, FIELD(closing_ms), 100, HOUR_MS, NULL, NULL,
     "Time that a closing connection has to read what is left for it"},
    {"limits", "keepalive_max", KIND_S, FIELD(keepalive_max_s), 1, 7 * DAY_MS / SECOND_MS, NULL, NULL,
     "The longest keepalive time; a client that asks for more gets this"},
};
/* clang-format on */

static const char *kind_name(enum setting_kind kind)
{
    switch (kind) {
    case KIND_COUNT: return "whole number";
    case KIND_SIZE: return "size";
    case KIND_MS: return "time";
    case KIND_S: return "time in whole seconds";
    }
    abort();
}

void setting_write(char text[QUANTITY_TEXT_MAX], const struct setting *setting, uint64_t value)
{
    switch (setting->kind) {
    case KIND_COUNT: snprintf(text, QUANTITY_TEXT_MAX, "%" PRIu64, value); break;
    case KIND_SIZE: size_write(text, value); break;
    case KIND_MS: time_write(text, value); break;
    case KIND_S: time_write(text, value * SECOND_MS); break;
    }
}

static bool count_parse(const char *digits, uint64_t *count)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(digits, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || errno != 0) return false;
    *count = number;
    return true;
}

static bool value_parse(const char *text, enum setting_kind kind, uint64_t *value)
{
    switch (kind) {
    case KIND_COUNT: return count_parse(text, value);
    case KIND_SIZE: return size_parse(text, value);
    case KIND_MS: return time_parse(text, value);
    case KIND_S:
        if (!time_parse(text, value) || *value % SECOND_MS != 0) return false;
        *value /= SECOND_MS;
        return true;
    }
    abort();
}

bool setting_parse(const struct setting *setting, const char *text, uint64_t *value)
{
    uint64_t number;
    if (!value_parse(text, setting->kind, &number)) return false;
    bool is_zero = setting->zero != NULL && number == 0;
    if (!is_zero && (number < setting->least || number > setting->most)) return false;
    *value = number;
    return true;
}

uint64_t setting_get(const struct config *config, const struct setting *setting)
{
    const char *field = (const char *)&config->limits + setting->offset;
    uint64_t wide;
    uint32_t narrow;
    if (setting->width == sizeof wide) return memcpy(&wide, field, sizeof wide), wide;
    return memcpy(&narrow, field, sizeof narrow), narrow;
}

void setting_set(struct config *config, const struct setting *setting, uint64_t value)
{
    char *field = (char *)&config->limits + setting->offset;
    uint32_t narrow = (uint32_t)value;
    if (setting->width == sizeof value) memcpy(field, &value, sizeof value);
    else memcpy(field, &narrow, sizeof narrow);
}

void setting_range(char text[RANGE_TEXT_MAX], const struct setting *setting)
{
    char least[QUANTITY_TEXT_MAX], most[QUANTITY_TEXT_MAX];
    setting_write(least, setting, setting->least);
    setting_write(most, setting, setting->most);
    int len = snprintf(text, RANGE_TEXT_MAX, "%s from %s to %s", kind_name(setting->kind), least, most);
    if (setting->zero != NULL) snprintf(text + len, RANGE_TEXT_MAX - (size_t)len, ", or 0: %s", setting->zero);
}

const struct setting *setting_find(const char *section, const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if ((section == NULL || strcmp(settings[i].section, section) == 0) && strcmp(settings[i].name, name) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}
