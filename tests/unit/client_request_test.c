/* Requests, answers and properties on a scripted broker. */
#include "client_stage.h"

#include <stdio.h>
#include <string.h>

#define INBOX "$inbox/0123456789abcdef01234567"

static void on_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    struct stage *stage = user;
    if (reply == NULL)
        stage_note(stage, "request %llu over %d %s\n", (unsigned long long)request, status,
                   status == PUBSUB_OK ? "" : pubsub_error(client));
    else
        stage_note(stage, "request %llu answer %.*s\n", (unsigned long long)request, (int)reply->payload_len,
                   (const char *)reply->payload);
    assert_int_equal(pubsub_wait(client, 0), PUBSUB_EINVAL); /* as in every callback */
    if (reply != NULL && reply->payload_len == 6 && memcmp(reply->payload, "cancel", 6) == 0)
        assert_int_equal(pubsub_cancel_request(client, request), PUBSUB_OK);
}

static struct pubsub_request_options asking(struct stage *stage)
{
    return (struct pubsub_request_options){.timeout_ms = PATIENCE_MS, .on_reply = on_reply, .user = stage};
}

static uint64_t ask(struct stage *stage, const char *topic, struct pubsub_request_options options)
{
    uint64_t request = 0;
    int rc = pubsub_request(stage->client, topic, "?", 1, &options, &request);
    if (rc != PUBSUB_OK) fail_msg("%s", pubsub_error(stage->client));
    return request;
}

static void open_with_inbox(struct stage *stage, struct pubsub_options options)
{
    stage->inbox = INBOX;
    stage_open(stage, options, 10);
    assert_string_equal(pubsub_inbox(stage->client), INBOX);
}

static void put_answer(struct mps_out *out, const char *topic, const char *text)
{
    mps_encode_for(out, &(struct mps_for){.sid = 0});
    mps_encode_msg(out, &(struct mps_msg){mps_text(topic), {NULL, 0}, mps_text(text)});
}

static void answer(struct stage *stage, const char *topic, const char *text)
{
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    put_answer(&out, topic, text);
    stage_say(stage, &out);
}

static void answers_find_their_requests(void **state)
{
    struct stage *stage = *state;
    char first[PUBSUB_TOPIC_MAX + 1];
    open_with_inbox(stage, stage_options(stage));
    assert_int_equal(ask(stage, "a", asking(stage)), 1);
    stage_expect_frames(stage, "must acked a, ");
    strcpy(first, stage->reply_to);
    assert_string_equal(first, INBOX "/1");
    assert_int_equal(ask(stage, "b", asking(stage)), 2);
    stage_expect_frames(stage, "must acked b, ");
    assert_string_equal(stage->reply_to, INBOX "/2");
    static const uint8_t props[] = "\x82\x01\xd9\x21" INBOX "/2\x02\xc4\x08\0\0\0\0\0\0\0\2";
    assert_int_equal(stage->props_len, sizeof props - 1);
    assert_memory_equal(stage->props, props, sizeof props - 1);
    answer(stage, stage->reply_to, "two");
    answer(stage, first, "one");
    answer(stage, first, "one more"); /* too late, and so are the others */
    answer(stage, INBOX, "nobody's");
    answer(stage, INBOX "/", "nobody's");
    answer(stage, INBOX "/3", "nobody's");
    answer(stage, INBOX "/x", "nobody's");
    answer(stage, INBOX "/99999999999999999999999", "nobody's");
    answer(stage, "$inbox/somebody/1", "nobody's");
    stage_wait_for_log(stage, "request 2 answer two\nrequest 2 over 0 \nrequest 1 answer one\nrequest 1 over 0 \n");
    stage_say_puback(stage, 2, 0);
    assert_int_equal(pubsub_flush(stage->client, PATIENCE_MS), PUBSUB_OK);
    stage_expect_log(stage, ""); /* on_puback does not hear of requests alone */
    assert_int_equal(pubsub_cancel_request(stage->client, 1), PUBSUB_EINVAL);
}

