/* pubsub bench */
#include "bench_run.h"
#include "cli.h"

static int bench_with(const struct bench_options *options)
{
    static struct bench_result result; /* large */
    int code = bench_run(options, &result);
    if (result.end == BENCH_RUNNING || (result.end == BENCH_END_FAILURE && result.messages == 0)) return code;
    int reported = bench_report(options, &result);
    return code == CLI_EXIT_DONE ? reported : code;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct bench_options options = {.connection = *connection};
    switch (bench_options_read(&options, argc, argv)) {
    case OPTIONS_OK: return bench_with(&options);
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: break;
    }
    return CLI_EXIT_USAGE;
}

const struct command bench_command = {"bench", "measure messages a second, latency and losses", run};
