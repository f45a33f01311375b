/* A data directory that is damaged as the input says: the store opens it or refuses it with a sentence, reads whatever
 * is in it, and never gives what was not written, whether it salvages or not; then it takes something new.
 * Input: a byte of options, then orders: what, where (three bytes, big-endian), how long (one byte), and as many bytes.
 */
/* Hostile 56. */
#include <string.h>

#include "../unit/store_rig.h"
#include "require.h"

#define STREAMS 3 /* of 64 and the next ones; the last is empty */
#define ROWS 30   /* commits of the one that is damaged */
#define READS_MAX 10000
#define IMAGE_MAX (1 << 20)

enum {
    OPTION_KILLED = 1,  /* the broker was killed: part of it is in the log */
    OPTION_SALVAGE = 2, /* at once, and not only after a refusal */
    OPTION_READS = 4,   /* several blocks at once */
};
enum order { ORDER_WRITE, ORDER_FLIP, ORDER_CUT, ORDER_PAGE, ORDER_WHOLE, ORDERS };

struct image {
    uint8_t *bytes;
    size_t len;
};

static struct image closed, killed, killed_log;

/* ---- what is written ---------------------------------------------------------------------------------------- */

#define TEXT_MAX 9100
#define FIRSTS_MAX (3 * ROWS + 1)

/* Of the block that begins at `first`: letters, from few to more than a page of them. It is made when it is asked for
 * first. */
static const char *text_of(uint32_t stream, uint64_t first, size_t *len)
{
    static char *texts[STREAMS][FIRSTS_MAX];
    char **text = &texts[stream - STORE_STREAM_FIRST][first];
    *len = first % 7 == 0 ? 9000 : 20 + first * 13 % 300;
    if (*text != NULL) return *text;
    *text = malloc(TEXT_MAX);
    if (*text == NULL) abort();
    for (size_t i = 0; i < *len; i++) (*text)[i] = (char)('a' + (i * 7 + first + stream) % 26);
    (*text)[*len] = '\0';
    return *text;
}

static uint32_t count_of(uint64_t first)
{
    return first % 7 == 0 ? 1 : 3;
}

static bool is_written(uint32_t stream, uint64_t first)
{
    uint64_t at = 1;
    for (int row = 0; row < ROWS; row++, at += count_of(at))
        if (at == first) return stream - STORE_STREAM_FIRST < STREAMS - 1;
    return false;
}

static void write_all(struct rig *rig)
{
    char key[20], value[200];
    uint64_t first = 1;
    for (int row = 0; row < ROWS; row++, first += count_of(first)) {
        size_t len;
        const char *texts[] = {text_of(64, first, &len), text_of(65, first, &len)};
        snprintf(key, sizeof key, "key %d", row % 12);
        snprintf(value, sizeof value, "%d%.*s", row % 12, row % 4 * 40, texts[0]);
        value[strcspn(value, "z")] = '\0';
        struct store_change changes[] = {append(64, first, count_of(first), first * 1000, texts[0]),
                                         append(65, first, count_of(first), first * 1000, texts[1]),
                                         row % 5 == 4 ? removal(1, key) : put(1, key, value)};
        REQUIRE(rig_commit(rig, changes, 3) == STORE_OK, "can't write: %s", rig->text);
    }
    REQUIRE(RIG_COMMIT(rig, trim(65, 10)) == STORE_OK, "can't trim: %s", rig->text);
}

static struct image read_image(const struct rig *rig, const char *name)
{
    char path[128];
    struct image image = {malloc(IMAGE_MAX), 0};
    rig_path(rig, name, path);
    FILE *file = fopen(path, "rb");
    if (file == NULL || image.bytes == NULL) abort();
    image.len = fread(image.bytes, 1, IMAGE_MAX, file);
    fclose(file);
    REQUIRE(image.len > 0 && image.len < IMAGE_MAX, "%s has %zu bytes", name, image.len);
    return image;
}

static void make_images(void)
{
    struct rig rig;
    rig_begin(&rig, RIG_SQLITE);
    REQUIRE(rig_open(&rig), "%s", rig.text);
    write_all(&rig);
    killed = read_image(&rig, "streams.db");
    killed_log = read_image(&rig, "streams.db-wal");
    rig_close(&rig);
    closed = read_image(&rig, "streams.db");
    rig_end(&rig);
}

/* ---- what is damaged ---------------------------------------------------------------------------------------- */

static struct image copy_of(const struct image *image)
{
    struct image copy = {malloc(image->len + 1), image->len};
    if (copy.bytes == NULL) abort();
    if (image->len > 0) memcpy(copy.bytes, image->bytes, image->len);
    return copy;
}

/* What is left of the input is all that there is. */
static void replace(struct image *image, const uint8_t *bytes, size_t len)
{
    image->len = len < image->len ? len : image->len;
    memcpy(image->bytes, bytes, image->len);
}

static void copy_page(struct image *image, size_t to, size_t from)
{
    size_t pages = image->len / 4096;
    if (pages > 0) memmove(image->bytes + to % pages * 4096, image->bytes + from % pages * 4096, 4096);
}