static void several_answers_and_cancelling(void **state)
{
    struct stage *stage = *state;
    open_with_inbox(stage, stage_options(stage));
    struct pubsub_request_options options = asking(stage);
    options.replies_max = 2;
    ask(stage, "a", options);
    options.replies_max = UINT32_MAX;
    ask(stage, "b", options);
    ask(stage, "c", options);
    stage_publish(stage, "d", PUBSUB_ACK_ROUTED);
    stage_expect_frames(stage, "must acked a, must acked b, must acked c, acked d, ");
    stage_say_puback(stage, 4, 0); /* with a publish among them */
    stage_wait_for_log(stage, "puback 1..4 0\n");
    answer(stage, INBOX "/1", "x");
    answer(stage, INBOX "/2", "y");
    answer(stage, INBOX "/1", "z");
    answer(stage, INBOX "/2", "cancel");
    answer(stage, INBOX "/2", "not heard");
    answer(stage, INBOX "/3", "heard");
    stage_wait_for_log(stage, "request 1 answer x\nrequest 2 answer y\nrequest 1 answer z\nrequest 1 over 0 \n"
                              "request 2 answer cancel\nrequest 3 answer heard\n");
    assert_int_equal(pubsub_cancel_request(stage->client, 3), PUBSUB_OK);
    assert_int_equal(pubsub_cancel_request(stage->client, 3), PUBSUB_EINVAL);
    assert_int_equal(pubsub_cancel_request(stage->client, 0), PUBSUB_EINVAL);
    assert_non_null(strstr(pubsub_error(stage->client), "no request 0"));
    pubsub_close(stage->client, 0);
    stage->client = NULL;
    stage_expect_log(stage, ""); /* none of them is left to be told */
}

static void refusals_end_requests(void **state)
{
    struct stage *stage = *state;
    open_with_inbox(stage, stage_options(stage));
    ask(stage, "a", asking(stage));
    uint64_t cancelled = ask(stage, "b", asking(stage));
    ask(stage, "c", asking(stage));
    ask(stage, "d", asking(stage));
    ask(stage, "e", asking(stage));
    assert_int_equal(pubsub_cancel_request(stage->client, cancelled), PUBSUB_OK);
    stage_expect_frames(stage, "must acked a, must acked b, must acked c, must acked d, must acked e, ");
    stage_say_puback(stage, 1, 217);
    stage_say_puback(stage, 2, 217);
    stage_say_puback(stage, 3, 211);
    stage_say_puback(stage, 4, 213);
    stage_wait_for_log(stage, "request 1 over -14 no\nrequest 3 over -10 no\nrequest 4 over -9 no\n");
    answer(stage, INBOX "/5", "x");
    stage_say_puback(stage, 5, 0);
    stage_wait_for_log(stage, "request 5 answer x\nrequest 5 over 0 \n");
    assert_int_equal(pubsub_unacked(stage->client), 0);
}

static void time_runs_out(void **state)
{
    struct stage *stage = *state;
    open_with_inbox(stage, stage_options(stage));
    struct pubsub_request_options options = asking(stage);
    ask(stage, "a", options);
    options.timeout_ms = 4000; /* far from the other one, so that a machine that is busy meets them one by one */
    int64_t start = stage_now_ms();
    ask(stage, "b", options);
    options.timeout_ms = 30;
    ask(stage, "c", options);
    int timeout_ms = pubsub_poll_timeout_ms(stage->client);
    assert_true(timeout_ms >= 0 && timeout_ms <= 30);
    stage_wait_for_log(stage, "request 3 over -5 no answer within 30 ms\nrequest 2 over -5 no answer within 4000 ms\n");
    assert_true(stage_now_ms() - start >= 4000);
    stage_expect_frames(stage, "must acked a, must acked b, must acked c, ");
    answer(stage, INBOX "/2", "too late");
    answer(stage, INBOX "/1", "in time");
    stage_wait_for_log(stage, "request 1 answer in time\nrequest 1 over 0 \n");
}

