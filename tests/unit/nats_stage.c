#include "nats_stage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

engine_open_fn pubsubd_engine_open;

uint64_t stage_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what is told ------------------------------------------------------------------------------------------- */

static void on_wake(void *arg)
{
    sem_post(&((struct nats_stage *)arg)->woken);
}

static void on_connected(void *arg, bool is_live, bool is_storing, const char *why_not_live,
                         const char *why_not_storing)
{
    (void)is_live, (void)why_not_live, (void)why_not_storing;
    ((struct end *)arg)->is_storing = is_storing;
}

static void on_settled(void *arg, uint64_t token, enum store_code code, uint64_t last, bool was_there, const char *text)
{
    struct end *end = arg;
    assert_true(token >= 1 && token <= end->tokens);
    struct settlement *settlement = &end->settled[token];
    assert_false(settlement->is_there);
    *settlement = (struct settlement){.is_there = true, .code = code, .last = last, .was_there = was_there};
    snprintf(settlement->text, sizeof settlement->text, "%s", text);
    assert_true((code == STORE_OK) == (text[0] == '\0'));
    if (token != end->last_token + 1) end->is_in_order = false;
    end->last_token = token;
    end->settled_count++;
    if (code == STORE_OK) end->ok_count++;
}

static void on_state(void *arg, const struct engine_stream_state *state)
{
    struct end *end = arg;
    snprintf(end->state_text, sizeof end->state_text, "%s", state->text);
    end->states++;
    if (!state->is_there) {
        end->state.is_there = false;
        return;
    }
    assert_true(end->is_storing);
    bool is_another = state->identity != end->state.identity, goes_back = state->next < end->state.next;
    if (is_another) end->identities++;
    end->state = *state;
    if (!end->reads_nothing && (is_another || goes_back)) stage_follow(end, state->next);
    if (state->mark == 0) return;
    end->answered = state->mark;
    end->answer = state->next;
}

void stage_follow(struct end *end, uint64_t from)
{
    end->engine->follow(end->engine, STREAM, end->state.identity, from);
}

static void show(struct shown_list *list, uint64_t position, const uint8_t *payload, size_t len)
{
    if (list->count == list->room) {
        list->room = list->room > 0 ? 2 * list->room : 64;
        list->list = realloc(list->list, list->room * sizeof *list->list);
        assert_non_null(list->list);
    }
    list->list[list->count++] = (struct shown){position, strndup((const char *)payload, len)};
}

struct shown_list stage_messages(const struct store_block *block)
{
    struct shown_list list = {0};
    uint32_t at = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        struct mps_msg msg;
        const char *what;
        uint32_t len = mps_msg_frame_len(block->bytes + at);
        assert_int_equal(mps_decode_msg((mps_view){block->bytes + at, len}, &msg, &what), MPS_OK);
        show(&list, block->first + i, msg.payload.ptr, msg.payload.len);
        at += len;
    }
    assert_int_equal(at, block->len);
    return list;
}

void stage_shown_free(struct shown_list *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->list[i].payload);
    free(list->list);
    *list = (struct shown_list){0};
}

static void on_tail(void *arg, const struct store_block *block)
{
    struct end *end = arg;
    assert_int_equal(block->stream, STREAM);
    assert_true(end->states > 0 && block->count > 0);
    end->tail_count += block->count;
    end->tail_bytes += block->len;
    if (end->counts_only) return;
    struct shown_list list = stage_messages(block);
    for (size_t i = 0; i < list.count; i++) {
        const struct shown *last = end->tail.count > 0 ? &end->tail.list[end->tail.count - 1] : NULL;
        if (last != NULL && list.list[i].position <= last->position) end->tail_overlaps = true;
        show(&end->tail, list.list[i].position, (uint8_t *)list.list[i].payload, strlen(list.list[i].payload));
    }
    stage_shown_free(&list);
}

static void on_read_done(void *arg, struct store_read *read)
{
    struct end *end = arg;
    assert_null(end->read);
    end->read = read;
}

static char *text_of(mps_view view)
{
    return view.ptr != NULL ? strndup((const char *)view.ptr, view.len) : NULL;
}

