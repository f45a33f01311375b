/* For `from` last n and last_per_topic, the stream is looked through once before anything is delivered: which positions
 * these are is known only at its end. Memory: 16 bytes a position, and the topics. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

/* More positions than this are not kept for `last`. */
#define LAST_MAX 1000000u
/* What all surveys may take together. Beyond, `last` begins later, and topics are not told apart any more: from there
 * on everything is delivered. */
#define SURVEYS_BYTES_MAX (256u * 1024 * 1024)

struct topic_place {
    struct hash_node in_topics;
    uint64_t seq;
    uint32_t len;
    uint8_t topic[];
};

struct survey {
    struct broker *broker;
    uint64_t at, end;
    uint64_t bytes;   /* counted in broker.surveys_bytes */
    uint64_t *chosen; /* `last`: a ring until it is done; then in order */
    uint64_t most, seen;
    struct hash topics; /* `last_per_topic` */
    uint64_t count;     /* of .chosen, when it is done */
    bool per_topic, is_done;
};

static bool has_topic(const struct hash_node *node, const void *key)
{
    const struct topic_place *place = container_of(node, struct topic_place, in_topics);
    const mps_view *topic = key;
    return place->len == topic->len && memcmp(place->topic, topic->ptr, topic->len) == 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool may_take(struct survey *survey, uint64_t bytes)
{
    if (survey->broker->surveys_bytes + bytes > SURVEYS_BYTES_MAX) return false;
    survey->bytes += bytes;
    survey->broker->surveys_bytes += bytes;
    return true;
}

static void free_topics(struct survey *survey)
{
    for (struct hash_node *node; (node = hash_any(&survey->topics)) != NULL;) {
        hash_remove(&survey->topics, node);
        free(container_of(node, struct topic_place, in_topics));
    }
    hash_free(&survey->topics);
}

static void turn_round(uint64_t *numbers, uint64_t count)
{
    for (uint64_t i = 0; i < count / 2; i++) {
        uint64_t other = numbers[i];
        numbers[i] = numbers[count - 1 - i];
        numbers[count - 1 - i] = other;
    }
}

/* The ring from its oldest one on. */
static void straighten(struct survey *survey)
{
    survey->count = survey->seen < survey->most ? survey->seen : survey->most;
    uint64_t oldest = survey->seen > survey->most ? survey->seen % survey->most : 0;
    turn_round(survey->chosen, oldest);
    turn_round(survey->chosen + oldest, survey->count - oldest);
    turn_round(survey->chosen, survey->count);
}

static void finish(struct survey *survey)
{
    survey->is_done = true;
    if (survey->per_topic) {
        survey->chosen = malloc((survey->topics.count + 1) * sizeof survey->chosen[0]);
        if (survey->chosen == NULL) abort(); /* less than the topics themselves, which go now */
        for (struct hash_node *node = hash_first(&survey->topics); node != NULL;
             node = hash_next(&survey->topics, node))
            survey->chosen[survey->count++] = container_of(node, struct topic_place, in_topics)->seq;
        free_topics(survey);
        if (survey->count > 1) qsort(survey->chosen, survey->count, sizeof survey->chosen[0], by_number);
    } else {
        straighten(survey);
    }
}

struct survey *survey_new(struct broker *broker, const struct mps_from *from, uint64_t first, uint64_t end)
{
    struct survey *survey = calloc(1, sizeof *survey);
    if (survey == NULL) abort(); /* small */
    survey->broker = broker;
    survey->at = first;
    survey->end = end;
    survey->per_topic = from->kind == MPS_FROM_LAST_PER_TOPIC;
    survey->most = from->number < LAST_MAX ? from->number : LAST_MAX;
    if (survey->most > end - first) survey->most = end - first;
    if (!survey->per_topic && !may_take(survey, survey->most * sizeof survey->chosen[0])) survey->most = 1;
    if (!survey->per_topic) survey->chosen = malloc((survey->most + 1) * sizeof survey->chosen[0]);
    if (!survey->per_topic && survey->chosen == NULL) abort(); /* 8 MB at most */
    if (first >= end || (!survey->per_topic && survey->most == 0)) {
        survey->at = end;
        finish(survey);
    }
    return survey;
}

void survey_free(struct survey *survey)
{
    if (survey == NULL) return;
    free_topics(survey);
    survey->broker->surveys_bytes -= survey->bytes;
    free(survey->chosen);
    free(survey);
}

bool survey_is_done(const struct survey *survey)
{
    return survey->is_done;
}

uint64_t survey_at(const struct survey *survey)
{
    return survey->at;
}

void survey_pass(struct survey *survey, uint64_t to)
{
    if (to > survey->at) survey->at = to;
    if (survey->at >= survey->end && !survey->is_done) finish(survey);
}

static void see_topic(struct survey *survey, uint64_t seq, mps_view topic)
{
    uint64_t hash = hash_bytes(survey->broker->seed, topic.ptr, topic.len);
    struct hash_node *node = hash_find(&survey->topics, hash, has_topic, &topic);
    if (node != NULL) {
        container_of(node, struct topic_place, in_topics)->seq = seq;
        return;
    }
    uint64_t bytes = sizeof(struct topic_place) + topic.len + 32;
    struct topic_place *place = may_take(survey, bytes) ? malloc(sizeof *place + topic.len) : NULL;
    if (place == NULL) { /* the rest is delivered whole: too much, but nothing is missing */
        survey->end = survey->at;
        return;
    }
    *place = (struct topic_place){.seq = seq, .len = topic.len};
    memcpy(place->topic, topic.ptr, topic.len);
    hash_add(&survey->topics, &place->in_topics, hash);
}

void survey_see(struct survey *survey, uint64_t seq, mps_view topic)
{
    if (seq >= survey->end) return;
    if (survey->per_topic) see_topic(survey, seq, topic);
    else survey->chosen[survey->seen++ % survey->most] = seq;
}

bool survey_is_over(const struct survey *survey, uint64_t position)
{
    return survey->is_done && position >= survey->end;
}

uint64_t survey_next(const struct survey *survey, uint64_t position)
{
    uint64_t low = 0, high = survey->count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (survey->chosen[middle] < position) low = middle + 1;
        else high = middle;
    }
    if (low < survey->count) return survey->chosen[low];
    return position > survey->end ? position : survey->end;
}
