/* What only the store on SQLite has: files that others have touched, damaged or locked, and logs of brokers that were
 * killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "store_rig.h"

#define PAGE 4096
#define FRAME (PAGE + 24)
#define ALL UINT64_C(0x1000000000000)

static void open_rig(struct rig *rig)
{
    if (!rig_open(rig)) fail_msg("%s", rig->text);
}

static void begin(struct rig *rig)
{
    rig_begin(rig, RIG_SQLITE);
    open_rig(rig);
}

/* It is not opened, and the sentence has both of these in it. */
static void assert_refused(struct rig *rig, const char *what, const char *remedy)
{
    if (rig_open(rig)) fail_msg("it was opened, not refused for \"%s\"", what);
    if (strstr(rig->text, what) == NULL || strstr(rig->text, remedy) == NULL)
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", rig->text, what, remedy);
    assert_non_null(strstr(rig->text, rig->directory));
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part) != NULL) fail_msg("\"%s\" has \"%s\"", text, part);
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", text, part);
}

static long ask(const struct rig *rig, const char *sql)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *statement;
    rig_path(rig, "streams.db", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    long answer = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return answer;
}

/* Blocks of two messages each at positions 1, 3, 5.., each of this many bytes; in one commit, or in as many as they
 * are. */
static void append_blocks(struct rig *rig, uint64_t first, uint32_t blocks, uint32_t len, bool one_commit)
{
    struct store_change *changes = calloc(blocks, sizeof *changes);
    char **texts = calloc(blocks, sizeof *texts);
    assert_true(changes != NULL && texts != NULL);
    for (uint32_t i = 0; i < blocks; i++) {
        texts[i] = calloc(1, len + 1);
        assert_non_null(texts[i]);
        memset(texts[i], 'a' + (int)(i % 26), len);
        changes[i] = append(64, first + 2 * i, 2, 0, texts[i]);
        if (!one_commit) assert_int_equal(rig_commit(rig, &changes[i], 1), STORE_OK);
    }
    if (one_commit) assert_int_equal(rig_commit(rig, changes, blocks), STORE_OK);
    for (uint32_t i = 0; i < blocks; i++) free(texts[i]);
    free(texts);
    free(changes);
}

static uint32_t lines_with(const char *text, const char *part)
{
    uint32_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) count++;
    return count;
}

/* ---- the directory and its files ---------------------------------------------------------------------------- */

static mode_t mode_of(const struct rig *rig, const char *name)
{
    char path[128];
    struct stat info;
    rig_path(rig, name, path);
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 0777;
}

static void makes_the_directory(void **state)
{
    (void)state;
    struct rig rig, inner;
    rig_begin(&rig, RIG_SQLITE);
    inner = rig;
    rig_path(&rig, "a/b/", inner.directory);
    open_rig(&inner);
    assert_int_equal(mode_of(&rig, "a"), 0700);
    assert_int_equal(mode_of(&rig, "a/b"), 0700);
    assert_int_equal(mode_of(&rig, "a/b/streams.db"), 0600);
    assert_int_equal(RIG_COMMIT(&inner, put(1, "k", "v")), STORE_OK);
    assert_int_equal(mode_of(&rig, "a/b/streams.db-wal"), 0600);
    rig_close(&inner);
    assert_false(rig_exists(&rig, "a/b/streams.db-wal"));
    static const char *const left[] = {"a/b/streams.db", "a/b/lock", "a/b", "a"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        char path[128];
        rig_path(&rig, left[i], path);
        assert_int_equal(remove(path), 0);
    }
    rig_end(&rig);
}

static void a_second_broker_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    struct rig second = rig;
    char process[40];
    snprintf(process, sizeof process, "process %ld", (long)getpid());
    assert_refused(&second, "in use by another broker", process);
    assert_int_equal(RIG_COMMIT(&rig, put(1, "k", "v")), STORE_OK);
    rig_close(&rig);
    open_rig(&rig);
    rig_end(&rig);
}

static void a_directory_that_is_none_is_refused(void **state)
{
    (void)state;
    struct rig rig, file;
    rig_begin(&rig, RIG_SQLITE);
    file = rig;
    rig_write(&rig, "file", "x", 1);
    rig_path(&rig, "file", file.directory);
    assert_refused(&file, "Not a directory", "name another one");
    rig_path(&rig, "file/sub", file.directory);
    assert_refused(&file, "Not a directory", "name another one");
    rig_end(&rig);
}

