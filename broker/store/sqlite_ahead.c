#include <stdlib.h>
#include <string.h>

#include "sqlite_parts.h"

static void forget(struct ahead *ahead)
{
    free(ahead->ready.bytes);
    ahead->ready.bytes = NULL;
}

static bool is_ready(const struct ahead *ahead, const struct store_read *read)
{
    const struct store_read *ready = &ahead->ready;
    return ready->bytes != NULL && ready->stream == read->stream && ready->from == read->from &&
           ready->end <= read->end && ready->bytes_most == read->bytes_most;
}

static void hand_over(struct ahead *ahead, struct store_read *read)
{
    store_read_begin(read);
    read->block = ahead->ready.block;
    read->bytes = ahead->ready.bytes;
    ahead->ready.bytes = NULL;
}

void ahead_read(struct ahead *ahead, struct reader *reader, struct store_read *read)
{
    bool follows = read->stream == ahead->stream && read->from == ahead->next;
    if (is_ready(ahead, read)) hand_over(ahead, read);
    else reader_read(reader, read);
    bool goes_on = follows && read->code == STORE_OK && read->block.count > 0;
    ahead->stream = read->stream;
    ahead->next = read->block.first + read->block.count;
    ahead->end = goes_on ? read->end : 0;
    ahead->bytes_most = read->bytes_most;
}

void ahead_prepare(struct ahead *ahead, struct reader *reader)
{
    struct store_read *ready = &ahead->ready;
    if (ahead->next >= ahead->end) return;
    forget(ahead);
    *ready = (struct store_read){
        .stream = ahead->stream, .from = ahead->next, .end = ahead->end, .bytes_most = ahead->bytes_most};
    ahead->end = 0;
    reader_read(reader, ready);
    /* What is wrong is found again, and told, when it is asked for. */
    if (ready->code != STORE_OK || ready->damaged_first != 0 || ready->block.first > ready->from) forget(ahead);
}

void ahead_close(struct ahead *ahead)
{
    forget(ahead);
}
