/* Who this broker is to the NATS servers: a user and a password, a token, or a file of credentials (a JWT that names
 * the user, and the seed of the key that proves it). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nats_json.h"
#include "nats_parts.h"

#define FILE_MAX (64u * 1024) /* bytes of credentials */
#define SHOWN_MAX 80          /* bytes of a path */

/* ---- the file of credentials: sections of one line each, the first with the JWT, the second with the seed -------- */

enum section { SECTION_JWT = 1, SECTION_SEED };

static void wipe(char *text)
{
    if (text == NULL) return;
    explicit_bzero(text, strlen(text));
    free(text);
}

/* To be wiped. NULL: it can't be read. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return NULL;
    char *text = sure(malloc(FILE_MAX + 1));
    setvbuf(file, NULL, _IONBF, 0); /* no other copy of a secret */
    size_t len = fread(text, 1, FILE_MAX, file);
    bool has_failed = ferror(file);
    fclose(file);
    text[len] = '\0';
    if (!has_failed) return text;
    wipe(text);
    return NULL;
}

/* To be wiped. NULL: it isn't there. */
static char *line_of(const char *text, enum section wanted)
{
    static const char blanks[] = " \t\r\n", begin[] = "-----BEGIN";
    unsigned section = 0;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, begin, sizeof begin - 1) != 0 || ++section != wanted) continue;
        line += strcspn(line, "\n");
        line += strspn(line, blanks);
        size_t len = strcspn(line, blanks);
        return len > 0 ? sure(strndup(line, len)) : NULL;
    }
    return NULL;
}

static bool is_seed(const char *seed)
{
    unsigned char *signature = NULL;
    int len = 0;
    bool can_sign = nats_Sign(seed, "something", &signature, &len) == NATS_OK;
    free(signature);
    return can_sign;
}

bool nats_identity_check(const struct engine_options *options, char text[STORE_TEXT_MAX])
{
    const char *path = options->credentials_file;
    if (path == NULL) return true;
    char *file = read_file(path);
    char *jwt = file != NULL ? line_of(file, SECTION_JWT) : NULL,
         *seed = jwt != NULL ? line_of(file, SECTION_SEED) : NULL;
    bool is_good = seed != NULL && is_seed(seed);
    if (file == NULL) snprintf(text, STORE_TEXT_MAX, "credentials: '%.200s' can't be read", path);
    else if (seed == NULL)
        snprintf(text, STORE_TEXT_MAX,
                 "credentials: '%.180s' must hold a user's JWT and, behind it, the seed of its key", path);
    else if (!is_good) snprintf(text, STORE_TEXT_MAX, "credentials: '%.200s' holds no valid seed of a key", path);
    wipe(file);
    wipe(jwt);
    wipe(seed);
    return is_good;
}

/* ---- what the JWT says ------------------------------------------------------------------------------------------ */

static int value_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* Base64 for URLs, up to what is none, in place. Returns its length. */
static uint32_t decode(char *text)
{
    uint32_t len = 0, bits = 0, have = 0;
    for (const char *at = text; value_of(*at) >= 0; at++) {
        bits = bits << 6 | (uint32_t)value_of(*at);
        have += 6;
        if (have < 8) continue;
        have -= 8;
        text[len++] = (char)(bits >> have & 0xff);
    }
    return len;
}

/* Unix time; UINT64_MAX: it does not expire, or nobody knows. */
static uint64_t expiry_of(const char *path)
{
    uint64_t expires = UINT64_MAX;
    char *file = read_file(path), *jwt = file != NULL ? line_of(file, SECTION_JWT) : NULL;
    char *claims = jwt != NULL ? strchr(jwt, '.') : NULL;
    if (claims != NULL) {
        uint32_t len = decode(++claims);
        expires = json_uint((mps_view){(const uint8_t *)claims, len}, "exp", UINT64_MAX);
    }
    free(jwt);
    wipe(file);
    return expires > 0 ? expires : UINT64_MAX;
}

/* ---- for the link ------------------------------------------------------------------------------------------------ */

natsStatus nats_identity_set(natsOptions *options, const struct engine_options *given)
{
    natsStatus status = NATS_OK;
    if (given->user != NULL) status = natsOptions_SetUserInfo(options, given->user, given->password);
    if (status == NATS_OK && given->token != NULL) status = natsOptions_SetToken(options, given->token);
    if (status == NATS_OK && given->credentials_file != NULL)
        status = natsOptions_SetUserCredentialsFromFiles(options, given->credentials_file, NULL);
    return status;
}

static void credentials_words(const char *path, char *text, size_t cap)
{
    char moment[32] = "";
    uint64_t expires = expiry_of(path);
    time_t then = (time_t)expires;
    struct tm parts;
    if (expires < (uint64_t)time(NULL) && gmtime_r(&then, &parts) != NULL)
        strftime(moment, sizeof moment, "%Y-%m-%dT%H:%M:%SZ", &parts);
    snprintf(text, cap, "credentials '%.*s'%s%s", SHOWN_MAX, path, moment[0] != '\0' ? " expired at " : "", moment);
}

void nats_identity_words(const struct engine_options *options, char *text, size_t cap)
{
    if (options->user != NULL)
        snprintf(text, cap, "user '%.*s' with the password of password_file", SHOWN_MAX, options->user);
    else if (options->credentials_file != NULL) credentials_words(options->credentials_file, text, cap);
    else if (options->token != NULL) snprintf(text, cap, "the token of token_file");
    else if (options->cert_file != NULL) snprintf(text, cap, "certificate '%.*s'", SHOWN_MAX, options->cert_file);
    else snprintf(text, cap, "neither user, token_file nor credentials is set");
}
