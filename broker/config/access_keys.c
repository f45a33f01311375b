#include "access_keys.h"

#include <stdlib.h>
#include <string.h>

#include "nearest.h"
#include "settings.h"

enum access_key { KEY_PASSWORDS, KEY_TOKENS, KEY_DEFAULT_GROUP, KEY_USER_GROUP, KEY_PLAINTEXT, ACCESS_KEYS_COUNT };
static const char *const keys_of_access[] = {
    "passwords", "tokens", "default_group", "user_group", "allow_plaintext_passwords", NULL};
static const char *const keys_of_user[] = {"groups", "certificate", "uid", "gid", NULL};
/* In the order of enum access_list; then the rights. */
static const char *const keys_of_group[] = {"publish", "subscribe", "deny_publish", "deny_subscribe", "rights", NULL};

const char *const *access_keys(const char *section)
{
    if (strcmp(section, ACCESS) == 0) return keys_of_access;
    if (strcmp(section, USER) == 0) return keys_of_user;
    return strcmp(section, GROUP) == 0 ? keys_of_group : NULL;
}

static int key_number(const char *const *keys, const char *key)
{
    int number = 0;
    while (strcmp(keys[number], key) != 0) number++;
    return number;
}

static void mention(struct access_reader *reader, const char *name, int line)
{
    size_t count = reader->mentions_count++;
    reader->mentions = realloc(reader->mentions, (count + 1) * sizeof reader->mentions[0]);
    if (reader->mentions == NULL) abort(); /* as long as the file */
    snprintf(reader->mentions[count].name, sizeof reader->mentions[count].name, "%s", name);
    reader->mentions[count].line = line;
}

/* ---- lists --------------------------------------------------------------------------------------------------- */

/* Calls take for each part between commas, without the blanks around it, while it returns true. */
static bool each_part(const char *value, bool (*take)(void *arg, const char *part, char *text, size_t text_cap),
                      void *arg, char *text, size_t text_cap)
{
    static const char blanks[] = " \t\r";
    for (;;) {
        char part[300];
        size_t all = strcspn(value, ","), len = all;
        const char *begin = value;
        while (len > 0 && strchr(blanks, *begin) != NULL) begin++, len--;
        while (len > 0 && strchr(blanks, begin[len - 1]) != NULL) len--;
        snprintf(part, sizeof part, "%.*s", (int)len, begin);
        if (!take(arg, part, text, text_cap)) return false;
        if (value[all] == '\0') return true;
        value += all + 1;
    }
}

static bool fail_part(char *text, size_t text_cap, const char *part, const char *what, const char *why)
{
    snprintf(text, text_cap, "'%.200s' is not %s: %s", part, what, why);
    return false;
}

static bool take_pattern(void *arg, const char *part, char *text, size_t text_cap)
{
    struct access_texts *list = arg;
    const char *why = access_pattern_error(part);
    if (why == NULL) why = setting_text_problem(part);
    if (why == NULL && list->count == ACCESS_PATTERNS_MAX) why = "the list has 1024 patterns already";
    if (why != NULL) return fail_part(text, text_cap, part, "a pattern", why);
    access_add_text(list, part);
    return true;
}

static bool take_right(void *arg, const char *part, char *text, size_t text_cap)
{
    unsigned *rights = arg;
    for (unsigned i = 0; i < ACCESS_RIGHTS_COUNT; i++) {
        if (strcmp(part, access_right_names[i]) != 0) continue;
        *rights |= 1u << i;
        return true;
    }
    return fail_part(text, text_cap, part, "a right", "there are retain, block, durable, groups, sys and admin");
}

static bool take_certificate(void *arg, const char *part, char *text, size_t text_cap)
{
    const char *why = access_certificate_error(part);
    if (why != NULL) return fail_part(text, text_cap, part, "a certificate's name", why);
    access_add_text(arg, part);
    return true;
}

static bool take_number(void *arg, const char *part, char *text, size_t text_cap)
{
    char *end;
    unsigned long number = strtoul(part, &end, 10);
    if (part[0] < '0' || part[0] > '9' || *end != '\0' || number >= UINT32_MAX)
        return fail_part(text, text_cap, part, "a uid or gid", "it is a whole number from 0 to 4294967294");
    access_add_number(arg, (uint32_t)number);
    return true;
}

struct group_list {
    struct access_reader *reader;
    int line;
};

