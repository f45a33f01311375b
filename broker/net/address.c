#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse_unix(struct address *address, const char *path, const char *url, char *text, size_t text_cap)
{
    address->kind = ADDRESS_UNIX;
    if (path[0] == '\0') {
        snprintf(text, text_cap, "'%s' has no path", url);
    } else if (strlen(path) >= sizeof address->path) {
        snprintf(text, text_cap, "the path of '%s' has %zu bytes, the limit is %zu", url, strlen(path),
                 sizeof address->path - 1);
    } else {
        strcpy(address->path, path);
        return 0;
    }
    return -1;
}

/* A decimal number from 0 to max, and nothing behind it. */
static bool is_number(const char *digits, long max, long *number)
{
    char *end;
    errno = 0;
    *number = strtol(digits, &end, 10);
    return digits[0] >= '0' && digits[0] <= '9' && *end == '\0' && errno == 0 && *number <= max;
}

/* A name, or in brackets an IPv6 address: nothing that a line of the configuration or of the log would end at. */
static bool is_host(const char *host, size_t len, bool in_brackets)
{
    for (size_t i = 0; i < len; i++) {
        char c = host[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_plain && (c == '\0' || strchr(in_brackets ? "-._:%" : "-._", c) == NULL)) return false;
    }
    return len > 0;
}

static int parse_tcp(struct address *address, const char *rest, const char *url, char *text, size_t text_cap)
{
    address->kind = ADDRESS_TCP;
    const char *colon = strrchr(rest, ':');
    long port;
    if (colon == NULL || !is_number(colon + 1, 65535, &port)) {
        snprintf(text, text_cap, "'%s' does not end in a port from 0 to 65535", url);
        return -1;
    }
    const char *host = rest;
    size_t host_len = (size_t)(colon - rest);
    bool in_brackets = host_len > 2 && host[0] == '[' && host[host_len - 1] == ']';
    if (in_brackets) {
        host++;
        host_len -= 2;
    }
    if (!is_host(host, host_len, in_brackets)) {
        snprintf(text, text_cap, "'%s' has no host, or one that is neither a name nor an address (IPv6 in brackets)",
                 url);
        return -1;
    }
    if (host_len > HOST_MAX) {
        snprintf(text, text_cap, "the host of '%s' has %zu bytes, the limit is %d", url, host_len, HOST_MAX);
        return -1;
    }
    memcpy(address->host, host, host_len);
    address->host[host_len] = '\0';
    snprintf(address->port, sizeof address->port, "%ld", port);
    return 0;
}

int address_parse(struct address *address, const char *url, char *text, size_t text_cap)
{
    long fd;
    *address = (struct address){.fd = -1};
    if (strncmp(url, "unix:", 5) == 0) return parse_unix(address, url + 5, url, text, text_cap);
    address->is_tls = strncmp(url, "tls://", 6) == 0;
    if (address->is_tls || strncmp(url, "tcp://", 6) == 0) return parse_tcp(address, url + 6, url, text, text_cap);
    if (strncmp(url, "fd:", 3) == 0 && is_number(url + 3, INT_MAX, &fd)) {
        address->kind = ADDRESS_FD;
        address->fd = (int)fd;
        return 0;
    }
    snprintf(text, text_cap, "'%s' is not unix:/path, tcp://host:port, tls://host:port or fd:N", url);
    return -1;
}

bool address_parse_http(struct address *address, const char *url)
{
    char text[2 * URL_MAX];
    *address = (struct address){.fd = -1};
    if (strncmp(url, "unix:", 5) == 0) return parse_unix(address, url + 5, url, text, sizeof text) == 0;
    return strncmp(url, "http://", 7) == 0 && parse_tcp(address, url + 7, url, text, sizeof text) == 0;
}

/* A directory that only its owner can write to; made if it isn't there. */
static int own_directory(const char *path, mode_t mode, char *text, size_t text_cap)
{
    struct stat st;
    if (mkdir(path, mode) != 0 && errno != EEXIST) {
        snprintf(text, text_cap, "cannot make the directory '%s': %s", path, strerror(errno));
        return -1;
    }
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        snprintf(text, text_cap,
                 "no socket is put into '%s', which is not a directory that belongs to this user alone: "
                 "run it as its owner, or say where with --listen",
                 path);
        return -1;
    }
    return 0;
}

int address_default_unix(char *path, size_t path_cap, char *text, size_t text_cap)
{
    char directory[PATH_MAX];
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *tmp = getenv("TMPDIR");
    if (runtime != NULL && runtime[0] != '\0') {
        snprintf(directory, sizeof directory, "%s", runtime);
    } else if (geteuid() == 0) {
        snprintf(directory, sizeof directory, "/run/pubsub");
        if (own_directory(directory, 0755, text, text_cap) != 0) return -1;
    } else {
        snprintf(directory, sizeof directory, "%s/pubsub-%u", tmp && tmp[0] ? tmp : "/tmp", (unsigned)geteuid());
        if (own_directory(directory, 0700, text, text_cap) != 0) return -1;
    }
    int len = snprintf(path, path_cap, "%s/pubsub.sock", directory);
    if (len >= 0 && (size_t)len < path_cap) return 0;
    snprintf(text, text_cap, "the path '%s/pubsub.sock' is too long for a Unix socket", directory);
    return -1;
}

void address_of_socket(int fd, char url[URL_MAX])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
        struct sockaddr_storage room;
    } name = {0};
    socklen_t len = sizeof name;
    char host[INET6_ADDRSTRLEN] = "";
    snprintf(url, URL_MAX, "fd:%d", fd);
    if (getsockname(fd, &name.any, &len) != 0) return;
    if (name.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &name.v4.sin_addr, host, sizeof host);
        snprintf(url, URL_MAX, "tcp://%s:%u", host, ntohs(name.v4.sin_port));
    } else if (name.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &name.v6.sin6_addr, host, sizeof host);
        snprintf(url, URL_MAX, "tcp://[%s]:%u", host, ntohs(name.v6.sin6_port));
    } else if (name.any.sa_family == AF_UNIX && name.un.sun_path[0] != '\0') {
        snprintf(url, URL_MAX, "unix:%s", name.un.sun_path);
    }
}

bool address_is_loopback(const struct sockaddr *name)
{
    if (name->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)name;
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (name->sa_family != AF_INET6) return false;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)name)->sin6_addr;
    return IN6_IS_ADDR_V4MAPPED(v6) ? v6->s6_addr[12] == IN_LOOPBACKNET : IN6_IS_ADDR_LOOPBACK(v6);
}