static void on_record(void *arg, const struct engine_record *record)
{
    struct end *end = arg;
    end->records = realloc(end->records, (end->records_count + 1) * sizeof *end->records);
    assert_non_null(end->records);
    end->records[end->records_count++] = (struct known_record){.kind = record->kind,
                                                               .key = text_of(record->key),
                                                               .value = text_of(record->value),
                                                               .revision = record->revision,
                                                               .mark = record->mark};
}

static void on_begin(void *arg)
{
    ((struct end *)arg)->begins++;
}

static void on_loaded(void *arg, uint64_t revision)
{
    struct end *end = arg;
    end->loaded_to = revision;
    assert_true(end->is_storing);
    end->loads++;
}

static void on_put_done(void *arg, uint64_t mark, bool is_done, uint64_t revision)
{
    struct end *end = arg;
    assert_true(mark < 200 && !end->puts[mark].is_there);
    end->puts[mark].is_there = true;
    end->puts[mark].is_done = is_done;
    end->puts[mark].revision = revision;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static int routes[SERVERS_MOST];

void stage_start_server(struct nats_stage *stage, int index)
{
    char name[8], cluster[64], all[200];
    if (stage->servers == 1) {
        nats_rig_start(&stage->rigs[0], (const char *const[]){"-js", NULL});
        return;
    }
    snprintf(name, sizeof name, "s%d", index);
    snprintf(cluster, sizeof cluster, "nats://127.0.0.1:%d", routes[index]);
    snprintf(all, sizeof all, "nats://127.0.0.1:%d,nats://127.0.0.1:%d,nats://127.0.0.1:%d", routes[0], routes[1],
             routes[2]);
    nats_rig_start(&stage->rigs[index], (const char *const[]){"-js", "-n", name, "-cluster_name", "c", "-cluster",
                                                              cluster, "-routes", all, NULL});
}

static int open_servers(void **state, int servers)
{
    if (!nats_rig_is_there()) skip();
    struct nats_stage *stage = calloc(1, sizeof *stage);
    stage->servers = servers;
    sem_init(&stage->woken, 0, 0);
    for (int i = 0; i < servers; i++) routes[i] = free_port();
    for (int i = 0; i < servers; i++) {
        nats_rig_open(&stage->rigs[i]);
        stage_start_server(stage, i);
        size_t used = strlen(stage->urls);
        snprintf(stage->urls + used, sizeof stage->urls - used, "%s%s", i > 0 ? "," : "", stage->rigs[i].url);
    }
    *state = stage;
    return 0;
}

int stage_open(void **state)
{
    return open_servers(state, 1);
}

int stage_open_cluster(void **state)
{
    return open_servers(state, 3);
}

struct end *stage_end(struct nats_stage *stage, int index, uint64_t defer_ms)
{
    struct end *end = &stage->ends[index];
    char name[8], text[STORE_TEXT_MAX] = "";
    snprintf(name, sizeof name, "b%d", index);
    struct engine_options options = {.name = name,
                                     .prefix = "test",
                                     .urls = stage->urls,
                                     .replicas = (uint32_t)stage->servers,
                                     .defer_ms = defer_ms,
                                     .defer_bytes = 64 << 20,
                                     .wake = on_wake,
                                     .arg = stage};
    *end = (struct end){.stage = stage, .is_in_order = true};
    end->engine = pubsubd_engine_open(&options, text);
    if (end->engine == NULL) fail_msg("%s", text);
    end->engine->events = (struct engine_events){.connected = on_connected,
                                                 .settled = on_settled,
                                                 .stream_state = on_state,
                                                 .tail = on_tail,
                                                 .read_done = on_read_done,
                                                 .records_begin = on_begin,
                                                 .record = on_record,
                                                 .records_loaded = on_loaded,
                                                 .put_done = on_put_done,
                                                 .arg = end};
    return end;
}

static void free_read(struct store_read *read)
{
    if (read != NULL) free(read->bytes);
    free(read);
}

void stage_end_close(struct end *end)
{
    if (end->engine == NULL) return;
    end->engine->close(end->engine);
    free(end->settled);
    stage_shown_free(&end->tail);
    for (size_t i = 0; i < end->records_count; i++) {
        free(end->records[i].key);
        free(end->records[i].value);
    }
    free(end->records);
    free_read(end->read);
    *end = (struct end){0};
}

int stage_close(void **state)
{
    struct nats_stage *stage = *state;
    if (stage == NULL) return 0;
    for (int i = 0; i < ENDS_MOST; i++) stage_end_close(&stage->ends[i]);
    for (int i = 0; i < stage->servers; i++) nats_rig_close(&stage->rigs[i]);
    sem_destroy(&stage->woken);
    free(stage);
    return 0;
}

void stage_poll(struct nats_stage *stage)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    sem_timedwait(&stage->woken, &until);
    for (int i = 0; i < ENDS_MOST; i++)
        if (stage->ends[i].engine != NULL) stage->ends[i].engine->poll(stage->ends[i].engine);
}