static bool take_group(void *arg, const char *part, char *text, size_t text_cap)
{
    struct group_list *list = arg;
    const char *why = access_name_error(part);
    struct access_user *user = list->reader->user;
    if (why == NULL && user->groups.count == ACCESS_GROUPS_MAX) why = "the user is in 64 groups already";
    if (why != NULL) return fail_part(text, text_cap, part, "a group's name", why);
    access_add_text(&user->groups, part);
    mention(list->reader, part, list->line);
    return true;
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

bool access_begin(struct access_reader *reader, struct config *config, const char *section, const char *name,
                  char *text, size_t text_cap)
{
    bool is_user = strcmp(section, USER) == 0;
    if (is_user) {
        reader->user = access_add_user(config->access, name);
        if (reader->user != NULL) return true;
        snprintf(text, text_cap, "there are more than %d users", ACCESS_USERS_MAX);
    } else {
        reader->group = access_add_group(config->access, name);
        if (reader->group != NULL) return true;
        snprintf(text, text_cap, "there are more than %d groups", ACCESS_GROUPS_MAX);
    }
    return false;
}

static bool set_path(char path[CONFIG_TEXT_MAX + 1], const char *key, const char *value, char *text, size_t text_cap)
{
    const char *problem = setting_text_problem(value);
    if (problem == NULL) {
        strcpy(path, value);
        return true;
    }
    snprintf(text, text_cap, "%s = '%.60s' is not a path: %s", key, value, problem);
    return false;
}

static bool set_group(struct access_reader *reader, char name[ACCESS_NAME_MAX + 1], const char *key, const char *value,
                      int line, char *text, size_t text_cap)
{
    if (access_name_error(value) != NULL) {
        snprintf(text, text_cap, "%s = '%.60s': %s", key, value, access_name_error(value));
        return false;
    }
    strcpy(name, value);
    mention(reader, value, line);
    return true;
}

static bool set_of_access(struct access_reader *reader, struct config *config, const char *key, const char *value,
                          int line, char *text, size_t text_cap)
{
    enum access_key number = (enum access_key)key_number(keys_of_access, key);
    if (reader->lines[number] > 0) {
        snprintf(text, text_cap, "%s is set already, in line %d", key, reader->lines[number]);
        return false;
    }
    reader->lines[number] = line;
    switch (number) {
    case KEY_PASSWORDS: return set_path(config->passwords, key, value, text, text_cap);
    case KEY_TOKENS: return set_path(config->tokens, key, value, text, text_cap);
    case KEY_DEFAULT_GROUP: return set_group(reader, config->access->default_group, key, value, line, text, text_cap);
    case KEY_USER_GROUP: return set_group(reader, config->access->user_group, key, value, line, text, text_cap);
    case KEY_PLAINTEXT:
        config->access->plaintext_passwords = strcmp(value, "yes") == 0;
        if (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0) return true;
        break;
    case ACCESS_KEYS_COUNT: break;
    }
    snprintf(text, text_cap, "%s = '%.60s' is not one of no and yes", key, value);
    return false;
}

bool access_set(struct access_reader *reader, struct config *config, const char *section, const char *key,
                const char *value, int line, char *text, size_t text_cap)
{
    char why[400];
    bool is_right;
    if (strcmp(section, ACCESS) == 0) return set_of_access(reader, config, key, value, line, text, text_cap);
    if (strcmp(section, GROUP) == 0) {
        int number = key_number(keys_of_group, key);
        is_right = number < ACCESS_LISTS_COUNT
                       ? each_part(value, take_pattern, &reader->group->lists[number], why, sizeof why)
                       : each_part(value, take_right, &reader->group->rights, why, sizeof why);
    } else if (strcmp(key, "groups") == 0) {
        is_right = each_part(value, take_group, &(struct group_list){reader, line}, why, sizeof why);
    } else if (strcmp(key, "certificate") == 0) {
        is_right = take_certificate(&reader->user->certificates, value, why, sizeof why); /* a name may hold commas */
    } else {
        struct access_numbers *numbers = strcmp(key, "uid") == 0 ? &reader->user->uids : &reader->user->gids;
        is_right = each_part(value, take_number, numbers, why, sizeof why);
    }
    if (!is_right) snprintf(text, text_cap, "%s: %s", key, why);
    return is_right;
}

static const char *nearest_group(const struct access *access, const char *name)
{
    const char *names[ACCESS_GROUPS_MAX + 1] = {NULL};
    for (size_t i = 0; i < access->groups_count; i++) names[i] = access->groups[i]->name;
    return nearest_name(name, names);
}

bool access_check(const struct access_reader *reader, const struct config *config, int *line, char *text,
                  size_t text_cap)
{
    for (size_t i = 0; i < reader->mentions_count; i++) {
        const char *name = reader->mentions[i].name;
        if (access_find_group(config->access, name) != NULL) continue;
        const char *nearest = nearest_group(config->access, name);
        *line = reader->mentions[i].line;
        if (nearest != NULL) snprintf(text, text_cap, "there is no [" GROUP " %s]; did you mean '%s'?", name, nearest);
        else snprintf(text, text_cap, "there is no [" GROUP " %s]", name);
        return false;
    }
    return true;
}

void access_reader_free(struct access_reader *reader)
{
    free(reader->mentions);
    reader->mentions = NULL;
}

/* ---- printing ------------------------------------------------------------------------------------------------ */

static void print_texts(const struct access_texts *texts, const char *key, FILE *out)
{
    for (size_t i = 0; i < texts->count; i++) fprintf(out, "%s = %s\n", key, texts->at[i]);
}

static void print_numbers(const struct access_numbers *numbers, const char *key, FILE *out)
{
    for (size_t i = 0; i < numbers->count; i++) fprintf(out, "%s = %u\n", key, numbers->at[i]);
}

static void print_user(const struct access_user *user, FILE *out)
{
    fprintf(out, "\n[" USER " %s]\n", user->name);
    print_texts(&user->groups, "groups", out);
    print_texts(&user->certificates, "certificate", out);
    print_numbers(&user->uids, "uid", out);
    print_numbers(&user->gids, "gid", out);
}

static void print_group(const struct access_group *group, FILE *out)
{
    fprintf(out, "\n[" GROUP " %s]\n", group->name);
    for (size_t i = 0; i < ACCESS_LISTS_COUNT; i++) print_texts(&group->lists[i], keys_of_group[i], out);
    for (unsigned i = 0; i < ACCESS_RIGHTS_COUNT; i++)
        if (group->rights & 1u << i) fprintf(out, "rights = %s\n", access_right_names[i]);
}

/* With its value, or as an example in a comment. */
static void print_key(const char *meaning, const char *key, const char *value, const char *example, FILE *out)
{
    fprintf(out, "\n%s", meaning);
    if (value[0] != '\0') fprintf(out, "%s = %s\n", key, value);
    else fprintf(out, "# %s = %s\n", key, example);
}

static void print_sections(const struct access *access, FILE *out)
{
    fputs("\n# Who may do what. Without any [user NAME] and [group NAME] everybody may do everything; with one, what "
          "is not\n"
          "# granted is refused. A user is who has shown a token or a password of that name, or by itself whoever has "
          "one of\n"
          "# the certificates, or one of the uids and gids over a Unix socket. It is in the groups that are listed.\n"
          "# Patterns are separated by commas; in them %u is the user, %i the client id, %% a '%'. What is denied in "
          "one of a\n"
          "# user's groups is denied, whatever another one allows. Each key may stand in several lines.\n"
          "#\n# [" USER " ann]\n# groups = sensors, readers\n# certificate = uri:spiffe://example.com/ann\n"
          "# certificate = dns:ann.example.com\n# certificate = cn:Ann\n"
          "# certificate = sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
          "# uid = 1000\n# gid = 100\n"
          "#\n# [" GROUP
          " sensors]\n# publish = site/%u/#, status/%i\n# deny_publish = site/+/secret\n# rights = retain\n"
          "#\n# [" GROUP " readers]\n# subscribe = site/#, $dead/site/#\n# deny_subscribe = site/+/secret\n"
          "# # retain: publish retained values; block: hold publishers by the policy block; durable: durable "
          "subscriptions\n"
          "# # and the policy spill; groups: share subscriptions; sys: subscribe to $SYS/#, reports, traces; admin: "
          "remove messages of "
          "streams\n"
          "# rights = retain, block, durable, groups, sys, admin\n",
          out);
    for (size_t i = 0; access != NULL && i < access->users_count; i++) print_user(access->users[i], out);
    for (size_t i = 0; access != NULL && i < access->groups_count; i++) print_group(access->groups[i], out);
}

void access_print(const struct config *config, FILE *out)
{
    const struct access *access = config->access;
    fputs("\n[" ACCESS "]", out);
    print_key("# File of users and their passwords, made by pubsubd passwd. It is the broker's user's, and nobody "
              "else's to read.\n",
              "passwords", config->passwords, "/etc/pubsub/passwords", out);
    print_key("# File of tokens, made by pubsubd token. It is the broker's user's, and nobody else's to read.\n",
              "tokens", config->tokens, "/etc/pubsub/tokens", out);
    print_key("# The group of whoever comes without a name.\n", "default_group", access ? access->default_group : "",
              "guests", out);
    print_key("# The group of users who have no section [" USER " NAME].\n", "user_group",
              access ? access->user_group : "", "readers", out);
    print_key("# Whether passwords are taken over TCP that is neither encrypted nor from this machine.\n# One of no "
              "and yes.\n",
              "allow_plaintext_passwords", access != NULL && access->plaintext_passwords ? "yes" : "no", "", out);
    print_sections(access, out);
}
