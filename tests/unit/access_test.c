/* Who may do what: patterns beside grants, ways in, and what a change does to those who are there, away, or gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"
#include "memory_store.h"
#include "streams.h"

#define HOUR_S 3600u

static const struct mps_sub_options plain = {.given = MPS_SUB_RETAINED, .retained = 2};

/* ---- configurations ------------------------------------------------------------------------------------------ */

static void add_patterns(struct access_texts *list, const char *patterns)
{
    char one[MPS_TOPIC_MAX + 1];
    for (int len; sscanf(patterns, " %255[^,]%n", one, &len) == 1; patterns += patterns[len] == ',' ? len + 1 : len) {
        assert_null(access_pattern_error(one));
        access_add_text(list, one);
    }
}

static struct access_group *group(struct access *access, const char *name, const char *publish, const char *subscribe,
                                  unsigned rights)
{
    struct access_group *added = access_add_group(access, name);
    add_patterns(&added->lists[ACCESS_PUBLISH], publish);
    add_patterns(&added->lists[ACCESS_SUBSCRIBE], subscribe);
    added->rights = rights;
    return added;
}

static struct access_user *user(struct access *access, const char *name, const char *in)
{
    struct access_user *added = access_add_user(access, name);
    if (in != NULL) access_add_text(&added->groups, in);
    access_add_proof(access, 7);
    return added;
}

/* Who has no name is in the group `all`, which may subscribe to these and publish anything below t. */
static struct access *all_may(const char *subscribe, unsigned rights)
{
    struct access *access = access_new();
    group(access, "all", "t/#,u/#", subscribe, rights);
    strcpy(access->default_group, "all");
    return access;
}

/* ---- patterns ------------------------------------------------------------------------------------------------ */

static struct grant *grant_of(struct access *access, const char *name)
{
    struct grant *grant = grant_new(access, mps_text(name), mps_text("dev-7"), 0);
    assert_non_null(grant);
    access_unref(access);
    return grant;
}

static void test_a_subscription_lies_within_what_is_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *allowed, *denied, *wanted, *hint; /* hint NULL: it is granted */
    } cases[] = {
        {"a/#", "", "a/b", NULL},
        {"a/#", "", "a", NULL},
        {"a/#", "", "a/+/c/#", NULL},
        {"a/+", "", "a/+", NULL},
        {"a/+,a/+/#", "", "a/#", "'a/+' would be allowed"}, /* no single one covers it */
        {"#", "", "+/x/#", NULL},
        {"#", "", "$dead/#", "nothing of it is allowed"},
        {"$dead/#", "", "$dead/a", NULL},
        {"#", "", "$SYS/#", "that needs the right 'sys'"},
        {"$SYS/#", "", "$SYS/broker", "that needs the right 'sys'"},
        {"a/b", "", "a/+", "'a/b' would be allowed"},
        {"a/#", "", "#", "'a/#' would be allowed"},
        {"a/+/c", "", "+/b/#", "'a/b/c' would be allowed"},
        {"a/#", "", "a", NULL},
        {"+/b", "", "a/#", "'a/b' would be allowed"},
        {"a/#", "", "b/#", "nothing of it is allowed"},
        {"x/#,a/b/#", "", "a/#", "'a/b/#' would be allowed"},
        {"", "", "a", "nothing of it is allowed"},
        {"a/#", "a/secret/#", "a/b/#", NULL},
        {"a/#", "a/secret/#", "a/secret/x", "'a/secret/#' is denied"},
        {"a/#", "a/secret/#", "a/#", "'a/secret/#' is denied"},
        {"a/#,b/#", "a/#", "#", "'b/#' would be allowed"},
        {"a/#", "a/#", "a", "'a/#' is denied"},
        {"priv/%u/#", "", "priv/ann/x", NULL},
        {"priv/%u/#", "", "priv/bob/x", "nothing of it is allowed"},
        {"priv/%u/#", "", "priv/+/x", "'priv/ann/x' would be allowed"},
        {"%i/#,%%/x", "", "dev-7/#", NULL},
        {"%i/#,%%/x", "", "%/x", NULL},
        {"%%u/x", "", "ann/x", "nothing of it is allowed"},
        {"#", "+/%u", "x/ann", "'+/ann' is denied"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct access *access = access_new();
        char text[400];
        struct access_group *g = group(access, "g", "", cases[i].allowed, 0);
        add_patterns(&g->lists[ACCESS_DENY_SUBSCRIBE], cases[i].denied);
        user(access, "ann", "g");
        struct grant *grant = grant_of(access, "ann");
        bool may = grant_subscribes(grant, mps_text(cases[i].wanted));
        if (may != (cases[i].hint == NULL)) fail_msg("'%s' in '%s': %d", cases[i].wanted, cases[i].allowed, may);
        if (!may) assert_string_equal(grant_hint(grant, mps_text(cases[i].wanted), text, sizeof text), cases[i].hint);
        grant_unref(grant);
    }
}

static void test_deny_in_one_group_beats_allow_in_another(void **state)
{
    (void)state;
    struct access *access = access_new();
    add_patterns(&group(access, "narrow", "", "", ACCESS_RETAIN)->lists[ACCESS_DENY_PUBLISH], "a/x/#,a/y");
    group(access, "wide", "a/#", "", 0);
    access_add_text(&user(access, "ann", "wide")->groups, "narrow");
    struct grant *grant = grant_of(access, "ann");
    static const char *const asked[] = {"a/b", "a/x", "a/x/1", "a/y", "a/y/1", "b", "a/b", "a/y"};
    static const bool may[] = {true, false, false, false, true, false, true, false};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        assert_int_equal(grant_publishes(grant, mps_text(asked[i])), may[i]);
    assert_true(grant_has(grant, ACCESS_RETAIN));
    assert_false(grant_has(grant, ACCESS_BLOCK));
    grant_unref(grant);
}

static void test_who_has_no_name_is_no_user(void **state)
{
    (void)state;
    struct access *access = access_new();
    struct access_group *g = group(access, "all", "%u/#,%i/#", "", 0);
    strcpy(access->default_group, "all");
    struct grant *grant = grant_of(access, NULL);
    assert_false(grant_publishes(grant, mps_text("/x")));
    assert_true(grant_publishes(grant, mps_text("dev-7/x")));
    assert_int_equal(g->rights, 0);
    grant_unref(grant);
}

