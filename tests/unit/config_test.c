/* The broker's configuration: what a file sets, what is wrong with one, what is printed; and the memory there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "memory.h"
#include "sizes.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static char directory[] = "/tmp/config_test.XXXXXX";

static void write_bytes(const char *path, const char *bytes, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void write_file(const char *path, const char *content)
{
    write_bytes(path, content, strlen(content));
}

static void must_load(struct config *config, const char *path)
{
    char text[400] = "";
    if (config_load(config, path, text, sizeof text) != 0) fail_msg("%s", text);
}

static void load_text(struct config *config, const char *content)
{
    write_file("file", content);
    must_load(config, "file");
}

static void every_key_sets_its_field(void **state)
{
    (void)state;
    struct config config = {0};
    load_text(&config, "[broker]\n"
                       "sys_interval = 1500ms\n"
                       "data = /var/x y\n"
                       "[limits]\n"
                       "max_payload = 64k\n"
                       "max_connections = 2\n"
                       "max_subscriptions = 3\n"
                       "queue_messages = 4\n"
                       "queue_bytes = 5k\n"
                       "queue_messages_cap = 6\n"
                       "queue_bytes_cap = 7g\n"
                       "connection_queue_bytes = 8g\n"
                       "queue_total_bytes = 9g\n"
                       "retained_bytes = 10g\n"
                       "publish_window = 11\n"
                       "handshake_timeout = 12s\n"
                       "closing_timeout = 13m\n"
                       "keepalive_max = 14h\n"
                       "session_max = 15d\n"
                       "spill_bytes = 16g\n"
                       "input_total_bytes = 17g\n"
                       "input_timeout = 18s\n"
                       "[log]\n"
                       "level = debug\n"
                       "format = json\n"
                       "file = /var/log/x y\n"
                       "audit = yes\n");
    assert_int_equal(config.limits.sys_ms, 1500);
    assert_int_equal(config.limits.max_payload, 64 * KIB);
    assert_int_equal(config.limits.max_sessions_count, 2);
    assert_int_equal(config.limits.max_subs_count, 3);
    assert_int_equal(config.limits.queue_msgs_count, 4);
    assert_int_equal(config.limits.queue_bytes, 5 * KIB);
    assert_int_equal(config.limits.queue_msgs_cap_count, 6);
    assert_int_equal(config.limits.queue_bytes_cap, 7 * GIB);
    assert_int_equal(config.limits.session_queue_bytes, 8 * GIB);
    assert_int_equal(config.limits.queue_total_bytes, 9 * GIB);
    assert_int_equal(config.limits.retained_bytes, 10 * GIB);
    assert_int_equal(config.limits.pub_window_count, 11);
    assert_int_equal(config.limits.handshake_ms, 12000);
    assert_int_equal(config.limits.closing_ms, 13 * 60000);
    assert_int_equal(config.limits.keepalive_max_s, 14 * 3600);
    assert_int_equal(config.limits.session_max_s, 15 * 86400);
    assert_int_equal(config.limits.spill_bytes, 16 * GIB);
    assert_int_equal(config.limits.input_total_bytes, 17 * GIB);
    assert_int_equal(config.limits.input_ms, 18000);
    assert_string_equal(config.data, "/var/x y");
    assert_int_equal(config.log.level, LOG_DEBUG);
    assert_int_equal(config.log.form, LOG_FORM_JSON);
    assert_string_equal(config.log.file, "/var/log/x y");
    assert_true(config.limits.audit);
    assert_int_equal(config.listeners_count, 0);
    config_free(&config);
}

static void what_a_file_leaves_out_stays(void **state)
{
    (void)state;
    struct config config, defaults;
    config_defaults(&config);
    config_defaults(&defaults);
    load_text(&config, "# only a comment\n");
    assert_memory_equal(&config.limits, &defaults.limits, sizeof config.limits);
    load_text(&config, "[limits]\nmax_payload = 2m\n");
    assert_int_equal(config.limits.max_payload, 2 * MIB);
    assert_int_equal(config.limits.queue_bytes, defaults.limits.queue_bytes);
    config_free(&config);
}

static void the_defaults_are_within_their_ranges(void **state)
{
    (void)state;
    struct config config, again = {0};
    config_defaults(&config);
    FILE *file = fopen("file", "w");
    assert_non_null(file);
    config_print(&config, file);
    fclose(file);
    must_load(&again, "file");
    assert_int_equal(again.limits.queue_total_bytes, config.limits.queue_total_bytes);
    assert_int_equal(again.limits.keepalive_max_s, config.limits.keepalive_max_s);
    assert_int_equal(again.limits.handshake_ms, config.limits.handshake_ms);
    assert_true(config.limits.queue_total_bytes <= memory_available_bytes("") / 2);
    assert_int_equal(again.limits.input_total_bytes, config.limits.input_total_bytes);
    assert_true(config.limits.input_total_bytes <= memory_available_bytes("") / 8);
    config_free(&config);
    config_free(&again);
}

static void forms_that_people_use(void **state)
{
    (void)state;
    struct config config;
    config_defaults(&config);
    load_text(&config,
              "\xef\xbb\xbf[limits]\r\n\tmax_payload = 2m ; mine\r\n  max_connections : 5\r\n[ broker ] # mine\n"
              "sys_interval=0");
    assert_int_equal(config.limits.max_payload, 2 * MIB);
    assert_int_equal(config.limits.max_sessions_count, 5);
    assert_int_equal(config.limits.sys_ms, 0);
    char long_comment[1000];
    snprintf(long_comment, sizeof long_comment, "# %0900d\n[limits]\nmax_payload = 3m\n", 1);
    load_text(&config, long_comment);
    assert_int_equal(config.limits.max_payload, 3 * MIB);
    config_free(&config);
}

static void listeners_are_read_and_printed(void **state)
{
    (void)state;
    struct config config;
    config_defaults(&config);
    const char *sections = "\n[listener a-name_of.31.characters__x]\nurl = unix:/tmp/a b\n"
                           "\n[listener b]\nurl = tcp://127.0.0.1:07717\n"
                           "\n[listener c]\nurl = tcp://[::1]:0\n"
                           "\n[listener d]\nurl = fd:3\n";
    load_text(&config, sections);
    assert_int_equal(config.listeners_count, 4);
    assert_string_equal(config.listeners[0].name, "a-name_of.31.characters__x");
    assert_string_equal(config.listeners[0].address.path, "/tmp/a b");
    assert_string_equal(config.listeners[2].address.host, "::1");
    assert_int_equal(config.listeners[3].address.fd, 3);
    char *printed = NULL;
    size_t len;
    FILE *memory = open_memstream(&printed, &len);
    config_print(&config, memory);
    fclose(memory);
    assert_non_null(strstr(printed, "\n[listener b]\nurl = tcp://127.0.0.1:7717\n"));
    load_text(&config, printed);
    free(printed);
    assert_int_equal(config.listeners_count, 4);
    assert_string_equal(config.listeners[0].address.path, "/tmp/a b");
    assert_string_equal(config.listeners[2].address.host, "::1");
    load_text(&config, "[limits]\n");
    assert_int_equal(config.listeners_count, 0);
    config_free(&config);
}

static void tls_listeners_are_read_and_printed(void **state)
{
    (void)state;
    struct config config;
    config_defaults(&config);
    load_text(&config, "[listener a]\nclient_ca = /ca\nkey = /a key\ncertificate = /c\nclient_certificate = required\n"
                       "url = tls://[::]:1\n[listener b]\nurl = tls://h:2\ncertificate = d\nkey = e\n"
                       "[listener c]\nurl = tcp://h:2\n");
    char *printed = NULL;
    size_t len;
    FILE *memory = open_memstream(&printed, &len);
    config_print(&config, memory);
    fclose(memory);
    assert_non_null(strstr(printed, "\n[listener a]\nurl = tls://[::]:1\ncertificate = /c\nkey = /a key\n"
                                    "client_ca = /ca\nclient_certificate = required\n"));
    load_text(&config, printed);
    free(printed);
    const struct listener_config *a = &config.listeners[0], *b = &config.listeners[1], *c = &config.listeners[2];
    assert_int_equal(config.listeners_count, 3);
    assert_true(a->address.is_tls && b->address.is_tls && !c->address.is_tls);
    assert_string_equal(a->address.host, "::");
    assert_string_equal(a->tls.certificate, "/c");
    assert_string_equal(a->tls.key, "/a key");
    assert_string_equal(a->tls.client_ca, "/ca");
    assert_int_equal(a->tls.client_certificate, CLIENT_CERTIFICATE_REQUIRED);
    assert_string_equal(b->tls.certificate, "d");
    assert_string_equal(b->tls.client_ca, "");
    assert_int_equal(b->tls.client_certificate, CLIENT_CERTIFICATE_OFF);
    assert_string_equal(c->tls.certificate, "");
    config_free(&config);
}

static void assert_stream(const struct stream_section *stream, const char *name, size_t patterns_count,
                          const char *last_pattern)
{
    assert_string_equal(stream->name, name);
    assert_string_equal(stream->terms.name, name);
    assert_int_equal(stream->terms.patterns_count, patterns_count);
    assert_string_equal(stream->terms.patterns[patterns_count - 1], last_pattern);
}

static void streams_are_read_and_printed(void **state)
{
    (void)state;
    struct config config;
    char *printed = NULL, text[200];
    size_t len;
    config_defaults(&config);
    load_text(&config, "[stream all.of-it_1]\n"
                       "topics = a/#, b/+ ,$dead/#\n"
                       "max_bytes = 5m\n"
                       "max_age = 7d\n"
                       "max_messages = 1000\n"
                       "on_full = refuse\n"
                       "topics =\tlast one\n"
                       "[stream other]\n"
                       "max_bytes = 0\n"
                       "topics = #\n");
    assert_int_equal(config_add_durable(&config, "x", text, sizeof text), 0);
    assert_int_equal(config_add_durable(&config, "y, z", text, sizeof text), 0);
    FILE *memory = open_memstream(&printed, &len);
    config_print(&config, memory);
    fclose(memory);
    load_text(&config, printed);
    free(printed);

    assert_int_equal(config.streams_count, 4);
    const struct stream_config *first = &config.streams[0]->terms, *other = &config.streams[1]->terms;
    assert_stream(config.streams[0], "all.of-it_1", 4, "last one");
    assert_string_equal(first->patterns[0], "a/#");
    assert_string_equal(first->patterns[1], "b/+");
    assert_string_equal(first->patterns[2], "$dead/#");
    assert_int_equal(first->max_bytes, 5 * MIB);
    assert_int_equal(first->max_age_ms, 7 * 86400000);
    assert_int_equal(first->max_msgs, 1000);
    assert_true(first->refuses);
    assert_stream(config.streams[1], "other", 1, "#");
    assert_int_equal(other->max_bytes, 0);
    assert_int_equal(other->max_age_ms, 0);
    assert_int_equal(other->max_msgs, 0);
    assert_false(other->refuses);
    assert_stream(config.streams[2], "durable", 1, "x");
    assert_int_equal(config.streams[2]->terms.max_bytes, GIB);
    assert_stream(config.streams[3], "durable-2", 2, "z");
    load_text(&config, "[limits]\n");
    assert_int_equal(config.streams_count, 0);
    config_free(&config);
}

/* As many streams, and patterns of one, as there may be, and one more. */
static void a_cluster_is_read_and_printed(void **state)
{
    static const char content[] = "[cluster]\n"
                                  "url = nats://h1:4222 ,tls://h2.example.com\n"
                                  "name = here_1-a\n"
                                  "url = nats://[::1]:65535\n"
                                  "topics = a/#, b/+\n"
                                  "topics = c\n"
                                  "prefix = p\n"
                                  "user = ann\n"
                                  "password_file = /p\n"
                                  "ca = /ca\n"
                                  "certificate = /c\n"
                                  "key = /k\n"
                                  "defer_time = 5s\n"
                                  "defer_bytes = 2m\n"
                                  "replicas = 5\n";
    (void)state;
    struct config config, again;
    char name[ENGINE_NAME_MAX + 1], *printed = NULL;
    size_t printed_len;
    config_defaults(&config);
    load_text(&config, content);
    const struct cluster_section *cluster = &config.cluster;
    assert_int_equal(cluster->urls_count, 3);
    assert_string_equal(cluster->urls[0], "nats://h1:4222");
    assert_string_equal(cluster->urls[1], "tls://h2.example.com");
    assert_string_equal(cluster->urls[2], "nats://[::1]:65535");
    assert_int_equal(cluster->topics_count, 3);
    assert_string_equal(cluster->topics[1], "b/+");
    assert_string_equal(cluster->prefix, "p");
    assert_string_equal(cluster->user, "ann");
    assert_string_equal(cluster->key, "/k");
    assert_int_equal(cluster->defer_ms, 5000);
    assert_int_equal(cluster->defer_bytes, 2 * 1024 * 1024);
    assert_int_equal(config_cluster_replicas(cluster), 5);
    config_cluster_name(cluster, name);
    assert_string_equal(name, "here_1-a");

    FILE *out = open_memstream(&printed, &printed_len);
    config_print(&config, out);
    fclose(out);
    config_defaults(&again);
    load_text(&again, printed);
    assert_memory_equal(again.cluster.name, cluster->name, sizeof *cluster - offsetof(struct cluster_section, name));
    assert_int_equal(again.cluster.urls_count, 3);
    assert_string_equal(again.cluster.urls[2], "nats://[::1]:65535");
    assert_int_equal(again.cluster.topics_count, 3);
    assert_string_equal(again.cluster.topics[2], "c");
    free(printed);
    config_free(&again);
    config_free(&config);
}

