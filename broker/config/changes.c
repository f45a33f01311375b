#include "changes.h"

#include <stdio.h>
#include <string.h>

#include "cluster_keys.h"
#include "settings.h"

void changes_add(char list[CHANGES_TEXT_MAX], const char *name)
{
    static const char more[] = ", ...";
    size_t len = strlen(list);
    if (len >= sizeof more - 1 && strcmp(list + len - (sizeof more - 1), more) == 0) return;
    bool fits = len + 2 + strlen(name) + sizeof more <= CHANGES_TEXT_MAX;
    if (fits) snprintf(list + len, CHANGES_TEXT_MAX - len, "%s%s", len > 0 ? ", " : "", name);
    else snprintf(list + len, CHANGES_TEXT_MAX - len, more);
}

/* Of a section of few keys their names say too little. */
static void note(char list[CHANGES_TEXT_MAX], const struct setting *setting)
{
    char name[100];
    bool says_enough = strcmp(setting->section, "broker") == 0 || strcmp(setting->section, "limits") == 0;
    if (says_enough) snprintf(name, sizeof name, "%s", setting->name);
    else snprintf(name, sizeof name, "[%s] %s", setting->section, setting->name);
    changes_add(list, name);
}

static void compare_settings(const struct config *running, const struct config *fresh, struct config_changes *changes)
{
    for (const struct setting *setting = settings; setting < settings + SETTINGS_COUNT; setting++) {
        char before[SETTING_TEXT_MAX], now[SETTING_TEXT_MAX];
        if (setting_is_of_one(setting)) continue;
        setting_write(before, running, setting);
        setting_write(now, fresh, setting);
        if (strcmp(before, now) != 0) note(setting_needs_restart(setting) ? changes->waiting : changes->taken, setting);
    }
}

static bool same_address(const struct address *a, const struct address *b)
{
    return a->kind == b->kind && a->is_tls == b->is_tls && a->fd == b->fd && strcmp(a->path, b->path) == 0 &&
           strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

static bool same_texts(const struct access_texts *a, const struct access_texts *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) same = strcmp(a->at[i], b->at[i]) == 0;
    return same;
}

static bool same_numbers(const struct access_numbers *a, const struct access_numbers *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->at, b->at, a->count * sizeof a->at[0]) == 0);
}

static bool same_user(const struct access_user *a, const struct access_user *b)
{
    return strcmp(a->name, b->name) == 0 && same_texts(&a->groups, &b->groups) &&
           same_texts(&a->certificates, &b->certificates) && same_numbers(&a->uids, &b->uids) &&
           same_numbers(&a->gids, &b->gids);
}

static bool same_group(const struct access_group *a, const struct access_group *b)
{
    bool same = strcmp(a->name, b->name) == 0 && a->rights == b->rights;
    for (size_t i = 0; same && i < ACCESS_LISTS_COUNT; i++) same = same_texts(&a->lists[i], &b->lists[i]);
    return same;
}

/* Both have a file, and with it users and groups, be they none. */
static bool same_access(const struct config *running, const struct config *fresh)
{
    const struct access *a = running->access, *b = fresh->access;
    bool same = a->users_count == b->users_count && a->groups_count == b->groups_count &&
                a->plaintext_passwords == b->plaintext_passwords && strcmp(a->default_group, b->default_group) == 0 &&
                strcmp(a->user_group, b->user_group) == 0;
    for (size_t i = 0; same && i < a->users_count; i++) same = same_user(a->users[i], b->users[i]);
    for (size_t i = 0; same && i < a->groups_count; i++) same = same_group(a->groups[i], b->groups[i]);
    return same;
}

static bool same_listeners(const struct config *running, const struct config *fresh)
{
    if (running->listeners_count != fresh->listeners_count) return false;
    for (int i = 0; i < fresh->listeners_count; i++) {
        const struct listener_config *a = &running->listeners[i], *b = &fresh->listeners[i];
        if (strcmp(a->name, b->name) != 0 || !same_address(&a->address, &b->address) ||
            a->says_anonymous != b->says_anonymous || a->allow_anonymous != b->allow_anonymous)
            return false;
    }
    return true;
}

