/* The store of the program: streams and records in one SQLite file, DIRECTORY/streams.db. */
#ifndef STORE_SQLITE_STORE_H
#define STORE_SQLITE_STORE_H

#include "store.h"

struct sqlite_store_options {
    const char *directory; /* made with its parents (mode 0700) if it isn't there; nobody else may use it meanwhile */
    bool salvage;          /* a file that is damaged so that it can't be used is read row by row into a new one; the old
                              one stays beside it as streams.db.damaged-1 (or -2, ...). A file that is whole is left alone */
    void (*wake)(void *arg); /* poll() has something to tell. Called from the store's threads, once until the next poll();
                                must neither block nor call the store. From open to the end of .close() */
    void (*note)(void *arg, const char *text); /* one sentence for the operator: what a salvage is at, and what came of it.
                                                  Called by sqlite_store_open() only; may be NULL */
    void *arg;             /* of wake and note */
};

/* Opens the directory's store and locks it, or makes a new one. Blocks while it does: for long only while it salvages.
 * Returns NULL with a sentence in text (at most text_cap bytes, STORE_TEXT_MAX is enough) that says what is wrong with
 * which file and what to do: another broker has the directory, it can't be written, the file is not ours, of an unknown
 * format, or damaged. Two threads of its own serve the store until .close(). */
struct store *sqlite_store_open(const struct sqlite_store_options *options, char *text, size_t text_cap);

#endif