static void a_cluster_has_defaults(void **state)
{
    (void)state;
    struct config config;
    char name[ENGINE_NAME_MAX + 1];
    config_defaults(&config);
    load_text(&config, "[cluster]\nurl = nats://a, nats://b\n");
    assert_int_equal(config_cluster_replicas(&config.cluster), 1);
    assert_int_equal(config.cluster.topics_count, 0);
    config_cluster_name(&config.cluster, name);
    assert_in_range(strlen(name), 1, ENGINE_NAME_MAX);
    assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"), strlen(name));
    config_free(&config);
    config_defaults(&config);
    load_text(&config, "[cluster]\nurl = nats://a, nats://b, nats://c\n");
    assert_int_equal(config_cluster_replicas(&config.cluster), 3);
    config_free(&config);
}

static void streams_have_a_number(void **state)
{
    (void)state;
    struct config config;
    char pattern[16], text[200] = "";
    config_defaults(&config);
    assert_int_equal(config_add_durable(&config, "first", text, sizeof text), 0);
    for (int i = 1; i < PATTERNS_MAX; i++) {
        snprintf(pattern, sizeof pattern, "first/%d", i);
        assert_int_equal(config_add_topics(&config, config.streams[0], pattern, text, sizeof text), 0);
    }
    assert_int_equal(config_add_topics(&config, config.streams[0], "more", text, sizeof text), -1);
    assert_string_equal(text, "the stream 'durable' has more than 64 patterns");
    for (int i = 1; i < STREAMS_MAX; i++) {
        snprintf(pattern, sizeof pattern, "%d", i);
        assert_int_equal(config_add_durable(&config, pattern, text, sizeof text), 0);
    }
    assert_int_equal(config_add_durable(&config, "more", text, sizeof text), -1);
    assert_string_equal(text, "there are more than 64 streams");
    assert_int_equal(config.streams_count, STREAMS_MAX);
    assert_string_equal(config.streams[STREAMS_MAX - 1]->name, "durable-64");
    config_free(&config);
}

