/* Messages through the broker's core: one publisher, and subscribers of a plan. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"
#include "traffic.h"
#include "world.h"

#define LOOKING_MAX 10 /* subscribers whose frames are told apart; of the others bytes are compared with theirs */
#define PAYLOAD_BYTES 64
#define WARM_UP_COUNT 2000

enum { BATCHED, ONE_A_TURN };
enum { IN_TURN, AT_RANDOM };

struct plan {
    uint32_t subscribers, stalled; /* connections; each stalled one takes nothing from its subscription on */
    uint32_t patterns;             /* that each subscribes to; 0: 1 */
    const char *pattern;           /* %u: its number */
    const char *topic;             /* %u: its number, %u: a second one */
    uint32_t topics, second;       /* how many numbers there are; 0: 1 */
    uint32_t payload_bytes;        /* 0: PAYLOAD_BYTES */
    uint8_t pace, order;           /* BATCHED, ONE_A_TURN; IN_TURN, AT_RANDOM */
    bool acked;
    const char *filter;                    /* every second message passes */
    const struct mps_sub_options *options; /* NULL: none */
};

struct scene {
    struct world *world;
    const struct plan *plan;
    struct link *publisher, **subscribers;
    struct traffic warm_up, traffic;
    uint64_t warm_up_count, published, random; /* published: with those */
};

static uint32_t at_least_1(uint32_t number)
{
    return number > 0 ? number : 1;
}

/* ---- what is published ------------------------------------------------------------------------------------------ */

static uint32_t chance(struct scene *scene, uint32_t below)
{
    scene->random = scene->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)((scene->random >> 33) % below);
}

/* A map of ten keys of which a filter asks for two. */
static size_t write_document(uint8_t *buf, size_t cap, uint64_t number)
{
    static const char *const others[] = {"id", "unit", "line", "rack", "slot", "load", "volt", "amps"};
    struct mps_out out = mps_out_open(buf, cap);
    mps_put_map(&out, 10);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (i == 4) {
            mps_put_text(&out, mps_text("temp"));
            mps_put_uint(&out, number % 2 ? 31 : 21);
        }
        mps_put_text(&out, mps_text(others[i]));
        mps_put_uint(&out, 1000 + i);
    }
    mps_put_text(&out, mps_text("site"));
    mps_put_text(&out, mps_text("a"));
    return out.len;
}

static void add_message(struct scene *scene, struct traffic *traffic, uint64_t number)
{
    static uint8_t payload[MPS_PAYLOAD_MAX];
    const struct plan *plan = scene->plan;
    uint32_t topics = at_least_1(plan->topics), second = at_least_1(plan->second);
    bool random = plan->order == AT_RANDOM;
    uint32_t first_number = random ? chance(scene, topics) : (uint32_t)(number % topics);
    uint32_t second_number = random ? chance(scene, second) : 0;
    char topic[MPS_TOPIC_MAX + 1];
    size_t len = plan->payload_bytes > 0 ? plan->payload_bytes : PAYLOAD_BYTES;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(topic, sizeof topic, plan->topic, first_number, second_number);
#pragma GCC diagnostic pop
    memcpy(payload, &number, sizeof number);
    if (plan->filter != NULL) len = write_document(payload, sizeof payload, number);
    traffic_message(traffic, topic, (mps_view){NULL, 0}, payload, len);
    if (plan->pace == ONE_A_TURN) traffic_cut(traffic);
}

static void fill(struct scene *scene, struct traffic *traffic, uint64_t messages)
{
    for (uint64_t i = 0; i < messages; i++) add_message(scene, traffic, i);
    traffic_cut_batches(traffic);
}

static void publish_traffic(void *arg)
{
    struct scene *scene = arg;
    traffic_send(&scene->traffic, scene->world, scene->publisher);
}