/* A user who may not write there: this one, or if that is root, who may all, another one. */
static void a_directory_that_can_not_be_written_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    rig_begin(&rig, RIG_SQLITE);
    chmod(rig.directory, 0555);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) _exit(3);
        if (rig_open(&rig)) _exit(1);
        _exit(strstr(rig.text, "Permission denied") == NULL || strstr(rig.text, rig.directory) == NULL ? 2 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    chmod(rig.directory, 0700);
    rig_end(&rig);
}

static void another_users_file_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0) skip(); /* only root can give a file away */
    struct rig rig;
    begin(&rig);
    rig_close(&rig);
    char path[128];
    rig_path(&rig, "streams.db", path);
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_refused(&rig, "belongs to another user", "run as that one");
    rig_end(&rig);
}

static void links_and_pipes_are_refused(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_close(&rig);
    char path[128], elsewhere[128];
    rig_path(&rig, "streams.db", path);
    rig_path(&rig, "elsewhere.db", elsewhere);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink("elsewhere.db", path), 0);
    assert_refused(&rig, "no regular file", "move it away");
    remove(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(&rig, "no regular file", "move it away");
    rig_end(&rig);
}

static void foreign_files_are_refused_and_left_alone(void **state)
{
    (void)state;
    struct rig rig;
    rig_begin(&rig, RIG_SQLITE);
    rig_sql(&rig, "CREATE TABLE songs (name TEXT); INSERT INTO songs VALUES ('x')");
    long size = rig_size(&rig, "streams.db");
    assert_refused(&rig, "another program's database", "move it away");
    assert_int_equal(rig_size(&rig, "streams.db"), size);
    assert_int_equal(ask(&rig, "SELECT count(*) FROM songs"), 1);
    static char text[20000];
    memset(text, 'x', sizeof text);
    rig_write(&rig, "streams.db", text, sizeof text);
    assert_refused(&rig, "no database", "--salvage");
    assert_int_equal(rig_size(&rig, "streams.db"), sizeof text);
    rig_write(&rig, "streams.db", text, 0);
    assert_refused(&rig, "it is empty", "move it away");
    assert_false(rig_exists(&rig, "streams.db.damaged-1"));
    rig_end(&rig);
}

static void unknown_formats_are_refused(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_close(&rig);
    rig_sql(&rig, "PRAGMA user_version = 2");
    assert_refused(&rig, "its format is 2, and this pubsubd knows 1 only", "use the pubsubd that wrote it");
    rig_sql(&rig, "PRAGMA user_version = 1");
    open_rig(&rig);
    rig_end(&rig);
}

static void tables_that_others_changed_are_refused(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"ALTER TABLE block RENAME COLUMN len TO length", "ALTER TABLE block RENAME COLUMN length TO len"},
        {"CREATE TRIGGER t AFTER INSERT ON block BEGIN DELETE FROM block; END", "DROP TRIGGER t"},
        {"CREATE TABLE more (x)", "DROP TABLE more"},
    };
    struct rig rig;
    begin(&rig);
    rig_close(&rig);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        rig_sql(&rig, changes[i][0]);
        assert_refused(&rig, "its tables are not those that pubsubd makes", "--salvage");
        rig_sql(&rig, changes[i][1]);
        open_rig(&rig);
        rig_close(&rig);
    }
    rig_sql(&rig, "DROP TABLE record");
    assert_refused(&rig, "its tables are not those that pubsubd makes", "--salvage");
    rig_end(&rig);
}

/* ---- logs of brokers that were killed ----------------------------------------------------------------------- */

static void what_was_committed_survives_a_kill(void **state)
{
    (void)state;
    struct rig rig, copy;
    begin(&rig);
    append_blocks(&rig, 1, 5, 100, false);
    rig_killed(&copy, &rig);
    open_rig(&copy);
    assert_int_equal(lines_with(rig_load(&copy), "block 64 "), 5);
    assert_int_equal(rig_size(&copy, "streams.db-wal"), 0); /* and the log begins anew */
    rig_end(&copy);
    rig_end(&rig);
}