/* A pattern and a directory can be as long as a line of the file has room for. */
static void texts_have_a_length(void **state)
{
    (void)state;
    struct config config;
    char longest[CONFIG_TEXT_MAX + 1], longer[CONFIG_TEXT_MAX + 2], *printed = NULL, text[400] = "";
    size_t len;
    config_defaults(&config);
    snprintf(longest, sizeof longest, "%0*d", CONFIG_TEXT_MAX, 1);
    snprintf(longer, sizeof longer, "%s1", longest);
    assert_int_equal(config_add_durable(&config, longest, text, sizeof text), 0);
    assert_int_equal(config_set_data(&config, longest, text, sizeof text), 0);
    FILE *memory = open_memstream(&printed, &len);
    config_print(&config, memory);
    fclose(memory);
    config_free(&config);
    load_text(&config, printed);
    free(printed);
    assert_stream(config.streams[0], "durable", 1, longest);
    assert_string_equal(config.data, longest);
    assert_int_equal(config_add_durable(&config, longer, text, sizeof text), -1);
    assert_non_null(strstr(text, "can't be a stream's pattern: it is longer than 180 bytes"));
    assert_int_equal(config_set_data(&config, longer, text, sizeof text), -1);
    assert_non_null(strstr(text, "can't be the data directory: it is longer than 180 bytes"));
    assert_int_equal(config_set_data(&config, "a\n", text, sizeof text), -1);
    assert_int_equal(config_set_data(&config, "", text, sizeof text), -1);
    assert_string_equal(config.data, longest);
    config_free(&config);
}

static void assert_directory(const struct config *config, const char *state_home, const char *home,
                             const char *expected)
{
    char path[300] = "", text[200] = "";
    if (state_home != NULL) assert_int_equal(setenv("XDG_STATE_HOME", state_home, 1), 0);
    else assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
    if (home != NULL) assert_int_equal(setenv("HOME", home, 1), 0);
    else assert_int_equal(unsetenv("HOME"), 0);
    int rc = config_data_directory(config, path, sizeof path, text, sizeof text);
    assert_int_equal(rc, expected ? 0 : -1);
    if (expected != NULL) assert_string_equal(path, expected);
    else
        assert_string_equal(text, "there is no data directory: neither XDG_STATE_HOME nor HOME is set; use --data DIR");
}

static void the_data_directory(void **state)
{
    (void)state;
    bool is_root = geteuid() == 0;
    struct config config;
    char text[200];
    config_defaults(&config);
    assert_directory(&config, "/state", "/home/me", "/state/pubsub");
    assert_directory(&config, "state", "/home/me", is_root ? "/var/lib/pubsub" : "/home/me/.local/state/pubsub");
    assert_directory(&config, NULL, "/home/me", is_root ? "/var/lib/pubsub" : "/home/me/.local/state/pubsub");
    assert_directory(&config, "", NULL, is_root ? "/var/lib/pubsub" : NULL);
    assert_int_equal(config_set_data(&config, "mine", text, sizeof text), 0);
    assert_directory(&config, "/state", "/home/me", "mine");
}

#define HOST_43 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnop"
#define HOST_172 HOST_43 HOST_43 HOST_43 HOST_43