/* A denied one that is too long for somebody's id would deny nothing. */
static void test_a_pattern_has_room_for_the_longest_names(void **state)
{
    (void)state;
    char pattern[MPS_TOPIC_MAX + 1];
    static const struct {
        const char *name;
        size_t len_max;
    } names[] = {{"%u", ACCESS_NAME_MAX}, {"%i", MPS_ID_MAX}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t room = MPS_TOPIC_MAX - names[i].len_max;
        memset(pattern, 'x', room + 1);
        strcpy(pattern + room, names[i].name);
        assert_null(access_pattern_error(pattern));
        pattern[room] = 'x';
        strcpy(pattern + room + 1, names[i].name);
        assert_string_equal(access_pattern_error(pattern),
                            "with a user's or client's longest name it has more than 255 bytes");
    }
}

static void test_who_is_in_no_section_is_in_the_group_of_such_users(void **state)
{
    (void)state;
    struct access *access = access_new();
    group(access, "known", "a", "", 0);
    group(access, "rest", "b", "", 0);
    user(access, "ann", "known");
    strcpy(access->user_group, "rest");
    struct grant *ann = grant_new(access, mps_text("ann"), mps_text("i"), 0);
    struct grant *bob = grant_new(access, mps_text("bob"), mps_text("i"), 0);
    struct grant *nobody = grant_new(access, mps_text(NULL), mps_text("i"), 0);
    assert_true(grant_publishes(ann, mps_text("a")) && !grant_publishes(ann, mps_text("b")));
    assert_true(grant_publishes(bob, mps_text("b")) && !grant_publishes(bob, mps_text("a")));
    assert_false(grant_publishes(nobody, mps_text("b")));
    grant_unref(ann);
    grant_unref(bob);
    grant_unref(nobody);
    access_unref(access);
}

static void test_rules_of_names_patterns_certificates(void **state)
{
    (void)state;
    assert_null(access_name_error("a-Z_0.9"));
    assert_non_null(access_name_error(""));
    assert_non_null(access_name_error("a/b"));
    assert_non_null(access_name_error("abcdefghijklmnopqrstuvwxyz0123456"));
    assert_null(access_pattern_error("%u/%i/%%/+/#"));
    assert_string_equal(access_pattern_error("%x"), "behind '%' stands 'u', 'i' or '%'");
    assert_string_equal(access_pattern_error("a%"), "behind '%' stands 'u', 'i' or '%'");
    assert_string_equal(access_pattern_error("a+"), "a wildcard, '+' or '#', must be a whole level");
    assert_string_equal(access_pattern_error(""), "it is empty");
    assert_null(access_certificate_error("uri:spiffe://x/y"));
    assert_string_equal(access_certificate_error("dns:"), "nothing stands behind the ':'");
    assert_non_null(access_certificate_error("ip:1.2.3.4"));
    assert_non_null(access_certificate_error("sha256:00"));
    assert_null(access_certificate_error("sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"));
}

static void test_whose_certificate_or_uid_it_is(void **state)
{
    (void)state;
    struct access *access = access_new();
    access_add_text(&user(access, "uri", NULL)->certificates, "uri:x:1");
    access_add_text(&user(access, "dns", NULL)->certificates, "dns:host");
    access_add_text(&user(access, "cn", NULL)->certificates, "cn:Ann B");
    access_add_text(&user(access, "print", NULL)->certificates,
                    "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    access_add_number(&user(access, "gid", NULL)->gids, 5);
    access_add_number(&user(access, "uid", NULL)->uids, 0);
    struct peer peers[] = {
        {.certificate = {.is_given = true, .san_uri = "x:1"}},
        {.certificate = {.is_given = true, .san_dns = "host"}},
        {.certificate = {.is_given = true, .cn = "Ann B"}},
        {.certificate = {.is_given = true,
                         .fingerprint = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}},
        {.kind = PEER_UNIX, .uid = 1, .gid = 5},
        {.kind = PEER_UNIX, .uid = 0, .gid = 5},
        {.kind = PEER_UNIX, .uid = 1, .gid = 1},
        {.kind = PEER_TCP},
        {.certificate = {.is_given = true}},
        {.certificate = {.is_given = false, .cn = "Ann B"}},
    };
    static const char *const names[] = {"uri", "dns", "cn", "print", "gid", "uid"};
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        const struct access_user *found = access_user_of_peer(access, &peers[i]);
        if (i >= sizeof names / sizeof *names) assert_null(found);
        else assert_string_equal(found->name, names[i]);
    }
    access_unref(access);
}

/* ---- publishing and subscribing ------------------------------------------------------------------------------ */

static struct mps_hello client(const char *id, uint32_t sess_s)
{
    return (struct mps_hello){.id = mps_text(id), .sess_s = sess_s};
}

static void come(struct stage *stage, char link, uint32_t sess_s)
{
    char id[2] = {link, '\0'};
    stage_hello(stage, link, client(id, sess_s));
    stage_words(stage, link);
}

static void test_publishing(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", ACCESS_RETAIN);
    add_patterns(&stage->access->groups[0]->lists[ACCESS_DENY_PUBLISH], "t/no/#");
    stage_start(stage);
    come(stage, 's', 0);
    stage_sub(stage, 's', 1, "#", plain);
    stage_expect(stage, 's', "suback 1");
    come(stage, 'p', 0);
    static const char *const topics[] = {"t/a", "t/no", "t/b", "t/no/1", "x", "u/1", "t/a"};
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) stage_msg(stage, 'p', topics[i], "1");
    stage_expect(stage, 'p', "err 211 | err 211 | err 211");
    stage_expect(stage, 's', "for 1 | t/a=1 | t/b=1 | u/1=1 | t/a=1");
    stage_pub(stage, 'p', 1, 1);
    stage_msg(stage, 'p', "t/a", "2");
    stage_msg(stage, 'p', "t/no", "2");
    stage_msg(stage, 'p', "t/a", "3");
    stage_expect(stage, 'p', "ok 1 | refused 2 211 | ok 3");
    stage_expect(stage, 's', "t/a=2 | t/a=3");
}

/* Messages of several topics that come at once are one run where they may be: those that are denied must not be in it.
 */