static void a_log_cut_in_its_last_commit_is_whole_before_it(void **state)
{
    (void)state;
    struct rig rig, copy;
    begin(&rig);
    append_blocks(&rig, 1, 5, 100, false);
    long size = rig_size(&rig, "streams.db-wal");
    for (long cut = 1; cut < FRAME; cut += 500) {
        char path[128];
        rig_killed(&copy, &rig);
        rig_path(&copy, "streams.db-wal", path);
        assert_int_equal(truncate(path, size - cut), 0);
        open_rig(&copy);
        assert_int_equal(lines_with(rig_load(&copy), "block 64 "), 4);
        rig_end(&copy);
        rig_killed(&copy, &rig);
        rig_flip(&copy, "streams.db-wal", size - cut, 1);
        open_rig(&copy);
        assert_int_equal(lines_with(rig_load(&copy), "block 64 "), 4);
        rig_end(&copy);
    }
    rig_end(&rig);
}

static long most_kib_so_far(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* The first frame of a log then says that it holds page 67,000,000 or so. */
static void a_damaged_page_number_takes_no_memory(void **state)
{
    (void)state;
    struct rig rig, copy;
    begin(&rig);
    append_blocks(&rig, 1, 6, 100, false);
    rig_killed(&copy, &rig);
    rig_flip(&copy, "streams.db-wal", 32, 4);
    long before_kib = most_kib_so_far();
    assert_refused(&copy, "streams.db-wal: it is damaged", "--salvage");
    copy.salvage = true;
    open_rig(&copy);
    assert_int_equal(lines_with(rig_load(&copy), "block 64 "), 6); /* later frames have newer states of that page */
    assert_true(most_kib_so_far() - before_kib < 100 * 1024);
    rig_end(&copy);
    rig_end(&rig);
}

/* Without a look at the log, SQLite would silently go back to before the damaged frame. */
static void a_log_damaged_before_its_last_commit_is_refused(void **state)
{
    (void)state;
    struct rig rig, copy;
    begin(&rig);
    append_blocks(&rig, 1, 6, 100, false);
    long size = rig_size(&rig, "streams.db-wal");
    long frames = (size - 32) / FRAME;
    assert_int_equal(frames, 6);
    for (long at = 0; at < 32 + 4 * FRAME; at += at < 32 ? 3 : 331) {
        rig_killed(&copy, &rig);
        rig_flip(&copy, "streams.db-wal", at, 16);
        assert_refused(&copy, "streams.db-wal: it is damaged", "--salvage");
        copy.salvage = true;
        open_rig(&copy);
        assert_true(lines_with(rig_load(&copy), "block 64 ") >= 5); /* only one page is damaged, and not the last one */
        assert_has(copy.notes, "recovered");
        assert_true(rig_exists(&copy, "streams.db.damaged-1"));
        assert_true(rig_exists(&copy, "streams.db.damaged-1-wal"));
        rig_end(&copy);
    }
    rig_end(&rig);
}

static void a_log_without_a_database_is_refused(void **state)
{
    (void)state;
    struct rig rig, copy;
    begin(&rig);
    append_blocks(&rig, 1, 2, 100, false);
    rig_killed(&copy, &rig);
    char path[128];
    rig_path(&copy, "streams.db", path);
    remove(path);
    assert_refused(&copy, "streams.db is missing", "put it back");
    rig_end(&copy);
    rig_end(&rig);
}

/* ---- reading past damage ------------------------------------------------------------------------------------ */

static void reads_go_on_behind_pages_that_are_damaged(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    append_blocks(&rig, 1, 400, 100, true); /* some 30 to a page */
    rig_close(&rig);
    long leaf = ask(&rig, "SELECT pageno FROM dbstat WHERE name = 'block' AND pagetype = 'leaf' LIMIT 1 OFFSET 5");
    long after = ask(&rig, "SELECT pageno FROM dbstat WHERE name = 'block' AND pagetype = 'leaf' LIMIT 1 OFFSET 7");
    rig_flip(&rig, "streams.db", (leaf - 1) * PAGE, 0xff); /* the type of the page */
    rig_flip(&rig, "streams.db", (after - 1) * PAGE, 0xff);
    open_rig(&rig);
    assert_null(rig_load(&rig)); /* a start is refused */
    assert_has(rig.text, "--salvage");
    uint64_t next = 1, holes = 0, lost = 0;
    while (next < 801) {
        struct store_read *read = rig_read(&rig, 64, next, 801, 5000);
        assert_int_equal(read->code, STORE_OK);
        assert_non_null(read->bytes);
        if (read->damaged_first != 0) {
            assert_int_equal(read->damaged_first, next);
            assert_int_equal(read->damaged_last, read->block.first - 1);
            holes++;
            lost += read->damaged_last - read->damaged_first + 1;
        } else {
            assert_int_equal(read->block.first, next);
        }
        next = read->block.first + read->block.count;
        rig_free(read);
    }
    assert_int_equal(next, 801);
    assert_int_equal(holes, 2);
    assert_true(lost >= 40 && lost <= 160);
    rig_end(&rig);
}

static void nothing_behind_damage_is_told_as_well(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    append_blocks(&rig, 1, 100, 100, true);
    rig_close(&rig);
    long leaf =
        ask(&rig, "SELECT pageno FROM dbstat WHERE name = 'block' AND pagetype = 'leaf' ORDER BY path DESC LIMIT 1");
    rig_flip(&rig, "streams.db", (leaf - 1) * PAGE, 0xff);
    open_rig(&rig);
    struct store_read *read = rig_read(&rig, 64, 198, 201, 5000);
    assert_int_equal(read->code, STORE_OK);
    assert_null(read->bytes);
    assert_int_equal(read->damaged_first, 198);
    assert_int_equal(read->damaged_last, 200);
    rig_free(read);
    rig_end(&rig);
}

/* What SQLite finds in order, salvage would leave alone: so it must not be a reason to refuse. */
static void blocks_in_impossible_places_are_passed_over(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    append_blocks(&rig, 1, 3, 10, true);
    rig_close(&rig);
    rig_sql(&rig,
            "UPDATE block SET place = place + (1 << 60) WHERE place = 5; UPDATE block SET place = -3 WHERE place = 1");
    open_rig(&rig);
    const char *loaded = rig_load(&rig);
    assert_int_equal(lines_with(loaded, "damaged: a block in a place of no stream"), 2);
    assert_int_equal(lines_with(loaded, "\nblock 64 3+2 0 ms 10 bytes\n"), 1);
    rig_end(&rig);
}

/* ---- salvage ------------------------------------------------------------------------------------------------ */

static void begin_salvage(struct rig *rig)
{
    begin(rig);
    append_blocks(rig, 1, 60, 300, true);
    append_blocks(rig, 121, 5, 30000, true);
    struct store_change records[100];
    char keys[100][16];
    for (int i = 0; i < 100; i++) {
        snprintf(keys[i], sizeof keys[i], "key %d", i);
        records[i] = put(5, keys[i], "a value that is long enough to make more than one page of them");
    }
    assert_int_equal(rig_commit(rig, records, 100), STORE_OK);
    assert_int_equal(RIG_COMMIT(rig, append(65, 1, 1, 0, "trimmed"), append(65, 2, 1, 0, "kept"), put(9, "gone", "x")),
                     STORE_OK);
    assert_int_equal(RIG_COMMIT(rig, trim(65, 2), removal(9, "gone")), STORE_OK);
    rig_close(rig);
}

static void assert_salvaged(struct rig *rig, uint32_t blocks_least, uint32_t records_least)
{
    assert_refused(rig, "can't use", "--salvage");
    rig->salvage = true;
    open_rig(rig);
    const char *loaded = rig_load(rig);
    assert_lacks(loaded, "gone");
    assert_lacks(loaded, "block 65 1+");
    assert_lacks(loaded, "damaged");
    assert_true(lines_with(loaded, "block ") >= blocks_least);
    assert_true(lines_with(loaded, "record 5 ") >= records_least);
    assert_has(rig->notes, "recovered");
    assert_true(rig_exists(rig, "streams.db.damaged-1"));
    assert_false(rig_exists(rig, "streams.db.new"));
    assert_false(rig_exists(rig, "streams.db.salvaged"));
    assert_int_equal(RIG_COMMIT(rig, append(66, 1, 1, 0, "goes on")), STORE_OK);
    rig_close(rig);
    rig->salvage = false;
    open_rig(rig);
}

static void salvages_everything_when_the_beginning_is_destroyed(void **state)
{
    (void)state;
    struct rig rig;
    begin_salvage(&rig);
    for (long at = 0; at < PAGE; at++) rig_flip(&rig, "streams.db", at, 0xaa);
    assert_salvaged(&rig, 66, 100);
    assert_has(rig.loaded, "block 65 2+1 0 ms 4 bytes");
    struct store_read *read = rig_read(&rig, 64, 121, ALL, 1);
    assert_int_equal(read->block.len, 30000);
    rig_free(read);
    rig_end(&rig);
}

static void salvages_everything_when_the_way_to_it_is_destroyed(void **state)
{
    (void)state;
    static const char *const roots[] = {"SELECT rootpage FROM sqlite_schema WHERE name = 'block'",
                                        "SELECT rootpage FROM sqlite_schema WHERE name = 'record'"};
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        begin_salvage(&rig);
        long root = ask(&rig, roots[i]);
        rig_flip(&rig, "streams.db", (root - 1) * PAGE, 0xff);
        rig.salvage = false;
        open_rig(&rig);
        assert_null(rig_load(&rig));
        assert_has(rig.text, "--salvage");
        rig_close(&rig);
        rig.salvage = true;
        open_rig(&rig);
        const char *loaded = rig_load(&rig);
        assert_int_equal(lines_with(loaded, "block "), 66);
        assert_true(lines_with(loaded, "record 5 ") >= 98); /* a root of that kind holds some itself */
        rig_end(&rig);
    }
}