static void wrong_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *content, *error;
    } cases[] = {
        {"", "file: the file is empty"},
        {"\n \r\n\t\n", "file: the file is empty"},
        {"max_payload = 1m\n", "file:1: 'max_payload' stands before the first [section]"},
        {"[limit]\n", "file:1: unknown section [limit]; did you mean [limits]?"},
        {"[Listener a]\n", "file:1: unknown section [Listener a]; did you mean [listener NAME]?"},
        {"[limits a]\n", "file:1: unknown section [limits a]; did you mean [limits]?"},
        {"[nothing]\n",
         "file:1: unknown section [nothing]; there are [broker], [limits], [log], [metrics], [cluster], [access], "
         "[user NAME], [group NAME], [stream NAME], [listener NAME]"},
        {"[]\n", "file:1: unknown section []; there are [broker], [limits], [log], [metrics], [cluster], [access], "
                 "[user NAME], [group NAME], [stream NAME], [listener NAME]"},
        {"[limits\n", "file:1: '[limits' is not a [section], with nothing behind it"},
        {"[limits] max_payload = 1m\n",
         "file:1: '[limits] max_payload = 1m' is not a [section], with nothing behind it"},
        {"[limits]\n\n[limits]\n", "file:3: [limits] is there already, in line 1"},
        {"[limits]\nmax_paylod = 1m\n", "file:2: unknown key 'max_paylod' in [limits]; did you mean 'max_payload'?"},
        {"[limits]\nfoo = 1\n", "file:2: unknown key 'foo' in [limits]; pubsubd --print-config shows all"},
        {"[broker]\nmax_paylod = 1m\n",
         "file:2: unknown key 'max_paylod' in [broker]; did you mean 'max_payload' in [limits]?"},
        {"[log]\ntopcis = x\n", "file:2: unknown key 'topcis' in [log]; did you mean 'topics' in [cluster]?"},
        {"[log]\nformt = json\n", "file:2: unknown key 'formt' in [log]; did you mean 'format'?"},
        {"[limits]\nformat = json\n", "file:2: 'format' belongs into [log]"},
        {"[broker]\ncertificate = x\n",
         "file:2: 'certificate' belongs into [cluster] or [user NAME] or [listener NAME]"},
        {"[log]\nlevel = warn\n", "file:2: level = 'warn' is not one of error, warning, info and debug"},
        {"[log]\nformat = xml\n", "file:2: format = 'xml' is not one of text, logfmt and json"},
        {"[log]\nfile =\n", "file:2: file = '' is not a path of 1 to 180 bytes"},
        {"[metrics]\nurl = http://127.0.0.1\n",
         "file:2: url = 'http://127.0.0.1' is not an address, http://host:port or unix:/path, of 1 to 180 bytes"},
        {"[metrics]\nurl = https://127.0.0.1:1\n",
         "file:2: url = 'https://127.0.0.1:1' is not an address, http://host:port or unix:/path, of 1 to 180 bytes"},
        {"[metrics]\nurl = http://h:1/metrics\n",
         "file:2: url = 'http://h:1/metrics' is not an address, http://host:port or unix:/path, of 1 to 180 bytes"},
        {"[metrics]\nurl = unix:\n",
         "file:2: url = 'unix:' is not an address, http://host:port or unix:/path, of 1 to 180 bytes"},
        {"[metrics]\nallow_remot = yes\n",
         "file:2: unknown key 'allow_remot' in [metrics]; did you mean 'allow_remote'?"},
        {"[limits]\nallow_remote = yes\n", "file:2: 'allow_remote' belongs into [metrics]"},
        {"[cluster]\nurl = http://h:1\n",
         "file:2: url: 'http://h:1' can't be one: it is not nats://host:port or tls://host:port"},
        {"[cluster]\nurl = nats://h:1, nats://\n",
         "file:2: url: 'nats://' can't be one: it is not nats://host:port or tls://host:port"},
        {"[cluster]\nurl = nats://h:66000\n",
         "file:2: url: 'nats://h:66000' can't be one: it is not nats://host:port or tls://host:port"},
        {"[cluster]\nurl = nats://h:1\nurl = tls://h:1, nats://h:1\n",
         "file:3: url: 'nats://h:1' can't be one: it is there already"},
        {"[cluster]\nurl = nats://me:secret@h:1\n",
         "file:2: url: 'nats://me:secret@h:1' can't be one: it holds who it is for; user and password_file, or "
         "token_file, say that"},
        {"[cluster]\nname = a.b\n", "file:2: name = 'a.b' is not a name of 1 to 64 letters, digits, '-' and '_'"},
        {"[cluster]\nprefix = >\n", "file:2: prefix = '>' is not a name of 1 to 32 letters, digits, '-' and '_'"},
        {"[cluster]\ntopics = a/#, b/#/c\n", "file:2: topics: 'b/#/c' can't be one: '#' must be the last level"},
        {"[cluster]\ntopics = $SYS/#\n",
         "file:2: topics: '$SYS/#' can't be one: topics that begin with '$' are never other brokers'"},
        {"[cluster]\nreplicas = 2\n", "file:2: replicas = '2' is not one of auto, 1, 3 and 5"},
        {"[cluster]\ndefer_time = 1ms\n", "file:2: defer_time = '1ms' is not a time from 1s to 1h"},
        {"[cluster]\ndefer_bytes = 1k\n", "file:2: defer_bytes = '1k' is not a size from 1m to 1024g"},
        {"[cluster]\nuser = ann\n", "file:2: user needs a password_file"},
        {"[cluster]\n#\nname = h1\n", "file:3: name needs a url: without one this broker is alone"},
        {"[cluster]\nca = /c\n[log]\n", "file:2: ca needs a url: without one this broker is alone"},
        {"[cluster]\npassword = x\n", "file:2: unknown key 'password' in [cluster]; did you mean 'password_file'?"},
        {"[stream s]\nreplicas = 3\ntopics = a/#\n[log]\n",
         "file:2: replicas of [stream s] needs store = jetstream: without, there is one copy, this broker's own"},
        {"[stream s]\ntopics = a/#\nreplicas = 1\n",
         "file:3: replicas of [stream s] needs store = jetstream: without, there is one copy, this broker's own"},
        {"[cluster]\npassword_file = /p\n", "file:2: password_file needs a user"},
        {"[cluster]\ntoken_file = /t\nuser = ann\npassword_file = /p\n",
         "file:2: token_file can't be there beside a user"},
        {"[cluster]\ncredentials = /c\ntoken_file = /t\n", "file:2: credentials can't be there beside a token_file"},
        {"[cluster]\ncertificate = /c\n", "file:2: certificate needs a key"},
        {"[cluster]\n#\nkey = /k\n", "file:3: key needs a certificate"},
        {"[metric]\n", "file:1: unknown section [metric]; did you mean [metrics]?"},
        {"[broker]\n#\nmax_payload = 1m\n", "file:3: 'max_payload' belongs into [limits]"},
        {"[limits]\nmax_payload\n[broker]\n", "file:2: 'max_payload' is neither a [section] nor 'key = value'"},
        {"[limits]\nmax_payload", "file:2: 'max_payload' is neither a [section] nor 'key = value'"},
        {"[limits]\nmax_payload = 1m\n#\nmax_payload = 1m\n", "file:4: max_payload is set already, in line 2"},
        {"[limits]\nmax_payload =\n", "file:2: max_payload = '' is not a size from 1k to 256m"},
        {"[limits]\nmax_payload = 1023\n", "file:2: max_payload = '1023' is not a size from 1k to 256m"},
        {"[limits]\nmax_payload = 257m\n", "file:2: max_payload = '257m' is not a size from 1k to 256m"},
        {"[limits]\nmax_payload = 99999999999999999999\n",
         "file:2: max_payload = '99999999999999999999' is not a size from 1k to 256m"},
        {"[limits]\nmax_payload = 1m 2m\n", "file:2: max_payload = '1m 2m' is not a size from 1k to 256m"},
        {"[limits]\nmax_connections = 0\n", "file:2: max_connections = '0' is not a whole number from 1 to 1000000"},
        {"[limits]\nmax_connections = 1k\n", "file:2: max_connections = '1k' is not a whole number from 1 to 1000000"},
        {"[limits]\nmax_connections = -1\n", "file:2: max_connections = '-1' is not a whole number from 1 to 1000000"},
        {"[limits]\nkeepalive_max = 1500ms\n",
         "file:2: keepalive_max = '1500ms' is not a time in whole seconds from 1s to 7d"},
        {"[limits]\nkeepalive_max = 8d\n", "file:2: keepalive_max = '8d' is not a time in whole seconds from 1s to 7d"},
        {"[broker]\nsys_interval = 99ms\n",
         "file:2: sys_interval = '99ms' is not a time from 100ms to 1d, or 0: no reports"},
        {"[limits]\nqueue_bytes = 32m\nqueue_bytes_cap = 31m\nmax_payload = 1m\n",
         "file:3: queue_bytes = 32m is more than queue_bytes_cap = 31m"},
        {"[limits]\nqueue_messages_cap = 5\n",
         "file:2: queue_messages = 100000 (not set here) is more than queue_messages_cap = 5"},
        {"[limits]\nqueue_messages = 10000001\n",
         "file:2: queue_messages = 10000001 is more than queue_messages_cap = 10000000 (not set here)"},
        {"[broker]\ndata =\n", "file:2: data = '' is not a path of 1 to 180 bytes"},
        {"[broker]\nlocation = x\n[limits]\n",
         "file:2: unknown key 'location' in [broker]; pubsubd --print-config shows all"},
        {"[limits]\ndata = x\n", "file:2: 'data' belongs into [broker]"},
        {"[limits]\ntopics = x\n", "file:2: 'topics' belongs into [cluster] or [stream NAME]"},
        {"[limits]\nmax_age = 1d\n", "file:2: 'max_age' belongs into [stream NAME]"},
        {"[stream a]\nurl = x\n", "file:2: 'url' belongs into [metrics] or [cluster] or [listener NAME]"},
        {"[limits]\nsession_max = 1500ms\n",
         "file:2: session_max = '1500ms' is not a time in whole seconds from 1s to 3650d, or 0: none outlives it"},
        {"[limits]\nspill_bytes = 17\n",
         "file:2: spill_bytes = '17' is not a size from 1k to 1024g, or 0: nothing is spilled"},
        {"[stream]\n", "file:1: [stream] needs a name: [stream NAME]"},
        {"[streams a]\n", "file:1: unknown section [streams a]; did you mean [stream NAME]?"},
        {"[stream a b]\n", "file:1: 'a b' is not a stream's name: 1 to 32 letters, digits, '_', '-', '.'"},
        {"[limits]\n[stream a]\nmax_age = 1d\n[limits]\n", "file:2: [stream a] has no topics"},
        {"[stream a]\n", "file:1: [stream a] has no topics"},
        {"[stream a]\ntopics = x\n[stream b]\ntopics = y\n[stream a]\n",
         "file:5: [stream a] is there already, in line 1"},
        {"[stream a]\ntopic = x\n", "file:2: unknown key 'topic' in [stream]; did you mean 'topics'?"},
        {"[stream a]\nmax_age = 1d\nmax_age = 1d\n", "file:3: max_age is set already, in line 2"},
        {"[stream a]\ntopics = x\nmax_age = 1d\n[stream b]\nmax_age = 1\nmax_age = 1d\n",
         "file:6: max_age is set already, in line 5"},
        {"[stream a]\nmax_age = 999ms\n", "file:2: max_age = '999ms' is not a time from 1s to 36500d, or 0: no limit"},
        {"[stream a]\nmax_bytes = 1\n", "file:2: max_bytes = '1' is not a size from 1k to 16384g, or 0: no limit"},
        {"[stream a]\nmax_messages = 1k\n",
         "file:2: max_messages = '1k' is not a whole number from 1 to 1000000000000, or 0: no limit"},
        {"[stream a]\non_full = drop\n", "file:2: on_full = 'drop' is not one of drop_oldest and refuse"},
        {"[stream a]\nstore = nats\n", "file:2: store = 'nats' is not one of sqlite and jetstream"},
        {"[stream a]\nreplicas = 2\n", "file:2: replicas = '2' is not one of 1, 3 and 5"},
        {"[stream a]\nreplicas = 7\n", "file:2: replicas = '7' is not one of 1, 3 and 5"},
        {"[stream a]\ntopics = x\n[stream b]\ntopics = y\nstore = jetstream\n",
         "file:3: store = jetstream of [stream b] needs a [cluster], whose brokers share it"},
        {"[cluster]\nurl = nats://h:4222\n[stream stream-15512]\ntopics = a\nstore = jetstream\n"
         "[stream stream-33955]\ntopics = b\nstore = jetstream\n",
         "file:6: [stream stream-33955] and [stream stream-15512] would both have the number 1813018361 at all "
         "brokers: "
         "rename one"},
        {"[stream a]\ntopics =\n", "file:2: topics: '' can't be a stream's pattern: it is empty"},
        {"[stream a]\ntopics = x,\n", "file:2: topics: '' can't be a stream's pattern: it is empty"},
        {"[stream a]\ntopics = x, a#\n",
         "file:2: topics: 'a#' can't be a stream's pattern: a wildcard, '+' or '#', must be a whole level"},
        {"[stream a]\ntopics = x;y\n",
         "file:2: topics: 'x;y' can't be a stream's pattern: it holds ';', which begins a "
         "comment"},
        {"[stream a]\ntopics = $SYS/#\n", "file:2: topics: '$SYS/#' can't be a stream's pattern: of topics that begin "
                                          "with '$' only those under $dead/ can "
                                          "be kept"},
        {"[stream a]\ntopics = x\n[stream b]\ntopics = y, x\n",
         "file:4: topics: 'x' is a pattern of the stream 'a' already"},
        {"[listener a]\nallow_anonymous = y\nurl = fd:1\n", "file:2: allow_anonymous = 'y' is not one of no and yes"},
        {"[limits]\nallow_anonymous = yes\n", "file:2: 'allow_anonymous' belongs into [listener NAME]"},
        {"[access]\npublish = x\n", "file:2: 'publish' belongs into [group NAME]"},
        {"[group a]\nuid = 1\n", "file:2: 'uid' belongs into [user NAME]"},
        {"[access]\npasword = x\n", "file:2: unknown key 'pasword' in [access]; did you mean 'passwords'?"},
        {"[group a]\nsubscrib = x\n", "file:2: unknown key 'subscrib' in [group]; did you mean 'subscribe'?"},
        {"[access]\ntokens = x\ntokens = x\n", "file:3: tokens is set already, in line 2"},
        {"[access]\ntokens =\n", "file:2: tokens = '' is not a path: it is empty"},
        {"[access]\nallow_plaintext_passwords = maybe\n",
         "file:2: allow_plaintext_passwords = 'maybe' is not one of no and yes"},
        {"[access]\n[access]\n", "file:2: [access] is there already, in line 1"},
        {"[user a]\n[user a]\n", "file:2: [user a] is there already"},
        {"[user]\n", "file:1: [user] needs a name: [user NAME]"},
        {"[group a/b]\n", "file:1: 'a/b' is not a group's name: 1 to 32 letters, digits, '_', '-', '.'"},
        {"[usr ann]\n", "file:1: unknown section [usr ann]; did you mean [user NAME]?"},
        {"[user ann]\n#\ngroups = a, b\n[group a]\n", "file:3: there is no [group b]"},
        {"[access]\ndefault_group = sensors\n[group sensor]\n",
         "file:2: there is no [group sensors]; did you mean 'sensor'?"},
        {"[access]\nuser_group = x\n", "file:2: there is no [group x]"},
        {"[user a]\ngroups = x y\n",
         "file:2: groups: 'x y' is not a group's name: a name has 1 to 32 letters, digits, '_', '-', '.'"},
        {"[user a]\ncertificate = ip:1\n",
         "file:2: certificate: 'ip:1' is not a certificate's name: it does not begin with "
         "'uri:', 'dns:', 'cn:' or 'sha256:'"},
        {"[user a]\nuid = -1\n", "file:2: uid: '-1' is not a uid or gid: it is a whole number from 0 to 4294967294"},
        {"[user a]\ngid = 4294967295\n",
         "file:2: gid: '4294967295' is not a uid or gid: it is a whole number from 0 to 4294967294"},
        {"[group a]\npublish = x, a#\n",
         "file:2: publish: 'a#' is not a pattern: a wildcard, '+' or '#', must be a whole level"},
        {"[group a]\ndeny_subscribe = %n\n",
         "file:2: deny_subscribe: '%n' is not a pattern: behind '%' stands 'u', 'i' or '%'"},
        {"[group a]\nrights = sys, root\n", "file:2: rights: 'root' is not a right: there are retain, block, durable, "
                                            "groups, sys and admin"},
        {"[listener]\nurl = fd:1\n", "file:1: [listener] needs a name: [listener NAME]"},
        {"[listener a/b]\n", "file:1: 'a/b' is not a listener's name: 1 to 32 letters, digits, '_', '-', '.'"},
        {"[listener 123456789012345678901234567890123]\n", "file:1: '123456789012345678901234567890123' is not a "
                                                           "listener's name: 1 to 32 letters, digits, '_', '-', '.'"},
        {"[listener a]\n[listener b]\nurl = fd:1\n", "file:1: [listener a] has no url"},
        {"[limits]\n[listener a]\n", "file:2: [listener a] has no url"},
        {"[listener a]\nurl = fd:1\n[listener a]\nurl = fd:2\n", "file:3: [listener a] is there already, in line 1"},
        {"[listener a]\nurl = fd:1\nurl = fd:2\n",
         "file:3: url is set already; each address needs a [listener NAME] of its own"},
        {"[listener a]\nurl = http://x\n",
         "file:2: url: 'http://x' is not unix:/path, tcp://host:port, tls://host:port or fd:N"},
        {"[listener a]\nurl = tls://x\n", "file:2: url: 'tls://x' does not end in a port from 0 to 65535"},
        {"[user ann]\ncertificate=uri:a:" HOST_172 "abcdefg\n", "file:2: 'key = value' is longer than 197 bytes"},
        {"[listener a]\nurl=tcp://" HOST_172 ":1\n",
         "file:2: url: the host of 'tcp://" HOST_172 ":1' has 172 bytes, the limit is 171"},
        {"[listener a]\nurl = tcp://:1\n", "file:2: url: 'tcp://:1' has no host, or one that is neither a name nor an "
                                           "address (IPv6 in brackets)"},
        {"[listener a]\nurl = tcp:// a:1\n", "file:2: url: 'tcp:// a:1' has no host, or one that is neither a name nor "
                                             "an address (IPv6 in brackets)"},
        {"[listener a]\nurl = tcp://::1:7717\n", "file:2: url: 'tcp://::1:7717' has no host, or one that is neither a "
                                                 "name nor an address (IPv6 in brackets)"},
        {"[listener a]\nurl = tcp://caf\xc3\xa9:1\n", "file:2: url: 'tcp://caf\xc3\xa9:1' has no host, or one that is "
                                                      "neither a name nor an address (IPv6 in brackets)"},
        {"\n[listener a]\nkey = k\nurl = tls://x:1\n", "file:2: [listener a] has no certificate, which tls:// needs"},
        {"[listener a]\nurl = tls://x:1\ncertificate = c\n[limits]\n",
         "file:1: [listener a] has no key, which tls:// needs"},
        {"[listener a]\nurl = tls://x:1\ncertificate = c\nkey = k\nclient_certificate = required\n",
         "file:1: [listener a] has no client_ca, which client_certificate needs"},
        {"[listener a]\nurl = tls://x:1\ncertificate = c\nkey = k\nclient_certificate = yes\n",
         "file:5: client_certificate = 'yes' is not one of off, optional and required"},
        {"[listener a]\ncertificate = c\nurl = tcp://x:1\n",
         "file:2: certificate is only for a url that begins with tls://"},
        {"[listener a]\nurl = tls://x:1\ncertificate = c\nkey = k\n[listener b]\nurl = fd:1\nclient_ca = c\n",
         "file:7: client_ca is only for a url that begins with tls://"},
        {"[listener a]\nkey = k\nkey = k\n", "file:3: key is set already, in line 2"},
        {"[limits]\nkey = k\n", "file:2: 'key' belongs into [cluster] or [listener NAME]"},
        {"[listener a]\nulr = fd:1\n", "file:2: unknown key 'ulr' in [listener]; did you mean 'url'?"},
        {"[limits]\n\x1b[31m = 1\n", "file:2: the line holds a control character, 0x1b"},
        {"[limits]\na\tb\rc = 1\n", "file:2: unknown key 'a b c' in [limits]; pubsubd --print-config shows all"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config, before;
        char text[400] = "";
        config_defaults(&config);
        config_defaults(&before);
        write_file("file", cases[i].content);
        assert_int_equal(config_load(&config, "file", text, sizeof text), -1);
        assert_string_equal(text, cases[i].error);
        assert_memory_equal(&config.limits, &before.limits, sizeof config.limits);
        assert_int_equal(config.listeners_count, 0);
        assert_int_equal(config.streams_count, 0);
    }
}

