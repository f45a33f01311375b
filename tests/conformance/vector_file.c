#include "vector_file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "pattern.h"
#include "stage.h"

#define LINE_MAX_BYTES 65536

static void *must(void *p)
{
    if (p == NULL) abort();
    return p;
}

static bool fail(struct vector_file *file, unsigned line, const char *what)
{
    snprintf(file->error, sizeof file->error, "%s:%u: %s", file->base_name, line, what);
    return false;
}

static struct step *add_step(struct vector_case *c, enum step_kind kind, unsigned line)
{
    c->steps = must(realloc(c->steps, (c->step_count + 1) * sizeof *c->steps));
    struct step *step = &c->steps[c->step_count++];
    *step = (struct step){.kind = kind, .line = line};
    return step;
}

static struct vector_case *add_case(struct vector_file *file, const char *name, unsigned line)
{
    file->cases = must(realloc(file->cases, (file->case_count + 1) * sizeof *file->cases));
    struct vector_case *c = &file->cases[file->case_count++];
    *c = (struct vector_case){.file = file->base_name, .line = line, .name = must(strdup(name))};
    return c;
}

static bool add_bytes(struct vector_file *file, struct vector_case *c, enum step_kind kind, char conn, const char *hex,
                      unsigned line)
{
    struct bytes b = {0};
    if (!bytes_parse(&b, hex, NULL)) {
        free(b.at);
        return fail(file, line, "not bytes: hex pairs, \"text\", $name, each with *N, (group)*N or str(group)");
    }
    struct step *step = add_step(c, kind, line);
    step->conn = conn;
    if (bytes_has_names(hex)) { /* they are known when it is played */
        step->text = must(strdup(hex));
        free(b.at);
        return true;
    }
    step->bytes = b.at;
    step->len = b.len;
    return true;
}

static bool add_pattern(struct vector_file *file, struct vector_case *c, enum step_kind kind, char conn,
                        const char *pattern, unsigned line)
{
    if (!pattern_valid(pattern)) return fail(file, line, "not a pattern");
    struct step *step = add_step(c, kind, line);
    step->conn = conn;
    step->text = must(strdup(pattern));
    return true;
}

/* What stands behind `word` and a blank, or NULL if the line begins otherwise. */
static const char *after(const char *text, const char *word)
{
    size_t len = strlen(word);
    if (strncmp(text, word, len) != 0) return NULL;
    if (text[len] == '\0') return text + len;
    return text[len] == ' ' ? text + len + 1 : NULL;
}

/* Lines that begin with a connection's letter: `A>> ..`, `A close`. */
static bool parse_conn_line(struct vector_file *file, struct vector_case *c, const char *text, unsigned line)
{
    char conn = text[0];
    const char *rest = text + 1, *arg;
    if ((arg = after(rest, ">>"))) return add_bytes(file, c, STEP_SEND, conn, arg, line);
    if ((arg = after(rest, "<<"))) return add_bytes(file, c, STEP_BYTES, conn, arg, line);
    if ((arg = after(rest, "<~"))) return add_pattern(file, c, STEP_MATCH, conn, arg, line);
    if ((arg = after(rest, "<="))) return add_pattern(file, c, STEP_MESSAGE, conn, arg, line);
    if ((arg = after(rest, "<*"))) return add_pattern(file, c, STEP_SKIP, conn, arg, line);
    if ((arg = after(rest, "=="))) return add_pattern(file, c, STEP_EVENT, conn, arg, line);
    if ((arg = after(rest, " do"))) {
        struct step *step = add_step(c, STEP_DO, line);
        step->conn = conn;
        step->text = must(strdup(arg));
        return true;
    }
    static const struct {
        const char *word;
        enum step_kind kind;
    } words[] = {{" close", STEP_CLOSED}, {" quiet", STEP_QUIET}, {" end", STEP_END}, {" drop", STEP_DROP}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(rest, words[i].word) != 0) continue;
        add_step(c, words[i].kind, line)->conn = conn;
        if (words[i].kind == STEP_DROP) c->bench_only = true;
        return true;
    }
    if ((arg = after(rest, " room"))) {
        char *end;
        uint64_t room = strcmp(arg, "*") == 0 ? ROOM_UNLIMITED : strtoull(arg, &end, 10);
        if (room != ROOM_UNLIMITED && (end == arg || *end != '\0')) return fail(file, line, "room needs a number or *");
        struct step *step = add_step(c, STEP_ROOM, line);
        step->conn = conn;
        step->number = room;
        c->bench_only = true;
        return true;
    }
    return fail(file, line, "nothing that a connection does");
}

