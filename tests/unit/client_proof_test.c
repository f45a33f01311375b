/* How a client proves who it is: what HELLO says, what is refused before anything is sent, what is left in memory. */
#include "client_stage.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../client-lib/client.h"

static const char secret[] = "correct horse";

static bool holds(const void *memory, size_t len)
{
    return memmem(memory, len, secret, sizeof secret - 1) != NULL;
}

static void expect_hello(struct stage *stage, const struct pubsub_proof *proof, const char *auth, const char *value,
                         size_t len)
{
    struct pubsub_options options = stage_options(stage);
    options.proof = *proof;
    stage_open(stage, options, 10);
    assert_string_equal(stage->auth, auth);
    assert_int_equal(stage->proof_len, len);
    assert_memory_equal(stage->proof, value, len);
    stage_hang_up(stage); /* it is said again on the next connection */
    stage->proof_len = 0;
    stage_accept(stage);
    assert_string_equal(stage->auth, auth);
    assert_memory_equal(stage->proof, value, len);
    pubsub_close(stage->client, 0);
    stage->client = NULL;
    stage->log[0] = '\0';
}

static void hello_carries_the_proof(void **state)
{
    struct stage *stage = *state;
    expect_hello(stage, &(struct pubsub_proof){0}, "", "", 0);
    expect_hello(stage, &(struct pubsub_proof){.token = "\0\xff!", .token_len = 3}, "token", "\xc4\x03\0\xff!", 5);
    expect_hello(stage, &(struct pubsub_proof){.user = "ann", .password = ""}, "password",
                 "\x92\xa3"
                 "ann\xa0",
                 6);
    expect_hello(stage, &(struct pubsub_proof){.user = "ann", .password = secret}, "password",
                 "\x92\xa3"
                 "ann\xad"
                 "correct horse",
                 19);
    expect_hello(stage, &(struct pubsub_proof){.certificate = true}, "cert", "", 0);
}

static void secrets_are_wiped_when_they_were_sent(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    char token[sizeof secret];
    memcpy(token, secret, sizeof token);
    options.proof = (struct pubsub_proof){.token = token, .token_len = sizeof token - 1};
    stage_open(stage, options, 10);
    memset(token, 'x', sizeof token); /* it was copied */
    assert_true(holds(stage->proof, stage->proof_len));
    assert_false(holds(stage->client, sizeof *stage->client));
    assert_false(holds(stage->client->secret->tx, sizeof stage->client->secret->tx));
    assert_true(holds(stage->client->secret->proof, stage->client->secret->proof_len));
    stage_hang_up(stage);
    stage_accept(stage);
    assert_true(holds(stage->proof, stage->proof_len));
    assert_false(holds(stage->client->secret->tx, sizeof stage->client->secret->tx));
}

/* Of the core alone: in a HELLO that did not leave, or that did not fit. */
static void core_wipes_what_did_not_leave(void **state)
{
    (void)state;
    uint8_t rx[PUBSUB_CORE_RX_MIN], tx[PUBSUB_CORE_TX_MIN] = {0}, proof[64];
    struct pubsub_core core;
    struct pubsub_core_hello hello = {0};
    const struct pubsub_proof given = {.user = "ann", .password = secret};
    assert_int_equal(pubsub_core_proof(&given, &hello.auth, proof, 8, &hello.proof.len), PUBSUB_ETOOBIG);
    assert_int_equal(pubsub_core_proof(&given, &hello.auth, proof, sizeof proof, &hello.proof.len), PUBSUB_OK);
    hello.proof.ptr = proof;
    pubsub_core_init(&core, rx, sizeof rx, tx, sizeof tx);
    assert_int_equal(pubsub_core_hello(&core, &hello), PUBSUB_OK);
    assert_true(holds(tx, sizeof tx));
    pubsub_core_restart(&core, 1);
    assert_false(holds(tx, sizeof tx));
    char name[PUBSUB_CORE_TX_MIN];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    hello.software = name; /* behind the proof */
    assert_int_equal(pubsub_core_hello(&core, &hello), PUBSUB_ETOOBIG);
    pubsub_core_restart(&core, 1);
    assert_false(holds(tx, sizeof tx));
}

