#include <string.h>

#include "client.h"

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
}
