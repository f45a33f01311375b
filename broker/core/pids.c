#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "pids.h"
#include "sure.h"

/* Ranges of refused pids that are remembered. With more, the lowest ones are not told from what lies between them. */
#define REFUSED_MAX 64u

struct range {
    uint64_t first, last;
};

/* Of a session and one run of the client's program, which `boot` names. pids go up by one with each acknowledged
 * message. What is not above .accepted came before: it is published again only if it was refused, of which the client
 * may not know. */
struct pids {
    struct session *session;
    struct list_node in_publishing; /* of the broker's commit, while .is_publishing */
    bool is_publishing;             /* what it published is to be recorded with its pid */
    uint64_t boot;
    uint64_t accepted;     /* the highest that was taken */
    uint64_t answered;     /* all up to here are settled, or were once and were refused then */
    uint64_t told;         /* the last_pid of WELCOME: this connection goes on behind it */
    uint64_t stored;       /* the highest of a message that went to a stream */
    struct range *refused; /* ascending, apart from each other; NULL: there never were any */
    uint32_t refused_count;
    struct range unsure; /* of these it isn't known any more which were refused; .last 0: there are none */
};

/* ---- refused ------------------------------------------------------------------------------------------------ */

/* The first range that doesn't end before this pid; .refused_count: none. */
static uint32_t place_of(const struct pids *pids, uint64_t pid)
{
    uint32_t i = 0;
    while (i < pids->refused_count && pids->refused[i].last < pid) i++;
    return i;
}

static void remove_at(struct pids *pids, uint32_t i)
{
    pids->refused_count--;
    memmove(pids->refused + i, pids->refused + i + 1, (pids->refused_count - i) * sizeof pids->refused[0]);
}

static void insert_at(struct pids *pids, uint32_t i, struct range range)
{
    memmove(pids->refused + i + 1, pids->refused + i, (pids->refused_count - i) * sizeof pids->refused[0]);
    pids->refused[i] = range;
    pids->refused_count++;
}

/* These, and those that lie between them and others of which it is unsure. */
static void add_unsure(struct pids *pids, struct range range)
{
    struct range *unsure = &pids->unsure;
    if (unsure->last == 0 || range.first < unsure->first) unsure->first = range.first;
    if (range.last > unsure->last) unsure->last = range.last;
    uint32_t i = place_of(pids, unsure->first);
    while (i < pids->refused_count && pids->refused[i].first <= unsure->last) {
        if (pids->refused[i].last > unsure->last) unsure->last = pids->refused[i].last;
        remove_at(pids, i);
    }
}

/* The client is most likely to know of the lowest ones. */
static void keep_few(struct pids *pids)
{
    if (pids->refused_count <= REFUSED_MAX) return;
    struct range lowest = pids->refused[0];
    remove_at(pids, 0);
    add_unsure(pids, lowest);
}

static void add_refused(struct pids *pids, struct range range)
{
    if (range.first <= pids->unsure.last && range.last >= pids->unsure.first) {
        add_unsure(pids, range);
        return;
    }
    if (pids->refused == NULL) pids->refused = sure_alloc((REFUSED_MAX + 1) * sizeof pids->refused[0]);
    uint32_t i = place_of(pids, range.first > 0 ? range.first - 1 : 0);
    while (i < pids->refused_count && pids->refused[i].first <= range.last + 1) { /* they touch */
        if (pids->refused[i].first < range.first) range.first = pids->refused[i].first;
        if (pids->refused[i].last > range.last) range.last = pids->refused[i].last;
        remove_at(pids, i);
    }
    insert_at(pids, i, range);
    keep_few(pids);
}

static void forget_refused(struct pids *pids, struct range range)
{
    uint32_t i = place_of(pids, range.first);
    while (i < pids->refused_count && pids->refused[i].first <= range.last) {
        struct range was = pids->refused[i];
        remove_at(pids, i);
        if (was.last > range.last) insert_at(pids, i, (struct range){range.last + 1, was.last});
        if (was.first < range.first) insert_at(pids, i++, (struct range){was.first, range.first - 1});
        if (was.last > range.last) break;
    }
    keep_few(pids);
}

