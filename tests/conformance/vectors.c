/* Runs conformance vectors (PROTOCOL.md, "Conformance vectors"), each with its input whole and cut into pieces.
 *
 *   vectors [--connect URL | --start PROGRAM] [--role codec|broker|client] [--only TEXT] FILE...
 *     --connect  plays the broker cases against a live broker, unix:/path or tcp://host:port, those that need no bench
 * and no broker of their own
 *     --start    plays those that need a broker of their own, but no bench: each playing starts the program, which
 * takes the command line of pubsubd
 *     --role     only the cases of this role
 *     --only     only the cases whose name contains TEXT
 * Prints one line per case, `ok` or `not ok`, and how many passed and failed. Exit code 0: all passed, 1: not, 2:
 * usage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "play.h"
#include "wire.h"

struct options {
    const char *url, *program, *only;
    bool role[3]; /* enum vector_role: which are played */
};

struct tally {
    unsigned passed, failed;
    struct codec_coverage coverage;
};

static void report(struct tally *tally, bool good, const char *file, const char *name, const char *how, const char *why)
{
    if (good) tally->passed++;
    else tally->failed++;
    printf("%s - %s %s%s%s", good ? "ok" : "not ok", file, name, *how ? ", " : "", how);
    if (!good) printf(": %s", why);
    printf("\n");
}

static bool play_once(const struct vector_case *c, size_t cut, const struct options *options, struct tally *tally,
                      char *error, size_t cap)
{
    if (c->role == ROLE_CODEC) return codec_play(c, cut, cut == 0 ? &tally->coverage : NULL, error, cap);
    struct stage *stage = c->role == ROLE_CLIENT ? client_open()
                          : options->url         ? live_open(options->url)
                          : options->program ? live_start(options->program, c->streams, c->streams_count, error, cap)
                                             : bench_open(c->limits, c->streams, c->streams_count, error, cap);
    return stage != NULL && conversation_play(c, stage, cut, error, cap);
}

static void play_case(const struct vector_case *c, const struct options *options, struct tally *tally)
{
    static const size_t cuts[] = {0, 1, 3, 7};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        if (c->whole_only && cuts[i] != 0) continue;
        char error[1024] = "", how[32] = "whole";
        if (cuts[i] != 0) snprintf(how, sizeof how, "cut into %zu", cuts[i]);
        bool good = play_once(c, cuts[i], options, tally, error, sizeof error);
        report(tally, good, c->file, c->name, how, error);
    }
}

static bool is_wanted(const struct vector_case *c, const struct options *options)
{
    if (options->only != NULL && strstr(c->name, options->only) == NULL) return false;
    if (!options->role[c->role]) return false;
    if (options->url == NULL && options->program == NULL) return true;
    return c->role == ROLE_BROKER && !c->bench_only && c->own_broker == (options->program != NULL);
}

static void play_file(const char *path, const struct options *options, struct tally *tally)
{
    struct vector_file file;
    if (!vector_file_read(&file, path)) report(tally, false, path, "", "", file.error);
    for (size_t i = 0; i < file.case_count && file.error[0] == '\0'; i++) {
        if (is_wanted(&file.cases[i], options)) play_case(&file.cases[i], options, tally);
    }
    vector_file_free(&file);
}

/* Every operation has a frame that is accepted and one that is rejected. */
static void check_coverage(struct tally *tally)
{
    struct codec_coverage *seen = &tally->coverage;
#define OP(number, NAME, way, fields)                                                                                 \
    report(tally, seen->accepted[number] > 0, "coverage", #NAME " accepted", "", "no vector has an accepted " #NAME); \
    report(tally, seen->rejected[number] > 0, "coverage", #NAME " rejected", "", "no vector has a rejected " #NAME);
#include "ops.def"
#undef OP
}

static int usage(void)
{
    fprintf(stderr,
            "usage: vectors [--connect URL | --start PROGRAM] [--role codec|broker|client] [--only TEXT] FILE...\n");
    return 2;
}

/* Leaves only the role that is named. */
static bool choose_role(struct options *options, const char *name)
{
    static const char *const names[] = {[ROLE_CODEC] = "codec", [ROLE_BROKER] = "broker", [ROLE_CLIENT] = "client"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        options->role[i] = strcmp(name, names[i]) == 0;
        found = found || options->role[i];
    }
    return found;
}

int main(int argc, char **argv)
{
    struct options options = {.role = {true, true, true}};
    static struct tally tally;
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (at + 1 == argc) return usage();
        if (strcmp(argv[at], "--connect") == 0) options.url = argv[at + 1];
        else if (strcmp(argv[at], "--start") == 0) options.program = argv[at + 1];
        else if (strcmp(argv[at], "--only") == 0) options.only = argv[at + 1];
        else if (strcmp(argv[at], "--role") != 0 || !choose_role(&options, argv[at + 1])) return usage();
    }
    if (options.url != NULL && options.program != NULL) return usage();
    if (options.url != NULL && strncmp(options.url, "unix:", 5) != 0 && strncmp(options.url, "tcp://", 6) != 0)
        return usage();
    if (at == argc) return usage();
    for (; at < argc; at++) play_file(argv[at], &options, &tally);
    bool is_live = options.url != NULL || options.program != NULL;
    if (options.role[ROLE_CODEC] && options.only == NULL && !is_live) check_coverage(&tally);
    printf("%u passed, %u failed\n", tally.passed, tally.failed);
    return tally.failed == 0 && tally.passed > 0 ? 0 : 1;
}