static bool parse_time(struct vector_file *file, struct vector_case *c, const char *arg, unsigned line)
{
    char *end;
    uint64_t ms = arg[0] == '+' ? strtoull(arg + 1, &end, 10) : 0;
    if (arg[0] != '+' || end == arg + 1 || strcmp(end, "ms") != 0) return fail(file, line, "time is written +1500ms");
    add_step(c, STEP_AT, line)->number = ms;
    c->bench_only = true;
    return true;
}

/* Lines about the broker's store: `store holds`, `restart`. */
static bool parse_store_line(struct vector_file *file, struct vector_case *c, const char *what, unsigned line)
{
    struct stage_store happens;
    if (!stage_store_parse(what, &happens))
        return fail(file, line, "the store holds, goes on, fails, is full, or damages STREAM POSITION");
    add_step(c, STEP_STORE, line)->text = must(strdup(what));
    c->bench_only = true;
    return true;
}

static bool parse_stream(struct vector_file *file, struct vector_case *c, const char *text, unsigned line)
{
    struct stage_stream stream;
    if (!stage_stream_parse(text, &stream)) return fail(file, line, "a stream is NAME PATTERN[,PATTERN..] [option ..]");
    c->streams = must(realloc(c->streams, (c->streams_count + 1) * sizeof *c->streams));
    c->streams[c->streams_count++] = must(strdup(text));
    c->own_broker = true;
    return true;
}

static bool parse_header(struct vector_file *file, struct vector_case *c, const char *text, unsigned line, bool *known)
{
    const char *arg;
    *known = true;
    if ((arg = after(text, "role:"))) {
        if (strcmp(arg, "codec") == 0) c->role = ROLE_CODEC;
        else if (strcmp(arg, "broker") == 0) c->role = ROLE_BROKER;
        else if (strcmp(arg, "client") == 0) c->role = ROLE_CLIENT;
        else return fail(file, line, "the role is codec, broker or client");
        return true;
    }
    if ((arg = after(text, "cut:"))) {
        if (strcmp(arg, "whole") != 0) return fail(file, line, "the only cut that can be asked for is whole");
        c->whole_only = c->bench_only = true; /* a socket promises nothing about how bytes arrive */
        return true;
    }
    if ((arg = after(text, "limits:"))) {
        free(c->limits);
        c->limits = must(strdup(arg));
        c->bench_only = true;
        return true;
    }
    if ((arg = after(text, "stream:"))) return parse_stream(file, c, arg, line);
    *known = false;
    return true;
}

