#include <string.h>

#include "input.h"
#include "plain.h"

bool messages_finish_run(struct input *in)
{
    struct run *run = in->publish.run;
    uint32_t taken = takes_input(in->session) ? publish_run(in->session, &in->publish, in->work_end) : run->count;
    in->publish.run = NULL;
    if (taken == run->count) return takes_input(in->session);
    in->p = run->bytes + run_skip(run, 0, taken);
    in->session->scan = (struct mps_scan){0};
    in->waits = true;
    return false;
}

/* Whether two heads of len bytes are the same. With a call of memcmp a message would cost 68 instead of 38. */
static inline bool same_head(const uint8_t *a, const uint8_t *b, uint32_t len)
{
    uint64_t x, y;
    uint32_t u, v;
    if (len < sizeof x) { /* the shortest head has 5 */
        memcpy(&u, a, sizeof u);
        memcpy(&v, b, sizeof v);
        return u == v && memcmp(a + len - sizeof u, b + len - sizeof v, sizeof u) == 0;
    }
    for (uint32_t at = 0; at + sizeof x < len; at += sizeof x) {
        memcpy(&x, a + at, sizeof x);
        memcpy(&y, b + at, sizeof y);
        if (x != y) return false;
    }
    memcpy(&x, a + len - sizeof x, sizeof x);
    memcpy(&y, b + len - sizeof y, sizeof y);
    return x == y;
}

static void add_frame(struct input *in, uint32_t frame_len)
{
    struct run *run = in->publish.run;
    if (frame_len > run->longest) run->longest = frame_len;
    if (run->count == 0 || frame_len < run->shortest) run->shortest = frame_len;
    run->last_off = run->len;
    run->count++;
    run->len += frame_len;
    in->p += frame_len;
}

/* Length of the bin whose head is at p, with its head; 0 if it has the widest head. */
static inline uint32_t short_bin_len(const uint8_t *p)
{
    if (p[0] == 0xc4) return 2 + (uint32_t)p[1];
    if (p[0] == 0xc5) return 3 + (uint32_t)(p[1] << 8 | p[2]);
    return 0;
}

/* The hot path: messages with the same head as the one before (topic and props) cost one comparison and the length
 * of their payload each and no look-up: 38 instructions from read to write, where another topic costs 440 to 1,500. */
bool messages_grow(struct input *in)
{
    struct run *run = in->publish.run;
    uint32_t head_len = in->head_len, max_len = head_len + 2 + in->session->broker->limits.max_payload;
    if (run == NULL || head_len == 0) return false;
    const uint8_t *p = in->p, *last = NULL;
    uint32_t count = 0, longest = run->longest, shortest = run->shortest;
    for (size_t left; (left = (size_t)(in->end - p)) >= head_len + 5 && same_head(p, in->head, head_len); count++) {
        uint32_t bin_len = short_bin_len(p + head_len), frame_len = head_len + bin_len;
        if (bin_len == 0 || frame_len > left || frame_len > max_len) break;
        if (frame_len > longest) longest = frame_len;
        if (frame_len < shortest) shortest = frame_len;
        last = p;
        p += frame_len;
    }
    if (count == 0) return false;
    run->longest = longest;
    run->shortest = shortest;
    run->last_off = (uint32_t)(last - run->bytes);
    run->count += count;
    run->len = (uint32_t)(p - run->bytes);
    in->p = p;
    return true;
}

/* Bytes of the payload's own head, which ends at payload_at. */
static uint32_t bin_head_len(const uint8_t *frame, const struct mps_scan *scan)
{
    if (scan->payload_len <= UINT8_MAX && frame[scan->payload_at - 2] == 0xc4) return 2;
    if (scan->payload_len <= UINT16_MAX && frame[scan->payload_at - 3] == 0xc5) return 3;
    return 5;
}

/* Whether others have made this turn long: the message at .p waits for the next one. Asked before its route is looked
 * up, which is what may cost most: else each of a thousand connections could have one look-up in each turn. */
static bool turn_is_over(struct input *in)
{
    const struct broker *broker = in->session->broker;
    if (broker->work < broker->turn_work_end) return false;
    if (messages_finish(in)) in->waits = true;
    return true;
}

/* Of a topic without a route something else is to be judged first: it begins with $, or is none. */
static inline bool is_denied(const struct session *session, const struct publish *publish)
{
    return session->grant != NULL && publish->route != NULL && !grant_publishes(session->grant, publish->topic);
}

/* The message at .p, which is in nobody's way, begins a run of its own: begin is all but the run. */
static void begin_run(struct input *in, uint32_t frame_len, uint32_t head_len, struct publish begin)
{
    /* A run to an inbox, and answers to one of requests, may ask for more routes than begin's outlives. */
    bool has_routed = in->publish.run != NULL && in->publish.route == NULL;
    if (!messages_finish(in)) return;
    if (has_routed && begin.route != NULL) begin.route = router_route(in->session->broker, begin.topic);
    in->head = in->p;
    in->head_len = head_len;
    in->publish = begin;
    in->publish.run = run_new(&in->session->broker->runs, in->slab, in->p);
    add_frame(in, frame_len);
}

/* A whole message of the common shape, but of another topic than the one before, costs this and a look-up. Returns
 * false if this isn't one: step() takes all. */
bool messages_take_plain(struct input *in)
{
    struct session *session = in->session;
    size_t left = (size_t)(in->end - in->p);
    struct mps_plain plain;
    if (session->scan.values > 0 || session->state != SESSION_READY || (session->terms.flags & MPS_PUB_EACH))
        return false;
    if (!mps_plain_read(in->p, left, &plain) || plain.payload_len > session->broker->limits.max_payload ||
        plain.payload_at + plain.payload_len > left)
        return false;
    if (turn_is_over(in)) return true;
    struct publish begin = {.topic = {in->p + plain.topic_at, plain.topic_len}};
    begin.route = router_route(session->broker, begin.topic);
    begin.is_denied = is_denied(session, &begin);
    in->frames++;
    if (in->publish.run != NULL && begin.route != NULL && !begin.is_denied &&
        publish_joins(session, &in->publish, begin.route)) {
        in->publish.route = begin.route;
        in->publish.is_joined = true;
        in->head = in->p;
        in->head_len = plain.bin_at;
        add_frame(in, plain.payload_at + plain.payload_len);
    } else {
        if (begin.route != NULL) router_prefetch(begin.route);
        begin_run(in, plain.payload_at + plain.payload_len, plain.bin_at, begin);
    }
    return true;
}

void messages_take(struct input *in, const struct mps_scan *scan)
{
    struct session *session = in->session;
    struct mps_msg msg;
    const char *what;
    bool plain = scan->elements == 4 && !(session->terms.flags & MPS_PUB_EACH);
    if (turn_is_over(in)) return;
    if (mps_decode_msg((mps_view){in->p, scan->pos}, &msg, &what) != MPS_OK) {
        if (messages_finish(in)) session_byef(session, MPS_MALFORMED, "malformed MSG: %s", what);
        return;
    }
    struct publish begin = {.topic = msg.topic, .props = msg.props, .route = router_route(session->broker, msg.topic)};
    begin.is_denied = is_denied(session, &begin);
    begin_run(in, scan->pos, plain ? scan->payload_at - bin_head_len(in->p, scan) : 0, begin);
}
