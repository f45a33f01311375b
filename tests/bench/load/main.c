/* bench_load: one measurement of one scenario against one running broker. */
#include "modes.h"
#include "options.h"
#include "relay.h"
#include "sink.h"

int main(int argc, char **argv)
{
    struct options options;
    options_read(argc, argv, &options);
    if (options.sink) return sink(options.url, options.sink);
    return options.relay ? relay(options.url) : options.mode->run(&options);
}