static void salvages_what_a_cut_has_left(void **state)
{
    (void)state;
    struct rig rig;
    begin_salvage(&rig);
    char path[128];
    rig_path(&rig, "streams.db", path);
    assert_int_equal(truncate(path, rig_size(&rig, "streams.db") / 2 / PAGE * PAGE + 77), 0);
    assert_refused(&rig, "damaged", "--salvage");
    rig.salvage = true;
    open_rig(&rig);
    assert_true(lines_with(rig_load(&rig), "block ") >= 30);
    rig_end(&rig);
}

static void a_salvage_says_what_is_lost(void **state)
{
    (void)state;
    struct rig rig;
    begin_salvage(&rig);
    long leaf = ask(&rig, "SELECT pageno FROM dbstat WHERE name = 'block' AND pagetype = 'leaf' LIMIT 1 OFFSET 2");
    rig_flip(&rig, "streams.db", (leaf - 1) * PAGE, 0xff);
    rig.salvage = true;
    open_rig(&rig);
    assert_int_equal(lines_with(rig.notes, "stream 64: the messages from position "), 1);
    assert_has(rig.notes, " in 1 places");
    rig_end(&rig);
}

static void a_salvage_leaves_a_whole_store_alone(void **state)
{
    (void)state;
    struct rig rig;
    begin_salvage(&rig);
    rig.salvage = true;
    open_rig(&rig);
    assert_has(rig.notes, "the store is whole");
    assert_int_equal(lines_with(rig_load(&rig), "block "), 66);
    assert_false(rig_exists(&rig, "streams.db.damaged-1"));
    rig_end(&rig);
}