static void test_publishing_many_topics_at_once(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", 0);
    add_patterns(&stage->access->groups[0]->lists[ACCESS_DENY_PUBLISH], "t/no/#");
    stage_start(stage);
    come(stage, 's', 0);
    stage_sub(stage, 's', 1, "#", plain);
    stage_words(stage, 's');
    come(stage, 'p', 0);
    for (int round = 0; round < 3; round++) { /* the later ones find their routes cached */
        uint8_t room[1024];
        struct mps_out out = mps_out_open(room, sizeof room);
        static const char *const topics[] = {"t/no/1", "t/a", "t/b", "t/no/2", "t/no/2", "t/c", "t/d", "t/no/1"};
        for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
            mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topics[i]), .payload = mps_text("x")});
        stage_send(stage, 'p', &out);
        stage_expect(stage, 's',
                     round == 0 ? "for 1 | t/a=x | t/b=x | t/c=x | t/d=x" : "t/a=x | t/b=x | t/c=x | t/d=x");
        stage_pass(stage, 1000); /* errors are told ten times a second */
        stage_expect(stage, 'p', "err 211 | err 211 | err 211 | err 211");
    }
}

static void publish_with(struct stage *stage, char link, uint32_t flags, const char *topic, const char *text)
{
    uint8_t room[300];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){0, flags});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
    mps_encode_pub(&out, &(struct mps_pub){0, 0});
    stage_send(stage, link, &out);
}

static uint64_t retained(const struct stage *stage)
{
    struct broker_figures figures;
    broker_figures(stage->broker, &figures);
    return figures.retained;
}

static void test_retaining_needs_a_right(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", 0);
    stage_start(stage);
    come(stage, 'p', 0);
    publish_with(stage, 'p', MPS_PUB_RETAIN, "t/a", "1");
    stage_expect(stage, 'p', "err 211");
    assert_int_equal(retained(stage), 0);
    broker_set_access(stage->broker, all_may("#", ACCESS_RETAIN));
    publish_with(stage, 'p', MPS_PUB_RETAIN, "t/a", "1");
    publish_with(stage, 'p', MPS_PUB_RETAIN, "x", "1");
    stage_expect(stage, 'p', "err 211");
    assert_int_equal(retained(stage), 1);
}

static void assert_refused(struct stage *stage, const char *pattern, struct mps_sub_options options, const char *text)
{
    mps_view frame;
    struct mps_suback suback;
    const char *what;
    char said[400];
    stage_sub(stage, 's', 9, pattern, options);
    assert_int_equal(stage_take(stage, 's', &frame), MPS_OP_SUBACK);
    assert_int_equal(mps_decode_suback(frame, &suback, &what), MPS_OK);
    assert_int_equal(suback.code, MPS_NOT_AUTHORISED);
    snprintf(said, sizeof said, "%.*s", (int)suback.text.len, (const char *)suback.text.ptr);
    assert_string_equal(said, text);
}

static void test_subscribing(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("t/#", 0);
    stage_start(stage);
    come(stage, 's', HOUR_S);
    stage_sub(stage, 's', 1, "t/+", plain);
    stage_expect(stage, 's', "suback 1");
    struct mps_sub_options group = plain, block = plain, spill = plain;
    group.given |= MPS_SUB_GROUP;
    group.group = mps_text("g");
    block.given = spill.given |= MPS_SUB_POLICY;
    block.policy = MPS_POLICY_BLOCK;
    spill.policy = MPS_POLICY_SPILL;
    assert_refused(stage, "#", plain, "may not subscribe to '#': 't/#' would be allowed");
    assert_refused(stage, "x", plain, "may not subscribe to 'x': nothing of it is allowed");
    assert_refused(stage, "$SYS/#", plain, "may not subscribe to '$SYS/#': that needs the right 'sys'");
    assert_refused(stage, "t", group, "may not subscribe to 't': a group needs the right 'groups'");
    assert_refused(stage, "t", block, "may not subscribe to 't': policy 'block' needs the right 'block'");
    assert_refused(stage, "t", spill, "may not subscribe to 't': policy 'spill' needs the right 'durable'");
    broker_set_access(stage->broker, all_may("t/#", ACCESS_GROUPS | ACCESS_BLOCK | ACCESS_DURABLE | ACCESS_SYS));
    stage_sub(stage, 's', 2, "t", group);
    stage_sub(stage, 's', 3, "t", block);
    stage_sub(stage, 's', 4, "t", spill);
    stage_sub(stage, 's', 5, "$SYS/x", plain);
    stage_expect(stage, 's', "suback 2 | suback 3 | suback 4 | suback 5");
}

static void test_inboxes_are_everybodys(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("", 0);
    stage_start(stage);
    stage_hello(stage, 's', client("s", 0));
    mps_view frame;
    struct mps_welcome welcome;
    const char *what;
    char topic[100], expected[150];
    assert_int_equal(stage_take(stage, 's', &frame), MPS_OP_WELCOME);
    assert_int_equal(mps_decode_welcome(frame, &welcome, &what), MPS_OK);
    snprintf(topic, sizeof topic, "%.*s/1", (int)welcome.inbox.len, (const char *)welcome.inbox.ptr);
    come(stage, 'p', 0);
    stage_msg(stage, 'p', topic, "answer");
    snprintf(expected, sizeof expected, "for 0 | %s=answer", topic);
    stage_expect(stage, 's', expected);
    stage_expect(stage, 'p', "");
}

static void ask_admin(struct stage *stage, char link, const char *reply_to)
{
    uint8_t room[400], props[100];
    struct mps_out out = mps_out_open(room, sizeof room), map = mps_out_open(props, sizeof props);
    mps_put_map(&map, 1);
    mps_put_uint(&map, MPS_PROP_REPLY_TO);
    mps_put_text(&map, mps_text(reply_to));
    mps_encode_msg(&out,
                   &(struct mps_msg){.topic = mps_text("$SYS/request/stream/remove"), .props = mps_out_view(&map)});
    stage_send(stage, link, &out);
}

