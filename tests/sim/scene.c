#include <string.h>

#include "client.h"

#define TIGHT_SESSION_BYTES 1000000 /* a connection's budget below this matters */

struct name name_of(const char *text)
{
    struct name name = {.len = (uint32_t)strlen(text)};
    memcpy(name.text, text, name.len + 1);
    return name;
}

static struct name random_topic(struct rng *rng)
{
    static const char *const levels[] = {
        "a", "b", "c", "a", "", "site", "\xc3\xa9t\xc3\xa9", "$x", "temperature-of-the-north-wing"};
    char text[256] = "";
    uint32_t depth = rng_between(rng, 1, 4);
    for (uint32_t i = 0; i < depth; i++) {
        const char *level = levels[rng_below(rng, sizeof levels / sizeof *levels)];
        if (i == 0 && (level[0] == '$' || (level[0] == '\0' && depth == 1))) level = "a";
        if (i > 0) strcat(text, "/");
        strcat(text, level);
    }
    return name_of(text);
}

/* A topic with some of its levels made wildcards. */
static struct name random_pattern(struct rng *rng, const struct name *topic)
{
    char text[300] = "";
    const char *p = topic->text;
    for (bool first = true;; first = false) {
        size_t len = strcspn(p, "/");
        if (!first) strcat(text, "/");
        if (rng_percent(rng, 15)) {
            strcat(text, "#");
            break;
        }
        if (rng_percent(rng, 30)) strcat(text, "+");
        else strncat(text, p, len);
        if (p[len] == '\0') break;
        p += len + 1;
    }
    size_t levels = 1;
    for (const char *c = text; *c != '\0'; c++) levels += *c == '/';
    bool room = strlen(text) < 200 && levels < MPS_TOPIC_LEVELS_MAX;
    if (rng_percent(rng, 10) && room && text[strlen(text) - 1] != '#') strcat(text, "/#");
    return name_of(text[0] ? text : "#");
}

/* The longest that is allowed, in bytes and in levels. */
static struct name longest_topic(bool in_levels)
{
    char text[256];
    memset(text, in_levels ? '/' : 'x', sizeof text);
    text[in_levels ? 31 : 255] = '\0';
    return name_of(text);
}

const struct name *scene_topic(const struct scene *scene)
{
    return &scene->topics[rng_below(scene->rng, scene->topics_count)];
}

static enum mps_policy random_policy(struct rng *rng)
{
    static const enum mps_policy policies[] = {MPS_POLICY_DROP_OLD, MPS_POLICY_DROP_NEW, MPS_POLICY_LATEST,
                                               MPS_POLICY_LATEST,   MPS_POLICY_CLOSE,    MPS_POLICY_BLOCK,
                                               MPS_POLICY_BLOCK};
    return policies[rng_below(rng, sizeof policies / sizeof *policies)];
}

void scene_queue_options(const struct scene *scene, struct sub_options *o)
{
    static const enum mps_policy thens[] = {MPS_POLICY_DROP_OLD, MPS_POLICY_DROP_NEW, MPS_POLICY_CLOSE};
    struct rng *rng = scene->rng;
    *o = (struct sub_options){.then = MPS_POLICY_DROP_NEW, .filter = NO_FILTER, .credit = UINT64_MAX};
    if (rng_percent(rng, scene->policy_percent)) o->policy = random_policy(rng);
    if (o->policy == MPS_POLICY_BLOCK && !scene->blocks) o->policy = MPS_POLICY_DROP_NEW;
    if (o->policy == MPS_POLICY_CLOSE && scene->blocks) o->policy = MPS_POLICY_DROP_NEW;
    if (scene->blocks && (o->policy == MPS_POLICY_BLOCK || rng_percent(rng, 10))) {
        /* When several queues of a connection overflow, which did first decides what the others still took. */
        if (rng_percent(rng, 60)) o->then = thens[rng_below(rng, scene->one_blocks ? 3 : 2)];
        o->block_ms = scene->block_ms;
    }
    if (rng_percent(rng, scene->filter_percent)) o->filter = (int)rng_below(rng, (uint32_t)filter_count());
    if (scene->small_queues && rng_percent(rng, 60)) o->max_msgs = rng_skewed(rng, 50);
    if (scene->small_queues && rng_percent(rng, 30)) o->max_bytes = rng_between(rng, 20, 30 + 6 * scene->payload_usual);
}

static uint32_t sometimes(struct rng *rng, uint32_t seeds_percent, uint32_t most)
{
    return rng_percent(rng, seeds_percent) ? rng_between(rng, 1, most) : 0;
}