/* A lost connection ends them. What is still unsettled is made void, and the publishes around it keep their pids. */
static void a_lost_connection_ends_requests(void **state)
{
    struct stage *stage = *state;
    open_with_inbox(stage, stage_options(stage));
    stage_publish(stage, "p", PUBSUB_ACK_ROUTED);
    ask(stage, "a", asking(stage));
    stage_publish(stage, "q", PUBSUB_ACK_ROUTED);
    stage_expect_frames(stage, "acked p, must acked a, acked q, ");
    ask(stage, "b", asking(stage)); /* not written */
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\nrequest 1 over -7 the broker closed the connection\n"
                              "request 2 over -7 the broker closed the connection\n");
    stage->inbox = "$inbox/other";
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\n");
    stage_expect_frames(stage, "acked p, must acked +, acked q, must acked +, ");
    assert_int_equal(stage->first_pid, 1);
    ask(stage, "c", asking(stage));
    stage_expect_frames(stage, "must acked c, ");
    assert_string_equal(stage->reply_to, "$inbox/other/3");
    stage_say_puback(stage, 1, 2);
    stage_say_puback(stage, 2, 217);
    stage_say_puback(stage, 3, 0);
    stage_say_puback(stage, 4, 217);
    stage_say_puback(stage, 5, 0);
    answer(stage, INBOX "/3", "to the old inbox");
    answer(stage, "$inbox/other/3", "x");
    stage_wait_for_log(stage, "puback 1..1 2\npuback 3..3 0\nrequest 3 answer x\nrequest 3 over 0 \n");
    assert_int_equal(pubsub_outbox_bytes(stage->client), 0);
}

static void requests_need_a_connection(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    open_with_inbox(stage, options);
    struct pubsub_request_options asked = asking(stage);
    asked.on_reply = NULL;
    assert_int_equal(pubsub_request(stage->client, "a", "", 0, &asked, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_request(stage->client, "a", "", 0, NULL, NULL), PUBSUB_EINVAL);
    asked = asking(stage);
    asked.publish.props = "\x80";
    asked.publish.props_len = 1;
    assert_int_equal(pubsub_request(stage->client, "a", "", 0, &asked, NULL), PUBSUB_EINVAL);
    assert_non_null(strstr(pubsub_error(stage->client), "raw"));
    asked = asking(stage);
    assert_int_equal(pubsub_request(stage->client, "a/#", "", 0, &asked, NULL), PUBSUB_EINVAL);
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
    asked.timeout_ms = 20;
    assert_int_equal(pubsub_request(stage->client, "a", "", 0, &asked, NULL), PUBSUB_ETIMEDOUT);
    assert_non_null(strstr(pubsub_error(stage->client), "no connection within 20 ms"));
    pubsub_close(stage->client, 0);
    stage->log[0] = '\0';

    options.outbox_policy = PUBSUB_OUTBOX_REFUSE;
    stage->inbox = NULL;
    char text[256];
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    assert_int_equal(pubsub_request(stage->client, "a", "", 0, &asked, NULL), PUBSUB_EAGAIN);
    stage_accept(stage); /* that of the first client, which was waiting to be accepted */
    stage_hang_up(stage);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
    assert_string_equal(pubsub_inbox(stage->client), "");
    assert_int_equal(pubsub_request(stage->client, "a", "", 0, &asked, NULL), PUBSUB_EREFUSED);
    assert_non_null(strstr(pubsub_error(stage->client), "no inbox"));
}

static void closing_and_ending_end_requests(void **state)
{
    struct stage *stage = *state;
    open_with_inbox(stage, stage_options(stage));
    ask(stage, "a", asking(stage));
    stage_say_bye(stage, 109);
    stage_wait_for_log(stage, "lost\nrequest 1 over -7 the broker closed the connection: so it is\nended\n");
    struct pubsub_request_options options = asking(stage);
    assert_int_equal(pubsub_request(stage->client, "a", "", 0, &options, NULL), PUBSUB_ETAKEN);
    stage_hang_up(stage);
    pubsub_close(stage->client, 0);

    open_with_inbox(stage, stage_options(stage));
    ask(stage, "a", asking(stage));
    ask(stage, "b", asking(stage));
    pubsub_close(stage->client, 0);
    stage->client = NULL;
    stage_expect_log(stage, "request 1 over -12 the client was closed\nrequest 2 over -12 the client was closed\n");
}

static void on_inbox_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client;
    stage_note(user, "answers lost: %u %llu %s\n", gap->sid, (unsigned long long)gap->count, gap->reason_name);
}