static void users_and_groups_are_read_and_printed(void **state)
{
    (void)state;
    struct config config, again;
    config_defaults(&config);
    config_defaults(&again);
    load_text(&config,
              "[group all]\nrights = sys , admin\n[user ann]\nuid = 7, 8\ngroups = all,x\ngid = 9\n"
              "certificate = cn:A, B\n[access]\ntokens = t\npasswords = p\ndefault_group = x\nuser_group = all\n"
              "allow_plaintext_passwords = yes\n[group x]\npublish = a/%u , %i/#\npublish = b\nsubscribe = #\n"
              "deny_publish = c\ndeny_subscribe = d\n");
    FILE *out = fopen("printed", "w");
    config_print(&config, out);
    fclose(out);
    char text[400] = "";
    assert_int_equal(config_load(&again, "printed", text, sizeof text), 0);
    for (int i = 0; i < 2; i++) { /* what is printed says the same */
        const struct config *read = i == 0 ? &config : &again;
        const struct access *access = read->access;
        assert_string_equal(read->tokens, "t");
        assert_string_equal(read->passwords, "p");
        assert_true(access->restricts && access->plaintext_passwords);
        assert_string_equal(access->default_group, "x");
        assert_string_equal(access->user_group, "all");
        const struct access_user *ann = access_find_user(access, "ann");
        assert_int_equal(ann->groups.count, 2);
        assert_string_equal(ann->groups.at[1], "x");
        assert_string_equal(ann->certificates.at[0], "cn:A, B");
        assert_int_equal(ann->uids.count, 2);
        assert_int_equal(ann->uids.at[1], 8);
        assert_int_equal(ann->gids.at[0], 9);
        assert_int_equal(access_find_group(access, "all")->rights, ACCESS_SYS | ACCESS_ADMIN);
        const struct access_group *x = access_find_group(access, "x");
        assert_int_equal(x->lists[ACCESS_PUBLISH].count, 3);
        assert_string_equal(x->lists[ACCESS_PUBLISH].at[1], "%i/#");
        assert_string_equal(x->lists[ACCESS_SUBSCRIBE].at[0], "#");
        assert_string_equal(x->lists[ACCESS_DENY_PUBLISH].at[0], "c");
        assert_string_equal(x->lists[ACCESS_DENY_SUBSCRIBE].at[0], "d");
    }
    config_free(&config);
    config_free(&again);
}

