/* pubsub top */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cell.h"
#include "cli.h"
#include "top_feed.h"
#include "top_layout.h"
#include "top_print.h"
#include "top_screen.h"

/* ---- waiting for reports ---- */

/* Waits for the next one, or that there is none: *missing is CLI_EXIT_DONE, or what that comes to, and complained.
 * Returns CLI_EXIT_DONE; or complains and returns why there will be no more. */
static int next_report(struct top_feed *feed, int *missing)
{
    uint64_t answers = feed->answers;
    while (feed->answers == answers) {
        bool is_news;
        int result = top_feed_step(feed, true, NULL, 0, &is_news);
        if (result != CLI_EXIT_DONE) return result == LINK_OVER ? CLI_EXIT_LOST : result;
    }
    *missing = feed->exit_code;
    if (*missing != CLI_EXIT_DONE) link_complain(&feed->link, feed->query.why, PUBSUB_EREFUSED);
    return CLI_EXIT_DONE;
}

/* The first one has to come: that there is none means that there won't be any. */
static int first_report(struct top_feed *feed)
{
    int missing = CLI_EXIT_DONE;
    int result = next_report(feed, &missing);
    return result == CLI_EXIT_DONE ? missing : result;
}

static unsigned all_sections(const struct top_options *options)
{
    unsigned sections = REPORT_BROKER;
    for (int i = 0; i < TOP_VIEWS_COUNT; i++)
        if (top_options_show(options, (enum top_view_name)i)) sections |= (unsigned)top_views[i].section;
    return sections;
}

/* ---- printing ---- */

static size_t width_of_output(void)
{
    struct winsize size;
    bool is_terminal = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    return is_terminal && size.ws_col > 0 ? size.ws_col : TOP_WIDTH_ANY;
}

static int print_report(const struct top_options *options, const struct top_model *model)
{
    struct output out;
    output_open(&out, STDOUT_FILENO);
    if (options->json) top_print_json(&out, options, model);
    else top_print_text(&out, options, model, width_of_output());
    output_flush(&out);
    int error = out.error;
    output_close(&out);
    if (error == 0) return CLI_EXIT_DONE;
    if (error != EPIPE && error != EINTR) complain("cannot write to standard output: %s", strerror(error));
    return error == EPIPE ? LINK_OVER : CLI_EXIT_ERROR;
}

/* Prints the second report, or that and each that follows. What the broker can't say for once it may say later. */
static int print_reports(struct top_feed *feed)
{
    const struct top_options *options = feed->options;
    int result = first_report(feed);
    bool is_printed = false;
    while (result == CLI_EXIT_DONE && !(is_printed && options->once)) {
        int missing = CLI_EXIT_DONE;
        result = next_report(feed, &missing);
        if (result == CLI_EXIT_DONE && options->once) result = missing;
        is_printed = result == CLI_EXIT_DONE && missing == CLI_EXIT_DONE && feed->model.elapsed_ms > 0;
        if (is_printed) result = print_report(options, &feed->model);
    }
    return result == LINK_OVER ? CLI_EXIT_DONE : result; /* nobody reads any more */
}

static int print(struct top_options *options)
{
    struct top_feed feed;
    int result = top_feed_open(&feed, options, &options->state, !options->once);
    feed.sections = all_sections(options);
    feed.limit = (uint32_t)(options->rows > TOP_LIST_MAX ? options->rows : TOP_LIST_MAX);
    if (result == CLI_EXIT_DONE) result = print_reports(&feed);
    top_feed_close(&feed);
    return result;
}

/* ---- the full screen ---- */

static void tell_on_screen(struct link *link, const char *text)
{
    struct top_feed *feed = link->owner;
    snprintf(feed->trouble, sizeof feed->trouble, "%s", text);
}

static void show(const struct top_feed *feed, struct top_state *state, struct top_page *page)
{
    size_t height, width;
    top_screen_size(&height, &width);
    top_page_make(page, state, &feed->model, feed->trouble, feed->link.url, height, width);
    top_screen_show(page);
}

/* Lets all keys that were typed do what they do. Returns whether there were some. */
static bool take_keys(struct top_feed *feed, struct top_state *state)
{
    bool any = false, was_paused = state->is_paused;
    uint32_t key;
    while (!state->ends && top_screen_key(&key)) any = top_state_key(state, key) || any;
    if (was_paused && !state->is_paused) {
        top_model_forget(&feed->model); /* the rates of a pause are nobody's concern, and topics were not counted */
        top_feed_hurry(feed);
    }
    return any;
}

static int watch(struct top_feed *feed, struct top_state *state)
{
    static struct top_page page; /* large */
    struct pollfd fds[TOP_SCREEN_FDS];
    int result = CLI_EXIT_DONE;
    show(feed, state, &page);
    while (result == CLI_EXIT_DONE && !state->ends) {
        bool is_news = false, is_resized = false;
        top_screen_fds(fds);
        result = top_feed_step(feed, !state->is_paused, fds, TOP_SCREEN_FDS, &is_news);
        if (!top_screen_note(fds, &is_resized)) result = CLI_EXIT_SIGNAL + SIGHUP;
        bool has_keys = take_keys(feed, state);
        if (is_news || is_resized || has_keys) show(feed, state, &page);
    }
    top_page_free(&page);
    return state->ends ? CLI_EXIT_DONE : result;
}

/* The first report comes before the screen, so that what is wrong from the begin is a line as of any command. */
static int watch_from_first(struct top_feed *feed, struct top_state *state)
{
    const char *why;
    int result = first_report(feed);
    if (result != CLI_EXIT_DONE) return result;
    feed->link.tell = tell_on_screen;
    if (!top_screen_open(&why)) {
        complain("no full screen: %s; --once prints text, --json objects", why);
        return CLI_EXIT_USAGE;
    }
    result = watch(feed, state);
    top_screen_close();
    if (result == LINK_OVER) result = CLI_EXIT_LOST;
    bool is_signal = result >= CLI_EXIT_SIGNAL;
    if (result != CLI_EXIT_DONE && !is_signal && *feed->trouble) complain("%s", feed->trouble);
    return result;
}

static int run_screen(struct top_options *options)
{
    struct top_feed feed;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        complain("no terminal for a full screen; --once prints text, --json objects");
        return CLI_EXIT_USAGE;
    }
    int result = top_feed_open(&feed, options, &options->state, true);
    feed.sections =
        REPORT_BROKER | REPORT_TOPICS | REPORT_SUBSCRIPTIONS | REPORT_CONNECTIONS | REPORT_GROUPS | REPORT_STREAMS;
    feed.limit = TOP_LIST_MAX;
    if (result == CLI_EXIT_DONE) result = watch_from_first(&feed, &options->state);
    top_feed_close(&feed);
    return result;
}

static int run(int argc, char **argv, const struct connection_options *connection)
{
    struct top_options options = {.connection = *connection};
    cell_use_utf8();
    switch (top_options_read(&options, argc, argv)) {
    case OPTIONS_OK: return options.once || options.json ? print(&options) : run_screen(&options);
    case OPTIONS_HELP: return CLI_EXIT_DONE;
    case OPTIONS_WRONG: break;
    }
    return CLI_EXIT_USAGE;
}

const struct command top_command = {"top", "watch topics, subscriptions and connections", run};