const char *stage_trouble(const struct nats_stage *stage)
{
    static char text[ENDS_MOST * STORE_TEXT_MAX];
    size_t used = 0;
    for (int i = 0; i < ENDS_MOST; i++) {
        struct engine_figures figures = {0};
        struct engine *engine = stage->ends[i].engine;
        if (engine != NULL) engine->figures(engine, &figures);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s; ", figures.text);
    }
    return text;
}

/* ---- what a test does --------------------------------------------------------------------------------------- */

void stage_open_stream(struct end *end, uint32_t replicas, uint64_t max_msgs, bool refuses)
{
    const struct engine_stream stream = {.number = STREAM,
                                         .name = "orders and more",
                                         .replicas = replicas,
                                         .max_bytes = UINT64_MAX,
                                         .max_msgs = max_msgs,
                                         .max_age_ms = UINT64_MAX,
                                         .refuses = refuses};
    end->engine->open_stream(end->engine, &stream);
}

uint32_t stage_frame(uint8_t *to, size_t cap, const char *topic, const char *payload)
{
    struct mps_out out = mps_out_open(to, cap);
    assert_true(mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(payload)}));
    return out.len;
}

uint64_t stage_append(struct end *end, const char *topic, const char *payload, const char *id, uint64_t pid)
{
    uint8_t frame[40000];
    char text[STORE_TEXT_MAX] = "";
    struct engine_append append = {.stream = STREAM,
                                   .count = 1,
                                   .len = stage_frame(frame, sizeof frame, topic, payload),
                                   .bytes = frame,
                                   .id = mps_text(id),
                                   .boot = 7,
                                   .first_pid = pid,
                                   .is_waited_for = true,
                                   .token = end->tokens + 1};
    if (!end->engine->append(end->engine, &append, text)) return 0;
    end->engine->flush(end->engine);
    end->tokens++;
    end->settled = realloc(end->settled, (end->tokens + 1) * sizeof *end->settled);
    assert_non_null(end->settled);
    end->settled[end->tokens] = (struct settlement){0};
    return end->tokens;
}

void stage_append_numbers(struct end *end, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        char payload[32];
        snprintf(payload, sizeof payload, "%llu", (unsigned long long)i);
        assert_true(stage_append(end, "a/b", payload, "me", i) > 0);
    }
}

const struct settlement *stage_settled(const struct end *end, uint64_t token)
{
    return end->settled[token].is_there ? &end->settled[token] : NULL;
}

struct store_read *stage_read(struct end *end, uint64_t from, uint64_t bound, uint32_t bytes_most)
{
    free_read(end->read);
    end->read = NULL;
    struct store_read *read = calloc(1, sizeof *read);
    *read = (struct store_read){.stream = STREAM, .from = from, .end = bound, .bytes_most = bytes_most};
    end->engine->read(end->engine, read);
    stage_wait(end->stage, end->read != NULL);
    assert_ptr_equal(end->read, read);
    return read;
}

const struct known_record *stage_record(const struct end *end, uint32_t kind, const char *key)
{
    for (size_t i = end->records_count; i-- > 0;)
        if (end->records[i].kind == kind && strcmp(end->records[i].key, key) == 0) return &end->records[i];
    return NULL;
}

bool stage_put(struct end *end, uint32_t kind, const char *key, const char *value, uint64_t expected, uint64_t mark)
{
    const struct engine_put put = {
        .kind = kind, .key = mps_text(key), .value = mps_text(value), .expected = expected, .mark = mark};
    return end->engine->put(end->engine, &put);
}
