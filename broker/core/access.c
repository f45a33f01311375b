#include "access.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sure.h"

const char *const access_right_names[ACCESS_RIGHTS_COUNT + 1] = {"retain", "block", "durable", "groups",
                                                                 "sys",    "admin", NULL};

static void *grown(void *memory, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) return memory;
    *cap = *cap > 0 ? 2 * *cap : 4;
    return sure_grown(memory, *cap * size);
}

struct access *access_new(void)
{
    struct access *access = sure_zeroed(sizeof *access);
    access->refs = 1;
    return access;
}

struct access *access_ref(struct access *access)
{
    access->refs++;
    return access;
}

static void free_texts(struct access_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++) free(texts->at[i]);
    free(texts->at);
}

void access_unref(struct access *access)
{
    if (access == NULL || --access->refs > 0) return;
    for (size_t i = 0; i < access->groups_count; i++) {
        for (size_t k = 0; k < ACCESS_LISTS_COUNT; k++) free_texts(&access->groups[i]->lists[k]);
        free(access->groups[i]);
    }
    for (size_t i = 0; i < access->users_count; i++) {
        struct access_user *user = access->users[i];
        free_texts(&user->groups);
        free_texts(&user->certificates);
        free(user->uids.at);
        free(user->gids.at);
        free(user);
    }
    free(access->groups);
    free(access->users);
    free(access->proofs);
    free(access);
}

/* ---- filling ------------------------------------------------------------------------------------------------- */

/* Pointers, whose room is a power of two. */
static bool is_full(size_t count)
{
    return (count & (count - 1)) == 0;
}

static void *with_room(void *pointers, size_t count)
{
    if (!is_full(count)) return pointers;
    return sure_grown(pointers, (count > 0 ? 2 * count : 1) * sizeof(void *));
}

struct access_group *access_add_group(struct access *access, const char *name)
{
    assert(access_name_error(name) == NULL);
    if (access->groups_count == ACCESS_GROUPS_MAX) return NULL;
    struct access_group *group = sure_zeroed(sizeof *group);
    strcpy(group->name, name);
    access->groups = with_room(access->groups, access->groups_count);
    access->groups[access->groups_count++] = group;
    access->restricts = true;
    return group;
}

struct access_user *access_add_user(struct access *access, const char *name)
{
    assert(access_name_error(name) == NULL);
    if (access->users_count == ACCESS_USERS_MAX) return NULL;
    struct access_user *user = sure_zeroed(sizeof *user);
    strcpy(user->name, name);
    access->users = with_room(access->users, access->users_count);
    access->users[access->users_count++] = user;
    access->restricts = true;
    return user;
}

struct access_group *access_find_group(const struct access *access, const char *name)
{
    for (size_t i = 0; i < access->groups_count; i++)
        if (strcmp(access->groups[i]->name, name) == 0) return access->groups[i];
    return NULL;
}

struct access_user *access_find_user(const struct access *access, const char *name)
{
    for (size_t i = 0; i < access->users_count; i++)
        if (strcmp(access->users[i]->name, name) == 0) return access->users[i];
    return NULL;
}

void access_add_text(struct access_texts *texts, const char *text)
{
    texts->at = grown(texts->at, texts->count, &texts->cap, sizeof texts->at[0]);
    texts->at[texts->count++] = sure_text(text);
}

void access_add_number(struct access_numbers *numbers, uint32_t number)
{
    numbers->at = grown(numbers->at, numbers->count, &numbers->cap, sizeof numbers->at[0]);
    numbers->at[numbers->count++] = number;
}

