/* Sockets that listen at an address (address.h), for whoever accepts there. One thread. */
#ifndef NET_BIND_H
#define NET_BIND_H

#include <netdb.h>
#include <stddef.h>
#include <sys/stat.h>

#include "address.h"

/* A Unix socket at this path, which fits a sockaddr_un. One that nobody serves any more is replaced; a file, a link and one that
 * somebody serves stay. *made: of the socket, to remove only that. Returns a descriptor, or -1 and one sentence in text. */
int bind_unix(const char *path, struct stat *made, char *text, size_t text_cap);

/* What a TCP address stands for, to be freed by freeaddrinfo(). Returns 0, or an error of getaddrinfo(). */
int bind_resolve(const struct address *address, struct addrinfo **info);
/* A TCP socket there. Returns a descriptor, or -1 and errno. */
int bind_tcp(const struct addrinfo *info);

/* Whether only this machine reaches what is bound there. */
bool bind_is_loopback(int fd);

#endif