static void expect_refused(const struct pubsub_options *options, int error, const char *words)
{
    pubsub *client = NULL;
    char text[512] = "";
    assert_int_equal(pubsub_open(&client, options, text, sizeof text), error);
    assert_null(client);
    if (strstr(text, words) == NULL) fail_msg("'%s' is not in '%s'", words, text);
    assert_false(holds(text, sizeof text));
}

static void bad_proofs_are_refused(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    static char lengthy[5000];
    memset(lengthy, 'p', sizeof lengthy - 1);
    const struct {
        struct pubsub_proof proof;
        int error;
        const char *words;
    } cases[] = {
        {{.user = "ann"}, PUBSUB_EINVAL, "user and password do not come together"},
        {{.password = secret}, PUBSUB_EINVAL, "user and password do not come together"},
        {{.user = "", .password = secret}, PUBSUB_EINVAL, "name of the user is empty"},
        {{.user = "\xff", .password = secret}, PUBSUB_EINVAL, "name of the user is not UTF-8"},
        {{.user = "ann", .password = "correct horse\xff"}, PUBSUB_EINVAL, "the password is not UTF-8"},
        {{.user = "ann", .password = lengthy}, PUBSUB_ETOOBIG, "4,096 bytes"},
        {{.token = lengthy, .token_len = 4096}, PUBSUB_ETOOBIG, "4,096 bytes"},
        {{.token = lengthy, .token_len = 4080}, PUBSUB_ETOOBIG, "4,096 bytes"},
        {{.token = "", .token_len = 0}, PUBSUB_EINVAL, "the token is empty"},
        {{.token = "x", .token_len = 1, .user = "ann", .password = secret}, PUBSUB_EINVAL, "more than one of token"},
        {{.token = "x", .token_len = 1, .certificate = true}, PUBSUB_EINVAL, "more than one of token"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options.proof = cases[i].proof;
        expect_refused(&options, cases[i].error, cases[i].words);
    }
    assert_true(accept(stage->listener, NULL, NULL) < 0); /* nobody came */
}

static void secrets_do_not_travel_in_clear(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    options.retry_first = false;
    options.connect_ms = 50;
    options.url = "tcp://192.0.2.1:7717"; /* nobody has this address */
    options.proof = (struct pubsub_proof){.user = "ann", .password = secret};
    expect_refused(&options, PUBSUB_EINVAL, "a password would travel to another machine without encryption");
    options.proof = (struct pubsub_proof){.token = secret, .token_len = sizeof secret - 1};
    expect_refused(&options, PUBSUB_EINVAL, "a token would travel to another machine without encryption");
    options.url = "tcp://[::ffff:192.0.2.1]:7717";
    expect_refused(&options, PUBSUB_EINVAL, "a token would travel");
    options.proof.in_clear = true;
    expect_refused(&options, PUBSUB_ECONNECT, "cannot connect");
    options.proof.in_clear = false;
    static const char *const here[] = {"tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://[::1]:1", "tcp://localhost:1"};
    for (size_t i = 0; i < sizeof here / sizeof *here; i++) {
        options.url = here[i];
        expect_refused(&options, PUBSUB_ECONNECT, "cannot connect");
    }
    options.proof = (struct pubsub_proof){.certificate = true}; /* not a secret */
    options.url = "tcp://192.0.2.1:7717";
    expect_refused(&options, PUBSUB_ECONNECT, "cannot connect");
}

/* Who is not believed is not believed the next time either. */
static void refused_proof_is_not_tried_again(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    char text[256];
    options.proof = (struct pubsub_proof){.user = "ann", .password = secret};
    options.retry_first = true;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    stage_accept(stage);
    stage_say_bye(stage, MPS_AUTH);
    stage_wait_for_log(stage, "ended\n");
    assert_int_equal(pubsub_wait(stage->client, -1), PUBSUB_EAUTH);
    assert_non_null(strstr(pubsub_error(stage->client), "so it is"));
    assert_int_equal(pubsub_fd(stage->client), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(hello_carries_the_proof),        TEST(secrets_are_wiped_when_they_were_sent),
        TEST(core_wipes_what_did_not_leave),  TEST(bad_proofs_are_refused),
        TEST(secrets_do_not_travel_in_clear), TEST(refused_proof_is_not_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
