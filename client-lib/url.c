#include "url.h"

#include <pubsub/pubsub.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Copies a piece of text into a field with room for its NUL. False if it is too long. */
static bool copy(char *to, size_t cap, const char *from, size_t len)
{
    if (len >= cap) return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

/* A decimal number without sign or blanks, at most `max`; -1 if it isn't one. */
static long number(const char *text, long max)
{
    long n = 0;
    if (*text == '\0') return -1;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') return -1;
        n = n * 10 + (*text - '0');
        if (n > max) return -1;
    }
    return n;
}

static const char *parse_tcp(struct mps_url *url, const char *text)
{
    const char *host = text, *host_end, *colon;
    if (*text == '[') {
        host = text + 1;
        host_end = strchr(host, ']');
        if (host_end == NULL) return "the ']' after the address is missing";
        colon = host_end + 1;
    } else {
        colon = host_end = strrchr(text, ':');
        if (colon != NULL && memchr(text, ':', (size_t)(colon - text)) != NULL)
            return "an IPv6 address must stand in brackets, as in [::1]:7717";
    }
    if (colon == NULL || *colon != ':') return "the port is missing, as in host:7717";
    if (host == host_end) return "the host is missing, as in host:7717";
    if (!copy(url->host, sizeof url->host, host, (size_t)(host_end - host))) return "the host is longer than 255 bytes";
    long port = number(colon + 1, 65535);
    if (port < 1) return "the port is not a number from 1 to 65535";
    snprintf(url->port, sizeof url->port, "%u", (uint16_t)port);
    url->kind = MPS_URL_TCP;
    return NULL;
}

static const char *parse_unix(struct mps_url *url, const char *path)
{
    url->kind = MPS_URL_UNIX;
    if (strncmp(path, "//", 2) == 0 && path[2] == '/') path += 2; /* unix:///path means the same */
    if (*path == '\0') return "the path is missing, as in unix:/run/pubsub/pubsub.sock";
    return copy(url->path, sizeof url->path, path, strlen(path)) ? NULL : "the path is longer than 107 bytes";
}

const char *mps_url_parse(struct mps_url *url, const char *text)
{
    memset(url, 0, sizeof *url);
    url->tls = strncmp(text, "tls://", 6) == 0;
    if (url->tls || strncmp(text, "tcp://", 6) == 0) return parse_tcp(url, text + 6);
    if (strncmp(text, "unix:", 5) == 0) return parse_unix(url, text + 5);
    if (strncmp(text, "fd:", 3) == 0) {
        long fd = number(text + 3, 1000000);
        url->kind = MPS_URL_FD;
        url->fd = (int)fd;
        return fd < 0 ? "the descriptor is not a number" : NULL;
    }
    return "it is none of unix:/path, tcp://host:port, tls://host:port, fd:N";
}

static bool is_socket(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* A directory in a place where anybody may create one: only ours, and only if nobody else can put a socket there. */
static bool is_private(const char *dir)
{
    struct stat st;
    return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0;
}

/* The default Unix socket, if it is there. */
static bool default_socket(char *path, size_t cap)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool has_runtime = runtime != NULL && runtime[0] == '/';
    int len = has_runtime ? snprintf(path, cap, "%s/pubsub.sock", runtime) : 0;
    if (has_runtime && (size_t)len < cap && is_socket(path)) return true;
    if (geteuid() == 0) {
        len = snprintf(path, cap, "%s", "/run/pubsub/pubsub.sock");
        return (size_t)len < cap && is_socket(path);
    }
    if (has_runtime) return false;
    const char *tmp = getenv("TMPDIR");
    if (tmp == NULL || tmp[0] != '/') tmp = "/tmp";
    len = snprintf(path, cap, "%s/pubsub-%lu", tmp, (unsigned long)geteuid());
    if ((size_t)len >= cap || !is_private(path)) return false;
    len = snprintf(path, cap, "%s/pubsub-%lu/pubsub.sock", tmp, (unsigned long)geteuid());
    return (size_t)len < cap && is_socket(path);
}

int pubsub_default_url(char *url, size_t cap)
{
    char found[MPS_URL_MAX], path[sizeof((struct mps_url *)0)->path];
    const char *given = getenv("PUBSUB_URL"), *result = PUBSUB_DEFAULT_TCP;
    if (given != NULL && given[0] != '\0') {
        result = given;
    } else if (default_socket(path, sizeof path)) {
        snprintf(found, sizeof found, "unix:%s", path);
        result = found;
    }
    return copy(url, cap, result, strlen(result)) ? PUBSUB_OK : PUBSUB_ETOOBIG;
}