static bool parse_line(struct vector_file *file, const char *text, unsigned line, bool fenced)
{
    const char *arg;
    if ((arg = after(text, "name:"))) {
        add_case(file, arg, line);
        return true;
    }
    if (file->case_count == 0 && !fenced) return fail(file, line, "a case begins with its name");
    struct vector_case *c = &file->cases[file->case_count - 1];
    bool known;
    if (!parse_header(file, c, text, line, &known)) return false;
    if (known) return true;
    if ((arg = after(text, "frame"))) return add_bytes(file, c, STEP_FRAME, 0, arg, line);
    if ((arg = after(text, "is"))) return add_pattern(file, c, STEP_IS, 0, arg, line);
    if (after(text, "ok") || after(text, "reject") || after(text, "ignore") || after(text, "more")) {
        add_step(c, STEP_VERDICT, line)->text = must(strdup(text));
        return true;
    }
    if ((arg = after(text, "at"))) return parse_time(file, c, arg, line);
    if ((arg = after(text, "access"))) {
        add_step(c, STEP_ACCESS, line)->text = must(strdup(arg));
        c->bench_only = true;
        return true;
    }
    if ((arg = after(text, "store"))) return parse_store_line(file, c, arg, line);
    if (strcmp(text, "restart") == 0) {
        add_step(c, STEP_RESTART, line);
        c->own_broker = true;
        return true;
    }
    if ((arg = after(text, "conn"))) {
        bool is_special = arg[0] != '\0' && arg[1] == ' ';
        if (!isupper((unsigned char)arg[0]) || (arg[1] != '\0' && !is_special))
            return fail(file, line, "a connection is one letter, A to Z, and maybe whose it is");
        struct step *step = add_step(c, STEP_CONN, line);
        step->conn = arg[0];
        if (is_special) step->text = must(strdup(arg + 2));
        c->bench_only |= is_special;
        return true;
    }
    if (isupper((unsigned char)text[0])) return parse_conn_line(file, c, text, line);
    return fail(file, line, "unknown line");
}

/* Cuts the line's end, blanks before it, and a comment: '#' at the start, or behind two blanks and not in "text". */
static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t') text++;
    if (*text == '#') *text = '\0';
    bool quoted = false;
    for (char *p = text; *p != '\0'; p++) {
        if (*p == '"') quoted = !quoted;
        if (quoted || strncmp(p, "  #", 3) != 0) continue;
        *p = '\0';
        break;
    }
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1])) text[--len] = '\0';
    return text;
}

/* In a Markdown file only the blocks fenced as mps-vector count; each is a case named after its place. */
static bool read_lines(struct vector_file *file, FILE *in, bool markdown)
{
    char *buf = must(malloc(LINE_MAX_BYTES));
    bool fenced = false, well = true, headed = markdown;
    for (unsigned line = 1; well && fgets(buf, LINE_MAX_BYTES, in); line++) {
        if (strchr(buf, '\n') == NULL && !feof(in)) well = fail(file, line, "the line is too long");
        if (markdown && strncmp(buf, "```", 3) == 0) {
            fenced = !fenced && strncmp(buf, "```mps-vector", 13) == 0;
            char name[64];
            snprintf(name, sizeof name, "specification-line-%u", line);
            if (fenced) add_case(file, name, line);
            continue;
        }
        if (!well || (markdown && !fenced)) continue;
        char *text = trim(buf);
        if (text[0] == '\0') continue;
        if (headed) well = parse_line(file, text, line, fenced);
        else if (strcmp(text, "mps-vector 1") == 0) headed = true;
        else well = fail(file, line, "the first line must be: mps-vector 1");
    }
    free(buf);
    return well;
}

bool vector_file_read(struct vector_file *file, const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    *file = (struct vector_file){.base_name = must(strdup(slash ? slash + 1 : path))};
    FILE *in = fopen(path, "re");
    if (in == NULL) return fail(file, 0, "can't be opened");
    bool well = read_lines(file, in, dot && strcmp(dot, ".md") == 0);
    if (ferror(in)) well = fail(file, 0, "can't be read");
    fclose(in);
    if (well && file->case_count == 0) well = fail(file, 0, "holds no case");
    return well;
}

void vector_file_free(struct vector_file *file)
{
    for (size_t i = 0; i < file->case_count; i++) {
        struct vector_case *c = &file->cases[i];
        for (size_t k = 0; k < c->step_count; k++) {
            free(c->steps[k].bytes);
            free(c->steps[k].text);
        }
        for (size_t k = 0; k < c->streams_count; k++) free(c->streams[k]);
        free(c->steps);
        free(c->streams);
        free(c->limits);
        free(c->name);
    }
    free(file->cases);
    free(file->base_name);
    *file = (struct vector_file){0};
}