static void test_administration_needs_a_right_or_the_brokers_own_socket(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("t/#", 0);
    stage_start(stage);
    come(stage, 's', 0);
    ask_admin(stage, 's', "t/answer");
    stage_expect(stage, 's', "err 211");
    broker_set_access(stage->broker, all_may("t/#", ACCESS_ADMIN));
    ask_admin(stage, 's', "t/answer");
    stage_expect(stage, 's', "");
    ask_admin(stage, 's', "v/answer"); /* where it could not publish itself */
    ask_admin(stage, 's', "$SYS/answer");
    ask_admin(stage, 's', "$inbox/x/1");
    stage_expect(stage, 's', "err 211 | err 211");
    broker_set_access(stage->broker, all_may("", 0));
    stage->peer = (struct peer){.kind = PEER_UNIX, .is_own = true};
    come(stage, 'o', 0);
    ask_admin(stage, 'o', "$inbox/x/1");
    stage_sub(stage, 'o', 1, "$SYS/x", plain);
    stage_expect(stage, 'o', "suback 1");
}

/* ---- ways in ------------------------------------------------------------------------------------------------- */

static struct session *asked;     /* waits for its answer */
static enum verify_answer answer; /* what is said at once */
static int forgotten;
static char asked_for[100];

static enum verify_answer verify(struct env *env, struct link *link, struct session *session, const struct proof *proof,
                                 struct verdict *verdict)
{
    (void)env;
    assert_non_null(link);
    asked = session;
    snprintf(asked_for, sizeof asked_for, "%.*s:%.*s", (int)proof->user_len, (const char *)proof->user,
             (int)proof->secret_len, (const char *)proof->secret);
    if (proof->is_token) {
        *verdict =
            (struct verdict){.is_good = proof->secret_len == 3 && memcmp(proof->secret, "bad", 3) != 0, .proof = 7};
        strcpy(verdict->user, proof->secret_len == 3 && memcmp(proof->secret, "bob", 3) == 0 ? "bob" : "ann");
        return answer;
    }
    return VERIFY_LATER;
}

static void verify_forget(struct env *env, struct session *session)
{
    (void)env;
    assert_ptr_equal(session, asked);
    asked = NULL;
    forgotten++;
}

static void start_with_users(struct stage *stage)
{
    struct access *access = access_new();
    group(access, "g", "t/#", "t/#", 0);
    user(access, "ann", "g");
    user(access, "bob", "g");
    access_add_number(&access->users[1]->uids, 1000);
    stage->access = access;
    stage->env.verify = verify;
    stage->env.verify_forget = verify_forget;
    asked = NULL;
    forgotten = 0;
    answer = VERIFY_DONE;
    stage->peer = (struct peer){.kind = PEER_TCP, .is_loopback = true, .needs_identity = true};
    stage_start(stage);
}

static struct mps_hello with_token(const char *id, const char *token)
{
    static uint8_t room[100];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_bin(&out, mps_text(token));
    struct mps_hello hello = client(id, 0);
    hello.auth = mps_text("token");
    hello.data = mps_out_view(&out);
    return hello;
}

static struct mps_hello with_password(const char *id, const char *name, const char *password)
{
    static uint8_t room[100];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_array(&out, 2);
    mps_put_text(&out, mps_text(name));
    mps_put_text(&out, mps_text(password));
    struct mps_hello hello = client(id, 0);
    hello.auth = mps_text("password");
    hello.data = mps_out_view(&out);
    return hello;
}

static void tell(bool is_good, const char *name)
{
    struct verdict verdict = {.is_good = is_good, .proof = 7};
    strcpy(verdict.user, name);
    struct session *session = asked;
    asked = NULL;
    session_verified(session, &verdict);
}

static void test_nobody_comes_in_without_a_name_where_one_is_needed(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    struct mps_hello cert = client("c", 0);
    cert.auth = mps_text("cert");
    stage_hello(stage, 'a', client("a", 0));
    stage_expect(stage, 'a', "bye 108 | end");
    stage_hello(stage, 'c', cert);
    stage_expect(stage, 'c', "bye 108 | end");
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 1000, .needs_identity = true};
    stage_hello(stage, 'b', client("b", 0));
    stage_sub(stage, 'b', 1, "t/x", plain);
    stage_expect(stage, 'b', "welcome last 0 | suback 1");
}

static void test_tokens(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage_hello(stage, 'a', with_token("a", "ann"));
    stage_sub(stage, 'a', 1, "t/x", plain);
    stage_expect(stage, 'a', "welcome last 0 | suback 1");
    assert_string_equal(asked_for, ":ann");
    stage_hello(stage, 'b', with_token("b", "bad"));
    stage_expect(stage, 'b', "bye 108 | end");
    answer = VERIFY_LIMITED;
    stage_hello(stage, 'c', with_token("c", "ann"));
    stage_expect(stage, 'c', "bye 108 | end");
    answer = VERIFY_UNAVAILABLE;
    stage_hello(stage, 'd', with_token("d", "ann"));
    stage_expect(stage, 'd', "bye 108 | end");
    answer = VERIFY_BUSY;
    stage_hello(stage, 'e', with_token("e", "ann"));
    stage_expect(stage, 'e', "bye 115 | end");
}

static void test_what_follows_a_password_waits_for_its_check(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage_hello(stage, 'a', with_password("a", "ann", "secret"));
    assert_string_equal(asked_for, "ann:secret");
    stage_sub(stage, 'a', 1, "t/x", plain);
    stage_msg(stage, 'a', "t/x", "1");
    stage_pass(stage, 20000); /* longer than a HELLO may take */
    stage_expect(stage, 'a', "");
    tell(true, "ann");
    stage_settle(stage);
    stage_expect(stage, 'a', "welcome last 0 | suback 1 | for 1 | t/x=1");
}

/* All in one write: what stands behind HELLO is there already when its check begins. */
static void test_what_came_with_a_password_waits_too(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage_hello(stage, 'x', with_token("x", "ann"));
    stage_words(stage, 'x');
    for (int good = 0; good < 2; good++) {
        char name = good ? 'a' : 'b';
        uint8_t room[600];
        struct mps_out out = mps_out_open(room, sizeof room);
        struct mps_hello hello = with_password(good ? "a" : "b", "ann", "secret");
        hello.magic = mps_text("mps");
        hello.version = 1;
        stage_open(stage, name);
        mps_encode_hello(&out, &hello);
        mps_encode_sub(&out, &(struct mps_sub){1, mps_text("t/x"), plain});
        mps_encode_ping(&out, &(struct mps_token){mps_text("p")});
        stage_send(stage, name, &out);
        stage_expect(stage, name, "");
        tell(good, good ? "ann" : "");
        stage_settle(stage);
        stage_expect(stage, name, good ? "welcome last 0 | suback 1 | pong" : "bye 108 | end");
    }
}

