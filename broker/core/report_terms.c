#include "report_terms.h"

#include <stdio.h>

#include "spill.h"
#include "tally.h"
#include "value.h"

#define DEPTH_MAX 4
#define VALUES_MAX 100

const char *const report_section_names[REPORT_SECTIONS] = {
    "broker", "limits", "listeners", "topics", "subscriptions", "groups", "connections", "streams", "cluster"};

/* ---- keys --------------------------------------------------------------------------------------------------- */

#define KEY(name, type, expression)         \
    static uint64_t name(const void *thing) \
    {                                       \
        const struct type *it = thing;      \
        return (expression);                \
    }
KEY(box_lag_ms, mailbox, mailbox_lag_ms(it))
KEY(box_matched, mailbox, it->matched)
KEY(box_sent, mailbox, it->sent)
KEY(box_lost, mailbox, it->lost)
KEY(box_queued, mailbox, mailbox_waiting(it))
KEY(box_queued_bytes, mailbox, it->queue.bytes)
KEY(topic_messages, tally_topic, it->messages)
KEY(topic_bytes, tally_topic, it->bytes)
KEY(session_bytes, session, it->bytes_in + it->bytes_out)
KEY(session_bytes_in, session, it->bytes_in)
KEY(session_bytes_out, session, it->bytes_out)
KEY(session_messages_in, session, it->messages_in)
KEY(session_messages_out, session, it->messages_out)
KEY(session_lost, session, it->lost)
KEY(session_queued_bytes, session, it->queued_bytes)
KEY(session_subscriptions, session, it->subs.count)
KEY(session_connected_ms, session, it->broker->now_ms - it->began_ms)
KEY(stream_messages, stream, it->stored_msgs)
KEY(stream_bytes, stream, it->stored_bytes)
#undef KEY

struct named_key {
    const char *name;
    report_key_fn of;
};

/* The first of each is what holds when none is asked for. */
static const struct named_key box_keys[] = {{"lag_ms", box_lag_ms},
                                            {"queued", box_queued},
                                            {"queued_bytes", box_queued_bytes},
                                            {"lost", box_lost},
                                            {"sent", box_sent},
                                            {"matched", box_matched},
                                            {NULL, NULL}};
static const struct named_key topic_keys[] = {{"messages", topic_messages}, {"bytes", topic_bytes}, {NULL, NULL}};
static const struct named_key session_keys[] = {{"bytes", session_bytes},
                                                {"bytes_in", session_bytes_in},
                                                {"bytes_out", session_bytes_out},
                                                {"messages_in", session_messages_in},
                                                {"messages_out", session_messages_out},
                                                {"lost", session_lost},
                                                {"queued_bytes", session_queued_bytes},
                                                {"subscriptions", session_subscriptions},
                                                {"connected_ms", session_connected_ms},
                                                {NULL, NULL}};
static const struct named_key stream_keys[] = {{"bytes", stream_bytes}, {"messages", stream_messages}, {NULL, NULL}};

static const struct named_key *const section_keys[REPORT_SECTIONS] = {[REPORT_TOPICS] = topic_keys,
                                                                      [REPORT_SUBSCRIPTIONS] = box_keys,
                                                                      [REPORT_GROUPS] = box_keys,
                                                                      [REPORT_CONNECTIONS] = session_keys,
                                                                      [REPORT_STREAMS] = stream_keys};

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* The section of that name; REPORT_SECTIONS: there is none. */
static unsigned find_section(mps_view name)
{
    unsigned section = 0;
    while (section < REPORT_SECTIONS && !mps_view_equal(name, mps_text(report_section_names[section]))) section++;
    return section;
}

static bool read_sections(struct report_terms *terms, struct mps_reader *r, char *text, size_t text_cap)
{
    uint32_t count = mps_read_array(r, "'sections' is not an array of names");
    terms->sections = 0;
    for (uint32_t i = 0; i < count && r->bad == NULL; i++) {
        mps_view name = mps_read_text(r, "'sections' is not an array of names");
        unsigned section = find_section(name);
        if (r->bad == NULL && section == REPORT_SECTIONS) {
            snprintf(text, text_cap, "a report has no section '%s'", printable(name));
            return false;
        }
        if (r->bad == NULL) terms->sections |= 1u << section;
    }
    return true;
}

static bool read_order(struct report_terms *terms, struct mps_reader *r, char *text, size_t text_cap)
{
    uint32_t pairs = mps_read_map(r, "'order' is not a map of sections and keys");
    for (uint32_t i = 0; i < pairs && r->bad == NULL; i++) {
        mps_view name = mps_read_text(r, "'order' is not a map of sections and keys");
        mps_view key = mps_read_text(r, "'order' is not a map of sections and keys");
        unsigned section = r->bad == NULL ? find_section(name) : REPORT_SECTIONS;
        const struct named_key *known = section < REPORT_SECTIONS ? section_keys[section] : NULL;
        if (r->bad != NULL) return true;
        while (known != NULL && known->name != NULL && !mps_view_equal(key, mps_text(known->name))) known++;
        if (known == NULL || known->name == NULL) {
            snprintf(text, text_cap, "'%s' of a report can't be ordered by '%s'", printable(name), printable(key));
            return false;
        }
        terms->keys[section] = known->of;
    }
    return true;
}

static bool read_limit(struct report_terms *terms, struct mps_reader *r, char *text, size_t text_cap)
{
    uint64_t limit = mps_read_uint(r, MPS_NUMBER_MAX, "'limit' is not a number");
    if (r->bad == NULL && (limit < 1 || limit > REPORT_LIMIT_MAX)) {
        snprintf(text, text_cap, "'limit' is %llu, it must be from 1 to %u", (unsigned long long)limit,
                 REPORT_LIMIT_MAX);
        return false;
    }
    terms->limit = (uint32_t)limit;
    return true;
}

static bool read_map(struct report_terms *terms, mps_view payload, char *text, size_t text_cap)
{
    struct mps_reader r = mps_reader_open(payload);
    uint32_t pairs = mps_read_map(&r, "the request is not a map");
    bool is_good = true;
    for (uint32_t i = 0; i < pairs && r.bad == NULL && is_good; i++) {
        mps_view key = mps_read_text(&r, "a key of the request is not a text");
        if (mps_view_equal(key, mps_text("sections"))) is_good = read_sections(terms, &r, text, text_cap);
        else if (mps_view_equal(key, mps_text("order"))) is_good = read_order(terms, &r, text, text_cap);
        else if (mps_view_equal(key, mps_text("limit"))) is_good = read_limit(terms, &r, text, text_cap);
        else mps_read_any(&r, "a value is missing");
    }
    if (r.bad != NULL) snprintf(text, text_cap, "%s", r.bad);
    return is_good && r.bad == NULL;
}

bool report_terms_read(struct report_terms *terms, mps_view payload, char *text, size_t text_cap)
{
    *terms = (struct report_terms){.sections = (1u << REPORT_SECTIONS) - 1, .limit = REPORT_LIMIT_DEFAULT};
    for (unsigned i = 0; i < REPORT_SECTIONS; i++)
        if (section_keys[i] != NULL) terms->keys[i] = section_keys[i]->of;
    if (payload.len == 0) return true;
    const char *wrong = mps_document_check(payload, DEPTH_MAX, VALUES_MAX);
    if (wrong == NULL) return read_map(terms, payload, text, text_cap);
    snprintf(text, text_cap, "the request is not a msgpack map: %s", wrong);
    return false;
}
