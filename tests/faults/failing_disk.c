/* The store on a disk of which the k-th call fails, for every k, as often as given: what was acknowledged is there, now
 * and after a power failure, and nothing else is; what was refused is not there, or as a whole if the power failed
 * right then; and service goes on by itself when the disk does. The store in memory says what there must be. */
/* Hostile 53. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../unit/store_rig.h"
#include "disk.h"

#define BATCHES 14
#define STREAMS 2

/* ---- what is written ---------------------------------------------------------------------------------------- */

struct script {
    struct store_change changes[4];
    uint32_t count;
    char *text, number[24];
};

/* Batches of some bytes up to some pages. Those of one position differ, and further attempts are shorter, so that more
 * and more of the ones before would be left behind the last, were the log written on. */
static void begin_batch(struct script *script, uint32_t batch, uint32_t attempt, uint64_t position)
{
    static const uint32_t lengths[BATCHES] = {20, 5000, 100, 1, 30000, 400, 4000, 60, 9000, 2, 700, 20000, 50, 1500};
    uint32_t len = lengths[batch] / attempt + 1;
    script->text = calloc(1, len + 1u);
    assert_non_null(script->text);
    for (uint32_t i = 0; i < len; i++) script->text[i] = (char)('A' + (i * 7 + batch + attempt * 3) % 50);
    snprintf(script->number, sizeof script->number, "%llu", (unsigned long long)position);
    script->count = 0;
    script->changes[script->count++] = append(64, position, 3, batch, script->text);
    script->changes[script->count++] = put(2, "next", script->number);
    if (batch % 3 == 0) script->changes[script->count++] = append(65, position, 1, batch, script->number);
    if (batch % 5 == 4) script->changes[script->count++] = trim(64, position - 4);
}

static void end_batch(struct script *script)
{
    free(script->text);
}

static uint64_t after(uint64_t position)
{
    return position + 3;
}

/* ---- what there must be ------------------------------------------------------------------------------------- */

/* Replays the attempts of each batch that succeeded (0: none did) in memory. with_last: and this attempt of the next
 * batch. */
static char *expected(const uint32_t *attempts, uint32_t batches, uint32_t with_last)
{
    struct rig memory;
    uint64_t position = 1;
    rig_begin(&memory, RIG_MEMORY);
    assert_true(rig_open(&memory));
    for (uint32_t i = 0; i < batches + (with_last > 0); i++) {
        struct script script;
        begin_batch(&script, i, i < batches ? attempts[i] : with_last, position);
        assert_int_equal(rig_commit(&memory, script.changes, script.count), STORE_OK);
        end_batch(&script);
        position = after(position);
    }
    char *everything = rig_everything(&memory, 64, STREAMS);
    rig_end(&memory);
    return everything;
}

static void assert_one_of(struct rig *rig, const char *a, const char *b, const char *when)
{
    char *found = rig_everything(rig, 64, STREAMS);
    if (strcmp(found, a) != 0 && (b == NULL || strcmp(found, b) != 0))
        fail_msg("%s:\n%s\nis neither\n%s\nnor\n%s", when, found, a, b == NULL ? "anything else" : b);
    free(found);
}

static void assert_after_power_failure(bool torn, const char *a, const char *b, const char *when)
{
    struct rig copy;
    rig_begin(&copy, RIG_SQLITE);
    disk_power_failure(copy.directory, torn);
    if (!rig_open(&copy)) fail_msg("%s: %s", when, copy.text);
    assert_one_of(&copy, a, b, when);
    rig_end(&copy);
}

/* ---- a run -------------------------------------------------------------------------------------------------- */

struct run {
    struct rig rig;
    enum disk_fault fault;
    uint32_t times;             /* calls that fail */
    uint32_t attempts[BATCHES]; /* the one that succeeded */
    char when[100];
};

static void check_refusal(struct run *run, enum store_code code, uint32_t batch, uint32_t attempt)
{
    assert_true(disk_failed());
    assert_int_equal(code, run->fault == DISK_FULL ? STORE_FULL : STORE_FAILED);
    assert_non_null(strstr(run->rig.text, run->rig.directory));
    char *without = expected(run->attempts, batch, 0), *with = expected(run->attempts, batch, attempt);
    assert_one_of(&run->rig, without, NULL, run->when);
    assert_after_power_failure(false, without, with, run->when);
    /* Once the disk is well again, what was acknowledged is no longer where a write failed. */
    if (run->times == 1) assert_after_power_failure(true, without, with, run->when);
    free(without);
    free(with);
}