static void each_damaged_store_is_kept(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_close(&rig);
    for (int i = 1; i <= 3; i++) {
        char name[40], text[10];
        snprintf(text, sizeof text, "%d", i);
        rig_write(&rig, "streams.db", text, 1);
        rig.salvage = true;
        open_rig(&rig);
        rig_close(&rig);
        snprintf(name, sizeof name, "streams.db.damaged-%d", i);
        assert_int_equal(rig_size(&rig, name), 1);
    }
    rig_end(&rig);
}

/* The power fails at each of the points between which a salvage gives files their names. */
static void a_salvage_that_was_interrupted_is_ended(void **state)
{
    (void)state;
    static const char *const left[][4] = {
        {"streams.db", "streams.db-wal", NULL},
        {"streams.db", "streams.db.damaged-1-wal", NULL},
        {"streams.db.damaged-1", "streams.db.damaged-1-wal", NULL},
    };
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        struct rig rig;
        begin_salvage(&rig);
        char path[128], salvaged[128];
        rig_path(&rig, "streams.db", path);
        rig_path(&rig, "streams.db.salvaged", salvaged);
        assert_int_equal(rename(path, salvaged), 0);
        for (size_t j = 0; left[i][j] != NULL; j++) rig_write(&rig, left[i][j], "old", 3);
        open_rig(&rig);
        assert_int_equal(lines_with(rig_load(&rig), "block "), 66);
        assert_int_equal(rig_size(&rig, "streams.db.damaged-1"), 3);
        assert_int_equal(rig_size(&rig, "streams.db.damaged-1-wal"), 3);
        assert_false(rig_exists(&rig, "streams.db.salvaged"));
        rig_end(&rig);
    }
    /* Before its result was complete, it is forgotten. */
    struct rig rig;
    begin_salvage(&rig);
    rig_write(&rig, "streams.db.new", "half", 4);
    rig_write(&rig, "streams.db.new-wal", "half", 4);
    open_rig(&rig);
    assert_int_equal(lines_with(rig_load(&rig), "block "), 66);
    assert_false(rig_exists(&rig, "streams.db.new"));
    assert_false(rig_exists(&rig, "streams.db.new-wal"));
    rig_end(&rig);
}