static void test_who_goes_while_it_is_checked(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage_hello(stage, 'a', with_password("a", "ann", "secret"));
    stage_cut(stage, 'a');
    assert_int_equal(forgotten, 1);
    stage_hello(stage, 'b', with_password("b", "ann", "secret"));
    stage_pass(stage, 30000);
    stage_expect(stage, 'b', "bye 111 | end");
    assert_int_equal(forgotten, 2);
}

static void test_what_is_taken_back_while_it_is_checked_lets_nobody_in(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage_hello(stage, 'a', with_token("a", "ann"));
    stage_words(stage, 'a');
    stage_hello(stage, 'b', with_password("b", "ann", "secret"));
    struct access *access = access_new(); /* without the proof of it */
    group(access, "g", "t/#", "t/#", 0);
    access_add_text(&access_add_user(access, "ann")->groups, "g");
    broker_set_access(stage->broker, access);
    tell(true, "ann");
    stage_settle(stage);
    stage_expect(stage, 'b', "bye 108 | end");
}

static void test_passwords_need_an_encrypted_connection(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage->peer.is_loopback = false;
    stage_hello(stage, 'a', with_password("a", "ann", "secret"));
    stage_expect(stage, 'a', "bye 108 | end");
    assert_null(asked);
    stage->peer.is_encrypted = true;
    stage_hello(stage, 'b', with_password("b", "ann", "secret"));
    tell(true, "ann");
    stage_settle(stage);
    stage_expect(stage, 'b', "welcome last 0");
}

static void send_auth(struct stage *stage, char link, const char *token)
{
    uint8_t room[100];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_auth(&out, &(struct mps_auth){mps_text(token)});
    stage_send(stage, link, &out);
}

static void test_a_new_token(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage_hello(stage, 'a', with_token("a", "ann"));
    stage_words(stage, 'a');
    send_auth(stage, 'a', "ann");
    stage_expect(stage, 'a', "");
    send_auth(stage, 'a', "bad");
    send_auth(stage, 'a', "bob"); /* somebody else's */
    stage_sub(stage, 'a', 1, "t/x", plain);
    stage_expect(stage, 'a', "err 212 | err 212 | suback 1");
    answer = VERIFY_LATER;
    send_auth(stage, 'a', "ann");
    send_auth(stage, 'a', "ann");
    stage_expect(stage, 'a', "err 212"); /* one at a time */
    tell(false, "");
    stage_settle(stage);
    stage_expect(stage, 'a', "err 212");
}

static void test_what_let_somebody_in_can_be_taken_back(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage_hello(stage, 'a', with_token("a", "ann"));
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 1000, .needs_identity = true};
    stage_hello(stage, 'b', client("b", 0));
    stage_words(stage, 'a');
    stage_words(stage, 'b');
    struct access *access = access_new(); /* nobody's token, no uid; bob is known all the same */
    group(access, "g", "t/#", "t/#", 0);
    access_add_text(&access_add_user(access, "bob")->groups, "g");
    broker_set_access(stage->broker, access);
    stage_settle(stage);
    stage_expect(stage, 'a', "bye 108 | end");
    stage_expect(stage, 'b', "bye 108 | end");
}

/* What one of them leaves is one session too many: an older one ends, meanwhile. */
static void test_taking_back_ends_sessions_that_are_away(void **state)
{
    struct stage *stage = *state;
    stage->limits.max_sessions_count = 1;
    start_with_users(stage);
    struct mps_hello kept = with_token("a", "ann");
    kept.sess_s = HOUR_S;
    stage_hello(stage, 'a', kept);
    stage_cut(stage, 'a');
    stage_settle(stage);
    kept = with_token("b", "ann");
    kept.sess_s = HOUR_S;
    stage_hello(stage, 'b', kept);
    stage_words(stage, 'b');
    struct access *access = access_new();
    group(access, "g", "t/#", "t/#", 0);
    broker_set_access(stage->broker, access);
    stage_settle(stage);
    stage_expect(stage, 'b', "bye 108 | end");
}

/* hostile.md 17 */
static void test_an_id_belongs_to_its_user(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    struct mps_hello kept = with_token("dev", "ann");
    kept.sess_s = HOUR_S;
    stage_hello(stage, 'a', kept);
    stage_sub(stage, 'a', 1, "t/x", plain);
    stage_words(stage, 'a');
    stage_hello(stage, 'b', with_token("dev", "bob"));
    stage_expect(stage, 'b', "bye 117 | end");
    stage_expect(stage, 'a', "");
    stage_cut(stage, 'a');
    stage_hello(stage, 'c', with_token("dev", "bob"));
    stage_expect(stage, 'c', "bye 117 | end");
    kept = with_token("dev", "ann");
    kept.sess_s = HOUR_S;
    stage_hello(stage, 'd', kept);
    stage_expect(stage, 'd', "welcome resumed last 0");
    stage_hello(stage, 'e', with_token("dev", "ann"));
    stage_expect(stage, 'e', "welcome last 0");
    stage_expect(stage, 'd', "bye 109 | end");
}

static void test_what_nobody_left_is_anybodys(void **state)
{
    struct stage *stage = *state;
    start_with_users(stage);
    stage->peer.needs_identity = false;
    stage_hello(stage, 'a', client("dev", HOUR_S));
    stage_expect(stage, 'a', "welcome last 0");
    struct mps_hello named = with_token("dev", "bob");
    named.sess_s = HOUR_S;
    stage_hello(stage, 'b', named);
    stage_expect(stage, 'b', "welcome resumed last 0");
    stage_hello(stage, 'c', client("dev", HOUR_S));
    stage_expect(stage, 'c', "bye 117 | end");
}

/* ---- what a change does -------------------------------------------------------------------------------------- */

static struct mps_sub_options without_credit(void)
{
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_CREDIT;
    return options;
}

static void give_credit(struct stage *stage, char link, uint32_t sid, uint64_t credit)
{
    uint8_t room[50];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_credit(&out, &(struct mps_credit){.sid = sid, .max_msgs = credit});
    stage_send(stage, link, &out);
}

