/* Stream sockets by URL: tcp://ADDRESS:PORT, tls://ADDRESS:PORT (the TCP part of it) and unix:/PATH. What fails ends the program. */
#pragma once
#include "base.h"

int socket_connect(const char *url); /* connected, then non-blocking */

/* Listens; writes the URL with the port that it got into out. */
int socket_listen(const char *url, char *out, size_t out_size);

/* Bytes go out as they are written. Of no meaning for a Unix socket. */
void socket_without_delay(int fd);
