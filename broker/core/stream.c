#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sure.h"

/* Messages are added to a block up to this much: readers fetch whole blocks. */
#define BLOCK_BYTES (256u * 1024)
/* Blocks that a full stream has at least, so that letting go of the oldest is not letting go of much. */
#define BLOCKS_LEAST 8u
/* What retention remembers of a stream. */
#define EXTENTS_MAX 1024u
/* How often ages are looked at. */
#define AGE_LOOK_MS 1000u

struct stream *stream_of_topic(const struct broker *broker, mps_view topic)
{
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        struct stream *stream = broker->streams[i];
        for (uint32_t p = 0; p < stream->patterns_count; p++)
            if (mps_topic_matches(stream->patterns[p], topic)) return stream;
    }
    return NULL;
}

struct stream *stream_by_number(const struct broker *broker, uint64_t number)
{
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (broker->streams[i]->number == number) return broker->streams[i];
    return NULL;
}

bool stream_overlaps(const struct stream *stream, mps_view pattern)
{
    for (uint32_t p = 0; p < stream->patterns_count; p++)
        if (mps_patterns_overlap(stream->patterns[p], pattern)) return true;
    return false;
}

bool stream_is_covered(const struct stream *stream, mps_view pattern)
{
    for (uint32_t p = 0; p < stream->patterns_count; p++)
        if (!mps_pattern_covers(pattern, stream->patterns[p])) return false;
    return stream->patterns_count > 0;
}

bool stream_matches_any(const struct broker *broker, mps_view pattern)
{
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (stream_overlaps(broker->streams[i], pattern)) return true;
    return false;
}

/* ---- appending ---------------------------------------------------------------------------------------------- */

bool stream_takes(const struct stream *stream, uint64_t msgs, uint64_t bytes)
{
    if (stream == NULL || !stream->refuses || stream->is_shared) return true; /* of a shared one, others know */
    return stream->stored_msgs + stream->waiting_msgs + msgs <= stream->max_msgs &&
           stream->stored_bytes + stream->waiting_bytes + bytes <= stream->max_bytes;
}