static void test_less_is_allowed_than_is_subscribed_to(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", 0);
    stage_start(stage);
    come(stage, 's', 0);
    come(stage, 'p', 0);
    stage_sub(stage, 's', 1, "#", without_credit());
    struct mps_sub_options latest = without_credit();
    latest.given |= MPS_SUB_POLICY;
    latest.policy = MPS_POLICY_LATEST;
    stage_sub(stage, 's', 2, "#", latest);
    stage_expect(stage, 's', "suback 1 | suback 2");
    stage_msg(stage, 'p', "t/1", "old");
    stage_msg(stage, 'p', "u/1", "old");
    stage_msg(stage, 'p', "t/2", "old");
    broker_set_access(stage->broker, all_may("t/#", 0));
    stage_stat(stage, 's', 1);
    stage_stat(stage, 's', 2);
    stage_expect(stage, 's', "stat 1 3 0 1 2 | stat 2 3 0 1 2");
    stage_msg(stage, 'p', "u/2", "new");
    stage_msg(stage, 'p', "t/3", "new");
    give_credit(stage, 's', 1, 10);
    stage_expect(stage, 's', "for 1 | t/1=old | gap 1 x1 reason 13 | t/2=old | t/3=new");
    give_credit(stage, 's', 2, 10);
    stage_expect(stage, 's', "for 2 | t/1=old | gap 2 x1 reason 13 | t/2=old | t/3=new");
    stage_stat(stage, 's', 1);
    stage_expect(stage, 's', "stat 1 4 3 1 0");
    stage_sub(stage, 's', 1, "#", plain); /* it would not be granted now, and stays as it was */
    stage_msg(stage, 'p', "t/4", "new");
    stage_expect(stage, 's', "suback 1 refused 211 | t/4=new | for 1 | t/4=new");
    stage_unsub(stage, 's', 2);
    stage_words(stage, 's');
    broker_set_access(stage->broker, all_may("#", 0));
    stage_msg(stage, 'p', "u/3", "new");
    stage_expect(stage, 's', "u/3=new");
}

static void test_matched_does_not_count_what_may_not_be_received(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", 0);
    stage_start(stage);
    come(stage, 's', 0);
    come(stage, 'p', 0);
    stage_sub(stage, 's', 1, "#", plain);
    broker_set_access(stage->broker, all_may("t/#", 0));
    stage_pub(stage, 'p', 1, 1);
    stage_msg(stage, 'p', "u/1", "x");
    stage_msg(stage, 'p', "t/1", "x");
    stage_expect(stage, 'p', "ok 1 nobody | ok 2");
}

static void test_spilled_messages_are_judged_as_they_come_back(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", ACCESS_DURABLE);
    stage_start(stage);
    come(stage, 's', 0);
    come(stage, 'p', 0);
    struct mps_sub_options spill = without_credit();
    spill.given |= MPS_SUB_POLICY | MPS_SUB_MAX_MSGS;
    spill.policy = MPS_POLICY_SPILL;
    spill.max_msgs = 1;
    stage_sub(stage, 's', 1, "#", spill);
    stage_expect(stage, 's', "suback 1");
    stage_msg(stage, 'p', "t/1", "x");
    stage_msg(stage, 'p', "u/1", "x");
    stage_msg(stage, 'p', "t/2", "x");
    broker_set_access(stage->broker, all_may("t/#", ACCESS_DURABLE));
    give_credit(stage, 's', 1, 10);
    stage_expect(stage, 's', "for 1 | t/1=x | gap 1 x1 reason 13 | t/2=x");
    stage_stat(stage, 's', 1);
    stage_expect(stage, 's', "stat 1 3 2 1 0");
}

static void test_sessions_of_those_who_are_away(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", 0);
    stage_start(stage);
    come(stage, 's', HOUR_S);
    come(stage, 'p', 0);
    stage_sub(stage, 's', 1, "#", plain);
    stage_cut(stage, 's');
    stage_msg(stage, 'p', "u/1", "x");
    broker_set_access(stage->broker, all_may("t/#", 0));
    stage_msg(stage, 'p', "u/2", "x");
    stage_msg(stage, 'p', "t/1", "x");
    stage_hello(stage, 's', client("s", HOUR_S));
    stage_expect(stage, 's', "welcome resumed last 0 | gap 1 x1 reason 13 | for 1 | t/1=x");
}

static void test_retained_values_for_a_subscription_that_is_too_wide(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", ACCESS_RETAIN);
    stage_start(stage);
    come(stage, 's', 0);
    come(stage, 'p', 0);
    publish_with(stage, 'p', MPS_PUB_RETAIN, "t/1", "x");
    publish_with(stage, 'p', MPS_PUB_RETAIN, "u/1", "x");
    struct mps_sub_options none = {.given = MPS_SUB_CREDIT};
    stage_sub(stage, 's', 1, "#", none);
    stage_expect(stage, 's', "suback 1");
    broker_set_access(stage->broker, all_may("t/#", ACCESS_RETAIN));
    give_credit(stage, 's', 1, 10);
    stage_expect(stage, 's', "for 1 flags 1 | t/1=x | mark 1 1");
}

static void test_a_member_that_may_not_receive_all_is_given_nothing(void **state)
{
    struct stage *stage = *state;
    struct access *access = all_may("#", ACCESS_GROUPS);
    group(access, "wide", "", "#", ACCESS_GROUPS);
    access_add_number(&user(access, "ann", "wide")->uids, 5);
    stage->access = access;
    stage_start(stage);
    struct mps_sub_options member = plain;
    member.given |= MPS_SUB_GROUP;
    member.group = mps_text("g");
    come(stage, 'a', 0);
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 5};
    come(stage, 'b', 0);
    come(stage, 'p', 0);
    stage->peer = (struct peer){.kind = PEER_NONE};
    come(stage, 'p' + 1, 0);
    stage_sub(stage, 'a', 1, "#", member);
    stage_sub(stage, 'b', 1, "#", member);
    stage_msg(stage, 'q', "t/1", "x");
    stage_msg(stage, 'q', "t/2", "x");
    stage_expect(stage, 'a', "suback 1 | for 1 | t/1=x");
    stage_expect(stage, 'b', "suback 1 | for 1 | t/2=x");
    access = all_may("t/#", ACCESS_GROUPS);
    group(access, "wide", "", "#", ACCESS_GROUPS);
    access_add_number(&user(access, "ann", "wide")->uids, 5);
    broker_set_access(stage->broker, access);
    stage_msg(stage, 'q', "t/3", "x");
    stage_msg(stage, 'q', "t/4", "x");
    stage_expect(stage, 'a', "");
    stage_expect(stage, 'b', "t/3=x | t/4=x");
    stage_unsub(stage, 'b', 1);
    stage_words(stage, 'b');
    stage_msg(stage, 'q', "t/5", "x");
    stage_expect(stage, 'a', "");
    broker_set_access(stage->broker, all_may("#", ACCESS_GROUPS));
    stage_settle(stage);
    stage_expect(stage, 'a', "t/5=x");
}