/* The examples in the comments of what is printed are a configuration, too. */
static void the_examples_can_be_read(void **state)
{
    (void)state;
    struct config config;
    char text[400] = "", line[400];
    config_defaults(&config);
    FILE *out = fopen("printed", "w"), *bare = fopen("bare", "w");
    config_print(&config, out);
    fclose(out);
    FILE *in = fopen("printed", "r");
    bool is_example = false;
    while (fgets(line, sizeof line, in) != NULL) {
        if (strstr(line, "# [user ann]") != NULL) is_example = true;
        if (line[0] != '#') is_example = false;
        if (is_example) fputs(line[1] == ' ' ? line + 2 : "\n", bare);
    }
    fclose(in);
    fclose(bare);
    if (config_load(&config, "bare", text, sizeof text) != 0) fail_msg("%s", text);
    assert_int_equal(config.access->users_count, 1);
    assert_int_equal(config.access->groups_count, 2);
    assert_int_equal(access_find_group(config.access, "readers")->rights, 63);
    config_free(&config);
}

/* What was there before a wrong file is still there. */
static void a_wrong_file_changes_nothing(void **state)
{
    (void)state;
    struct config config;
    char text[400] = "";
    config_defaults(&config);
    load_text(&config, "[stream a]\ntopics = x\n[broker]\ndata = d\n");
    write_file("file", "[stream b]\ntopics = y\n[broker]\ndata = e\n[stream c]\n");
    assert_int_equal(config_load(&config, "file", text, sizeof text), -1);
    assert_string_equal(text, "file:5: [stream c] has no topics");
    assert_int_equal(config.streams_count, 1);
    assert_stream(config.streams[0], "a", 1, "x");
    assert_string_equal(config.data, "d");
    config_free(&config);
}