void access_add_proof(struct access *access, uint64_t proof)
{
    access->proofs = grown(access->proofs, access->proofs_count, &access->proofs_cap, sizeof access->proofs[0]);
    access->proofs[access->proofs_count++] = proof;
    access->proofs_sorted = false;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorted when it is first asked for: each connection is looked up after a change. */
bool access_has_proof(struct access *access, uint64_t proof)
{
    size_t size = sizeof access->proofs[0];
    if (access->proofs_count == 0) return false;
    if (!access->proofs_sorted) qsort(access->proofs, access->proofs_count, size, by_number);
    access->proofs_sorted = true;
    return bsearch(&proof, access->proofs, access->proofs_count, size, by_number) != NULL;
}

static void copy_texts(struct access_texts *to, const struct access_texts *from)
{
    for (size_t i = 0; i < from->count; i++) access_add_text(to, from->at[i]);
}

static void copy_numbers(struct access_numbers *to, const struct access_numbers *from)
{
    for (size_t i = 0; i < from->count; i++) access_add_number(to, from->at[i]);
}

static void copy_user(struct access_user *to, const struct access_user *from)
{
    copy_texts(&to->groups, &from->groups);
    copy_texts(&to->certificates, &from->certificates);
    copy_numbers(&to->uids, &from->uids);
    copy_numbers(&to->gids, &from->gids);
}

struct access *access_copy(const struct access *access)
{
    struct access *copy = access_new();
    for (size_t i = 0; i < access->groups_count; i++) {
        const struct access_group *from = access->groups[i];
        struct access_group *to = access_add_group(copy, from->name);
        to->rights = from->rights;
        for (size_t k = 0; k < ACCESS_LISTS_COUNT; k++) copy_texts(&to->lists[k], &from->lists[k]);
    }
    for (size_t i = 0; i < access->users_count; i++)
        copy_user(access_add_user(copy, access->users[i]->name), access->users[i]);
    for (size_t i = 0; i < access->proofs_count; i++) access_add_proof(copy, access->proofs[i]);
    copy->plaintext_passwords = access->plaintext_passwords;
    strcpy(copy->default_group, access->default_group);
    strcpy(copy->user_group, access->user_group);
    return copy;
}

bool access_has_certificates(const struct access *access)
{
    for (size_t i = 0; i < access->users_count; i++)
        if (access->users[i]->certificates.count > 0) return true;
    return false;
}

/* ---- rules --------------------------------------------------------------------------------------------------- */

const char *access_name_error(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t len = strlen(name);
    if (len > 0 && len <= ACCESS_NAME_MAX && strspn(name, allowed) == len) return NULL;
    return "a name has 1 to 32 letters, digits, '_', '-', '.'";
}

const char *access_pattern_error(const char *pattern)
{
    char sample[MPS_TOPIC_MAX + 2];
    size_t len = 0;
    if (strlen(pattern) > MPS_TOPIC_MAX) return mps_pattern_error(mps_text(pattern));
    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == '%' && p[1] != 'u' && p[1] != 'i' && p[1] != '%') return "behind '%' stands 'u', 'i' or '%'";
        size_t piece_len = *p != '%' ? 1 : p[1] == 'u' ? ACCESS_NAME_MAX : p[1] == 'i' ? MPS_ID_MAX : 1;
        if (len + piece_len > MPS_TOPIC_MAX) return "with a user's or client's longest name it has more than 255 bytes";
        memset(sample + len, *p == '%' ? 'x' : *p, piece_len);
        len += piece_len;
        if (*p == '%') p++;
    }
    sample[len] = '\0';
    return mps_pattern_error(mps_text(sample));
}

const char *access_certificate_error(const char *rule)
{
    static const char *const kinds[] = {"uri:", "dns:", "cn:"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t len = strlen(kinds[i]);
        if (strncmp(rule, kinds[i], len) != 0) continue;
        if (rule[len] == '\0') return "nothing stands behind the ':'";
        return strlen(rule + len) < PEER_NAME_MAX ? NULL : "it is longer than 255 bytes";
    }
    if (strncmp(rule, "sha256:", 7) != 0) return "it does not begin with 'uri:', 'dns:', 'cn:' or 'sha256:'";
    bool is_hex = strlen(rule + 7) == 64 && strspn(rule + 7, "0123456789abcdef") == 64;
    return is_hex ? NULL : "behind 'sha256:' stand 64 hexadecimal digits, small ones, without ':'";
}

static bool shows(const struct peer_certificate *certificate, const char *rule)
{
    const char *value = strchr(rule, ':') + 1, *shown = certificate->fingerprint;
    switch (rule[0]) {
    case 'u': shown = certificate->san_uri; break;
    case 'd': shown = certificate->san_dns; break;
    case 'c': shown = certificate->cn; break;
    }
    return shown[0] != '\0' && strcmp(shown, value) == 0;
}

static bool has_number(const struct access_numbers *numbers, uint32_t number)
{
    for (size_t i = 0; i < numbers->count; i++)
        if (numbers->at[i] == number) return true;
    return false;
}

const struct access_user *access_user_of_peer(const struct access *access, const struct peer *peer)
{
    for (size_t i = 0; i < access->users_count && peer->certificate.is_given; i++)
        for (size_t k = 0; k < access->users[i]->certificates.count; k++)
            if (shows(&peer->certificate, access->users[i]->certificates.at[k])) return access->users[i];
    for (size_t i = 0; i < access->users_count && peer->kind == PEER_UNIX; i++)
        if (has_number(&access->users[i]->uids, peer->uid)) return access->users[i];
    for (size_t i = 0; i < access->users_count && peer->kind == PEER_UNIX; i++)
        if (has_number(&access->users[i]->gids, peer->gid)) return access->users[i];
    return NULL;
}