static void damage(struct image *database, struct image *log, const uint8_t *p, size_t size)
{
    while (size >= 5) {
        struct image *image = p[0] & 0x80 && log->len > 0 ? log : database;
        enum order order = (p[0] & 0x7f) % ORDERS;
        size_t at = (size_t)(p[1] << 16 | p[2] << 8 | p[3]), len = p[4];
        p += 5, size -= 5;
        if (image->len == 0) return;
        at %= image->len;
        if (len > size) len = size;
        switch (order) {
        case ORDER_WRITE:
        case ORDER_FLIP:
            for (size_t i = 0; i < len && at + i < image->len; i++)
                image->bytes[at + i] = order == ORDER_WRITE ? p[i] : image->bytes[at + i] ^ p[i];
            break;
        case ORDER_CUT: image->len = at; break;
        case ORDER_PAGE: copy_page(image, at, len > 0 ? p[0] : 0); break;
        case ORDER_WHOLE: replace(image, p, size); return;
        case ORDERS: break;
        }
        p += len, size -= len;
    }
}

/* ---- what is read ------------------------------------------------------------------------------------------- */

static void see_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    (void)arg;
    REQUIRE(kind == 1 || kind == 2, "a record of kind %u, which was never written", kind);
    if (kind == 2) return;
    REQUIRE(key.len >= 5 && memcmp(key.ptr, "key ", 4) == 0, "a record that was never written");
    REQUIRE(value.len >= key.len - 4 && memcmp(value.ptr, key.ptr + 4, key.len - 4) == 0, "an altered record");
}

static void see_block(void *arg, const struct store_block *block)
{
    (void)arg;
    REQUIRE(is_written(block->stream, block->first) && block->count == count_of(block->first) &&
                block->time_ms == block->first * 1000,
            "stream %u has a block at %llu that was never written", block->stream, (unsigned long long)block->first);
}

static void check_sentence(const char *text)
{
    size_t len = strnlen(text, STORE_TEXT_MAX);
    REQUIRE(len > 0 && len < STORE_TEXT_MAX, "a sentence of %zu bytes", len);
    for (const char *p = text; *p != '\0'; p++) REQUIRE((unsigned char)*p >= ' ', "a control character in: %s", text);
}

static void see_damage(void *arg, const char *text)
{
    (void)arg;
    check_sentence(text);
}

/* What was read is what was written there, block by block. */
static void check_bytes(const struct store_read *read)
{
    uint64_t at = read->block.first, end = at + read->block.count;
    const uint8_t *p = read->bytes, *last = p + read->block.len;
    for (; at < end; at += count_of(at)) {
        REQUIRE(is_written(read->stream, at), "messages at %llu that were never written", (unsigned long long)at);
        size_t len;
        const char *text = text_of(read->stream, at, &len);
        REQUIRE((size_t)(last - p) >= len && memcmp(p, text, len) == 0, "an altered message at %llu",
                (unsigned long long)at);
        p += len;
    }
    REQUIRE(at == end && p == last, "more or less than was written");
}

static void read_stream(struct rig *rig, uint32_t stream, uint32_t bytes_most)
{
    uint64_t next = 1;
    for (int reads = 0; next != 0; reads++) {
        REQUIRE(reads < READS_MAX, "reading never ends");
        struct store_read *read = rig_read(rig, stream, next, UINT64_C(1) << 48, bytes_most);
        next = 0;
        if (read->code != STORE_OK) check_sentence(read->text);
        else if (read->block.count > 0) {
            check_bytes(read);
            next = read->block.first + read->block.count;
        }
        rig_free(read);
    }
}

/* True: it could be opened. */
static bool use(struct rig *rig, unsigned options)
{
    const struct store_visitor visitor = {.record = see_record, .block = see_block, .damaged = see_damage};
    char text[STORE_TEXT_MAX] = "";
    if (!rig_open(rig)) {
        check_sentence(rig->text);
        return false;
    }
    bool is_loaded = rig->store->load(rig->store, &visitor, text) == 0;
    if (!is_loaded) check_sentence(text);
    for (uint32_t stream = 64; is_loaded && stream < 64 + STREAMS; stream++)
        read_stream(rig, stream, options & OPTION_READS ? 5000 : 0);
    if (is_loaded) {
        enum store_code code = RIG_COMMIT(rig, put(2, "new", "value"), append(66, 1, 1, 5000, "new"));
        if (code != STORE_OK) check_sentence(rig->text);
    }
    rig_close(rig);
    return is_loaded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    if (closed.bytes == NULL) make_images();
    bool was_killed = data[0] & OPTION_KILLED;
    struct image none = {NULL, 0};
    struct image database = copy_of(was_killed ? &killed : &closed), log = copy_of(was_killed ? &killed_log : &none);
    damage(&database, &log, data + 1, size - 1);

    struct rig rig;
    rig_begin(&rig, RIG_SQLITE);
    rig_write(&rig, "streams.db", database.bytes, database.len);
    if (was_killed) rig_write(&rig, "streams.db-wal", log.bytes, log.len);
    rig.salvage = data[0] & OPTION_SALVAGE;
    bool is_usable = use(&rig, data[0]);
    if (!is_usable && !rig.salvage) {
        rig.salvage = true;
        use(&rig, data[0]);
    }
    rig_end(&rig);
    free(database.bytes);
    free(log.bytes);
    return 0;
}