static void lost_answers_are_told(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    struct pubsub_options options = stage_options(stage);
    options.on_gap = on_inbox_gap;
    open_with_inbox(stage, options);
    mps_encode_gap(&out, &(struct mps_gap){.sid = 0, .has_count = true, .count = 5, .reason = 1});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "answers lost: 0 5 drop_old\n");
}

/* ---- answering ----------------------------------------------------------------------------------------------------
 */

static void on_question(pubsub *client, const struct pubsub_message *message, void *user)
{
    struct stage *stage = user;
    struct pubsub_publish_options options = {.has_ttl = true, .ttl_ms = 9};
    size_t len;
    const char *header = pubsub_message_header(message, "lang", &len);
    int rc = pubsub_reply(client, message, "!", 1, message->payload_len > 0 ? &options : NULL);
    stage_note(stage, "question %d raw %d lang %.*s\n", rc, pubsub_message_is_raw(message), (int)len,
               header != NULL ? header : "");
    if (rc != PUBSUB_OK) assert_non_null(strstr(pubsub_error(client), "names no topic for answers"));
    options.props = "\x80";
    options.props_len = 1;
    if (rc == PUBSUB_OK) assert_int_equal(pubsub_reply(client, message, "!", 1, &options), PUBSUB_EINVAL);
}

static void say_question(struct stage *stage, const char *payload, const char *props, size_t len)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    mps_view raw = {(const uint8_t *)props, (uint32_t)len};
    mps_encode_msg(&out, &(struct mps_msg){mps_text("q"), raw, mps_text(payload)});
    stage_say(stage, &out);
}

static void replies_go_where_the_question_says(void **state)
{
    struct stage *stage = *state;
    open_with_inbox(stage, stage_options(stage));
    const struct pubsub_subscribe_options options = {.on_message = on_question, .user = stage};
    assert_int_equal(pubsub_subscribe(stage->client, "q", &options, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 q, ");
#define SAY(payload, props) say_question(stage, payload, props, sizeof props - 1)
    SAY("", "\x82\x01\xa3x/y\x02\xa5north"); /* a correlation of any kind comes back as it is */
    stage_expect_frames(stage, "x/y, ");
    assert_int_equal(stage->props_len, 8);
    assert_memory_equal(stage->props, "\x81\x02\xa5north", 8);
    SAY("ttl", "\x84\x01\xa1z\x02\xcd\x01\x02\x03\x00\xa4lang\xa2"
               "en");
    stage_expect_frames(stage, "z, ");
    assert_int_equal(stage->props_len, 7);
    assert_memory_equal(stage->props, "\x82\x02\xcd\x01\x02\x04\x09", 7);
    SAY("", "\x81\x01\xa1w");
    stage_expect_frames(stage, "w, ");
    assert_int_equal(stage->props_len, 0);
    SAY("", "\x81\xa4lang\x07"); /* no text */
    SAY("", "\x81\x01\xa1#");
    say_question(stage, "", NULL, 0);
    stage_wait_for_log(stage, "question 0 raw 0 lang \nquestion 0 raw 1 lang en\nquestion 0 raw 0 lang \n"
                              "question -1 raw 0 lang \nquestion -1 raw 0 lang \nquestion -1 raw 0 lang \n");
#undef SAY
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(answers_find_their_requests),
        TEST(several_answers_and_cancelling),
        TEST(refusals_end_requests),
        TEST(time_runs_out),
        TEST(a_lost_connection_ends_requests),
        TEST(requests_need_a_connection),
        TEST(closing_and_ending_end_requests),
        TEST(lost_answers_are_told),
        TEST(replies_go_where_the_question_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
