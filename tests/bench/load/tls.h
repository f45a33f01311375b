/* TLS around a connected, non-blocking socket, by OpenSSL, for every protocol in the same way: version 1.3, one cipher and
 * one group, the broker's certificate verified. What fails ends the program. */
#pragma once
#include "base.h"
#include <openssl/ssl.h>
#include <sys/types.h>

bool tls_is_wanted(const char *url); /* does it begin with tls:// ? */

/* ca: the file with the certificate of who issued the brokers'. */
void tls_prepare(const char *ca);

/* From now on TLS is spoken on fd to the address 127.0.0.1; alpn: what is to be agreed on, NULL: nothing.
 * resumes: an earlier session, of which NULL is none. */
SSL *tls_open(int fd, const char *alpn, SSL_SESSION *resumes);

/* Goes on with the handshake. Returns the poll events that it waits for; 0: it is done. */
short tls_handshake(SSL *tls);
bool tls_was_resumed(SSL *tls);

/* As read() and send() do: -1 and EAGAIN when nothing can be moved now. Reading goes on up to the limit as long as
 * something is there, so that what OpenSSL holds back is only what is beyond it. */
ssize_t tls_read(SSL *tls, uint8_t *to, size_t limit);
ssize_t tls_write(SSL *tls, const uint8_t *from, size_t len);
bool tls_holds(SSL *tls); /* received, but not yet read: of that epoll knows nothing */

/* The session that the broker sent last, to be resumed, or NULL. The caller frees it by tls_forget. */
SSL_SESSION *tls_session(SSL *tls);
void tls_forget(SSL_SESSION *session);

void tls_close(SSL *tls); /* says goodbye; the socket stays open */
