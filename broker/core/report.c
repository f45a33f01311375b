/* Reports of the broker's state to whoever may know it ($SYS/request/report). All that there is of something is looked
 * at, some of it in each turn, and what belongs into the report is copied then: it may be gone when the report is
 * complete. */
#include <stdio.h>
#include <stdlib.h>

#include "cluster/figures.h"
#include "operator.h"
#include "report_list.h"
#include "report_terms.h"
#include "sure.h"
#include "sys_maps.h"
#include "tally.h"

/* Reports that are made at a time, one after the other. */
#define REPORTS_MAX 4u
/* Steps of one turn. */
#define REPORT_WORK_A_TURN (WORK_A_TURN / 4)
/* To copy an entry takes as long as so many of them. */
#define COPY_WORK 4u
/* Topics are counted for so long after the last report that asked for them. */
#define TALLY_MS 30000u
/* Bytes of a report without the entries of its lists. */
#define FRAME_BYTES (3 * SYS_MAP_MAX + 1024)
/* A report may be as long as what is published, max_payload, but at least and at most so many bytes. */
#define PAYLOAD_LEAST (64u * 1024)
#define PAYLOAD_MOST (8u * 1024 * 1024)

struct report {
    struct list_node in_reports;
    struct broker *broker;
    struct reply_address *to;
    uint32_t payload_max;
    struct report_terms terms;
    struct report_list lists[REPORT_SECTIONS]; /* of those that are lists */
    /* Walks that go on over several turns; NULL: it is over. */
    struct list_node *box;   /* in broker.boxes */
    struct session *session; /* in broker.sessions */
};

static bool asks_for(const struct report *report, enum report_section section)
{
    return (report->terms.sections >> section & 1) != 0;
}

static bool is_list(unsigned section)
{
    return section != REPORT_BROKER && section != REPORT_LIMITS;
}

/* ---- beginning ---------------------------------------------------------------------------------------------- */

static void want_topics(struct broker *broker)
{
    if (broker->tally == NULL) broker->tally = tally_new(broker);
    broker->tally_ends_ms = broker->now_ms + TALLY_MS;
}

static uint32_t payload_max(const struct session *session, const struct reply_address *to)
{
    uint64_t most = least(session->broker->limits.max_payload, PAYLOAD_MOST);
    return (uint32_t)least(operator_answer_max(session, to), most > PAYLOAD_LEAST ? most : PAYLOAD_LEAST);
}

/* What fits into the answer is shared among the lists. */
static void set_bounds(struct report *report)
{
    uint32_t lists = 0, room = report->payload_max > FRAME_BYTES ? report->payload_max - FRAME_BYTES : 0;
    for (unsigned i = 0; i < REPORT_SECTIONS; i++) lists += is_list(i) && asks_for(report, i);
    for (unsigned i = 0; i < REPORT_SECTIONS; i++) {
        report->lists[i].entries_max = report->terms.limit;
        report->lists[i].bytes_max = lists > 0 ? room / lists : 0;
    }
}

void report_request(struct session *session, const struct mps_msg *request)
{
    struct broker *broker = session->broker;
    struct report_terms terms;
    char text[300];
    if (!report_terms_read(&terms, request->payload, text, sizeof text)) {
        operator_answer_error(broker, request, text);
        return;
    }
    if (broker->reports_count >= REPORTS_MAX) {
        operator_answer_error(broker, request, "too many reports are being made: ask again later");
        return;
    }
    struct reply_address *to = reply_address_new(request);
    if (to == NULL) return; /* nor is there memory for saying so */
    struct report *report = sure_zeroed(sizeof *report);
    report->broker = broker;
    report->to = to;
    report->payload_max = payload_max(session, to);
    report->terms = terms;
    set_bounds(report);
    if (asks_for(report, REPORT_TOPICS)) want_topics(broker);
    if (asks_for(report, REPORT_SUBSCRIPTIONS) || asks_for(report, REPORT_GROUPS)) report->box = broker->boxes.first;
    if (asks_for(report, REPORT_CONNECTIONS)) report->session = broker->sessions;
    list_append(&broker->reports, &report->in_reports);
    broker->reports_count++;
    broker->has_asides = true;
}

static void report_free(struct report *report)
{
    for (unsigned i = 0; i < REPORT_SECTIONS; i++) report_list_free(&report->lists[i]);
    list_remove(&report->broker->reports, &report->in_reports);
    report->broker->reports_count--;
    free(report->to);
    free(report);
}

void report_free_all(struct broker *broker)
{
    while (broker->reports.first != NULL) report_free(container_of(broker->reports.first, struct report, in_reports));
    tally_free(broker->tally);
    broker->tally = NULL;
}