/* ---- room --------------------------------------------------------------------------------------------------- */

static void append_megabytes(struct rig *rig, uint64_t first, uint32_t count)
{
    char *text = malloc((1 << 20) + 1);
    assert_non_null(text);
    memset(text, 'm', 1 << 20);
    text[1 << 20] = '\0';
    for (uint32_t i = 0; i < count; i++) assert_int_equal(RIG_COMMIT(rig, append(64, first + i, 1, 0, text)), STORE_OK);
    free(text);
}

static void the_log_stays_short_and_room_is_used_again(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    for (uint64_t first = 1; first <= 91; first += 10) {
        append_megabytes(&rig, first, 10);
        assert_int_equal(RIG_COMMIT(&rig, trim(64, first)), STORE_OK);
        assert_true(rig_size(&rig, "streams.db-wal") < 40 * 1024 * 1024);
    }
    assert_true(rig_size(&rig, "streams.db") < 60 * 1024 * 1024);
    rig_end(&rig);
}

static void room_is_given_back_after_a_large_trim(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    append_megabytes(&rig, 1, 48);
    assert_int_equal(RIG_COMMIT(&rig, trim(64, 48)), STORE_OK);
    while (ask(&rig, "PRAGMA page_count") > 16 * 256) { /* it goes on by itself while nothing is to be written */
    }
    assert_string_equal(rig_load(&rig), "block 64 48+1 0 ms 1048576 bytes\n");
    rig_close(&rig);
    assert_true(rig_size(&rig, "streams.db") <= 16 * 1024 * 1024);
    open_rig(&rig);
    struct store_read *read = rig_read(&rig, 64, 1, ALL, 1);
    assert_int_equal(read->block.first, 48);
    rig_free(read);
    rig_end(&rig);
}

/* Somebody looks inside with sqlite3 for a while. */
static void others_may_look_inside_meanwhile(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    append_blocks(&rig, 1, 1, 100, false);
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *statement;
    rig_path(&rig, "streams.db", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT place, count FROM block", -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    append_megabytes(&rig, 3, 20);
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE); /* what there was when it began to look */
    sqlite3_finalize(statement);
    sqlite3_close(db);
    append_megabytes(&rig, 23, 1);
    rig_close(&rig);
    open_rig(&rig);
    assert_int_equal(lines_with(rig_load(&rig), "block 64 "), 22);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_the_directory),
        cmocka_unit_test(a_second_broker_is_refused),
        cmocka_unit_test(a_directory_that_is_none_is_refused),
        cmocka_unit_test(a_directory_that_can_not_be_written_is_refused),
        cmocka_unit_test(another_users_file_is_refused),
        cmocka_unit_test(links_and_pipes_are_refused),
        cmocka_unit_test(foreign_files_are_refused_and_left_alone),
        cmocka_unit_test(unknown_formats_are_refused),
        cmocka_unit_test(tables_that_others_changed_are_refused),
        cmocka_unit_test(what_was_committed_survives_a_kill),
        cmocka_unit_test(a_log_cut_in_its_last_commit_is_whole_before_it),
        cmocka_unit_test(a_log_damaged_before_its_last_commit_is_refused),
        cmocka_unit_test(a_damaged_page_number_takes_no_memory),
        cmocka_unit_test(a_log_without_a_database_is_refused),
        cmocka_unit_test(reads_go_on_behind_pages_that_are_damaged),
        cmocka_unit_test(nothing_behind_damage_is_told_as_well),
        cmocka_unit_test(blocks_in_impossible_places_are_passed_over),
        cmocka_unit_test(salvages_everything_when_the_beginning_is_destroyed),
        cmocka_unit_test(salvages_everything_when_the_way_to_it_is_destroyed),
        cmocka_unit_test(salvages_what_a_cut_has_left),
        cmocka_unit_test(a_salvage_says_what_is_lost),
        cmocka_unit_test(a_salvage_leaves_a_whole_store_alone),
        cmocka_unit_test(each_damaged_store_is_kept),
        cmocka_unit_test(a_salvage_that_was_interrupted_is_ended),
        cmocka_unit_test(the_log_stays_short_and_room_is_used_again),
        cmocka_unit_test(room_is_given_back_after_a_large_trim),
        cmocka_unit_test(others_may_look_inside_meanwhile),
    };
    return cmocka_run_group_tests_name("store_sqlite", tests, NULL, NULL);
}