/* One batch until it is stored. */
static void write_batch(struct run *run, uint32_t batch, uint64_t position)
{
    bool refused = false;
    for (uint32_t attempt = 1; run->attempts[batch] == 0; attempt++) {
        struct script script;
        begin_batch(&script, batch, attempt, position);
        enum store_code code = rig_commit(&run->rig, script.changes, script.count);
        end_batch(&script);
        if (code == STORE_OK) run->attempts[batch] = attempt;
        else if (!refused) check_refusal(run, code, batch, attempt); /* the others are like the first */
        refused = refused || code != STORE_OK;
        assert_true(attempt < 200);
    }
    if (!refused && batch + 1 < BATCHES) return;
    /* Acknowledged after a failure, or at the end: this must be true whatever the disk lost. */
    char *all = expected(run->attempts, batch + 1, 0);
    assert_one_of(&run->rig, all, NULL, run->when);
    assert_after_power_failure(false, all, NULL, run->when);
    assert_after_power_failure(true, all, NULL, run->when);
    free(all);
}

/* False: there is no k-th call. */
static bool fails_at(enum disk_fault fault, uint32_t k, uint32_t times)
{
    static struct run run;
    run = (struct run){.fault = fault, .times = times};
    snprintf(run.when, sizeof run.when, "fault %d at call %u, %u times", (int)fault, k, times);
    rig_begin(&run.rig, RIG_SQLITE);
    disk_watch(run.rig.directory);
    if (!rig_open(&run.rig)) fail_msg("%s: %s", run.when, run.rig.text);
    disk_fail(fault, k, times);
    uint64_t position = 1;
    for (uint32_t i = 0; i < BATCHES; i++, position = after(position)) write_batch(&run, i, position);
    bool failed = disk_failed();
    disk_fail(fault, 0, 0);
    rig_close(&run.rig);
    disk_watch(NULL);
    assert_true(rig_open(&run.rig));
    char *all = expected(run.attempts, BATCHES, 0);
    assert_one_of(&run.rig, all, NULL, run.when);
    free(all);
    rig_end(&run.rig);
    return failed;
}

static void fails_everywhere(enum disk_fault fault, uint32_t times)
{
    uint32_t k = 1;
    while (fails_at(fault, k, times)) k++;
    assert_true(k > BATCHES); /* each commit makes one call at least */
}

static void full_disk(void **state)
{
    (void)state;
    fails_everywhere(DISK_FULL, 1);
}

static void full_disk_for_a_while(void **state)
{
    (void)state;
    fails_everywhere(DISK_FULL, 7);
}

static void failed_writes(void **state)
{
    (void)state;
    fails_everywhere(DISK_WRITE_FAILS, 1);
}

static void failed_syncs(void **state)
{
    (void)state;
    fails_everywhere(DISK_SYNC_FAILS, 1);
}

static void failed_syncs_one_behind_the_other(void **state)
{
    (void)state;
    fails_everywhere(DISK_SYNC_FAILS, 2);
    fails_everywhere(DISK_SYNC_FAILS, 5);
}

/* The store can't be made on a disk that is full or fails; once there is room, it can. */
static void fails_to_begin(void **state)
{
    (void)state;
    for (int fault = 0; fault < DISK_FAULTS; fault++) {
        uint32_t refused = 0;
        for (uint32_t k = 1;; k++) {
            struct rig rig;
            rig_begin(&rig, RIG_SQLITE);
            disk_watch(rig.directory);
            disk_fail((enum disk_fault)fault, k, 1000000);
            bool opened = rig_open(&rig), failed = disk_failed();
            if (!opened) assert_non_null(strstr(rig.text, rig.directory));
            refused += !opened;
            disk_fail((enum disk_fault)fault, 0, 0);
            if (!opened && !rig_open(&rig)) fail_msg("%s", rig.text);
            assert_string_equal(rig_load(&rig), "");
            assert_int_equal(RIG_COMMIT(&rig, append(64, 1, 1, 0, "x")), STORE_OK);
            rig_end(&rig);
            disk_watch(NULL);
            if (!failed) break;
        }
        assert_true(refused > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disk),
        cmocka_unit_test(full_disk_for_a_while),
        cmocka_unit_test(failed_writes),
        cmocka_unit_test(failed_syncs),
        cmocka_unit_test(failed_syncs_one_behind_the_other),
        cmocka_unit_test(fails_to_begin),
    };
    return cmocka_run_group_tests_name("failing_disk", tests, NULL, NULL);
}