static void test_readers(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", 0);
    stage_start_stored(stage, "#");
    come(stage, 's', HOUR_S);
    come(stage, 'p', 0);
    struct mps_sub_options reader = without_credit();
    reader.given |= MPS_SUB_FROM | MPS_SUB_ACK;
    reader.from.kind = MPS_FROM_ALL;
    reader.ack = MPS_ACK_UPTO;
    stage_sub(stage, 's', 1, "#", reader);
    stage_expect(stage, 's', "suback 1 | mark 1 2");
    give_credit(stage, 's', 1, 2);
    stage_msg(stage, 'p', "u/1", "x");
    stage_msg(stage, 'p', "t/1", "x");
    stage_msg(stage, 'p', "u/2", "x");
    stage_msg(stage, 'p', "t/2", "x");
    stage_pass(stage, 100);
    stage_expect(stage, 's', "for 1 at 64-1 | u/1=x | t/1=x");
    broker_set_access(stage->broker, all_may("t/#", 0));
    give_credit(stage, 's', 1, 100);
    stage_settle(stage);
    stage_expect(stage, 's', "for 1 at 64-4 | t/2=x");
    stage_pass(stage, 31000); /* nothing was acknowledged: what may still be received comes again */
    stage_expect(stage, 's',
                 "gap 1 x1 reason 13 at 64-1..1 | for 1 flags 4 at 64-2 | t/1=x | for 1 flags 4 at 64-4 | t/2=x");
    stage_stat(stage, 's', 1);
    stage_expect(stage, 's', "stat 1 6 5 1 0");
}

static void test_values_whose_publishers_lost_the_right_go(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", ACCESS_RETAIN);
    stage_start_stored(stage, "t/#");
    come(stage, 'p', 0);
    publish_with(stage, 'p', MPS_PUB_RETAIN, "t/1", "x");
    publish_with(stage, 'p', MPS_PUB_RETAIN, "u/1", "x");
    stage_cut(stage, 'p');
    stage_pass(stage, 100);
    assert_int_equal(retained(stage), 2);
    struct access *access = all_may("#", ACCESS_RETAIN);
    add_patterns(&access->groups[0]->lists[ACCESS_DENY_PUBLISH], "u/#");
    broker_set_access(stage->broker, access);
    stage_settle(stage);
    assert_int_equal(retained(stage), 1);
    stage_crash(stage, true);
    stage->access = all_may("#", ACCESS_RETAIN);
    stage_start_stored(stage, "t/#");
    assert_int_equal(retained(stage), 1);
    stage_crash(stage, true);
    stage->access = all_may("#", 0); /* whose value it is outlived the broker, too */
    stage_start_stored(stage, "t/#");
    stage_settle(stage);
    assert_int_equal(retained(stage), 0);
}

static void test_wills(void **state)
{
    struct stage *stage = *state;
    stage->access = all_may("#", 0);
    stage_start(stage);
    come(stage, 's', 0);
    stage_sub(stage, 's', 1, "#", plain);
    stage_words(stage, 's');
    static const struct {
        const char *topic;
        uint32_t flags;
        const char *words;
    } cases[] = {
        {"x", 0, "welcome last 0 | err 211"},
        {"t/w", MPS_PUB_RETAIN, "welcome last 0 | err 211"},
        {"t/w", 0, "welcome last 0"},
        {"u/w", 0, "welcome last 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char link = (char)('a' + i), id[2] = {link, '\0'};
        uint8_t room[200];
        struct mps_out out = mps_out_open(room, sizeof room);
        struct mps_hello hello = client(id, 0);
        mps_put_array(&out, 4);
        mps_put_text(&out, mps_text(cases[i].topic));
        mps_put_bin(&out, mps_text("gone"));
        mps_put_uint(&out, cases[i].flags);
        mps_put_uint(&out, 0);
        hello.will = mps_out_view(&out);
        stage_hello(stage, link, hello);
        stage_expect(stage, link, cases[i].words);
    }
    struct access *access = all_may("#", 0);
    add_patterns(&access->groups[0]->lists[ACCESS_DENY_PUBLISH], "u/#");
    broker_set_access(stage->broker, access);
    for (char link = 'a'; link <= 'd'; link++) stage_cut(stage, link);
    stage_pass(stage, 10);
    stage_expect(stage, 's', "for 1 | t/w=gone");
}

static void ignore_commit(void *arg, const struct store_batch *batch, enum store_code code, const char *text)
{
    (void)arg, (void)batch, (void)text;
    assert_int_equal(code, STORE_OK);
}

/* A record as it was written before it said who it comes from. The broker is down. */
static void put_old_record(struct stage *stage, enum record_kind kind, const char *key, mps_view value)
{
    struct store *store = memory_store_open(stage->disk);
    struct store_change change = {.what = STORE_PUT, .kind = kind, .key = mps_text(key), .value = value};
    struct store_batch batch = {.number = 1, .changes = &change, .count = 1};
    store->events.committed = ignore_commit;
    store->commit(store, &batch);
    store->poll(store);
    store->close(store);
}

static mps_view old_value(uint8_t room[200], bool is_will, const char *topic)
{
    uint8_t frame_room[100];
    struct mps_out out = mps_out_open(room, 200), frame = mps_out_open(frame_room, sizeof frame_room);
    mps_encode_msg(&frame, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text("old")});
    mps_put_array(&out, is_will ? 3 : 2);
    mps_put_uint(&out, is_will ? 20 : 0); /* its delay, or when it expires */
    if (is_will) mps_put_uint(&out, 0);
    mps_put_bin(&out, mps_out_view(&frame));
    return mps_out_view(&out);
}

