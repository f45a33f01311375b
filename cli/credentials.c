#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <pubsub/tls_openssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* In pages of their own, so that what locks them locks nothing else. */
static _Alignas(4096) struct {
    char password[SECRET_MAX + 1], token[SECRET_MAX + 1];
    size_t password_len, token_len; /* 0: there is none */
} secrets;

static struct pubsub_tls *tls;

/* ---- the environment ---- */

static bool take_variable(const char *name, char *into, size_t *len)
{
    char *value = getenv(name);
    if (value == NULL) return true;
    *len = strlen(value);
    bool fits = *len <= SECRET_MAX;
    if (fits) memcpy(into, value, *len + 1);
    explicit_bzero(value, *len); /* where /proc shows it */
    unsetenv(name);
    if (!fits) complain("$%s is longer than %d bytes", name, SECRET_MAX);
    return fits;
}

bool credentials_take_environment(void)
{
    (void)mlock(&secrets, sizeof secrets); /* limited for most users: without it, it is as any other memory */
    (void)madvise(&secrets, sizeof secrets, MADV_DONTDUMP);
    bool password = take_variable("PUBSUB_PASSWORD", secrets.password, &secrets.password_len);
    bool token = take_variable("PUBSUB_TOKEN", secrets.token, &secrets.token_len);
    return password && token;
}

/* ---- files ---- */

static int cannot_read(const char *what, const char *path, int error)
{
    complain("cannot read the %s from '%s': %s", what, path, strerror(error));
    return CLI_EXIT_USAGE;
}

/* Whether nobody else may read it. False: complained. */
static bool is_private(const char *what, const char *path, const struct stat *st)
{
    if ((st->st_mode & 077) == 0) return true;
    complain("the file of the %s, '%s', is open to others (mode %04o); chmod 600 it", what, path,
             (unsigned)st->st_mode & 07777);
    return false;
}

/* All of a file up to SECRET_MAX + 1 bytes. -1: errno. */
static ssize_t read_all(int fd, char *at)
{
    size_t len = 0;
    while (len <= SECRET_MAX) {
        ssize_t n = read(fd, at + len, SECRET_MAX + 1 - len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

static int judge(const char *what, const char *path, char *at, size_t *len)
{
    if (*len > SECRET_MAX) {
        complain("the %s in '%s' is longer than %d bytes", what, path, SECRET_MAX);
        return CLI_EXIT_USAGE;
    }
    if (*len > 0 && at[*len - 1] == '\n') (*len)--;
    if (*len > 0 && at[*len - 1] == '\r') (*len)--;
    at[*len] = '\0';
    if (*len > 0 && strlen(at) == *len) return CLI_EXIT_DONE;
    complain(*len == 0 ? "there is no %s in '%s': it is empty" : "the %s in '%s' holds a NUL", what, path);
    return CLI_EXIT_USAGE;
}

int credentials_read_file(const char *what, const char *path, char *at, size_t *len)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), result = CLI_EXIT_USAGE;
    if (fd < 0 || fstat(fd, &st) != 0) {
        result = cannot_read(what, path, errno);
    } else if (is_private(what, path, &st)) {
        ssize_t n = read_all(fd, at);
        *len = n < 0 ? 0 : (size_t)n;
        result = n < 0 ? cannot_read(what, path, errno) : judge(what, path, at, len);
    }
    if (fd >= 0) close(fd);
    if (result != CLI_EXIT_DONE) {
        explicit_bzero(at, SECRET_MAX + 1);
        *len = 0;
    }
    return result;
}

/* ---- who we are ---- */

/* What does not go together; NULL: all does. */
static const char *contradiction(const struct connection_options *connection)
{
    if (connection->user && connection->token_file) return "--user and --token-file are two answers to who this is";
    if (connection->password_file && !connection->user) return "--password-file needs --user";
    if (connection->certificate_key && !connection->certificate) return "--cert-key needs --cert";
    return NULL;
}

/* Once: a command may have many connections, and a file may be a pipe. */
static int read_secrets(const struct connection_options *connection)
{
    static bool done;
    int result = CLI_EXIT_DONE;
    if (done) return result;
    if (connection->password_file)
        result = credentials_read_file("password", connection->password_file, secrets.password, &secrets.password_len);
    if (connection->token_file && result == CLI_EXIT_DONE)
        result = credentials_read_file("token", connection->token_file, secrets.token, &secrets.token_len);
    done = result == CLI_EXIT_DONE;
    return result;
}

static int fill_proof(const struct connection_options *connection, struct pubsub_proof *proof)
{
    int result = read_secrets(connection);
    proof->in_clear = connection->auth_in_clear;
    if (connection->user) {
        proof->user = connection->user;
        proof->password = secrets.password;
    } else if (secrets.token_len > 0) {
        proof->token = secrets.token;
        proof->token_len = secrets.token_len;
    }
    return result;
}

/* ---- TLS ---- */

/* The name of an option that means nothing without TLS; NULL: none was given. */
static const char *tls_option(const struct connection_options *connection)
{
    if (connection->ca) return "--ca";
    return connection->certificate ? "--cert" : NULL;
}

static int fill_tls(const struct connection_options *connection, const struct pubsub_tls **into)
{
    const char *key = connection->certificate_key ? connection->certificate_key : connection->certificate;
    const struct pubsub_tls_files files = {
        .ca = connection->ca, .certificate = connection->certificate, .key = connection->certificate_key};
    struct stat st;
    char text[512];
    if (key && !tls && stat(key, &st) == 0 && !is_private("key", key, &st)) return CLI_EXIT_USAGE;
    if (!tls && pubsub_tls_openssl(&tls, &files, text, sizeof text) != PUBSUB_OK) {
        complain("%s", text);
        return CLI_EXIT_USAGE;
    }
    *into = tls;
    return CLI_EXIT_DONE;
}

bool credentials_url_has_tls(const char *url)
{
    return strncmp(url, "tls://", 6) == 0 || strstr(url, ",tls://") != NULL;
}

bool credentials_check(const struct connection_options *connection)
{
    char standard[4096] = ""; /* several URLs take as much as the library lets them */
    const char *url = connection->url, *why = contradiction(connection), *option = tls_option(connection);
    if (!url && pubsub_default_url(standard, sizeof standard) == PUBSUB_OK) url = standard;
    if (why) {
        complain("%s", why);
        return false;
    }
    if (!option || (url && credentials_url_has_tls(url))) return true;
    complain("%s is for TLS, and %s is not a tls:// address", option, url ? url : "the broker's");
    return false;
}

int credentials_fill(const struct connection_options *connection, struct pubsub_options *options)
{
    char standard[4096] = "";
    const char *url = connection->url;
    if (!url && pubsub_default_url(standard, sizeof standard) == PUBSUB_OK) url = standard;
    if (!credentials_check(connection)) return CLI_EXIT_USAGE;
    if (connection->user && !connection->password_file && secrets.password_len == 0) {
        complain("--user needs a password, in --password-file or $PUBSUB_PASSWORD");
        return CLI_EXIT_USAGE;
    }
    int result = fill_proof(connection, &options->proof);
    bool with_tls = url && credentials_url_has_tls(url);
    return result == CLI_EXIT_DONE && with_tls ? fill_tls(connection, &options->tls) : result;
}

void credentials_free(void)
{
    pubsub_tls_openssl_free(tls);
    tls = NULL;
    explicit_bzero(&secrets, sizeof secrets);
}