void report_mailbox_gone(struct mailbox *box)
{
    for (struct list_node *node = box->broker->reports.first; node != NULL; node = node->next) {
        struct report *report = container_of(node, struct report, in_reports);
        if (report->box == &box->in_boxes) report->box = box->in_boxes.next;
    }
}

void report_session_gone(struct session *session)
{
    for (struct list_node *node = session->broker->reports.first; node != NULL; node = node->next) {
        struct report *report = container_of(node, struct report, in_reports);
        if (report->session == session) report->session = session->next;
    }
}

/* ---- looking ------------------------------------------------------------------------------------------------ */

/* Whether this one belongs into its list, by its key. */
static bool see(struct report *report, enum report_section section, const void *thing, uint64_t *key)
{
    report_key_fn of = report->terms.keys[section];
    *key = of != NULL ? of(thing) : 0;
    return report_list_see(&report->lists[section], *key);
}

static void add(struct report *report, enum report_section section, uint64_t key, const struct mps_out *map)
{
    report->broker->work += COPY_WORK;
    report_list_add(&report->lists[section], key, mps_out_view(map));
}

static void see_box(struct report *report, const struct mailbox *box)
{
    uint8_t room[SYS_MAP_MAX];
    struct mps_out map = mps_out_open(room, sizeof room);
    enum report_section section = box->session == NULL ? REPORT_GROUPS : REPORT_SUBSCRIPTIONS;
    uint64_t key;
    if (!asks_for(report, section)) return;
    if (section == REPORT_GROUPS) {
        if (!see(report, section, box, &key)) return;
        sys_put_group(&map, container_of(box, struct group, box));
    } else {
        const struct subscription *sub = container_of(box, struct subscription, box);
        bool is_told = sub->sid != 0 && sub->session->id.ptr != NULL; /* no inbox; its connection is not ending */
        if (!is_told || !see(report, section, box, &key)) return;
        sys_put_subscription(&map, sub, true);
    }
    add(report, section, key, &map);
}

static void see_session(struct report *report, const struct session *session)
{
    uint8_t room[SYS_MAP_MAX];
    struct mps_out map = mps_out_open(room, sizeof room);
    uint64_t key;
    if (session->id.ptr == NULL || session->link == NULL || !see(report, REPORT_CONNECTIONS, session, &key)) return;
    sys_put_connection(&map, session);
    add(report, REPORT_CONNECTIONS, key, &map);
}

static void see_streams(struct report *report)
{
    for (uint32_t i = 0; i < report->broker->streams_count; i++) {
        const struct stream *stream = report->broker->streams[i];
        uint64_t key;
        if (!see(report, REPORT_STREAMS, stream, &key)) continue;
        uint32_t cap = sys_stream_map_max(stream);
        uint8_t *room = sure_alloc(cap);
        struct mps_out map = mps_out_open(room, cap);
        sys_put_stream(&map, stream);
        add(report, REPORT_STREAMS, key, &map);
        free(room);
    }
}

static void see_topics(struct report *report)
{
    const struct hash *topics = &report->broker->tally->topics;
    for (struct hash_node *node = hash_first(topics); node != NULL; node = hash_next(topics, node)) {
        const struct tally_topic *topic = container_of(node, struct tally_topic, in_topics);
        uint8_t room[SYS_MAP_MAX];
        struct mps_out map = mps_out_open(room, sizeof room);
        uint64_t key;
        if (!see(report, REPORT_TOPICS, topic, &key)) continue;
        mps_put_map(&map, 3);
        sys_put_name(&map, "topic", tally_topic_name(topic));
        sys_put_number(&map, "messages", topic->messages);
        sys_put_number(&map, "bytes", topic->bytes);
        add(report, REPORT_TOPICS, key, &map);
    }
}

static void see_listener(const struct listener_figures *figures, void *arg)
{
    struct report *report = arg;
    uint8_t room[SYS_MAP_MAX];
    struct mps_out map = mps_out_open(room, sizeof room);
    mps_view url = mps_text(figures->url);
    if (!report_list_see(&report->lists[REPORT_LISTENERS], 0)) return;
    mps_put_map(&map, 5);
    sys_put_name(&map, "name", figures->name[0] != '\0' ? mps_text(figures->name) : (mps_view){NULL, 0});
    sys_put_name(&map, "url", mps_utf8_valid(url) ? url : (mps_view){NULL, 0});
    sys_put_number(&map, "connections", figures->connections);
    sys_put_number(&map, "accepted", figures->accepted);
    sys_put_number(&map, "refused", figures->refused);
    add(report, REPORT_LISTENERS, 0, &map);
}