/* The client knows how all below this one were settled. */
static void forget_below(struct pids *pids, uint64_t pid)
{
    if (pids->refused_count > 0) forget_refused(pids, (struct range){1, pid - 1});
    if (pids->unsure.first < pid) pids->unsure.first = pid;
    if (pids->unsure.last < pid) pids->unsure = (struct range){0, 0};
}

/* ---- counters ----------------------------------------------------------------------------------------------- */

static struct pids *pids_new(struct session *session, uint64_t boot)
{
    session->pids = sure_zeroed(sizeof *session->pids);
    session->pids->session = session;
    session->pids->boot = boot;
    return session->pids;
}

void pids_free(struct session *session)
{
    struct pids *pids = session->pids;
    if (pids == NULL) return;
    if (pids->is_publishing) list_remove(&session->broker->commit.publishing, &pids->in_publishing);
    free(pids->refused);
    free(pids);
    session->pids = NULL;
}

uint64_t pids_begin(struct session *session, uint64_t boot)
{
    if (session->pids != NULL && session->pids->boot != boot) {
        acks_free(session); /* what waits is of another run of the program */
        pids_free(session);
    }
    if (session->sess_s == 0 || boot == 0) return 0;
    struct pids *pids = session->pids != NULL ? session->pids : pids_new(session, boot);
    pids->told = least(pids->answered, acks_lowest_pid(session) - 1); /* some may have been published anew */
    if (pids->refused_count > 0) pids->told = least(pids->told, pids->refused[0].first - 1);
    if (pids->unsure.last > 0) pids->told = least(pids->told, pids->unsure.first - 1);
    return pids->told;
}

bool pids_go_on(struct session *session, uint64_t pid)
{
    struct pids *pids = session->pids;
    if (pids == NULL) return true;
    if (pid <= pids->told) {
        session_byef(session, MPS_PID_ORDER, "PUB has pid %llu, but all up to %llu are settled",
                     (unsigned long long)pid, (unsigned long long)pids->told);
        return false;
    }
    forget_below(pids, pid);
    if (pids->accepted < pid - 1) pids->accepted = pid - 1;
    if (pids->answered < pid - 1) pids->answered = pid - 1;
    return true;
}

void pids_note_taken(struct session *session, uint64_t first, uint32_t count)
{
    struct pids *pids = session->pids;
    uint64_t last = first + count - 1;
    if (pids->refused_count > 0) forget_refused(pids, (struct range){first, last});
    if (last > pids->accepted) pids->accepted = last;
}

void pids_note_refused(struct session *session, uint64_t first, uint64_t last)
{
    if (session->pids != NULL) add_refused(session->pids, (struct range){first, last});
}

void pids_note_answered(struct session *session, uint64_t last)
{
    struct pids *pids = session->pids;
    if (pids != NULL && last > pids->answered) pids->answered = last;
}

bool pids_may_be_known(const struct session *session)
{
    return session->terms.pid > 0 && session->terms.pid <= session->pids->accepted;
}

bool pids_are_unsure(const struct session *session, uint64_t pid, uint32_t *count)
{
    const struct range *unsure = &session->pids->unsure;
    if (pid > unsure->last) return false;
    uint64_t end = pid < unsure->first ? unsure->first : unsure->last + 1; /* from here on it is different */
    if (end - pid < *count) *count = (uint32_t)(end - pid);
    return pid >= unsure->first;
}

bool pids_are_known(const struct session *session, uint64_t pid, uint32_t *count)
{
    const struct pids *pids = session->pids;
    if (pids_are_unsure(session, pid, count)) return false;
    uint32_t i = place_of(pids, pid);
    bool is_refused = i < pids->refused_count && pids->refused[i].first <= pid;
    uint64_t end = UINT64_MAX; /* from here on it is different */
    if (pid <= pids->accepted && !is_refused) end = pids->accepted + 1;
    if (i < pids->refused_count) end = least(end, is_refused ? pids->refused[i].last + 1 : pids->refused[i].first);
    if (end - pid < *count) *count = (uint32_t)(end - pid);
    return pid <= pids->accepted && !is_refused;
}

void pids_adopt(struct session *session, struct session *from)
{
    if (from->pids == NULL) return;
    acks_adopt(session, from);
    session->pids = from->pids;
    session->pids->session = session;
    from->pids = NULL;
}

/* ---- as a record -------------------------------------------------------------------------------------------- */

