/* Rows of a database whose trees can't be followed any more: each page is looked at by itself, in the order of the file
 * (https://www.sqlite.org/fileformat2.html). What a row says counts only if it fits its checksum, so nothing here
 * has to be believed: no length, no number of a page, no offset. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite_parts.h"

#define PAGES_PER_MAP (DATABASE_PAGE / 5 + 1)       /* a page that says what the next ones are for, and these */
#define LOCK_PAGE (0x40000000u / DATABASE_PAGE + 1) /* holds nothing */
#define COLUMNS_MAX 8
#define PAYLOAD_MAX (STORE_BLOCK_MAX + 2 * DATABASE_PAGE)

enum page_type { INDEX_INTERIOR = 0x02, INDEX_LEAF = 0x0a, TABLE_LEAF = 0x0d };
enum page_use { USE_ROOT = 1, USE_FREE = 2, USE_OVERFLOW_FIRST = 3, USE_OVERFLOW = 4, USE_TREE = 5 };

struct walk {
    int fd;
    const struct wal *wal;
    const struct page_rows *rows;
    uint32_t pages;
    uint8_t map[DATABASE_PAGE]; /* of map_number; 0: none yet */
    uint32_t map_number;
    uint8_t page[DATABASE_PAGE];
    uint8_t *payload; /* of the row that is looked at */
    size_t payload_room;
    bool stop;
};

static uint32_t number16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}
static uint32_t number32(const uint8_t *p)
{
    return number16(p) << 16 | number16(p + 2);
}

/* Of a page that can't be read, all is zero: there may be others. */
static void get_page(const struct walk *walk, uint32_t number, uint8_t *bytes)
{
    int logged = wal_page(walk->wal, number, bytes);
    if (logged == 1) return;
    ssize_t len = 0;
    if (logged == 0) len = pread(walk->fd, bytes, DATABASE_PAGE, (off_t)(number - 1) * (off_t)DATABASE_PAGE);
    if (len < 0) len = 0;
    memset(bytes + len, 0, DATABASE_PAGE - (size_t)len);
}

/* What the maps say that a page is for: enum page_use, or nonsense if they are damaged. */
static uint8_t use_of(struct walk *walk, uint32_t number)
{
    uint32_t map = (number - 2) / PAGES_PER_MAP * PAGES_PER_MAP + 2;
    if (map == LOCK_PAGE) map++;
    if (number <= map) return USE_FREE; /* it is a map itself */
    if (map != walk->map_number) get_page(walk, map, walk->map);
    walk->map_number = map;
    return walk->map[5 * (number - map - 1)];
}

/* ---- records of SQLite -------------------------------------------------------------------------------------- */

struct cursor {
    const uint8_t *p, *end;
};

/* A number of one to nine bytes; at the end it is 0, and the cursor stays there. */
static uint64_t get_varint(struct cursor *cursor)
{
    uint64_t number = 0;
    for (int i = 0; i < 9 && cursor->p < cursor->end; i++) {
        uint8_t byte = *cursor->p++;
        if (i == 8) return number << 8 | byte;
        number = number << 7 | (byte & 0x7f);
        if (byte < 0x80) return number;
    }
    cursor->p = cursor->end;
    return 0;
}

struct column {
    bool blob;
    mps_view bytes;
    uint64_t number;
};