static void assert_refused(const char *path, const char *error)
{
    struct config config;
    char text[400] = "";
    config_defaults(&config);
    assert_int_equal(config_load(&config, path, text, sizeof text), -1);
    assert_string_equal(text, error);
}

/* Hostile 49. */
static void files_that_are_no_text(void **state)
{
    (void)state;
    assert_refused("none", "none: cannot be opened: No such file or directory");
    assert_refused(".", ".: cannot be read: Is a directory");
    write_bytes("file", "[limits]\n\0\n", 11);
    assert_refused("file", "file:2: the line holds a control character, 0x00");
}

/* The longest line that is taken, and one byte more; what it holds behind the key is a blank. */
/* Hostile 50. */
static void lines_have_a_length(void **state)
{
    (void)state;
    struct config config;
    char content[300];
    config_defaults(&config);
    snprintf(content, sizeof content, "[limits]\nmax_payload =%*s\nmax_connections = 7\n", 197 - 13, "4m");
    load_text(&config, content);
    assert_int_equal(config.limits.max_payload, 4 * MIB);
    assert_int_equal(config.limits.max_sessions_count, 7);
    snprintf(content, sizeof content, "[limits]\nmax_payload =%*s\nmax_connections = 7\n", 198 - 13, "4m");
    write_file("file", content);
    assert_refused("file", "file:2: the line is longer than 197 bytes");
    config_free(&config);
}