/* It counts as left by somebody without a name, and without an id. */
static void test_what_was_left_before_there_were_users(void **state)
{
    struct stage *stage = *state;
    uint8_t room[200];
    static const char *const topics[] = {"t/1", "v/1", "id/x"};
    static const char *const clients[] = {"one", "two"};
    stage->disk = memory_disk_new();
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
        put_old_record(stage, RECORD_RETAINED, topics[i], old_value(room, false, topics[i]));
    for (size_t i = 0; i < sizeof clients / sizeof *clients; i++)
        put_old_record(stage, RECORD_WILL, clients[i], old_value(room, true, i == 0 ? "t/will" : "v/will"));
    stage_start_stored(stage, "kept/#"); /* nothing is restricted: all of it stays */
    assert_int_equal(retained(stage), 3);
    stage_crash(stage, true);
    stage->access = all_may("#", ACCESS_RETAIN);
    add_patterns(&stage->access->groups[0]->lists[ACCESS_PUBLISH], "id/%i");
    stage_start_stored(stage, "kept/#");
    come(stage, 's', 0);
    stage_sub(stage, 's', 1, "#", plain);
    stage_words(stage, 's');
    give_credit(stage, 's', 1, 100);
    stage_settle(stage);
    assert_int_equal(retained(stage), 1);
    stage_pass(stage, 50);
    stage_expect(stage, 's', "for 1 | t/will=old");
}

static void leave_will(struct stage *stage, char link, uint32_t uid, const char *topic)
{
    uint8_t room[200];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct mps_hello hello = client("dev", 0);
    mps_put_array(&out, 4);
    mps_put_text(&out, mps_text(topic));
    mps_put_bin(&out, mps_text("gone"));
    mps_put_uint(&out, 0);
    mps_put_uint(&out, 60000);
    hello.will = mps_out_view(&out);
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = uid};
    stage_hello(stage, link, hello);
    stage_expect(stage, link, "welcome last 0");
    stage_cut(stage, link);
    stage_pass(stage, 1000);
}

static void test_wills_of_two_users_under_one_id_outlive_a_crash(void **state)
{
    struct stage *stage = *state;
    struct access *access = access_new();
    group(access, "g", "t/#", "#", 0);
    access_add_number(&user(access, "ann", "g")->uids, 5);
    access_add_number(&user(access, "bob", "g")->uids, 6);
    stage->access = access_ref(access);
    stage_start_stored(stage, "kept/#");
    leave_will(stage, 'a', 5, "t/a");
    leave_will(stage, 'b', 6, "t/b");
    stage_crash(stage, true);
    stage->access = access;
    stage_start_stored(stage, "kept/#");
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 6};
    stage_hello(stage, 'b', client("dev", 0)); /* bob is back, ann is not */
    stage_sub(stage, 'b', 1, "t/#", plain);
    stage_pass(stage, 60000);
    stage_expect(stage, 'b', "welcome last 0 | suback 1 | for 1 | t/a=gone");
}

static void test_sessions_remember_their_users_across_a_restart(void **state)
{
    struct stage *stage = *state;
    stage->pattern = NULL;
    struct access *access = all_may("t/#", 0);
    group(access, "wide", "", "#", 0);
    access_add_number(&user(access, "ann", "wide")->uids, 5);
    stage->access = access_ref(access);
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 5};
    stage_start_stored(stage, "kept/#");
    come(stage, 'a', HOUR_S);
    stage_sub(stage, 'a', 1, "#", plain);
    stage_expect(stage, 'a', "suback 1");
    stage_cut(stage, 'a');
    stage_pass(stage, 1000);
    stage_crash(stage, true);
    stage->access = access;
    stage_start_stored(stage, "kept/#");
    stage->peer = (struct peer){.kind = PEER_NONE};
    stage_hello(stage, 'b', client("a", HOUR_S));
    stage_expect(stage, 'b', "bye 117 | end");
    come(stage, 'p', 0);
    stage_msg(stage, 'p', "u/1", "x");
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 5};
    stage_hello(stage, 'a', client("a", HOUR_S));
    stage_expect(stage, 'a', "welcome resumed last 0 | gap 1 x? reason 9 | for 1 | u/1=x");
}

int main(void)
{
#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_subscription_lies_within_what_is_allowed),
        cmocka_unit_test(test_deny_in_one_group_beats_allow_in_another),
        cmocka_unit_test(test_who_has_no_name_is_no_user),
        cmocka_unit_test(test_a_pattern_has_room_for_the_longest_names),
        cmocka_unit_test(test_who_is_in_no_section_is_in_the_group_of_such_users),
        cmocka_unit_test(test_rules_of_names_patterns_certificates),
        cmocka_unit_test(test_whose_certificate_or_uid_it_is),
        STAGED(test_publishing),
        STAGED(test_publishing_many_topics_at_once),
        STAGED(test_retaining_needs_a_right),
        STAGED(test_subscribing),
        STAGED(test_inboxes_are_everybodys),
        STAGED(test_administration_needs_a_right_or_the_brokers_own_socket),
        STAGED(test_nobody_comes_in_without_a_name_where_one_is_needed),
        STAGED(test_tokens),
        STAGED(test_what_follows_a_password_waits_for_its_check),
        STAGED(test_what_came_with_a_password_waits_too),
        STAGED(test_who_goes_while_it_is_checked),
        STAGED(test_what_is_taken_back_while_it_is_checked_lets_nobody_in),
        STAGED(test_passwords_need_an_encrypted_connection),
        STAGED(test_a_new_token),
        STAGED(test_what_let_somebody_in_can_be_taken_back),
        STAGED(test_taking_back_ends_sessions_that_are_away),
        STAGED(test_an_id_belongs_to_its_user),
        STAGED(test_what_nobody_left_is_anybodys),
        STAGED(test_less_is_allowed_than_is_subscribed_to),
        STAGED(test_matched_does_not_count_what_may_not_be_received),
        STAGED(test_spilled_messages_are_judged_as_they_come_back),
        STAGED(test_sessions_of_those_who_are_away),
        STAGED(test_retained_values_for_a_subscription_that_is_too_wide),
        STAGED(test_a_member_that_may_not_receive_all_is_given_nothing),
        STAGED(test_readers),
        STAGED(test_values_whose_publishers_lost_the_right_go),
        STAGED(test_wills),
        STAGED(test_what_was_left_before_there_were_users),
        STAGED(test_wills_of_two_users_under_one_id_outlive_a_crash),
        STAGED(test_sessions_remember_their_users_across_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
