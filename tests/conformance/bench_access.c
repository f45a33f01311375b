#include "bench_access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_patterns(struct access_texts *list, char *patterns)
{
    for (char *rest, *one = strtok_r(patterns, ",", &rest); one != NULL; one = strtok_r(NULL, ",", &rest))
        access_add_text(list, one);
}

static bool add_right(struct access_group *group, const char *name)
{
    for (unsigned i = 0; i < ACCESS_RIGHTS_COUNT; i++) {
        if (strcmp(name, access_right_names[i]) != 0) continue;
        group->rights |= 1u << i;
        return true;
    }
    return false;
}

static bool say_group(struct access_group *group, char *key, char *value)
{
    static const char *const lists[] = {"publish", "subscribe", "deny_publish", "deny_subscribe"};
    for (size_t i = 0; i < ACCESS_LISTS_COUNT; i++) {
        if (strcmp(key, lists[i]) != 0) continue;
        add_patterns(&group->lists[i], value);
        return true;
    }
    bool good = strcmp(key, "rights") == 0;
    char *rest, *one = strtok_r(value, ",", &rest);
    for (; good && one != NULL; one = strtok_r(NULL, ",", &rest)) good = add_right(group, one);
    return good;
}

static bool say_user(struct access_user *user, char *key, char *value)
{
    if (strcmp(key, "groups") == 0) add_patterns(&user->groups, value);
    else if (strcmp(key, "uid") == 0) access_add_number(&user->uids, (uint32_t)strtoul(value, NULL, 10));
    else return false;
    return true;
}

static bool say_pairs(struct access *access, bool is_group, const char *name, char **rest)
{
    if (name == NULL || access_name_error(name) != NULL) return false;
    struct access_group *group = is_group ? access_add_group(access, name) : NULL;
    struct access_user *user = is_group ? NULL : access_add_user(access, name);
    for (char *pair; (pair = strtok_r(NULL, " ", rest)) != NULL;) {
        char *value = strchr(pair, '=');
        if (value == NULL) return false;
        *value++ = '\0';
        if (!(is_group ? say_group(group, pair, value) : say_user(user, pair, value))) return false;
    }
    return true;
}

/* What is shown is named by its text. */
static uint64_t proof_of(const struct bench_secret *secret)
{
    uint64_t proof = 1;
    for (const char *p = secret->text; *p != '\0'; p++) proof = proof * 31 + (uint8_t)*p;
    return proof * 2 + 1;
}

static bool say_secret(struct bench_access *access, bool is_token, const char *user, const char *text)
{
    if (user == NULL || text == NULL || access->said.count == BENCH_SECRETS_MAX) return false;
    struct bench_secret *secret = &access->said.at[access->said.count++];
    *secret = (struct bench_secret){.is_token = is_token};
    snprintf(secret->user, sizeof secret->user, "%s", user);
    snprintf(secret->text, sizeof secret->text, "%s", text);
    access_add_proof(access->next, proof_of(secret));
    return true;
}

static bool hold(struct bench_access *access, struct broker *broker)
{
    struct access *next = access->next;
    access->next = NULL;
    access->held = access->said;
    access->said.count = 0;
    broker_set_access(broker, next);
    return true;
}

bool bench_access_say(struct bench_access *access, struct broker *broker, const char *words)
{
    char copy[1000], *rest;
    snprintf(copy, sizeof copy, "%s", words);
    const char *what = strtok_r(copy, " ", &rest);
    if (what == NULL) return false;
    if (access->next == NULL) access->next = access_new();
    if (strcmp(what, "holds") == 0) return hold(access, broker);
    const char *first = strtok_r(NULL, " ", &rest);
    if (strcmp(what, "group") == 0) return say_pairs(access->next, true, first, &rest);
    if (strcmp(what, "user") == 0) return say_pairs(access->next, false, first, &rest);
    if (strcmp(what, "token") == 0) return say_secret(access, true, strtok_r(NULL, " ", &rest), first);
    if (strcmp(what, "password") == 0) return say_secret(access, false, first, strtok_r(NULL, " ", &rest));
    if (strcmp(what, "default") != 0 || first == NULL || access_name_error(first) != NULL) return false;
    strcpy(access->next->default_group, first);
    return true;
}

/* ---- as an environment --------------------------------------------------------------------------------------- */

static bool same(const char *text, const void *bytes, size_t len)
{
    return strlen(text) == len && memcmp(text, bytes, len) == 0;
}

enum verify_answer bench_access_verify(struct bench_access *access, struct session *session, const struct proof *proof,
                                       struct verdict *verdict)
{
    bool is_there = false;
    *verdict = (struct verdict){.is_good = false};
    for (int i = 0; i < access->held.count; i++) {
        const struct bench_secret *secret = &access->held.at[i];
        is_there |= secret->is_token == proof->is_token;
        if (secret->is_token != proof->is_token || !same(secret->text, proof->secret, proof->secret_len)) continue;
        if (!proof->is_token && !same(secret->user, proof->user, proof->user_len)) continue;
        verdict->is_good = true;
        strcpy(verdict->user, secret->user);
        verdict->proof = proof_of(secret);
    }
    if (!is_there) return VERIFY_UNAVAILABLE;
    if (proof->is_token) return VERIFY_DONE;
    access->asking = session;
    access->verdict = *verdict;
    return VERIFY_LATER;
}

void bench_access_forget(struct bench_access *access, struct session *session)
{
    if (access->asking == session) access->asking = NULL;
}

bool bench_access_turn(struct bench_access *access)
{
    struct session *session = access->asking;
    access->asking = NULL;
    if (session != NULL) session_verified(session, &access->verdict);
    return session != NULL;
}

void bench_access_free(struct bench_access *access)
{
    access_unref(access->next);
}
