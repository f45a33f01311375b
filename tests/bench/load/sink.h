/* The physical limit for a broker that stores: what comes is written, synchronised, acknowledged, and not looked at. */
#pragma once

/* Listens on the URL, says "ready URL" on stdout, and takes what comes into this file, which is made and removed again,
 * until it is told to end by SIGTERM or SIGINT. */
int sink(const char *url, const char *path);
