/* The physical limit: a relay that copies bytes from publishers to subscribers and looks at none of them. */
#pragma once

enum { RELAY_CHANNELS = 256 };

/* Listens on the URL, says "ready URL" on stdout, and relays until it is told to end by SIGTERM or SIGINT. */
int relay(const char *url);
