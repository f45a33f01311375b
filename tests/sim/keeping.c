/* Which streams the broker of a run keeps, how good its disk is, and what happens to its power and its clock. */
#include <stdio.h>
#include <string.h>

#include "client.h"

static const char *const names[LOGS_MAX] = {"one", "two", "three", "dead"};

static struct model_log *add_log(struct scene *scene)
{
    struct model *model = scene->model;
    struct model_log *log = &model->logs[model->logs_count];
    *log = (struct model_log){.model = model,
                              .number = STORE_STREAM_FIRST + model->logs_count,
                              .max_bytes = UINT64_MAX,
                              .max_msgs = UINT64_MAX,
                              .max_age_ms = UINT64_MAX,
                              .next = 1,
                              .stored = 1,
                              .gone = 1,
                              .may_be_gone = 1};
    strcpy(log->name, names[model->logs_count++]);
    return log;
}

static void choose_log(struct scene *scene)
{
    struct rng *rng = scene->rng;
    struct model_log *log = add_log(scene);
    log->patterns_count = rng_percent(rng, 70) ? 1 : rng_between(rng, 2, LOG_PATTERNS_MAX);
    for (uint32_t i = 0; i < log->patterns_count; i++)
        log->patterns[i] = rng_percent(rng, 15)   ? name_of("#")
                           : rng_percent(rng, 50) ? scene->patterns[rng_below(rng, scene->patterns_count)]
                                                  : scene->topics[rng_below(rng, scene->topics_count)];
    if (rng_percent(rng, 50)) log->max_msgs = rng_skewed(rng, 300);
    if (rng_percent(rng, 30)) log->max_bytes = rng_between(rng, 50, 200 + 100 * scene->payload_usual);
    if (rng_percent(rng, 20)) log->refuses = true;
    else if (rng_percent(rng, 25)) log->max_age_ms = rng_between(rng, 100, 20000);
}

/* What the broker is told. 0: no limit. */
static void configure(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->model->logs_count; i++) {
        const struct model_log *log = &scene->model->logs[i];
        for (uint32_t p = 0; p < log->patterns_count; p++) scene->stream_patterns[i][p] = log->patterns[p].text;
        scene->streams[i] = (struct stream_config){.name = log->name,
                                                   .patterns = scene->stream_patterns[i],
                                                   .patterns_count = log->patterns_count,
                                                   .max_bytes = log->max_bytes != UINT64_MAX ? log->max_bytes : 0,
                                                   .max_msgs = log->max_msgs != UINT64_MAX ? log->max_msgs : 0,
                                                   .max_age_ms = log->max_age_ms != UINT64_MAX ? log->max_age_ms : 0,
                                                   .refuses = log->refuses};
    }
}

static void choose_disk(struct rng *rng, struct disk *disk)
{
    if (rng_percent(rng, 60)) disk->delay_ms = rng_percent(rng, 60) ? rng_skewed(rng, 50) : rng_skewed(rng, 4000);
    if (rng_percent(rng, 30)) disk->fail_percent = rng_skewed(rng, 60);
    if (rng_percent(rng, 25)) disk->fail_reads_percent = rng_skewed(rng, 60);
}

void scene_open_streams(struct scene *scene)
{
    struct rng *rng = scene->rng;
    struct world *world = scene->model->world;
    if (!rng_percent(rng, 45)) return;
    uint32_t count = rng_between(rng, 1, LOGS_MAX - 1);
    for (uint32_t i = 0; i < count; i++) choose_log(scene);
    scene->read_percent = rng_between(rng, 10, 90);
    scene->acked_percent = rng_percent(rng, 60) ? rng_between(rng, 10, 100) : 0;
    if (rng_percent(rng, 40)) scene->crash_permille = rng_skewed(rng, 40);
    if (rng_percent(rng, 30)) scene->damage_permille = rng_skewed(rng, 20);
    if (rng_percent(rng, 20)) {
        scene->jump_permille = rng_skewed(rng, 60);
        scene->ttl_percent = 0; /* in which life of the broker what expired when would matter */
    }
    if (rng_percent(rng, 50)) {
        struct model_log *log = add_log(scene);
        log->patterns[log->patterns_count++] = name_of("$dead/#");
        log->of_dead = true;
    }
    configure(scene);
    choose_disk(rng, &world->disk);
    world_keep(world, scene->streams, scene->model->logs_count, rng_next(rng));
}

void scene_print(const struct scene *scene)
{
    const struct disk *disk = &scene->model->world->disk;
    for (uint32_t i = 0; i < scene->model->logs_count; i++) {
        const struct stream_config *stream = &scene->streams[i];
        fprintf(stderr, "stream %s, %u, at most %llu messages, %llu bytes, %llu ms%s, of", stream->name,
                scene->model->logs[i].number, ULL(stream->max_msgs), ULL(stream->max_bytes), ULL(stream->max_age_ms),
                stream->refuses ? ", refuses" : "");
        for (size_t p = 0; p < stream->patterns_count; p++) fprintf(stderr, " %s", stream->patterns[p]);
        fprintf(stderr, "\n");
    }
    fprintf(stderr, "disk: takes up to %u ms, fails %u %%, reading %u %%\n", disk->delay_ms, disk->fail_percent,
            disk->fail_reads_percent);
}

/* ---- what happens ------------------------------------------------------------------------------------------- */

/* A row that was good is so no more. */
static void damage(struct scene *scene)
{
    struct model *model = scene->model;
    struct model_log *log = &model->logs[rng_below(scene->rng, model->logs_count)];
    if (log->blocks_first == log->blocks_end) return;
    const struct log_block *block =
        &log->blocks[log->blocks_first + rng_below(scene->rng, log->blocks_end - log->blocks_first)];
    if (!memory_disk_damage(model->world->disk.platter, log->number, block->first, false)) return;
    if (model->trace)
        fprintf(stderr, "  %s %llu to %llu are damaged\n", log->name, ULL(block->first),
                ULL(block->first + block->count - 1));
    for (uint64_t position = block->first; position < block->first + block->count; position++)
        log->entries[log_at(log, position)].damaged = true;
}

/* Somebody sets the clock: an hour forward or back, to 2038 or back from there. */
static void jump(struct scene *scene)
{
    static const int64_t jumps_ms[] = {3600000, -3600000, INT64_C(450000000000), 0};
    struct world *world = scene->model->world;
    int64_t jump_ms = jumps_ms[rng_below(scene->rng, 4)];
    world->wall_jump_ms =
        jump_ms == 0 || world->wall_jump_ms > INT64_C(400000000000) ? 0 : world->wall_jump_ms + jump_ms;
    if (scene->model->trace) fprintf(stderr, "  the clock is set, %lld ms off\n", (long long)world->wall_jump_ms);
}

void scene_happen(struct scene *scene)
{
    struct rng *rng = scene->rng;
    if (scene->model->logs_count == 0) return;
    if (rng_below(rng, 1000) < scene->damage_permille) damage(scene);
    if (rng_below(rng, 1000) < scene->jump_permille) jump(scene);
    if (rng_below(rng, 1000) >= scene->crash_permille) return;
    bool keep = rng_percent(rng, 50);
    model_crash(scene->model, keep);
    world_crash(scene->model->world, keep);
    model_restarted(scene->model);
}