static void choose_features(struct scene *scene)
{
    struct rng *rng = scene->rng;
    scene->policy_percent = sometimes(rng, 75, 100);
    scene->blocks = rng_percent(rng, 50);
    scene->one_blocks = rng_percent(rng, 30);
    scene->model->holds_most = scene->one_blocks ? 2 : 1;
    if (rng_percent(rng, 70)) scene->block_ms = rng_percent(rng, 60) ? rng_skewed(rng, 100) : rng_skewed(rng, 5000);
    scene->credit_percent = sometimes(rng, 40, 80);
    scene->filter_percent = sometimes(rng, 40, 70);
    scene->no_local_percent = sometimes(rng, 30, 50);
    scene->upsert_percent = sometimes(rng, 80, 80);
    scene->ttl_percent = sometimes(rng, 35, 70);
    scene->key_percent = sometimes(rng, 40, 90);
    scene->document_percent = scene->filter_percent > 0 ? 80 : 10;
    scene->inbox_percent = sometimes(rng, 30, 40);
    scene->will_percent = sometimes(rng, 50, 50);
    scene->rx_max_percent = sometimes(rng, 60, 40);
    scene->group_percent = sometimes(rng, 40, 60);
    if (scene->model->limits.session_queue_bytes < TIGHT_SESSION_BYTES) {
        scene->apart = true; /* in which order queues of a connection get a message would matter */
        scene->rx_max_percent = scene->ttl_percent = 0;
        scene->blocks = false;
    }
    if (scene->model->tight_total) /* what goes then shows in the broker's own figures, and not of these */
        scene->group_percent = scene->inbox_percent = scene->ttl_percent = 0;
    if (scene->blocks) scene->ttl_percent = 0; /* how soon a held publisher sees that something has expired is open */
    if (scene->group_percent > 0) {
        scene->groups_count = rng_between(rng, 1, SCENE_GROUPS_MAX);
        scene->payload_least = 8; /* no two messages are the same: who got which must be plain */
    }
}

static void choose_groups(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->groups_count; i++) {
        struct scene_group *group = &scene->groups[i];
        group->pattern = scene->patterns[i % scene->patterns_count];
        /* The same name with another pattern is another group. */
        bool same = i == 1 && !name_equal(&group->pattern, &scene->groups[0].pattern);
        strcpy(group->name, i == 0 || same ? "group0" : i == 1 ? "group1" : "group2");
        scene_queue_options(scene, &group->options);
        if (rng_percent(scene->rng, scene->read_percent)) scene_reader_options(scene, &group->options);
        if (group->options.policy == MPS_POLICY_CLOSE ||
            (scene->one_blocks && group->options.policy == MPS_POLICY_BLOCK))
            group->options.policy = MPS_POLICY_DROP_NEW;
        if (group->options.then == MPS_POLICY_CLOSE) group->options.then = MPS_POLICY_DROP_OLD;
    }
}

void scene_open(struct scene *scene, struct model *model, struct rng *rng)
{
    *scene = (struct scene){.model = model, .rng = rng};
    scene->topics_count = rng_between(rng, 1, SCENE_NAMES_MAX);
    for (uint32_t i = 0; i < scene->topics_count; i++) {
        scene->topics[i] = random_topic(rng);
        if (rng_percent(rng, 2)) scene->topics[i] = longest_topic(rng_percent(rng, 50));
    }
    scene->patterns_count = rng_between(rng, 1, SCENE_NAMES_MAX);
    for (uint32_t i = 0; i < scene->patterns_count; i++) {
        const struct name *topic = &scene->topics[rng_below(rng, scene->topics_count)];
        scene->patterns[i] = rng_percent(rng, 25) ? *topic : random_pattern(rng, topic);
    }
    scene->sids_count = rng_percent(rng, 20) ? 200 : rng_between(rng, 1, 8);
    scene->payload_usual = rng_percent(rng, 15) ? 20000 : rng_between(rng, 1, 300);
    scene->retain_percent = rng_percent(rng, 30) ? 0 : rng_between(rng, 1, 60);
    scene->ack_percent = rng_between(rng, 0, 100);
    scene->trouble_permille = rng_percent(rng, 50) ? 0 : rng_between(rng, 1, 20);
    scene->small_queues = rng_percent(rng, 70);
    scene->rx_max = rng_between(rng, 20, 1 + 2 * scene->payload_usual + 60);
    choose_features(scene);
    scene_open_streams(scene);
    choose_groups(scene);
}
