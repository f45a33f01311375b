#include "credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"

#define TOKEN_BYTES 32
#define TOKEN_PREFIX "mps_" /* so that tools that look for leaked secrets can know one */

struct token {
    unsigned char hash[TOKEN_BYTES];
    char user[ACCESS_NAME_MAX + 1];
};

struct password {
    char user[ACCESS_NAME_MAX + 1];
    char kept[crypto_pwhash_STRBYTES];
};

struct credentials {
    struct token *tokens;
    size_t tokens_count;
    struct password *passwords;
    size_t passwords_count;
};

/* Names what is kept: a short digest of it. Never 0. */
static uint64_t proof_of(const void *bytes, size_t len)
{
    unsigned char digest[crypto_generichash_BYTES_MIN];
    uint64_t proof;
    crypto_generichash(digest, sizeof digest, bytes, len, NULL, 0);
    memcpy(&proof, digest, sizeof proof);
    return proof | 1;
}

/* ---- tokens -------------------------------------------------------------------------------------------------- */

static void hash_token(unsigned char hash[TOKEN_BYTES], const void *token, size_t len)
{
    crypto_generichash(hash, TOKEN_BYTES, token, len, NULL, 0);
}

void token_new(char token[TOKEN_TEXT_MAX])
{
    unsigned char bytes[TOKEN_BYTES];
    size_t prefix = strlen(TOKEN_PREFIX);
    randombytes_buf(bytes, sizeof bytes);
    strcpy(token, TOKEN_PREFIX);
    sodium_bin2base64(token + prefix, TOKEN_TEXT_MAX - prefix, bytes, sizeof bytes,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof bytes);
}

void token_keep(char kept[TOKEN_HEX_LEN + 1], const char *token)
{
    unsigned char hash[TOKEN_BYTES];
    hash_token(hash, token, strlen(token));
    sodium_bin2hex(kept, TOKEN_HEX_LEN + 1, hash, sizeof hash);
}

void credentials_find_token(const struct credentials *credentials, const void *token, size_t len,
                            struct verdict *verdict)
{
    unsigned char hash[TOKEN_BYTES];
    *verdict = (struct verdict){.is_good = false};
    hash_token(hash, token, len);
    for (size_t i = 0; i < credentials->tokens_count; i++) {
        const struct token *known = &credentials->tokens[i];
        if (sodium_memcmp(hash, known->hash, sizeof hash) != 0) continue;
        verdict->is_good = true; /* and on, as if it were none */
        strcpy(verdict->user, known->user);
        verdict->proof = proof_of(known, sizeof *known);
    }
    sodium_memzero(hash, sizeof hash);
}

/* ---- passwords ----------------------------------------------------------------------------------------------- */

int password_keep(char kept[crypto_pwhash_STRBYTES], const char *password)
{
    return crypto_pwhash_str(kept, password, strlen(password), crypto_pwhash_OPSLIMIT_INTERACTIVE,
                             crypto_pwhash_MEMLIMIT_INTERACTIVE);
}

/* Whose entry stands in for a user who is not there: of each name always the same one, so that it takes as long. */
static const struct password *stand_in(const struct credentials *credentials, const void *user, size_t user_len)
{
    return &credentials->passwords[proof_of(user, user_len) % credentials->passwords_count];
}

static int by_user(const void *a, const void *b)
{
    return strcmp(((const struct password *)a)->user, ((const struct password *)b)->user);
}

static const struct password *find_password(const struct credentials *credentials, const void *user, size_t user_len)
{
    struct password wanted = {.user = ""};
    if (user_len > ACCESS_NAME_MAX || memchr(user, '\0', user_len) != NULL) return NULL;
    memcpy(wanted.user, user, user_len);
    return bsearch(&wanted, credentials->passwords, credentials->passwords_count, sizeof wanted, by_user);
}

bool password_check_begin(struct password_check *check, const struct credentials *credentials, const void *user,
                          size_t user_len, const void *password, size_t len, char *room)
{
    const struct password *known = find_password(credentials, user, user_len);
    *check = (struct password_check){.is_known = known != NULL, .password = room, .len = len};
    if (len > PASSWORD_MAX) return false;
    if (len > 0) memcpy(check->password, password, len);
    if (known == NULL) known = stand_in(credentials, user, user_len);
    memcpy(check->kept, known->kept, sizeof check->kept);
    strcpy(check->verdict.user, known->user);
    check->verdict.proof = proof_of(known, sizeof *known);
    check->verdict.is_good = true;
    return true;
}

/* What is kept of a password, taken apart. */
struct kept {
    unsigned memory_kib, passes;
    unsigned char salt[crypto_pwhash_SALTBYTES], hash[64];
    size_t salt_len, hash_len;
};