void pids_note_stored(struct session *session)
{
    struct pids *pids = session->pids;
    if (pids == NULL) return;
    uint64_t last = session->terms.pid - 1;
    if (last > pids->stored) pids->stored = last;
    if (pids->is_publishing) return;
    pids->is_publishing = true;
    list_append(&session->broker->commit.publishing, &pids->in_publishing);
}

uint64_t pids_boot(const struct session *session)
{
    return session->pids != NULL ? session->pids->boot : 0;
}

static void write(const struct pids *pids)
{
    const struct session *session = pids->session;
    uint8_t room[64 + REFUSED_MAX * 18];
    struct mps_out out = mps_out_open(room, sizeof room);
    bool is_unsure = pids->unsure.last > 0;
    mps_put_array(&out, 2 + 2 * pids->refused_count + (is_unsure ? 3 : 0));
    mps_put_uint(&out, pids->boot);
    mps_put_uint(&out, pids->stored);
    for (uint32_t i = 0; i < pids->refused_count; i++) {
        mps_put_uint(&out, pids->refused[i].first);
        mps_put_uint(&out, pids->refused[i].last);
    }
    if (is_unsure) { /* which an odd number of them says */
        mps_put_uint(&out, pids->unsure.first);
        mps_put_uint(&out, pids->unsure.last);
        mps_put_uint(&out, 0);
    }
    keep_put(session->broker, RECORD_PUBLISHER, session->id, mps_out_view(&out));
}

/* What waits for the engine of the cluster is not stored because this record is: if the broker dies, it is as if it had
 * never come, and the engine knows what it has stored already. */
static void keep(const struct pids *pids)
{
    struct pids copy = *pids;
    struct range range;
    uint32_t at = 0;
    bool is_own = false;
    while (acks_next_shared(pids->session, &at, &range.first, &range.last)) {
        if (!is_own && pids->refused != NULL) {
            copy.refused = sure_alloc((REFUSED_MAX + 1) * sizeof copy.refused[0]);
            memcpy(copy.refused, pids->refused, pids->refused_count * sizeof copy.refused[0]);
        }
        is_own = true;
        add_refused(&copy, range);
    }
    write(&copy);
    if (is_own) free(copy.refused);
}

void pids_keep_all(struct broker *broker)
{
    struct list *publishing = &broker->commit.publishing;
    for (struct list_node *node; (node = publishing->first) != NULL;) {
        struct pids *pids = container_of(node, struct pids, in_publishing);
        list_remove(publishing, node);
        pids->is_publishing = false;
        keep(pids);
    }
}

static void load_refused(struct mps_reader *r, struct pids *pids, uint64_t count)
{
    uint64_t before = 0;
    for (uint64_t i = 0; i < count && r->bad == NULL; i++) {
        struct range range;
        range.first = mps_read_uint(r, MPS_NUMBER_MAX, "first refused");
        range.last = mps_read_uint(r, MPS_NUMBER_MAX, "last refused");
        if (range.first <= before || range.last < range.first) return; /* no list that was ever written */
        before = range.last;
        if (r->bad == NULL) add_refused(pids, range);
    }
}

static void load_unsure(struct mps_reader *r, struct pids *pids)
{
    struct range range;
    range.first = mps_read_uint(r, MPS_NUMBER_MAX, "first unsure");
    range.last = mps_read_uint(r, MPS_NUMBER_MAX, "last unsure");
    if (r->bad == NULL && range.first > 0 && range.first <= range.last) add_unsure(pids, range);
}

bool pids_load(struct broker *broker, mps_view key, mps_view value)
{
    struct session *session = session_find(broker, key);
    struct mps_reader r = mps_reader_open(value);
    uint64_t count = mps_read_array(&r, "publisher");
    uint64_t boot = mps_read_uint(&r, UINT64_MAX, "boot");
    uint64_t stored = mps_read_uint(&r, MPS_NUMBER_MAX, "pid");
    bool is_unsure = count >= 5 && count % 2 == 1;
    if (is_unsure) count -= 3;
    if (r.bad != NULL || boot == 0 || count < 2 || count % 2 != 0 || session == NULL || session->pids != NULL)
        return false;
    struct pids *pids = pids_new(session, boot);
    pids->accepted = pids->answered = pids->stored = stored;
    load_refused(&r, pids, (count - 2) / 2);
    if (is_unsure) load_unsure(&r, pids);
    return r.bad == NULL;
}