static void ask_for_answers(struct scene *scene)
{
    uint8_t frame[MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(frame, sizeof frame);
    mps_encode_pub(&out, &(struct mps_pub){.pid = 1, .flags = 1 << MPS_PUB_LEVEL_SHIFT});
    world_turn(scene->world, scene->publisher, frame, out.len);
}

/* ---- who subscribes --------------------------------------------------------------------------------------------- */

static struct link *add_subscriber(struct scene *scene)
{
    const struct plan *plan = scene->plan;
    struct link *link = world_join(scene->world);
    struct mps_sub_options options = {0};
    if (plan->options != NULL) options = *plan->options;
    if (plan->filter != NULL) {
        options.given |= MPS_SUB_FILTER;
        options.filter = mps_text(plan->filter);
    }
    for (uint32_t i = 0; i < at_least_1(plan->patterns); i++) {
        char pattern[MPS_TOPIC_MAX + 1];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(pattern, sizeof pattern, plan->pattern, i);
#pragma GCC diagnostic pop
        world_subscribe(scene->world, link, i + 1, pattern, &options);
    }
    return link;
}

static void set_up(struct scene *scene, uint64_t messages)
{
    const struct plan *plan = scene->plan;
    scene->world = world_new();
    scene->random = 1;
    scene->warm_up_count = messages < WARM_UP_COUNT ? messages : WARM_UP_COUNT;
    scene->published = scene->warm_up_count + messages;
    scene->publisher = world_join(scene->world);
    uint32_t all = plan->subscribers + plan->stalled;
    scene->subscribers = calloc(all + 1, sizeof(struct link *));
    if (scene->subscribers == NULL) fail("no memory");
    for (uint32_t i = 0; i < all; i++) {
        scene->subscribers[i] = add_subscriber(scene);
        scene->subscribers[i]->looks = i < LOOKING_MAX;
        scene->subscribers[i]->takes_nothing = i >= plan->subscribers;
    }
    fill(scene, &scene->warm_up, scene->warm_up_count);
    fill(scene, &scene->traffic, messages);
    if (plan->acked) ask_for_answers(scene);
    traffic_send(&scene->warm_up, scene->world, scene->publisher);
}

static void tear_down(struct scene *scene)
{
    world_free(scene->world);
    traffic_free(&scene->warm_up);
    traffic_free(&scene->traffic);
    free(scene->subscribers);
}

/* ---- whether everything came out -------------------------------------------------------------------------------- */

static bool adds_up(const struct subscription_figures *f, void *arg)
{
    const struct scene *scene = arg;
    if (!f->link->takes_nothing || f->sid == 0) return true;
    if (f->matched != scene->published) fail("a stalled subscription matched %" PRIu64 " messages", f->matched);
    if (f->matched != f->sent + f->lost + f->queued) fail("a stalled subscription's counts do not add up");
    if (f->queued == 0) fail("a stalled subscription's queue is empty");
    return true;
}

static uint64_t expected_of_one(const struct scene *scene, uint64_t messages)
{
    if (scene->plan->filter != NULL) return messages / 2;
    return messages;
}

/* Each subscriber has got what it had to, exactly. Returns how many messages that were, of all subscribers. */
static uint64_t verify(struct scene *scene, uint64_t messages)
{
    const struct plan *plan = scene->plan;
    struct broker_figures figures;
    uint64_t due = expected_of_one(scene, scene->warm_up_count) + expected_of_one(scene, messages);
    bool may_lose = plan->options != NULL && plan->options->policy == MPS_POLICY_LATEST;
    for (uint32_t i = 0; i < plan->subscribers; i++) {
        const struct link *link = scene->subscribers[i], *first = scene->subscribers[0];
        uint64_t got = link->frames[MPS_OP_MSG];
        if (link->looks && (got + link->lost != due || (link->lost > 0 && !may_lose)))
            fail("a subscriber got %" PRIu64 " of %" PRIu64 " messages, and lost %" PRIu64, got, due, link->lost);
        if (link->bytes != first->bytes)
            fail("a subscriber got %" PRIu64 " bytes, another one %" PRIu64, link->bytes, first->bytes);
    }
    if (plan->acked && scene->publisher->acked_pid != scene->published)
        fail("%" PRIu64 " of %" PRIu64 " messages were answered", scene->publisher->acked_pid, scene->published);
    broker_each_subscription(world_broker(scene->world), adds_up, scene);
    broker_figures(world_broker(scene->world), &figures);
    if (figures.messages_in != scene->published) fail("the broker took %" PRIu64 " messages", figures.messages_in);
    return expected_of_one(scene, messages) * plan->subscribers;
}

static uint64_t play(uint64_t messages, const void *arg)
{
    struct scene scene = {.plan = arg};
    set_up(&scene, messages);
    measured(publish_traffic, &scene);
    uint64_t delivered = verify(&scene, messages);
    tear_down(&scene);
    /* Where most of the work is for those who get nothing now, it is for what was published. */
    bool by_published = scene.plan->stalled > 0 || scene.plan->subscribers == 0;
    return by_published ? messages : delivered;
}

/* ---- the scenarios ---------------------------------------------------------------------------------------------- */

#define PLAN &(const struct plan)
#define SITES "temp > 30 and site == \"a\""

static const struct mps_sub_options latest = {.given = MPS_SUB_POLICY, .policy = MPS_POLICY_LATEST};
static const struct mps_sub_options at_most_1000 = {.given = MPS_SUB_MAX_MSGS, .max_msgs = 1000};

const struct scenario broker_scenarios[] = {
    {"one_to_one", 150000, play, PLAN{.subscribers = 1, .pattern = "t/x", .topic = "t/x"}, "delivered"},
    {"one_to_one_single", 50000, play, PLAN{.subscribers = 1, .pattern = "t/x", .topic = "t/x", .pace = ONE_A_TURN},
     "delivered"},
    {"one_to_100", 50000, play, PLAN{.subscribers = 100, .pattern = "t/x", .topic = "t/x"}, "delivered"},
    {"one_to_1000", 50000, play, PLAN{.subscribers = 1000, .pattern = "t/x", .topic = "t/x"}, "delivered"},
    {"one_to_1000_single", 100, play, PLAN{.subscribers = 1000, .pattern = "t/x", .topic = "t/x", .pace = ONE_A_TURN},
     "delivered"},
    {"interleaved_10", 50000, play, PLAN{.subscribers = 1, .pattern = "#", .topic = "t/%u", .topics = 10},
     "delivered"},
    {"interleaved_1000", 50000, play, PLAN{.subscribers = 1, .pattern = "#", .topic = "t/%u", .topics = 1000},
     "delivered"},
    {"interleaved_1000_exact", 50000, play,
     PLAN{.subscribers = 1, .patterns = 1000, .pattern = "t/%u", .topic = "t/%u", .topics = 1000}, "delivered"},
    {"wildcards_10000_random", 20000, play,
     PLAN{.subscribers = 1,
          .patterns = 10000,
          .pattern = "r/%u/+/t",
          .topic = "r/%u/%u/t",
          .topics = 10000,
          .second = 1000,
          .order = AT_RANDOM},
     "delivered"},
    {"wildcards_10000_hot", 30000, play,
     PLAN{.subscribers = 1,
          .patterns = 10000,
          .pattern = "r/%u/+/t",
          .topic = "r/%u/7/t",
          .topics = 1000,
          .order = AT_RANDOM},
     "delivered"},
    {"acked_batch", 100000, play, PLAN{.subscribers = 1, .pattern = "t/x", .topic = "t/x", .acked = true}, "delivered"},
    {"acked_single", 30000, play,
     PLAN{.subscribers = 1, .pattern = "t/x", .topic = "t/x", .pace = ONE_A_TURN, .acked = true}, "delivered"},
    {"filters_10", 10000, play, PLAN{.subscribers = 10, .pattern = "t/x", .topic = "t/x", .filter = SITES},
     "delivered"},
    {"stalled_1000", 20000, play,
     PLAN{.subscribers = 1, .stalled = 1000, .pattern = "t/x", .topic = "t/x", .options = &at_most_1000}, "published"},
    {"latest_100", 50000, play,
     PLAN{.subscribers = 1, .pattern = "t/+", .topic = "t/%u", .topics = 100, .options = &latest}, "published"},
    {"nobody", 100000, play, PLAN{.topic = "t/x"}, "published"},
    {"large_frames", 12, play, PLAN{.subscribers = 1, .pattern = "t/x", .topic = "t/x", .payload_bytes = 1024 * 1024},
     "delivered"},
    {NULL, 0, NULL, NULL, NULL},
};