/* The files may hold something else now, whether their names have changed or not. */
static bool has_files(const struct config *config)
{
    for (int i = 0; i < config->listeners_count; i++)
        if (config->listeners[i].address.is_tls) return true;
    return false;
}

static bool same_stream(const struct stream_section *a, const struct stream_section *b)
{
    if (strcmp(a->name, b->name) != 0 || a->terms.patterns_count != b->terms.patterns_count) return false;
    for (size_t i = 0; i < a->terms.patterns_count; i++)
        if (strcmp(a->patterns[i], b->patterns[i]) != 0) return false;
    return a->terms.max_bytes == b->terms.max_bytes && a->terms.max_msgs == b->terms.max_msgs &&
           a->terms.max_age_ms == b->terms.max_age_ms && a->terms.refuses == b->terms.refuses &&
           a->terms.is_shared == b->terms.is_shared && a->terms.replicas == b->terms.replicas;
}

static bool same_streams(const struct config *running, const struct config *fresh)
{
    if (running->streams_count != fresh->streams_count) return false;
    for (int i = 0; i < fresh->streams_count; i++)
        if (!same_stream(running->streams[i], fresh->streams[i])) return false;
    return true;
}

void config_compare(const struct config *running, const struct config *fresh, struct config_changes *changes)
{
    changes->taken[0] = changes->waiting[0] = '\0';
    compare_settings(running, fresh, changes);
    if (!same_access(running, fresh)) changes_add(changes->taken, "users and groups");
    if (fresh->passwords[0] != '\0' || running->passwords[0] != '\0') changes_add(changes->taken, "passwords");
    if (fresh->tokens[0] != '\0' || running->tokens[0] != '\0') changes_add(changes->taken, "tokens");
    if (has_files(running) && has_files(fresh)) changes_add(changes->taken, "certificates");
    if (!cluster_same_lists(&running->cluster, &fresh->cluster))
        changes_add(changes->waiting, "[" CLUSTER "] url or topics");
    if (!same_listeners(running, fresh)) changes_add(changes->waiting, "[" LISTENER "]");
    if (!same_streams(running, fresh)) changes_add(changes->waiting, "[" STREAM "]");
}

/* What holds until a restart may be more than what the file gives it room for from now on. */
static bool fits_together(const struct config *config, const struct setting *setting, char *text, size_t text_cap)
{
    const struct setting *other = setting->not_over != NULL ? setting_find(setting->section, setting->not_over) : NULL;
    if (other == NULL || setting_get(config, setting) <= setting_get(config, other)) return true;
    char value[SETTING_TEXT_MAX], least[SETTING_TEXT_MAX];
    setting_write(value, config, setting);
    setting_write(least, config, other);
    snprintf(text, text_cap, "%s = %s is less than %s = %s, which holds until a restart", other->name, least,
             setting->name, value);
    return false;
}

int config_set_back(struct config *fresh, const struct config *running, char *text, size_t text_cap)
{
    for (const struct setting *setting = settings; setting < settings + SETTINGS_COUNT; setting++) {
        char value[SETTING_TEXT_MAX];
        if (setting_is_of_one(setting) || !setting_needs_restart(setting)) continue;
        setting_write(value, running, setting);
        if (setting_is_text(setting)) memcpy((char *)fresh + setting->offset, value, strlen(value) + 1);
        else setting_read(fresh, setting, value);
    }
    for (const struct setting *setting = settings; setting < settings + SETTINGS_COUNT; setting++)
        if (!setting_is_of_one(setting) && !fits_together(fresh, setting, text, text_cap)) return -1;
    return 0;
}

void config_adopt(struct config *running, struct config *fresh)
{
    running->limits = fresh->limits;
    running->caps = fresh->caps;
    running->log = fresh->log;
    running->metrics = fresh->metrics;
    strcpy(running->passwords, fresh->passwords);
    strcpy(running->tokens, fresh->tokens);
    struct access *old = running->access;
    running->access = fresh->access;
    fresh->access = old;
}