static void addresses_have_a_number(void **state)
{
    (void)state;
    struct config config;
    char name[16], text[400] = "";
    config_defaults(&config);
    for (int i = 0; i < LISTEN_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(config_add_listener(&config, name, "fd:1", text, sizeof text), 0);
    }
    assert_int_equal(config_add_listener(&config, "more", "fd:1", text, sizeof text), -1);
    assert_string_equal(text, "there are more than 64 addresses to serve");
    assert_int_equal(config.listeners_count, LISTEN_MAX);
}

static void quantities_are_written_as_they_are_read(void **state)
{
    (void)state;
    static const struct {
        uint64_t amount;
        const char *size, *time;
    } cases[] = {
        {0, "0", "0"},
        {1, "1", "1ms"},
        {1000, "1000", "1s"},
        {1024, "1k", "1024ms"},
        {MIB, "1m", "1048576ms"},
        {60000, "60000", "1m"},
        {3 * GIB, "3g", NULL},
        {86400000, "84375k", "1d"},
        {3600000, "3600000", "1h"},
        {1500, "1500", "1500ms"},
        {INT64_MAX, "9223372036854775807", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[QUANTITY_TEXT_MAX];
        uint64_t amount = UINT64_MAX;
        size_write(text, cases[i].amount);
        assert_string_equal(text, cases[i].size);
        if (cases[i].amount > 0) assert_true(size_parse(text, &amount) && amount == cases[i].amount);
        if (cases[i].time == NULL) continue;
        time_write(text, cases[i].amount);
        assert_string_equal(text, cases[i].time);
        assert_true(time_parse(text, &amount) && amount == cases[i].amount);
    }
}

/* A cgroup's file below the made-up root, with the directories that it needs. */
static void put(const char *path, const char *content)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        assert_true(mkdir(part, 0700) == 0 || errno == EEXIST);
    }
    write_file(path, content);
}

static void memory_is_what_the_cgroup_gives(void **state)
{
    (void)state;
    uint64_t machine = memory_available_bytes("nowhere");
    assert_int_equal(machine, (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));

    put("v2/proc/self/cgroup", "0::/a.slice/b.service\n");
    assert_int_equal(memory_available_bytes("v2"), machine);
    put("v2/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
    assert_int_equal(memory_available_bytes("v2"), machine);
    put("v2/sys/fs/cgroup/a.slice/memory.max", "2097152\n");
    assert_int_equal(memory_available_bytes("v2"), 2 * MIB);
    put("v2/sys/fs/cgroup/a.slice/b.service/memory.max", "1048576\n");
    assert_int_equal(memory_available_bytes("v2"), MIB);
    put("v2/sys/fs/cgroup/a.slice/b.service/memory.max", "3145728\n");
    assert_int_equal(memory_available_bytes("v2"), 2 * MIB);

    put("v1/proc/self/cgroup", "3:cpu,cpuacct:/x\n2:foo,memory:/docker/1234\n1:name=systemd:/\n0::/\n");
    put("v1/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(memory_available_bytes("v1"), machine);
    put("v1/sys/fs/cgroup/memory/memory.limit_in_bytes", "5242880\n"); /* a container that sees its own as the top */
    assert_int_equal(memory_available_bytes("v1"), 5 * MIB);
    put("v1/sys/fs/cgroup/memory/docker/1234/memory.limit_in_bytes", "4194304\n");
    assert_int_equal(memory_available_bytes("v1"), 4 * MIB);
    put("v1/sys/fs/cgroup/unified/memory.max", "3145728\n");
    assert_int_equal(memory_available_bytes("v1"), 3 * MIB);
}

static int enter_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL || chdir(directory) != 0;
}

static int leave_directory(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    return chdir("/") != 0 || system(command) != 0;
}

static void streams_are_shared_by_the_brokers_of_a_cluster(void **state)
{
    (void)state;
    struct config config;
    config_defaults(&config);
    load_text(&config, "[stream all]\ntopics = a/#\nstore = jetstream\nreplicas = 5\n"
                       "[stream own]\ntopics = b/#\n[cluster]\nurl = nats://h:4222\n");
    assert_true(config.streams[0]->terms.is_shared);
    assert_int_equal(config.streams[0]->terms.replicas, 5);
    assert_false(config.streams[1]->terms.is_shared);
    assert_int_equal(config_own_streams(&config), 1);
    config_free(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_sets_its_field),
        cmocka_unit_test(what_a_file_leaves_out_stays),
        cmocka_unit_test(the_defaults_are_within_their_ranges),
        cmocka_unit_test(forms_that_people_use),
        cmocka_unit_test(listeners_are_read_and_printed),
        cmocka_unit_test(tls_listeners_are_read_and_printed),
        cmocka_unit_test(streams_are_read_and_printed),
        cmocka_unit_test(a_cluster_is_read_and_printed),
        cmocka_unit_test(a_cluster_has_defaults),
        cmocka_unit_test(streams_have_a_number),
        cmocka_unit_test(texts_have_a_length),
        cmocka_unit_test(the_data_directory),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(users_and_groups_are_read_and_printed),
        cmocka_unit_test(the_examples_can_be_read),
        cmocka_unit_test(a_wrong_file_changes_nothing),
        cmocka_unit_test(files_that_are_no_text),
        cmocka_unit_test(lines_have_a_length),
        cmocka_unit_test(addresses_have_a_number),
        cmocka_unit_test(quantities_are_written_as_they_are_read),
        cmocka_unit_test(streams_are_shared_by_the_brokers_of_a_cluster),
        cmocka_unit_test(memory_is_what_the_cgroup_gives),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
