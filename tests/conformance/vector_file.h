/* Conformance vectors, read from text. The format is PROTOCOL.md, "Conformance vectors"; fenced blocks that are marked
 * mps-vector in a Markdown file are read too, so that the specification's own examples are checked.
 * Ownership: everything belongs to the vector_file, vector_file_free() gives it back. Allocation failure aborts. */
#ifndef CONFORMANCE_VECTOR_FILE_H
#define CONFORMANCE_VECTOR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vector_role { ROLE_CODEC, ROLE_BROKER, ROLE_CLIENT };

enum step_kind {
    STEP_FRAME,   /* codec: bytes to judge */
    STEP_IS,      /* codec: the pattern that they match */
    STEP_VERDICT, /* codec: what has to come of them */
    STEP_CONN,    /* a connection opens */
    STEP_SEND,    /* bytes to the tested side */
    STEP_BYTES,   /* exactly these bytes come next */
    STEP_MATCH,   /* the next frame matches this pattern */
    STEP_MESSAGE, /* the next message, with the terms that hold for it, matches this pattern */
    STEP_SKIP,    /* frames that match this pattern may stand before what the next step expects */
    STEP_QUIET,   /* nothing more has come */
    STEP_CLOSED,  /* all was read and the tested side has ended its stream */
    STEP_END,     /* our stream ends, we go on reading */
    STEP_DROP,    /* the connection breaks */
    STEP_ROOM,    /* the connection takes only so many further bytes */
    STEP_AT,      /* time passes */
    STEP_ACCESS,  /* something is said about who may do what */
    STEP_STORE,   /* something happens to the broker's store */
    STEP_RESTART, /* the broker dies and comes back */
    STEP_DO,      /* client: its program asks for something */
    STEP_EVENT,   /* client: the next thing that it tells its program */
};

#define ROOM_UNLIMITED UINT64_MAX

struct step {
    enum step_kind kind;
    unsigned line;
    char conn;      /* 'A'..'Z' */
    uint8_t *bytes; /* STEP_FRAME, STEP_SEND, STEP_BYTES */
    size_t len;
    char *text;      /* a pattern, the words of a verdict, of what happens or of who connects (NULL: nobody special), or the source of bytes that hold names */
    uint64_t number; /* STEP_AT: milliseconds; STEP_ROOM: bytes */
};

struct vector_case {
    const char *file; /* base name */
    unsigned line;
    char *name;
    enum vector_role role;
    bool whole_only; /* the result depends on the input arriving at once */
    bool bench_only; /* needs a clock, a link or limits that only a test bench has */
    bool own_broker; /* needs a broker that nobody else uses: with streams, or one that dies */
    char *limits;    /* "name=number ..." or NULL */
    char **streams;  /* "NAME PATTERN,.. option ..", one for each stream that the broker has */
    size_t streams_count;
    struct step *steps;
    size_t step_count;
};

struct vector_file {
    char *base_name;
    struct vector_case *cases;
    size_t case_count;
    char error[256]; /* what was wrong with the file, with its line; "" if nothing */
};

/* Reads a whole file. Returns false and fills .error if it can't be read or isn't well-formed. */
bool vector_file_read(struct vector_file *file, const char *path);
void vector_file_free(struct vector_file *file);

#endif
