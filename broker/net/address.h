/* Where to listen, as a person writes it: unix:/path, tcp://host:port, tls://host:port, fd:N. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define URL_MAX 300
#define HOST_MAX 171 /* bytes of a host: its URL then fits a line of the configuration, as it is printed */

enum address_kind { ADDRESS_UNIX, ADDRESS_TCP, ADDRESS_FD };

struct address {
    enum address_kind kind;
    char path[sizeof((struct sockaddr_un *)0)->sun_path]; /* unix */
    char host[HOST_MAX + 1], port[8];                     /* tcp; host without brackets */
    bool is_tls;                                          /* tcp: under TLS */
    int fd;
};

/* Returns 0, or -1 and one sentence in text. */
int address_parse(struct address *address, const char *url, char *text, size_t text_cap);

/* The same of unix:/path and http://host:port. False: it is neither, and *address says nothing. */
bool address_parse_http(struct address *address, const char *url);

/* The default Unix socket's path; makes its directory. Returns 0, or -1 and one sentence in text. */
int address_default_unix(char *path, size_t path_cap, char *text, size_t text_cap);

/* Whether only this machine reaches it: an IPv4 address counts as itself, also where it is written as an IPv6 one
 * (::ffff:127.0.0.1). */
bool address_is_loopback(const struct sockaddr *name);

/* Writes the URL of what a socket is bound to. */
void address_of_socket(int fd, char url[URL_MAX]);

#endif