static bool get_column(uint64_t type, struct cursor *body, struct column *column)
{
    static const uint8_t lengths[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
    if (type == 10 || type == 11) return false;
    uint64_t len = type < 10 ? lengths[type] : (type - 12) / 2;
    if (len > (size_t)(body->end - body->p)) return false;
    *column = (struct column){.blob = type >= 12 && type % 2 == 0, .bytes = {body->p, (uint32_t)len}};
    if (type == 9) column->number = 1;
    if (type >= 1 && type <= 6) {
        column->number = body->p[0] >= 0x80 ? UINT64_MAX : 0;
        for (uint64_t i = 0; i < len; i++) column->number = column->number << 8 | body->p[i];
    }
    body->p += len;
    return true;
}

static bool get_columns(const uint8_t *payload, size_t len, struct column *columns, int count)
{
    struct cursor head = {payload, payload + len};
    uint64_t head_len = get_varint(&head);
    if (head_len > len || head_len < (uint64_t)(head.p - payload)) return false;
    head.end = payload + head_len;
    struct cursor body = {payload + head_len, payload + len};
    for (int i = 0; i < count; i++) {
        if (head.p == head.end) return false;
        if (!get_column(get_varint(&head), &body, &columns[i])) return false;
    }
    return head.p == head.end && body.p == body.end;
}

/* ---- our rows ----------------------------------------------------------------------------------------------- */

static void see_block(struct walk *walk, uint64_t place, size_t len)
{
    struct column c[COLUMNS_MAX];
    if (place >> PLACE_BITS >= STORE_STREAMS_MAX || !get_columns(walk->payload, len, c, 8) || !c[7].blob) return;
    struct store_block block = {
        .stream = (uint32_t)(place >> PLACE_BITS) + STORE_STREAM_FIRST,
        .first = place & POSITION_MAX,
        .count = (uint32_t)c[1].number,
        .time_ms = c[2].number,
        .expires_ms = c[3].number,
        .len = (uint32_t)c[4].number,
        .bytes = c[7].bytes.ptr,
    };
    if (block.len != c[7].bytes.len || block_head_sum(&block) != c[5].number || block_bytes_sum(&block) != c[6].number)
        return;
    walk->stop = !walk->rows->block(walk->rows->arg, &block);
}

static void see_record(struct walk *walk, size_t len)
{
    struct column c[COLUMNS_MAX];
    if (!get_columns(walk->payload, len, c, 4) || !c[1].blob || !c[2].blob || c[1].bytes.len > STORE_KEY_MAX) return;
    uint32_t kind = (uint32_t)c[0].number;
    if (record_sum(kind, c[1].bytes, c[2].bytes) != c[3].number) return;
    walk->stop = !walk->rows->record(walk->rows->arg, kind, c[1].bytes, c[2].bytes);
}

/* ---- pages -------------------------------------------------------------------------------------------------- */

/* How many bytes of a payload are in the page itself. */
static uint64_t local_len(uint64_t len, bool table)
{
    const uint64_t least = (DATABASE_PAGE - 12) * 32 / 255 - 23;
    const uint64_t most = table ? DATABASE_PAGE - 35 : (DATABASE_PAGE - 12) * 64 / 255 - 23;
    if (len <= most) return len;
    uint64_t part = least + (len - least) % (DATABASE_PAGE - 4);
    return part <= most ? part : least;
}

static bool room_for_payload(struct walk *walk, size_t len)
{
    if (len <= walk->payload_room) return true;
    uint8_t *larger = realloc(walk->payload, len);
    if (larger == NULL) return false;
    walk->payload = larger;
    walk->payload_room = len;
    return true;
}

/* Puts together a payload that begins at the cursor and goes on in other pages. */
static bool gather_payload(struct walk *walk, struct cursor cell, uint64_t len, bool table)
{
    size_t local = (size_t)local_len(len, table), have = local;
    /* No chain of pages is longer than the file: without this, a damaged length would ask for memory. */
    if (len > PAYLOAD_MAX || len > (uint64_t)walk->pages * DATABASE_PAGE) return false;
    if (local + (local < len ? 4 : 0) > (size_t)(cell.end - cell.p) || !room_for_payload(walk, (size_t)len))
        return false;
    memcpy(walk->payload, cell.p, local);
    uint32_t next = local < len ? number32(cell.p + local) : 0;
    while (have < len) {
        uint8_t page[DATABASE_PAGE];
        if (next < 2 || next > walk->pages) return false;
        get_page(walk, next, page);
        size_t part = len - have < DATABASE_PAGE - 4 ? (size_t)len - have : DATABASE_PAGE - 4;
        memcpy(walk->payload + have, page + 4, part);
        have += part;
        next = number32(page);
    }
    return true;
}

static void see_cell(struct walk *walk, uint32_t at, uint8_t type)
{
    struct cursor cell = {walk->page + at, walk->page + DATABASE_PAGE};
    if (type == INDEX_INTERIOR) cell.p += at + 4 <= DATABASE_PAGE ? 4 : DATABASE_PAGE - at;
    uint64_t len = get_varint(&cell);
    uint64_t place = type == TABLE_LEAF ? get_varint(&cell) : 0;
    if (len == 0 || !gather_payload(walk, cell, len, type == TABLE_LEAF)) return;
    if (type == TABLE_LEAF) see_block(walk, place, (size_t)len);
    else see_record(walk, (size_t)len);
}

static void see_page(struct walk *walk, uint32_t number)
{
    get_page(walk, number, walk->page);
    uint8_t type = walk->page[0];
    if (type != INDEX_INTERIOR && type != INDEX_LEAF && type != TABLE_LEAF) return;
    uint32_t cells = number16(walk->page + 3), head = type == INDEX_INTERIOR ? 12 : 8;
    for (uint32_t i = 0; i < cells && head + 2 * i + 2 <= DATABASE_PAGE && !walk->stop; i++) {
        uint32_t at = number16(walk->page + head + 2 * i);
        if (at >= head && at < DATABASE_PAGE) see_cell(walk, at, type);
    }
}

/* A page that is free may hold what was removed: it is never looked at. One whose use isn't known comes last, where
 * what it says is old news if another page says it, too. */
static bool wanted(uint8_t use, bool known)
{
    switch (use) {
    case USE_ROOT:
    case USE_TREE: return known;
    case USE_FREE:
    case USE_OVERFLOW_FIRST:
    case USE_OVERFLOW: return false;
    }
    return !known;
}

/* A whole log knows best. What a damaged one says is believed as far as the log may have the pages that the file lacks;
 * one that was free again at once is in neither. */
static uint32_t pages_count(uint32_t in_file, const struct wal *wal)
{
    if (wal->pages == 0 || (wal->damaged && wal->pages < in_file)) return in_file;
    uint64_t most = (uint64_t)in_file + 2 * (uint64_t)wal->places_count;
    return wal->damaged && wal->pages > most ? (uint32_t)most : wal->pages;
}

int pages_walk(int fd, const struct wal *wal, const struct page_rows *rows, char *text)
{
    struct stat info;
    if (fstat(fd, &info) < 0) {
        snprintf(text, STORE_TEXT_MAX, "can't read the damaged store: %s", strerror(errno));
        return -1;
    }
    struct walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL) abort();
    walk->fd = fd;
    walk->wal = wal;
    walk->rows = rows;
    off_t pages = info.st_size / (off_t)DATABASE_PAGE;
    walk->pages = pages > (off_t)(UINT32_MAX / 2) ? UINT32_MAX / 2 : (uint32_t)pages;
    walk->pages = pages_count(walk->pages, wal);
    for (int known = 1; known >= 0; known--) {
        for (uint32_t i = 3; i <= walk->pages && !walk->stop; i++) {
            if (i % 4096 == 0 && known == 1) rows->progress(rows->arg, i, walk->pages);
            if (wanted(use_of(walk, i), known == 1)) see_page(walk, i);
        }
    }
    free(walk->payload);
    free(walk);
    return 0;
}
