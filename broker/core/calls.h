/* Which room of the core each call lives in. Comes with model.h, which has the data, and isn't included by itself. */
#ifndef BROKER_CALLS_H
#define BROKER_CALLS_H

/* buffer.c */
void buffer_append(struct buffer *buffer, const void *bytes, size_t len);
void buffer_take(struct buffer *buffer, uint32_t len); /* forgets the first len bytes */
void buffer_free(struct buffer *buffer);
static inline uint32_t buffer_len(const struct buffer *buffer)
{
    return buffer->len - buffer->off;
}

/* session.c: life and lists */
void session_dirty(struct session *session);
void session_hold(struct session *session);        /* go on with .stalled in the next turn */
/* Policy `close`: to be closed at the end of the turn. msgs: by which limit. */
void session_too_slow(struct session *session, const struct subscription *sub, bool msgs);
void session_close_slow(struct broker *broker);
void session_forget_subs(struct session *session); /* ends all subscriptions, without a word */
void session_set_state(struct session *session, enum session_state state);
void session_timer_due(struct session *session, uint64_t now_ms);
void session_drop_link(struct session *session);   /* closes the link at once; the session is dead */
/* Says BYE after everything that is queued. text may be NULL. Later calls change nothing. */
void session_end_gently(struct session *session, uint32_t code, const char *text);
void session_finish_ending(struct session *session); /* everything queued is written: BYE, or close */
/* Says BYE at once; queued messages are gone. text: one sentence. Later calls change nothing. */
void session_bye(struct session *session, uint32_t code, const char *text) __attribute__((nonnull));
void session_byef(struct session *session, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void session_keepalive(struct session *session);   /* sets its timer anew */
/* Anew in broker.sessions, without an id. NULL: no memory. */
struct session *session_alloc(struct broker *broker, enum session_state state);
void session_unlink(struct session *session);      /* from broker.sessions */

/* input.c: bytes to frames */
void input_resume(struct session *session);        /* works on .stalled; called from broker_turn() */
void input_go_on(struct session *session);         /* who it is is known now */
void input_forget(struct session *session);        /* whatever has come in and was not worked on */
uint32_t input_needs(const struct session *session); /* bytes of memory for the frame of which .large has the beginning */
void input_granted(struct session *session);       /* the frame that waits has its memory */
void input_refused(struct session *session);       /* it does not get any: it is answered, and passed over as it comes */

/* intake.c: memory of input that waits, of all connections together, and who waits for some */
/* So much of each connection's is its own, whatever the others have. */
#define INTAKE_OWN_BYTES (16u * 1024)
/* What has come of a session, and waits, may take so much memory: its own, and of the common one what is free of a half. The
 * other half is there for frames that are on their way. Of who is not welcome yet it is only its own; and of all while
 * somebody waits, so that what they begin to send is not in his way. */
static inline uint32_t intake_most(const struct session *session)
{
    const struct broker *broker = session->broker;
    uint64_t half = broker->limits.input_total_bytes / 2, others = broker->intake.bytes - session->intake_bytes;
    bool is_short = broker->intake.waiting.first != NULL || others >= half;
    if (session->state == SESSION_NEW || is_short) return INTAKE_OWN_BYTES;
    return INTAKE_OWN_BYTES + (uint32_t)least(half - others, UINT32_MAX / 2);
}
static inline bool intake_has_plenty(const struct broker *broker) /* nothing that is read is too much */
{
    return broker->intake.waiting.first == NULL &&
           broker->intake.bytes + SLAB_BYTES <= broker->limits.input_total_bytes / 2;
}
/* Whether a frame may have so much memory. If not, its session waits for it, and input_granted() or input_refused() follows,
 * unless it ends before. */
bool intake_admits(struct session *session, uint32_t frame_bytes);
void intake_leave(struct session *session); /* its frame, of which it was admitted, or waits for that, is over */
void intake_count(struct session *session);
/* After memory of what has come and waits was taken or let go. */
static inline void intake_note(struct session *session)
{
    if (session->large != NULL || session->stalled != NULL || session->intake_state != INTAKE_NONE ||
        session->intake_bytes > 0)
        intake_count(session);
}
/* Gives memory to who waits. Returns when to call again; UINT64_MAX: nobody waits any more. */
uint64_t intake_turn(struct broker *broker);

/* handlers.c: one for each operation that a broker may receive; subscribe.c has SUB's */
#define TO_BROKER(NAME) void handle_##NAME(struct session *session, mps_view frame);
#define BOTH(NAME) void handle_##NAME(struct session *session, mps_view frame);
#define TO_CLIENT(NAME)
#define OP(number, NAME, way, fields) way(NAME)
#include "ops.def"
#undef OP
#undef TO_BROKER
#undef BOTH
#undef TO_CLIENT

/* Makes the subscription that a SUB of earlier asked for, if it would be granted now; else NULL. frame: scanned. */
struct subscription *subscription_restore(struct session *session, mps_view frame);

/* Whether the frame was well-formed; if not, says BYE. what: where the decoder that gave `code` put its complaint. */
bool frame_decoded(struct session *session, enum mps_op op, enum mps_code code, const char **what);

/* replies.c: what is said to a peer besides messages; nothing to a session without a link */
void reply_frame(struct session *session, const struct mps_out *out);
void reply_err(struct session *session, uint32_t code, enum mps_op op, mps_view ref, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* An unacknowledged MSG failed: at most 10 a second, the rest counted. */
void reply_msg_err(struct session *session, uint32_t code, mps_view topic, const char *text);
void reply_puback(struct session *session, const struct mps_puback *puback);
/* Peers' bytes as printable text for messages and logs: at most 80 characters. Static memory, two calls' worth. */
const char *printable(mps_view text);
/* One line of the log: a sentence, and what it is about (NULL: nothing) once more as fields. */
void log_say(struct broker *broker, enum log_event event, const struct log_field *fields, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* publish.c: messages coming in */
struct publish {
    bool is_denied;            /* the session may not publish to its topic */
    bool is_joined;            /* it may have messages of several topics */
    struct run *run;           /* the same props in every frame, and one topic, or topics that publish_joins() joined */
    mps_view topic, props;     /* of its first frame; props absent if nil */
    const struct route *route; /* router_route() of its last topic */
};
/* Whether a message without props can be added to a run, although its topic is another one: the same mailboxes take both,
 * as they are. route: the message's, known. */
bool publish_joins(const struct session *session, const struct publish *publish, const struct route *route);
/* Judges a run of MSGs under the session's terms, routes it, answers it. Returns how many of its frames were taken. When
 * they are fewer than all, the rest has to wait: the session is held, or broker.work has come to work_end. */
uint32_t publish_run(struct session *session, const struct publish *publish, uint64_t work_end);
/* A MSG that can't be published: answers it, pid or not. */
void publish_refuse(struct session *session, mps_view topic, uint32_t code, const char *text);
/* When a run came, and when its messages expire, as their props say. */
void publish_note_times(struct broker *broker, struct run *run, mps_view props);
/* Publishes one frame that no client sent just now: a will, the broker's own. take_run is consumed. */
/* origin: who it comes from; NULL: the broker itself. */
void publish_own(struct broker *broker, struct run *take_run, bool retain, struct origin *origin);

/* What has gathered is closed, if anything has. Once for each write. */
static inline void acks_flush(struct session *session)
{
    if (session->acks.count > 0) acks_close(session);
}

/* router.c */
/* Who gets what is published to a topic. NULL: the topic is no good, or begins with $, and is to be judged. A topic that
 * came before costs a hash and a comparison, 31 to 200 ns by cache misses; another one two or three look-ups a level.
 * Valid until two more were asked for, a subscription changes, or router_trim(). */
const struct route *router_route(struct broker *broker, mps_view topic);
/* The same for any valid topic, of which nothing is remembered. */
const struct route *router_route_once(struct broker *broker, mps_view topic);
void router_prefetch(const struct route *route); /* it will be used soon */
/* Forgets by and by what was not used lately. Returns when to call again: 0 = now, UINT64_MAX: not until more are known. */
uint64_t router_age(struct broker *broker);
void router_trim(struct broker *broker);    /* forgets some if those that are known cost too much memory */
void router_pattern_changed(struct broker *broker, mps_view pattern); /* what subscribes to it comes, goes, changes */
void router_free(struct broker *broker);

/* The frames of a run that are meant: count of them in len bytes at off. */
struct part {
    uint32_t off, len, count;
};

/* operator.c */
bool operator_is_request(mps_view topic);
/* Does what this MSG asks for, and answers it. Or returns why not. */
const char *operator_request(struct session *session, mps_view frame);

/* Keeps a MSG frame as its topic's value, under the limits. revision: of the record that brokers share; 0: none. NULL: there is no
 * room, and text says so; the old value stays. */
#define RETAINED_TEXT_MAX 160
struct retained_value *retained_take(struct broker *broker, const struct route *route, mps_view topic, mps_view frame,
                                     uint64_t expires_ms, struct origin *origin, uint64_t revision,
                                     char text[RETAINED_TEXT_MAX]);

/* open.c */
/* The value of a topic that is kept is a record, too. */
/* origin: who published it, or NULL. revision: 0 if it isn't shared. NULL: no memory. */
struct kept *retained_record(struct broker *broker, mps_view topic, mps_view frame, uint64_t expires_ms,
                             const struct origin *origin, uint64_t revision);
/* Fields of such a record: when it expires, by the Unix clock; the frame; two of its origin. In so many bytes at most. */
void retained_put(struct mps_out *out, const struct broker *broker, mps_view frame, uint64_t expires_ms,
                  const struct origin *origin);
static inline uint32_t retained_put_most(mps_view frame)
{
    return frame.len + 32 + ACCESS_NAME_MAX + MPS_ID_MAX;
}
void retained_forget(struct broker *broker, mps_view topic); /* it has no value any more, and no record */

/* fanout.c: a message, or a run, to everybody on its route */
/* Messages of one run, one behind the other, that the same mailboxes take. */
struct delivery {
    const struct route *route;
    struct run *run;
    mps_view topic, props;
    struct session *from;      /* NULL: the broker itself, which is never held */
    struct part stretch;       /* chosen and not queued yet */
    uint32_t last_off;         /* of its last message */
};
/* Whether a mailbox of the route takes a message, and why not. broker.judged names the message. */
enum fanout_verdict { FANOUT_TAKES, FANOUT_OWN, FANOUT_FORBIDDEN, FANOUT_FILTERED };
enum fanout_verdict fanout_judge(struct broker *broker, const struct mailbox *box, const struct delivery *delivery,
                                 mps_view payload);
/* Queues the whole run for all of a plain route. Returns how many copies queues refused. */
uint64_t fanout_run(const struct route *route, struct run *run);
/* Finds who takes the frame behind the stretch: router.chosen, until the next call. FULL: queue the stretch, then ask again.
 * HELD: the publisher has to wait. */
enum fanout_result { FANOUT_CHOSEN, FANOUT_FULL, FANOUT_HELD };
enum fanout_result fanout_choose(struct delivery *delivery, mps_view frame);
/* Whether the frame that was chosen for can be added to the stretch: the same mailboxes take it. */
bool fanout_continues(const struct delivery *delivery);
void fanout_add(struct delivery *delivery, mps_view frame);
/* Queues the stretch. Returns how many copies were refused. */
uint64_t fanout_push(struct delivery *delivery);

/* mailbox.c */
void mailbox_init(struct mailbox *box, struct broker *broker, struct session *session, uint32_t rx_max);
void mailbox_free(struct mailbox *box);     /* what is in it is gone, who waits for it is let go */
void mailbox_no_debtor(struct mailbox *box); /* the queue is empty: it leaves broker.debtors */
void mailbox_clear(struct mailbox *box);    /* forgets what is queued, without counting */
/* Before the first entries are sent: what has expired becomes a gap, neighbouring gaps become one. */
void mailbox_prepare(struct mailbox *box, uint32_t entries);
/* Queues frames that all match, under the policy. Returns how many of them were refused. */
uint64_t mailbox_push(struct mailbox *box, struct run *run, struct part part);
/* The messages at the front were sent, or the gap there was told. */
void mailbox_pop(struct mailbox *box, uint32_t len, uint64_t count);
void mailbox_pop_gap(struct mailbox *box);
/* To and from other mailboxes: without limits, counted as matched or not any more. */
void mailbox_append(struct mailbox *box, struct run *run, struct part part);
void mailbox_append_gap(struct mailbox *box, enum mps_gap_reason reason, uint64_t count);
/* Something was lost that never came here, nobody knows how much: a gap without a count. */
void mailbox_lose_unknown(struct mailbox *box, enum mps_gap_reason reason);
/* All that those hold goes to the front of box, in the order in which it once came. */
void mailbox_take_back(struct mailbox *box, struct mailbox **from, uint32_t from_count);
/* Whether so many more messages would be kept, if other queues of its connection take reserved_bytes more. */
bool mailbox_has_room(struct mailbox *box, struct part part, uint64_t reserved_bytes);
bool mailbox_never_fits(const struct mailbox *box, uint32_t len);
bool mailbox_is_away(const struct mailbox *box); /* nobody is there who could make room */
/* Its reader takes frames up to this from now on; 0: any. What is queued and longer is lost. */
void mailbox_set_rx_max(struct mailbox *box, uint32_t rx_max);
/* From now on its session is asked of each message whether it may receive it, and of what is queued: the rest is lost. */
void mailbox_set_guarded(struct mailbox *box, bool guarded);
void mailbox_expire(struct mailbox *box);   /* what has expired becomes a gap; long queues may have to wait for that */
/* Why the policy can't be changed to this at the moment; NULL: it can. */
const char *mailbox_change_error(const struct mailbox *box, enum mps_policy policy);
void mailbox_cut_down(struct mailbox *box, uint64_t memory_bytes); /* the oldest go, GAP 11, until it costs no more */
uint64_t mailbox_memory(const struct mailbox *box); /* what it costs, as if it held its runs alone */
uint64_t mailbox_lag_ms(const struct mailbox *box); /* how long the first message has waited */

/* What a subscription asks of its mailbox. */
struct terms {
    uint64_t max_msgs, max_bytes;
    uint32_t block_ms;
    enum mps_policy policy, then;
    bool no_local;
    struct filter *filter;     /* NULL: everything */
};
void mailbox_set_terms(struct mailbox *box, const struct terms *terms); /* takes over the reference to the filter */
struct terms mailbox_terms(const struct mailbox *box);

/* filters.c */
/* The filter of this text, with a reference for the caller; NULL: *text is no filter, and error says why. */
struct filter *filter_get(struct broker *broker, mps_view text, struct mps_filter_error *error);
void filter_unref(struct broker *broker, struct filter *filter); /* NULL is allowed */
/* Whether the message matches; asked again about the same broker.judged, the answer costs nothing. */
bool filter_judge(struct broker *broker, struct filter *filter, mps_view topic, mps_view props, mps_view payload);

/* hold.c: publishers that wait for a mailbox's room */
void hold_begin(struct session *session, struct mailbox *box, uint32_t frame_len, uint64_t reserved_bytes,
                uint64_t until_ms);
void hold_end(struct session *session);            /* also of one that is not held */
void hold_wake_all(struct mailbox *box);           /* they go on in the next turn */
void hold_wake_due(struct broker *broker);         /* those whose messages fit now */
void hold_due(struct session *session);            /* its time is up */

/* group.c */
struct group *group_find(const struct broker *broker, mps_view name, mps_view pattern);
/* Joins the group, which is made if there is none. terms: as mailbox_set_terms(), for a new group. */
void group_join(struct subscription *sub, mps_view name, const struct terms *terms);
/* gently: the last one takes what the group has left. */
void group_leave(struct subscription *sub, bool gently);
void group_forget_place(struct group *group);      /* in streams: nobody is to go on there */
bool group_is_empty(const struct group *group);    /* nothing is left to be handed out */
void group_dirty(struct group *group);             /* there may be something to hand out */
void group_member_ready(struct subscription *sub); /* perhaps: it has more credit, or drains */
void group_member_acked(struct subscription *sub); /* it may have more of streams; also what is no member */
void group_each(const struct group *group, void (*fn)(struct subscription *sub, void *arg), void *arg);
void group_member_judged(struct subscription *sub); /* whether it is guarded may have changed */
void group_session_ready(struct session *session); /* its link takes bytes again */
void group_session_gone(struct session *session);
/* The member's connection is gone, or there again. */
void group_member_away(struct subscription *sub);
void group_member_back(struct subscription *sub);
void group_dispatch_all(struct broker *broker);
/* A flush is over: the link took everything, or is full and what members were given goes back. */
void group_session_written(struct session *session);
void group_session_blocked(struct session *session);
void group_collect_all(struct broker *broker);     /* what goes back, in the order of arrival */
static inline mps_view group_name(const struct group *group)
{
    return (mps_view){group->text, group->name_len};
}
static inline mps_view group_pattern(const struct group *group)
{
    return (mps_view){group->text + group->name_len, group->pattern_len};
}

/* budget.c */
uint64_t budget_used(const struct broker *broker); /* memory of what is queued, once settled */
void budget_keep(struct broker *broker);           /* the largest debtors lose what is over the broker's total */

/* inbox.c */
void inbox_open(struct session *session);
void inbox_close(struct session *session);
bool inbox_is(mps_view topic);                     /* it is $inbox, or below it */
bool inbox_is_inside(mps_view topic);              /* it is below it */
mps_view inbox_prefix(const struct session *session, uint8_t room[64]);
bool inbox_read_id(mps_view topic, uint8_t id[INBOX_ID_BYTES]); /* false: it names no inbox */
struct mailbox *inbox_find(struct broker *broker, mps_view topic); /* where this topic leads; NULL: nowhere */

/* will.c */
/* Takes what HELLO brought. Returns 0, or why it can't be: a code and a text. */
uint32_t will_set(struct session *session, const struct mps_will *will, char *text, size_t text_cap);
void will_drop(struct session *session);           /* it says good-bye */
void will_release(struct session *session);        /* it doesn't: published when it is due */
void will_forget_id(struct broker *broker, mps_view id, mps_view user); /* the client is back; user absent: it has no name */
void will_publish_due(struct broker *broker);
void will_free_all(struct broker *broker);

/* sys.c: the broker's state as messages under $SYS/ */
struct sys *sys_new(struct broker *broker);
void sys_free(struct broker *broker);
void sys_interval_changed(struct broker *broker);
void sys_wanted(struct broker *broker, mps_view pattern); /* somebody subscribed to this */
void sys_mailbox_gone(struct mailbox *box);
void sys_session_gone(struct session *session);    /* it is about to leave broker.sessions */
void sys_pass_debtor(struct mailbox *box);         /* it is about to leave broker.debtors */
void sys_publish(struct broker *broker, const char *topic, const struct mps_out *map);
/* Publishes what is due. Returns when to call again, UINT64_MAX: not until something changes. */
uint64_t sys_turn(struct broker *broker);

/* tally.c: what comes in, by topic, while somebody asks for that */
struct tally *tally_new(struct broker *broker);
void tally_free(struct tally *tally); /* NULL is allowed */
void tally_count(struct tally *tally, struct run *run, uint32_t count); /* the first messages of a run */

/* report.c: answers to $SYS/request/report */
/* Goes on with them, and ends the counting of topics. Returns when to call again; UINT64_MAX: there is no need. */
uint64_t report_turn(struct broker *broker);
void report_free_all(struct broker *broker);
void report_mailbox_gone(struct mailbox *box);     /* it is about to leave broker.boxes */
void report_session_gone(struct session *session); /* it is about to leave broker.sessions */

/* overview.c */
void overview_pass_debtor(struct mailbox *box);    /* it is about to leave broker.debtors */
struct overview;
void cluster_overview(const struct broker *broker, struct overview *overview); /* cluster/figures.c */

/* subscription.c */
struct subscription *subscription_find(const struct session *session, uint32_t sid);
struct subscription *subscription_new(struct session *session, uint32_t sid, mps_view pattern);
void subscription_attach(struct subscription *sub);     /* from now on messages match it */
void subscription_detach(struct subscription *sub);     /* nothing matches it any more; what is queued stays */
void subscription_free(struct subscription *sub);
void subscription_end(struct subscription *sub);        /* frees it, and nothing is kept of it */
static inline mps_view subscription_pattern(const struct subscription *sub)
{
    return (mps_view){sub->pattern, sub->pattern_len};
}
/* Asks for the part of a subscription that messages need, which is about to be used: among 10,000 of them its first touch
 * is a wait for memory, four cache lines long. NULL is allowed. */
static inline void subscription_prefetch(const struct subscription *sub)
{
    for (size_t at = 0; sub != NULL && at < 256; at += 64) __builtin_prefetch((const char *)sub + at);
}
/* Its own, or that of its group; NULL: it reads no stream. */
static inline struct cursor *subscription_cursor(const struct subscription *sub)
{
    return sub->group != NULL ? sub->group->box.cursor : sub->box.cursor;
}
void subscription_begin_snapshot(struct subscription *sub); /* of the retained values that match it */
void subscription_extend_snapshot(struct subscription *sub, uint64_t revision); /* see snapshot_extend() */
void subscription_end_snapshot(struct subscription *sub);   /* if there is one */
static inline uint64_t subscription_credit_left(const struct subscription *sub)
{
    return sub->credit > sub->box.sent ? sub->credit - sub->box.sent : 0;
}
void subscription_add_credit(struct subscription *sub, uint64_t total, bool drain);
void subscription_activate(struct subscription *sub);   /* it has something to send */
void subscription_deactivate(struct subscription *sub);
bool subscription_has_work(const struct subscription *sub); /* something can be written for it */

/* flush.c */
struct flush_plan *flush_plan_new(void);
void flush_session(struct session *session);       /* writes as much as the link takes and the turn allows */

#endif
