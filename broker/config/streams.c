#include <stdlib.h>
#include <string.h>

#include "cluster_keys.h"
#include "settings.h"
#include "wire.h"

#define DURABLE "durable"

static struct stream_section *find_stream(const struct config *config, const char *name)
{
    for (int i = 0; i < config->streams_count; i++) {
        if (strcmp(config->streams[i]->name, name) == 0) return config->streams[i];
    }
    return NULL;
}

struct stream_section *config_add_stream(struct config *config, const char *name, char *text, size_t text_cap)
{
    if (config->streams_count == STREAMS_MAX) {
        snprintf(text, text_cap, "there are more than %d streams", STREAMS_MAX);
        return NULL;
    }
    struct stream_section *stream = calloc(1, sizeof *stream);
    if (stream == NULL) abort();
    stream_defaults(&stream->terms);
    snprintf(stream->name, sizeof stream->name, "%s", name);
    stream->terms.name = stream->name;
    stream->terms.patterns = (const char *const *)stream->patterns;
    config->streams[config->streams_count++] = stream;
    return stream;
}

int config_own_streams(const struct config *config)
{
    int count = 0;
    for (int i = 0; i < config->streams_count; i++) count += !config->streams[i]->terms.is_shared;
    return count;
}

void config_free(struct config *config)
{
    for (int i = 0; i < config->streams_count; i++) {
        struct stream_section *stream = config->streams[i];
        for (size_t k = 0; k < stream->terms.patterns_count; k++) free(stream->patterns[k]);
        free(stream);
    }
    config->streams_count = 0;
    cluster_free_lists(&config->cluster);
    access_unref(config->access);
    config->access = NULL;
}

/* The stream that has this very pattern, or NULL. */
static const struct stream_section *owner_of(const struct config *config, const char *pattern)
{
    for (int i = 0; i < config->streams_count; i++) {
        const struct stream_section *stream = config->streams[i];
        for (size_t k = 0; k < stream->terms.patterns_count; k++) {
            if (strcmp(stream->patterns[k], pattern) == 0) return stream;
        }
    }
    return NULL;
}

/* Why no stream can have it. NULL: one can. */
static const char *pattern_problem(const char *pattern)
{
    const char *problem = mps_pattern_error(mps_text(pattern));
    if (problem != NULL) return problem;
    problem = setting_text_problem(pattern);
    if (problem != NULL) return problem;
    if (pattern[0] == '$' && !mps_topic_matches(mps_text("$dead/#"), mps_text(pattern))) {
        return "of topics that begin with '$' only those under $dead/ can be kept";
    }
    return NULL;
}

/* One pattern, without the blanks around it. */
static int add_pattern(struct config *config, struct stream_section *stream, const char *begin, size_t len, char *text,
                       size_t text_cap)
{
    static const char blanks[] = " \t\r";
    while (len > 0 && strchr(blanks, *begin) != NULL) begin++, len--;
    while (len > 0 && strchr(blanks, begin[len - 1]) != NULL) len--;
    char *pattern = strndup(begin, len);
    if (pattern == NULL) abort();
    const char *problem = pattern_problem(pattern);
    const struct stream_section *owner = owner_of(config, pattern);
    if (problem != NULL) {
        snprintf(text, text_cap, "'%.200s' can't be a stream's pattern: %s", pattern, problem);
    } else if (owner != NULL) {
        snprintf(text, text_cap, "'%.200s' is a pattern of the stream '%s' already", pattern, owner->name);
    } else if (stream->terms.patterns_count == PATTERNS_MAX) {
        snprintf(text, text_cap, "the stream '%s' has more than %d patterns", stream->name, PATTERNS_MAX);
    } else {
        stream->patterns[stream->terms.patterns_count++] = pattern;
        return 0;
    }
    free(pattern);
    return -1;
}

int config_add_topics(struct config *config, struct stream_section *stream, const char *patterns, char *text,
                      size_t text_cap)
{
    for (;;) {
        size_t len = strcspn(patterns, ",");
        if (add_pattern(config, stream, patterns, len, text, text_cap) != 0) return -1;
        if (patterns[len] == '\0') return 0;
        patterns += len + 1;
    }
}

int config_add_durable(struct config *config, const char *patterns, char *text, size_t text_cap)
{
    char name[SECTION_NAME_MAX + 1] = DURABLE;
    for (int number = 2; find_stream(config, name) != NULL; number++) {
        snprintf(name, sizeof name, DURABLE "-%d", number);
    }
    struct stream_section *stream = config_add_stream(config, name, text, text_cap);
    return stream == NULL ? -1 : config_add_topics(config, stream, patterns, text, text_cap);
}
