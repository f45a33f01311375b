/* The broker's state as msgpack maps: what is published under $SYS/, and what reports consist of. PROTOCOL.md, "The broker's
 * state". Internal to the core. */
#ifndef BROKER_SYS_MAPS_H
#define BROKER_SYS_MAPS_H

#include "model.h"

/* When the first message of a queue has waited this long, its reader is slow. */
#define SLOW_MS 1000u

/* Bytes of room for a map, whatever names stand in it: of the broker and the limits, of a subscription, a group or a connection. */
#define SYS_MAP_MAX 2048u
uint32_t sys_stream_map_max(const struct stream *stream);

void sys_put_broker(struct mps_out *out, const struct broker *broker);
void sys_put_limits(struct mps_out *out, const struct broker *broker);
/* Of a session that has an id. with_user: the map says whose it is, too. */
void sys_put_subscription(struct mps_out *out, const struct subscription *sub, bool with_user);
void sys_put_group(struct mps_out *out, const struct group *group);
/* Of a session with a link and an id. */
void sys_put_connection(struct mps_out *out, const struct session *session);
void sys_put_stream(struct mps_out *out, const struct stream *stream);

/* Pairs of a map. UINT64_MAX, and an absent text: nil. */
void sys_put_number(struct mps_out *out, const char *key, uint64_t number);
void sys_put_name(struct mps_out *out, const char *key, mps_view text);
void sys_put_flag(struct mps_out *out, const char *key, bool flag);

#endif
