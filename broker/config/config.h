/* What the operator decides: limits, where to serve, and what is kept on disk. Read from a file in INI form, printed as
 * one. One table in settings.c says everything about a key; a new one is a row there. One thread. Streams are
 * allocated, nothing else; there is no way on without that memory. */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

#include <stddef.h>
#include <stdio.h>

#include "broker.h"
#include "engine.h"
#include "net/address.h"
#include "net/callers.h"

#define LISTEN_MAX 64
#define SECTION_NAME_MAX 32 /* bytes of a listener's or a stream's name */
#define USER_NAME_MAX 64
#define STREAMS_MAX 64
#define PATTERNS_MAX 64     /* of one stream */
#define CLUSTER_URLS_MAX 64
#define CLUSTER_PREFIX_MAX 32
#define CONFIG_TEXT_MAX 180 /* bytes of a stream's pattern and of a directory: each fits into a line of the file */

enum client_certificate { CLIENT_CERTIFICATE_OFF, CLIENT_CERTIFICATE_OPTIONAL, CLIENT_CERTIFICATE_REQUIRED };

/* What a TLS listener needs besides its address. Paths of PEM files; "": not set. */
struct tls_config {
    char certificate[CONFIG_TEXT_MAX + 1]; /* with the chain behind it, without the root */
    char key[CONFIG_TEXT_MAX + 1];
    char client_ca[CONFIG_TEXT_MAX + 1];   /* whoever signs clients' certificates */
    uint32_t client_certificate;           /* enum client_certificate */
};

struct listener_config {
    char name[SECTION_NAME_MAX + 1];
    struct address address;
    bool says_anonymous, allow_anonymous; /* whether it is said, and what; by default it depends on the address */
    struct tls_config tls; /* complete if address.is_tls, else empty */
};

struct stream_section {
    struct stream_config terms; /* its name and patterns are these: */
    char name[SECTION_NAME_MAX + 1];
    char *patterns[PATTERNS_MAX];
};

enum log_form { LOG_FORM_TEXT, LOG_FORM_LOGFMT, LOG_FORM_JSON };

struct log_config {
    uint32_t level;                 /* enum log_level, up to LOG_DEBUG: lines that are less grave are not written */
    uint32_t form;                  /* enum log_form */
    char file[CONFIG_TEXT_MAX + 1]; /* "": stderr */
};

/* Where the broker's figures are served over HTTP. */
struct metrics_config {
    char url[CONFIG_TEXT_MAX + 1]; /* as address_parse_http() takes it; "": nowhere */
    bool allow_remote;             /* also at an address that other machines reach */
};

/* How it is one of several brokers. Paths and names: "" is not set. */
struct cluster_section {
    char *urls[CLUSTER_URLS_MAX];
    size_t urls_count;                       /* 0: it is alone */
    char *topics[PATTERNS_MAX];              /* patterns */
    size_t topics_count;                     /* 0: all topics */
    char name[ENGINE_NAME_MAX + 1];          /* "": see config_cluster_name() */
    char prefix[CLUSTER_PREFIX_MAX + 1];
    char user[USER_NAME_MAX + 1];
    char password_file[CONFIG_TEXT_MAX + 1], token_file[CONFIG_TEXT_MAX + 1], credentials[CONFIG_TEXT_MAX + 1];
    char ca[CONFIG_TEXT_MAX + 1], certificate[CONFIG_TEXT_MAX + 1], key[CONFIG_TEXT_MAX + 1];
    uint64_t defer_ms, defer_bytes;
    uint32_t replicas;                       /* enum cluster_replicas */
};

enum cluster_replicas { REPLICAS_AUTO, REPLICAS_1, REPLICAS_3, REPLICAS_5 };

struct config {
    struct broker_limits limits;
    struct log_config log;
    struct address_caps caps;
    char data[CONFIG_TEXT_MAX + 1]; /* directory of what is kept; "": the default one */
    char user[USER_NAME_MAX + 1];   /* whom to go on as; "": as who started it */
    struct listener_config listeners[LISTEN_MAX];
    int listeners_count;            /* 0: the default addresses */
    struct stream_section *streams[STREAMS_MAX];
    int streams_count;              /* 0: nothing is kept */
    char passwords[CONFIG_TEXT_MAX + 1]; /* file of users; "": none */
    char tokens[CONFIG_TEXT_MAX + 1];    /* file of tokens; "": none */
    struct metrics_config metrics;
    struct cluster_section cluster;
    struct access *access;          /* users and groups of the file; NULL: there is no file. The configuration's */
};

/* The core's defaults, and half of the memory that there is for the queues. */
void config_defaults(struct config *config);
void config_free(struct config *config);

/* Reads a file; limits that it does not set stay as they are in *config, listeners, streams, users and groups are the file's. Returns 0,
 * or -1 and one sentence in text that begins with "FILE:LINE: " or "FILE: "; *config is untouched then. */
int config_load(struct config *config, const char *path, char *text, size_t text_cap);

/* One more address to serve. name: 1..SECTION_NAME_MAX bytes, or "": it has none. Returns 0, or -1 and one sentence in text. */
int config_add_listener(struct config *config, const char *name, const char *url, char *text, size_t text_cap);

/* One more stream, without topics yet. name: 1..SECTION_NAME_MAX bytes. NULL: there are too many. */
struct stream_section *config_add_stream(struct config *config, const char *name, char *text, size_t text_cap);
/* Topics for it: patterns with commas between them. Returns 0, or -1 and one sentence in text; those before the wrong one
 * are added then. */
int config_add_topics(struct config *config, struct stream_section *stream, const char *patterns, char *text,
                      size_t text_cap);
/* One more stream with these topics, and a name that is free: durable, durable-2, ... Returns as config_add_topics(). */
int config_add_durable(struct config *config, const char *patterns, char *text, size_t text_cap);

/* Streams that are kept by this broker itself; the others are all brokers'. */
int config_own_streams(const struct config *config);
/* What [cluster] says by default. */
void config_cluster_defaults(struct cluster_section *cluster);
/* This broker's name among the others: what was set, or else the first part of the host's, with '-' for what a name can't have. */
void config_cluster_name(const struct cluster_section *cluster, char name[ENGINE_NAME_MAX + 1]);
/* Copies of the records: 1, 3 or 5. */
uint32_t config_cluster_replicas(const struct cluster_section *cluster);

/* Where to keep what is kept. Returns 0, or -1 and one sentence in text. */
int config_set_data(struct config *config, const char *path, char *text, size_t text_cap);

/* Whom to go on as. Returns 0, or -1 and one sentence in text. */
int config_set_user(struct config *config, const char *name, char *text, size_t text_cap);

/* Where that is: what was set, else $XDG_STATE_HOME/pubsub, without that variable /var/lib/pubsub for root and
 * ~/.local/state/pubsub for anyone else. Returns 0, or -1 and one sentence in text. */
int config_data_directory(const struct config *config, char *path, size_t path_cap, char *text, size_t text_cap);

/* Writes a file that says all of *config, with comments. */
void config_print(const struct config *config, FILE *out);

#endif
