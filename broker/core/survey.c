/* For `from` last n and last_per_topic, the stream is looked through before anything is delivered: which positions
 * these are is known only at its end. */
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sure.h"
#include "survey_topics.h"

/* Positions that are put in place at a time. */
#define SORT_A_STEP 4096u
/* `last`: marks among the n messages, and besides one before and one behind. */
#define MARKS 256u
#define MARKS_KEPT (MARKS + 2)

/* `last n`: every so many-th match is marked, so that the n-th from the end is known to lie between two marks. What
 * lies between them is looked through again in the same way, and so on, until every match is marked. That is counted
 * from the end at each time: it does not matter what retention removes meanwhile. */
struct last {
    uint64_t most; /* how many are looked for before .end */
    uint64_t end, stride, seen;
    uint64_t marks[MARKS_KEPT]; /* a ring */
};

struct survey {
    struct broker *broker;
    struct survey_request request;
    uint64_t at, end;             /* nothing is to be found from .end on */
    struct last *last;            /* while it looks; NULL: .topics */
    struct survey_topics *topics; /* of last_per_topic, until it is done; NULL: .last */
    uint64_t topics_bytes;        /* of them, as counted in broker.surveys_bytes */
    uint64_t *chosen, count;      /* of last_per_topic: all that lies before .end */
    bool is_cut;                  /* there were too many topics: .end came sooner */
    bool is_done;
};

/* ---- last --------------------------------------------------------------------------------------------------- */

static void last_begin(struct last *last, uint64_t most, uint64_t end)
{
    last->most = most;
    last->end = end;
    last->stride = (most + MARKS - 1) / MARKS;
    last->seen = 0;
}

static void last_see(struct last *last, uint64_t seq)
{
    if (last->seen % last->stride == 0) last->marks[last->seen / last->stride % MARKS_KEPT] = seq;
    last->seen++;
}

static uint64_t mark_of(const struct last *last, uint64_t match)
{
    return last->marks[match / last->stride % MARKS_KEPT];
}

/* All was looked through. Returns whether *begin is known now; else there is to be looked from *begin on. */
static bool last_ends(struct last *last, uint64_t *begin)
{
    if (last->seen == 0) {
        *begin = last->end;
        return true;
    }
    uint64_t wanted = last->seen > last->most ? last->seen - last->most : 0; /* the first match is match 0 */
    uint64_t behind = wanted - wanted % last->stride + last->stride;         /* the next one that was marked */
    *begin = mark_of(last, wanted);
    if (wanted % last->stride == 0) return true;
    if (behind < last->seen) last_begin(last, behind - wanted, mark_of(last, behind));
    else last_begin(last, last->seen - wanted, last->end);
    return false;
}

/* ---- last per topic ----------------------------------------------------------------------------------------- */

static void count_topics(struct survey *survey, uint64_t bytes)
{
    survey->broker->surveys_bytes += bytes - survey->topics_bytes;
    survey->topics_bytes = bytes;
}

static void see_topic(struct survey *survey, uint64_t seq, mps_view topic)
{
    uint64_t others = survey->broker->surveys_bytes - survey->topics_bytes;
    uint64_t most = others < SURVEYS_BYTES_MAX ? SURVEYS_BYTES_MAX - others : 0;
    uint64_t work = survey->topics->work;
    if (!survey_topics_see(survey->topics, seq, topic, most)) {
        survey->is_cut = true;
        survey->end = seq;
    }
    survey->broker->work += survey->topics->work - work;
    count_topics(survey, survey->topics->bytes);
}

static void put_in_place(struct survey *survey)
{
    struct survey_topics *topics = survey->topics;
    if (survey->chosen == NULL) survey->chosen = sure_alloc((topics->count + 1) * sizeof survey->chosen[0]);
    uint32_t count = survey_topics_take(topics, survey->chosen + survey->count, SORT_A_STEP);
    survey->broker->work += 1 + count;
    survey->count += count;
    if (count > 0 || survey_topics_free_some(topics)) return;
    free(topics);
    survey->topics = NULL;
    count_topics(survey, survey->count * sizeof survey->chosen[0]);
    survey->is_done = true;
}

/* ---- both --------------------------------------------------------------------------------------------------- */

struct survey *survey_new(struct broker *broker, const struct survey_request *request, uint64_t first)
{
    struct survey *survey = sure_zeroed(sizeof *survey);
    *survey = (struct survey){.broker = broker, .request = *request, .at = first, .end = request->end};
    if (request->kind == MPS_FROM_LAST_PER_TOPIC) {
        survey->topics = sure_zeroed(sizeof *survey->topics);
        survey->topics->seed = broker->seed;
    } else if (request->number > 0) {
        survey->last = sure_alloc(sizeof *survey->last);
        last_begin(survey->last, request->number, survey->end);
    }
    if (first < survey->end && (survey->last != NULL || survey->topics != NULL)) return survey;
    survey->at = survey->end;
    survey->is_done = true;
    return survey;
}

void survey_free(struct survey *survey)
{
    if (survey == NULL) return;
    if (survey->topics != NULL)
        while (survey_topics_free_some(survey->topics)) continue;
    count_topics(survey, 0);
    free(survey->topics);
    free(survey->last);
    free(survey->chosen);
    free(survey);
}

const struct survey_request *survey_asked(const struct survey *survey)
{
    return &survey->request;
}

bool survey_is_done(const struct survey *survey)
{
    return survey->is_done;
}

bool survey_is_cut(const struct survey *survey)
{
    return survey->is_cut;
}

static uint64_t look_end(const struct survey *survey)
{
    return survey->last != NULL ? survey->last->end : survey->end;
}

uint64_t survey_at(const struct survey *survey)
{
    return survey->at;
}

void survey_pass(struct survey *survey, uint64_t to)
{
    if (to > survey->at) survey->at = to;
}

bool survey_looks(const struct survey *survey)
{
    return !survey->is_done && survey->at < look_end(survey);
}

void survey_step(struct survey *survey)
{
    if (survey->topics != NULL) {
        put_in_place(survey);
        return;
    }
    survey->is_done = last_ends(survey->last, &survey->at);
    if (!survey->is_done) return;
    survey->end = survey->at; /* from there on everything that matches is of interest */
    free(survey->last);
    survey->last = NULL;
}

void survey_see(struct survey *survey, uint64_t seq, mps_view topic)
{
    if (seq >= look_end(survey)) return;
    if (survey->topics != NULL) see_topic(survey, seq, topic);
    else last_see(survey->last, seq);
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
