/* Where a broker is. */
#ifndef PUBSUB_URL_H
#define PUBSUB_URL_H

#include <stdbool.h>
#include <stddef.h>

enum mps_url_kind { MPS_URL_UNIX, MPS_URL_TCP, MPS_URL_FD };

#define MPS_URL_MAX 320 /* bytes with NUL: the longest is a host name of 255 with its port */

struct mps_url {
    enum mps_url_kind kind;
    char path[108];   /* MPS_URL_UNIX */
    char host[256];   /* MPS_URL_TCP: name or address, without brackets */
    char port[6];     /* MPS_URL_TCP: 1..65535 */
    bool tls;         /* MPS_URL_TCP: what goes over it is encrypted */
    int fd;           /* MPS_URL_FD */
};

/* Returns NULL and fills *url, or why text is not a URL: static, a clause for a person. */
const char *mps_url_parse(struct mps_url *url, const char *text);

#endif