static void see_cluster(struct report *report)
{
    const struct cluster *cluster = report->broker->cluster;
    for (uint32_t i = 0; cluster != NULL && i < cluster->neighbours_count; i++) {
        uint8_t room[SYS_MAP_MAX];
        struct mps_out map = mps_out_open(room, sizeof room);
        if (!report_list_see(&report->lists[REPORT_CLUSTER], 0)) return;
        sys_put_neighbour(&map, cluster->neighbours[i]);
        add(report, REPORT_CLUSTER, 0, &map);
    }
}

/* ---- answering ---------------------------------------------------------------------------------------------- */

static void put_list(struct report *report, struct mps_out *out, enum report_section section)
{
    const struct tally *tally = report->broker->tally;
    struct report_list *list = &report->lists[section];
    bool is_topics = section == REPORT_TOPICS, is_cluster = section == REPORT_CLUSTER;
    mps_put_map(out, 2 + (is_topics ? 3u : 0) + (is_cluster ? CLUSTER_FIELDS : 0));
    if (is_cluster) sys_put_cluster(out, report->broker);
    if (is_topics) {
        sys_put_number(out, "since_ms", report->broker->now_ms - tally->began_ms);
        sys_put_number(out, "uncounted_messages", tally->uncounted_messages);
        sys_put_number(out, "uncounted_bytes", tally->uncounted_bytes);
    }
    sys_put_number(out, "total", list->total);
    mps_put_text(out, mps_text("list"));
    report_list_put(list, out);
}

static void put_section(struct report *report, struct mps_out *out, enum report_section section)
{
    mps_put_text(out, mps_text(report_section_names[section]));
    if (section == REPORT_BROKER) sys_put_broker(out, report->broker);
    else if (section == REPORT_LIMITS) sys_put_limits(out, report->broker);
    else put_list(report, out, section);
}

static void answer_error(const struct report *report, const char *text)
{
    uint8_t room[300];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 1);
    mps_put_text(&out, mps_text("error"));
    mps_put_text(&out, mps_text(text));
    operator_answer_to(report->broker, report->to, &out);
}

static void answer(struct report *report)
{
    struct env *env = report->broker->env;
    uint64_t cap = FRAME_BYTES;
    uint32_t sections = 0;
    if (asks_for(report, REPORT_TOPICS)) {
        want_topics(report->broker);
        see_topics(report);
    }
    if (asks_for(report, REPORT_STREAMS)) see_streams(report);
    if (asks_for(report, REPORT_CLUSTER)) see_cluster(report);
    if (asks_for(report, REPORT_LISTENERS) && env->each_listener != NULL) env->each_listener(env, see_listener, report);
    for (unsigned i = 0; i < REPORT_SECTIONS; i++) {
        cap += report->lists[i].bytes;
        sections += asks_for(report, i);
    }
    uint8_t *room = sure_if_small(cap);
    if (room == NULL) {
        answer_error(report, "there is no memory for the report");
        return;
    }
    struct mps_out out = mps_out_open(room, cap);
    mps_put_map(&out, 1 + sections);
    sys_put_number(&out, "now_ms", env->wall_ms(env));
    for (unsigned i = 0; i < REPORT_SECTIONS; i++)
        if (asks_for(report, i)) put_section(report, &out, i);
    if (out.len > report->payload_max) {
        char text[120];
        snprintf(text, sizeof text, "the report has %u bytes, and the answer may have only %u", out.len,
                 report->payload_max);
        answer_error(report, text);
    } else if (!operator_answer_to(report->broker, report->to, &out)) {
        answer_error(report, "there is no memory for the report");
    }
    free(room);
}

/* Goes on until work_end. Returns whether everything was looked at. */
static bool look(struct report *report, uint64_t work_end)
{
    struct broker *broker = report->broker;
    while (report->box != NULL && broker->work++ < work_end) {
        const struct mailbox *box = container_of(report->box, struct mailbox, in_boxes);
        report->box = box->in_boxes.next;
        see_box(report, box);
    }
    while (report->session != NULL && broker->work++ < work_end) {
        const struct session *session = report->session;
        report->session = session->next;
        see_session(report, session);
    }
    return report->box == NULL && report->session == NULL;
}

uint64_t report_turn(struct broker *broker)
{
    uint64_t work_end = broker->work + REPORT_WORK_A_TURN;
    while (broker->reports.first != NULL && broker->work < work_end) {
        struct report *report = container_of(broker->reports.first, struct report, in_reports);
        if (!look(report, work_end)) break;
        answer(report);
        report_free(report);
    }
    if (broker->reports.first != NULL) return 0;
    if (broker->tally == NULL) return UINT64_MAX;
    if (broker->now_ms < broker->tally_ends_ms) return broker->tally_ends_ms;
    tally_free(broker->tally);
    broker->tally = NULL;
    return UINT64_MAX;
}