uint64_t stream_accepted(const struct stream *stream)
{
    if (stream->is_shared) return stream->is_known ? stream->next : UINT64_MAX;
    return stream->waiting_msgs > 0 ? stream->next : stream->stored; /* between them may be what could not be stored */
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t wall_ms(const struct stream *stream)
{
    return stream->broker->env->wall_ms(stream->broker->env) & MPS_NUMBER_MAX;
}

/* Messages that may be added to the open block now. When the clock was set back, it is over, too. */
static uint32_t open_room(const struct stream *stream, uint64_t time_ms)
{
    const struct block *open = stream->open;
    uint64_t most = stream->max_msgs / BLOCKS_LEAST > 0 ? stream->max_msgs / BLOCKS_LEAST : 1;
    if (open == NULL || open->len >= least(BLOCK_BYTES, stream->max_bytes / BLOCKS_LEAST) || open->count >= most ||
        time_ms - open->time_ms >= STREAM_BLOCK_MS)
        return 0;
    return (uint32_t)least(most - open->count, UINT32_MAX - open->count);
}

/* A large message is given its memory before anything is promised. */
bool stream_reserve(struct stream *stream, uint32_t len, uint32_t longest)
{
    struct block *open = stream->open;
    struct commit *commit = &stream->broker->commit;
    if (longest <= SURE_BYTES_MAX || stream->is_shared) return !sure_is_short();
    bool goes_on = open_room(stream, wall_ms(stream)) > 0;
    if (goes_on && open->cap - open->len >= len) return true;
    if (!goes_on && commit->spare != NULL && commit->spare_cap >= len) return true;
    uint32_t cap = goes_on ? open->len + len : len;
    uint8_t *bytes = realloc(goes_on ? open->bytes : commit->spare, cap);
    if (bytes == NULL) return false;
    if (goes_on) {
        open->bytes = bytes;
        open->cap = cap;
    } else {
        commit->spare = bytes;
        commit->spare_cap = cap;
    }
    return true;
}

static void add_to_open(struct stream *stream, const struct run *run, struct part part, bool sure)
{
    struct block *open = stream->open;
    if (open->cap - open->len < part.len) {
        open->cap = open->len + part.len + open->cap;
        open->bytes = sure_grown(open->bytes, open->cap); /* a large one has room already */
    }
    memcpy(open->bytes + open->len, run->bytes + part.off, part.len);
    uint32_t longest = part.count == 1 ? part.len : run->longest, shortest = part.count == 1 ? part.len : run->shortest;
    if (longest > open->longest) open->longest = longest;
    if (open->count == 0 || shortest < open->shortest) open->shortest = shortest;
    open->len += part.len;
    open->count += part.count;
    open->unsure_count += sure ? 0 : part.count;
    stream->waiting_msgs += part.count;
    stream->waiting_bytes += part.len;
    stream->broker->commit.waiting_bytes += part.len;
    stream->next += part.count;
}

/* When the first of a block's messages expires, by the wall's clock. */
static void note_expiry(struct block *block, const struct run *run)
{
    struct broker *broker = block->stream->broker;
    if (run->expires_ms == UINT64_MAX) return;
    uint64_t due_ms = wall_ms(block->stream) + (run->expires_ms - broker->now_ms);
    if (due_ms > MPS_NUMBER_MAX) return;
    if (block->expires_ms == 0 || due_ms < block->expires_ms) block->expires_ms = due_ms;
}

/* The first frames of a part, at most so many of them, and so long that a block is not much too long. */
static struct part first_of(struct run *run, struct part part, uint32_t count_most)
{
    uint32_t count = part.count, one;
    if (part.len > BLOCK_BYTES) run_frame_end(run, part.off, part.off + BLOCK_BYTES - 1, &count);
    if (count > part.count) count = part.count;
    if (count > count_most) count = count_most;
    if (count == part.count) return part;
    if (count == 1) return (struct part){part.off, run_frame_end(run, part.off, part.off, &one) - part.off, 1};
    return (struct part){part.off, run_skip(run, part.off, count) - part.off, count};
}

uint64_t stream_append(struct stream *stream, struct run *run, struct part part, bool sure)
{
    struct broker *broker = stream->broker;
    uint64_t time_ms = wall_ms(stream);
    while (part.count > 0) {
        uint32_t room = open_room(stream, time_ms);
        if (room == 0) {
            struct block *block = commit_new_block(stream);
            block->first = stream->next;
            block->time_ms = time_ms;
            block->came_ms = (int64_t)broker->now_ms;
            room = open_room(stream, time_ms);
        }
        struct part some = first_of(run, part, room);
        note_expiry(stream->open, run);
        add_to_open(stream, run, some, sure);
        part = (struct part){part.off + some.len, part.len - some.len, part.count - some.count};
    }
    commit_due(broker);
    return stream->next - 1;
}

/* ---- retention ---------------------------------------------------------------------------------------------- */

/* Twice as much in each of half as many. */
static void coarsen(struct stream *stream)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i + 1 < stream->extents_count; i += 2, count++) {
        const struct extent *a = &stream->extents[i], *b = a + 1;
        stream->extents[count] = (struct extent){.first = a->first,
                                                 .last = b->last,
                                                 .msgs = a->msgs + b->msgs,
                                                 .bytes = a->bytes + b->bytes,
                                                 .newest_ms = b->newest_ms,
                                                 .came_ms = b->came_ms,
                                                 .time_ms = b->time_ms,
                                                 .latest_ms = most(a->latest_ms, b->latest_ms)};
    }
    if (stream->extents_count % 2 == 1) stream->extents[count++] = stream->extents[stream->extents_count - 1];
    stream->extents_count = count;
}

static void add_extent(struct stream *stream, const struct extent *extent)
{
    if (stream->extents_count == EXTENTS_MAX) coarsen(stream);
    if (stream->extents_count == stream->extents_cap) {
        stream->extents_cap = stream->extents_cap > 0 ? 2 * stream->extents_cap : 16;
        stream->extents = sure_grown(stream->extents, stream->extents_cap * sizeof stream->extents[0]);
    }
    stream->extents[stream->extents_count++] = *extent;
    stream->stored_msgs += extent->msgs;
    stream->stored_bytes += extent->bytes;
}