/* False: its salt or its hash is of another length than libsodium makes them. */
static bool take_apart(const char *text, struct kept *kept)
{
    char salt[64], hash[128];
    if (sscanf(text, "$argon2id$v=19$m=%u,t=%u,p=1$%63[^$]$%127[^$]", &kept->memory_kib, &kept->passes, salt, hash) !=
        4)
        return false;
    return sodium_base642bin(kept->salt, sizeof kept->salt, salt, strlen(salt), NULL, &kept->salt_len, NULL,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           sodium_base642bin(kept->hash, sizeof kept->hash, hash, strlen(hash), NULL, &kept->hash_len, NULL,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           kept->salt_len == sizeof kept->salt && kept->hash_len >= crypto_pwhash_BYTES_MIN;
}

/* crypto_pwhash_str_verify() says the same of a wrong password and of want of memory; so it is only for what was made
 * elsewhere, in a form that crypto_pwhash() doesn't make. */
enum password_result password_check_run(const struct password_check *check)
{
    struct kept kept;
    unsigned char hash[sizeof kept.hash];
    bool matches;
    if (take_apart(check->kept, &kept)) {
        if (crypto_pwhash(hash, kept.hash_len, check->password, check->len, kept.salt, kept.passes,
                          (size_t)kept.memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13) != 0)
            return PASSWORD_NO_MEMORY;
        matches = sodium_memcmp(hash, kept.hash, kept.hash_len) == 0;
        sodium_memzero(hash, sizeof hash);
    } else {
        matches = crypto_pwhash_str_verify(check->kept, check->password, check->len) == 0;
    }
    return matches & check->is_known ? PASSWORD_RIGHT : PASSWORD_WRONG;
}

void password_check_end(struct password_check *check)
{
    sodium_memzero(check->password, check->len);
    sodium_memzero(check, sizeof *check);
}

/* ---- files --------------------------------------------------------------------------------------------------- */

/* Why this is not what is kept of a password. NULL: it is. */
static const char *kept_error(const char *kept)
{
    unsigned memory_kib, passes;
    if (strlen(kept) >= crypto_pwhash_STRBYTES) return "it is too long for a password's hash";
    if (sscanf(kept, "$argon2id$v=19$m=%u,t=%u,p=1$", &memory_kib, &passes) != 2)
        return "behind the name stands no hash by argon2id ($argon2id$v=19$m=..,t=..,p=1$..)";
    if (memory_kib > PASSWORD_MEMORY_MAX_KIB) return "to check it would take more than 256 MiB";
    if (passes > 16) return "to check it would take more than 16 passes";
    return crypto_pwhash_str_needs_rehash(kept, passes, (size_t)memory_kib * 1024) == 0 ? NULL : "the hash is damaged";
}

static const char *take_password(struct credentials *credentials, const char *name, const char *rest)
{
    struct password *password = &credentials->passwords[credentials->passwords_count];
    const char *why = kept_error(rest);
    if (why != NULL) return why;
    memset(password, 0, sizeof *password); /* all of it is in its proof */
    strcpy(password->user, name);
    strcpy(password->kept, rest);
    credentials->passwords_count++;
    return NULL;
}

/* So that they are found. Returns 0, or -1: one is there twice. */
static int sort_passwords(struct credentials *credentials, const char *path, char *text, size_t text_cap)
{
    struct password *all = credentials->passwords;
    if (credentials->passwords_count > 1) qsort(all, credentials->passwords_count, sizeof all[0], by_user);
    for (size_t i = 1; i < credentials->passwords_count; i++) {
        if (by_user(&all[i - 1], &all[i]) != 0) continue;
        snprintf(text, text_cap, "%s: the user '%s' is there twice", path, all[i].user);
        return -1;
    }
    return 0;
}

static const char *take_token(struct credentials *credentials, const char *name, const char *rest)
{
    struct token *token = &credentials->tokens[credentials->tokens_count];
    size_t len;
    const char *end;
    int result = sodium_hex2bin(token->hash, sizeof token->hash, rest, strlen(rest), NULL, &len, &end);
    if (result != 0 || len != TOKEN_BYTES || (*end != '\0' && *end != ':'))
        return "behind the name stand no 64 hexadecimal digits";
    strcpy(token->user, name); /* the rest is 0: all of it is in its proof */
    credentials->tokens_count++;
    return NULL;
}

static int load_file(struct credentials *credentials, const char *path,
                     const char *(*take)(struct credentials *credentials, const char *name, const char *rest),
                     void **room, size_t entry_size, char *text, size_t text_cap)
{
    struct lines lines;
    if (path[0] == '\0') return 0;
    if (lines_read(&lines, path, false, text, text_cap) != 0) return -1;
    *room = calloc(lines.count + 1, entry_size);
    if (*room == NULL) abort(); /* as long as the file */
    int result = 0;
    for (size_t i = 0; i < lines.count && result == 0; i++) {
        char name[ACCESS_NAME_MAX + 1];
        const char *rest, *why = line_read(lines.at[i], name, sizeof name, &rest);
        if (why == NULL && name[0] != '\0') why = take(credentials, name, rest);
        if (why == NULL) continue;
        snprintf(text, text_cap, "%s:%zu: %s", path, i + 1, why);
        result = -1;
    }
    lines_free(&lines);
    return result;
}

struct credentials *credentials_load(const char *passwords, const char *tokens, struct access *access, char *text,
                                     size_t text_cap)
{
    struct credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials == NULL) abort(); /* small */
    if (load_file(credentials, passwords, take_password, (void **)&credentials->passwords, sizeof(struct password),
                  text, text_cap) != 0 ||
        sort_passwords(credentials, passwords, text, text_cap) != 0 ||
        load_file(credentials, tokens, take_token, (void **)&credentials->tokens, sizeof(struct token), text,
                  text_cap) != 0) {
        credentials_free(credentials);
        return NULL;
    }
    for (size_t i = 0; i < credentials->passwords_count; i++)
        access_add_proof(access, proof_of(&credentials->passwords[i], sizeof(struct password)));
    for (size_t i = 0; i < credentials->tokens_count; i++)
        access_add_proof(access, proof_of(&credentials->tokens[i], sizeof(struct token)));
    return credentials;
}

void credentials_free(struct credentials *credentials)
{
    if (credentials == NULL) return;
    if (credentials->passwords != NULL)
        sodium_memzero(credentials->passwords, credentials->passwords_count * sizeof(struct password));
    free(credentials->passwords);
    free(credentials->tokens);
    free(credentials);
}

bool credentials_have_passwords(const struct credentials *credentials)
{
    return credentials->passwords_count > 0;
}

bool credentials_have_tokens(const struct credentials *credentials)
{
    return credentials->tokens_count > 0;
}
