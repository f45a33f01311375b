/* The limits that refuse something, by their names in the configuration. What each has refused since the start is counted
 * (broker_note_refusal) and told under $SYS/limits. Limits of queues don't refuse: they lose, which is counted and told
 * where it happens. */
#ifndef BROKER_REFUSALS_H
#define BROKER_REFUSALS_H

#define BROKER_REFUSALS(X)                                                                                             \
    X(DESCRIPTORS, "descriptors") /* the system's, of open files */                                                    \
    X(CONNECTIONS, "max_connections")                                                                                  \
    X(ADDRESS, "connections_per_address")                                                                              \
    X(LOOPBACK, "connections_from_loopback")                                                                           \
    X(UNWELCOMED, "unwelcomed_per_address")                                                                            \
    X(USER, "connections_per_user")                                                                                    \
    X(RATE, "publish_rate")                                                                                            \
    X(RATE_BYTES, "publish_rate_bytes")                                                                                \
    X(HANDSHAKE, "handshake_timeout")                                                                                  \
    X(INPUT, "input_total_bytes")                                                                                      \
    X(INPUT_TIME, "input_timeout")                                                                                     \
    X(PAYLOAD, "max_payload")                                                                                          \
    X(SUBSCRIPTIONS, "max_subscriptions")                                                                              \
    X(FILTERS, "max_filters")                                                                                          \
    X(PATTERNS, "pattern_bytes")                                                                                       \
    X(RETAINED, "max_retained")                                                                                        \
    X(RETAINED_BYTES, "retained_bytes")                                                                                \
    X(WINDOW, "publish_window")                                                                                        \
    X(SESSIONS, "max_sessions")

enum refusal {
#define REFUSAL(NAME, key) REFUSED_##NAME,
    BROKER_REFUSALS(REFUSAL)
#undef REFUSAL
    REFUSALS_COUNT
};

#endif