void stream_note_block(struct stream *stream, const struct store_block *block, int64_t newest_ms, int64_t came_ms)
{
    uint64_t end = block->first + block->count;
    stream->stored = end;
    if (stream->next < end) stream->next = end;
    add_extent(stream, &(struct extent){.first = block->first,
                                        .last = end - 1,
                                        .msgs = block->count,
                                        .bytes = block->len,
                                        .newest_ms = newest_ms,
                                        .came_ms = came_ms,
                                        .time_ms = block->time_ms,
                                        .latest_ms = block->time_ms});
}

/* The oldest extents go. */
static void drop_extents(struct stream *stream, uint32_t count)
{
    if (count == 0) return;
    for (uint32_t i = 0; i < count; i++) {
        stream->stored_msgs -= stream->extents[i].msgs;
        stream->stored_bytes -= stream->extents[i].bytes;
    }
    stream->trim_below = stream->extents[count - 1].last + 1;
    stream->extents_count -= count;
    memmove(stream->extents, stream->extents + count, stream->extents_count * sizeof stream->extents[0]);
    stream->first = stream->extents_count > 0 ? stream->extents[0].first : stream->stored;
    chunks_forget_below(stream, stream->first);
    commit_trim(stream);
}

void stream_trim(struct stream *stream, uint64_t below)
{
    uint32_t count = 0;
    while (count < stream->extents_count && stream->extents[count].last < below) count++;
    drop_extents(stream, count);
}

/* The newest extent stays: a limit that is less than one commit is no reason to keep nothing. */
void stream_retain(struct stream *stream)
{
    uint32_t count = 0;
    uint64_t msgs = stream->stored_msgs, bytes = stream->stored_bytes;
    while (count + 1 < stream->extents_count && (msgs > stream->max_msgs || bytes > stream->max_bytes)) {
        msgs -= stream->extents[count].msgs;
        bytes -= stream->extents[count].bytes;
        count++;
    }
    drop_extents(stream, count);
}

/* Ages go by the monotonic clock: when somebody sets the other one, nothing is older for it. */
static void drop_old(struct stream *stream)
{
    int64_t limit_ms = (int64_t)stream->broker->now_ms - (int64_t)stream->max_age_ms;
    uint32_t count = 0;
    while (count < stream->extents_count && stream->extents[count].newest_ms < limit_ms) count++;
    drop_extents(stream, count);
}

uint64_t stream_age_turn(struct broker *broker)
{
    bool ages = false;
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        struct stream *stream = broker->streams[i];
        if (stream->max_age_ms > INT64_MAX || stream->extents_count == 0) continue;
        ages = true;
        if (broker->now_ms >= broker->age_look_ms) drop_old(stream);
    }
    if (broker->now_ms >= broker->age_look_ms) broker->age_look_ms = broker->now_ms + AGE_LOOK_MS;
    return ages ? broker->age_look_ms : UINT64_MAX;
}

uint64_t stream_age_ms(const struct stream *stream, uint64_t seq)
{
    uint32_t low = 0, high = stream->extents_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (stream->extents[middle].last < seq) low = middle + 1;
        else high = middle;
    }
    if (low == stream->extents_count) return 0;
    int64_t age_ms = (int64_t)stream->broker->now_ms - stream->extents[low].newest_ms;
    return age_ms > 0 ? (uint64_t)age_ms : 0;
}

/* Of what is on its way to the disk, the first block whose time (by the Unix clock, or by the other one) is not over.
 */
static const struct block *first_block_since(const struct stream *stream, bool by_age, int64_t limit_ms)
{
    const struct commit *commit = &stream->broker->commit;
    const struct block *batches[] = {commit->running.blocks, commit->gathering.blocks};
    for (uint32_t i = 0; i < 2; i++) {
        for (const struct block *b = batches[i]; b != NULL; b = b->next) {
            int64_t time_ms = by_age ? b->came_ms : (int64_t)b->time_ms;
            if (b->stream == stream && time_ms + STREAM_TIME_SLACK_MS > limit_ms) return b;
        }
    }
    return NULL;
}

/* Times go forward with the positions, unless somebody sets the clock: so they are looked at one by one. */
struct stream_place stream_at_time(const struct stream *stream, uint64_t time_ms)
{
    if (stream->is_shared && time_ms <= wall_ms(stream)) /* to be looked for */
        return (struct stream_place){stream->first, time_ms, stream->next};
    for (uint32_t i = 0; i < stream->extents_count; i++) {
        const struct extent *e = &stream->extents[i];
        if (e->latest_ms + STREAM_TIME_SLACK_MS > time_ms) return (struct stream_place){e->first, time_ms, e->last + 1};
    }
    if (time_ms > wall_ms(stream))
        return (struct stream_place){stream->is_shared ? stream->next : stream->stored, time_ms, UINT64_MAX};
    const struct block *block = first_block_since(stream, false, (int64_t)time_ms);
    return (struct stream_place){.position = block != NULL ? block->first : stream->next};
}

struct stream_place stream_at_age(const struct stream *stream, uint64_t age_ms)
{
    int64_t limit_ms = (int64_t)stream->broker->now_ms - (int64_t)age_ms;
    uint64_t now_ms = wall_ms(stream);
    if (stream->is_shared) return stream_at_time(stream, now_ms > age_ms ? now_ms - age_ms : 0);
    for (uint32_t i = 0; i < stream->extents_count; i++) {
        const struct extent *e = &stream->extents[i];
        if (e->came_ms + STREAM_TIME_SLACK_MS <= limit_ms) continue;
        int64_t since_ms = limit_ms + ((int64_t)e->time_ms - e->came_ms); /* by the Unix clock of those days */
        return (struct stream_place){e->first, since_ms > 0 ? (uint64_t)since_ms : 0, e->last + 1};
    }
    const struct block *block = first_block_since(stream, true, limit_ms);
    return (struct stream_place){.position = block != NULL ? block->first : stream->next};
}

uint64_t stream_oldest_ms(const struct stream *stream)
{
    if (stream->extents_count == 0) return UINT64_MAX;
    int64_t age_ms = (int64_t)stream->broker->now_ms - stream->extents[0].came_ms;
    uint64_t now_ms = wall_ms(stream);
    return age_ms <= 0 ? now_ms : now_ms > (uint64_t)age_ms ? now_ms - (uint64_t)age_ms : 0;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

struct stream *stream_new(struct broker *broker, uint32_t number, mps_view name)
{
    struct stream *stream = sure_zeroed(sizeof *stream);
    char *own = sure_alloc(name.len + 1);
    struct stream **streams = sure_grown(broker->streams, (broker->streams_count + 1) * sizeof *streams);
    memcpy(own, name.ptr, name.len);
    own[name.len] = '\0';
    *stream = (struct stream){.broker = broker,
                              .number = number,
                              .name = own,
                              .first = 1,
                              .stored = 1,
                              .next = 1,
                              .max_bytes = UINT64_MAX,
                              .max_msgs = UINT64_MAX,
                              .max_age_ms = UINT64_MAX};
    broker->streams = streams;
    streams[broker->streams_count++] = stream;
    broker->keeps = true;
    return stream;
}

/* FNV-1a: what number a name has must never change, nor differ between machines. */
uint32_t stream_shared_number(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *p = name; *p != '\0'; p++) hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    return STREAM_SHARED_FIRST + (uint32_t)((hash ^ hash >> 32) & (STREAM_SHARED_FIRST - 1));
}

static void stream_free(struct stream *stream)
{
    for (uint32_t i = 0; i < stream->patterns_count; i++) free((uint8_t *)stream->patterns[i].ptr);
    free(stream->patterns);
    free(stream->extents);
    free(stream->chunks);
    free(stream->damages);
    free(stream->name);
    free(stream);
}

void stream_delete(struct stream *stream)
{
    struct broker *broker = stream->broker;
    uint32_t at = 0;
    while (broker->streams[at] != stream) at++;
    broker->streams_count--;
    memmove(broker->streams + at, broker->streams + at + 1, (broker->streams_count - at) * sizeof broker->streams[0]);
    stream_free(stream);
}

void streams_free(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->streams_count; i++) stream_free(broker->streams[i]);
    free(broker->streams);
}
