#include "commands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "credentials.h"
#include "lines.h"

#define ID_LEN 8 /* digits of what is kept of a token that name it */

static const char usage[] =
    "Usage: pubsubd token new NAME --file FILE    make a token of user NAME, and print it, once\n"
    "       pubsubd token ls --file FILE          show whose tokens there are: NAME ID DAY\n"
    "       pubsubd token rm NAME [ID] --file FILE\n"
    "                                             take back the user's tokens, or the one of this ID\n"
    "       pubsubd passwd FILE USER              set the user's password, from the terminal or a line of\n"
    "                                             standard input; a new file is made\n"
    "       pubsubd passwd -d FILE USER           take the user out\n"
    "\n"
    "Without --file the token file is $PUBSUB_TOKENS. A running broker reads the files again on SIGHUP.\n"
    "\n"
    "Exit codes: 0 done; 1 the file can't be read or written, or has no such entry; 2 wrong arguments.\n";

static int wrong(const char *text)
{
    fprintf(stderr, "pubsubd: %s; try pubsubd token --help\n", text);
    return 2;
}

static int failed(const char *text)
{
    fprintf(stderr, "pubsubd: %s\n", text);
    return 1;
}

static int bad_name(const char *name)
{
    char text[300];
    snprintf(text, sizeof text, "'%.100s' is not a user's name: %s", name, access_name_error(name));
    return wrong(text);
}

/* The name of the line's entry; "" if it is none. */
static const char *entry(const char *line, char name[ACCESS_NAME_MAX + 1])
{
    const char *rest = "";
    if (line_read(line, name, ACCESS_NAME_MAX + 1, &rest) != NULL) name[0] = '\0';
    return name[0] != '\0' ? rest : "";
}

static int write_and_free(struct lines *lines, const char *path)
{
    char text[4500];
    int result = lines_write(lines, path, text, sizeof text);
    lines_free(lines);
    return result == 0 ? 0 : failed(text);
}

/* ---- tokens -------------------------------------------------------------------------------------------------- */

static int token_add(const char *path, const char *name)
{
    struct lines lines;
    char text[4500], token[TOKEN_TEXT_MAX], kept[TOKEN_HEX_LEN + 1], day[16], line[LINE_MAX_BYTES + 1];
    if (access_name_error(name) != NULL) return bad_name(name);
    if (lines_lock(path, text, sizeof text) != 0 || lines_read(&lines, path, true, text, sizeof text) != 0)
        return failed(text);
    time_t now = time(NULL);
    struct tm date;
    strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&now, &date));
    token_new(token);
    token_keep(kept, token);
    snprintf(line, sizeof line, "%s:%s:%s", name, kept, day);
    lines_add(&lines, line);
    int result = write_and_free(&lines, path);
    if (result == 0 && (puts(token) < 0 || fflush(stdout) != 0)) {
        perror("pubsubd: writing the token to standard output");
        result = 1;
    }
    sodium_memzero(token, sizeof token);
    return result;
}

static int token_list(const char *path)
{
    struct lines lines;
    char text[4500], name[ACCESS_NAME_MAX + 1];
    if (lines_read(&lines, path, false, text, sizeof text) != 0) return failed(text);
    for (size_t i = 0; i < lines.count; i++) {
        const char *kept = entry(lines.at[i], name);
        if (strlen(kept) < TOKEN_HEX_LEN) continue;
        const char *day = kept[TOKEN_HEX_LEN] == ':' ? kept + TOKEN_HEX_LEN + 1 : "-";
        printf("%s %.*s %s\n", name, ID_LEN, kept, day);
    }
    lines_free(&lines);
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    perror("pubsubd: writing to standard output");
    return 1;
}

static int token_remove(const char *path, const char *wanted, const char *id)
{
    struct lines lines;
    char text[4500], name[ACCESS_NAME_MAX + 1];
    size_t removed = 0;
    if (lines_lock(path, text, sizeof text) != 0 || lines_read(&lines, path, false, text, sizeof text) != 0)
        return failed(text);
    for (size_t i = lines.count; i > 0; i--) {
        const char *kept = entry(lines.at[i - 1], name);
        if (name[0] == '\0' || strcmp(name, wanted) != 0) continue;
        if (id != NULL && (strlen(id) != ID_LEN || strncmp(kept, id, ID_LEN) != 0)) continue;
        lines_remove(&lines, i - 1);
        removed++;
    }
    if (removed > 0) return write_and_free(&lines, path);
    lines_free(&lines);
    snprintf(text, sizeof text, "%.4000s has no such token of '%.40s'", path, wanted);
    return failed(text);
}

static int token_command(int argc, char **argv)
{
    const char *words[4] = {NULL}, *path = getenv("PUBSUB_TOKENS");
    int count = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return fputs(usage, stdout) < 0;
        if (strcmp(argv[i], "--file") == 0) {
            if (++i == argc) return wrong("option '--file' needs a value");
            path = argv[i];
        } else if (argv[i][0] == '-' || count == 3) {
            return wrong(argv[i][0] == '-' ? "unknown option" : "too many arguments");
        } else {
            words[count++] = argv[i];
        }
    }
    if (count == 0) return wrong("token what? new, ls or rm");
    if (path == NULL || path[0] == '\0') return wrong("which file? --file FILE says it");
    if (strcmp(words[0], "new") == 0 && count == 2) return token_add(path, words[1]);
    if (strcmp(words[0], "ls") == 0 && count == 1) return token_list(path);
    if (strcmp(words[0], "rm") == 0 && count >= 2) return token_remove(path, words[1], words[2]);
    return wrong("there are: token new NAME, token ls, token rm NAME [ID]");
}

/* ---- passwords ----------------------------------------------------------------------------------------------- */

/* A line, without its end. False: there is none, or it is too long. */
static bool read_line(char *password, size_t cap)
{
    size_t len = 0;
    int byte;
    while ((byte = getchar()) != EOF && byte != '\n') {
        if (len == cap - 1) return false;
        password[len++] = (char)byte;
    }
    password[len] = '\0';
    return byte != EOF || len > 0;
}

/* What would end or stop the program while the terminal does not show what is typed. */
static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
#define ENDING_COUNT (sizeof ending / sizeof *ending)
static volatile sig_atomic_t caught; /* the number of the first one, or 0 */

static void note_signal(int number)
{
    if (caught == 0) caught = number;
}

struct held_signals {
    struct sigaction actions[ENDING_COUNT];
    sigset_t mask;
};

/* From now on they only come in await_line(). Who ignores one on purpose goes on to. */
static void hold_signals(struct held_signals *before)
{
    struct sigaction noting = {.sa_handler = note_signal};
    sigset_t mask;
    sigemptyset(&mask);
    for (size_t i = 0; i < ENDING_COUNT; i++) sigaddset(&mask, ending[i]);
    sigprocmask(SIG_BLOCK, &mask, &before->mask);
    for (size_t i = 0; i < ENDING_COUNT; i++) {
        sigaction(ending[i], NULL, &before->actions[i]);
        if (before->actions[i].sa_handler != SIG_IGN) sigaction(ending[i], &noting, NULL);
    }
}

static void release_signals(const struct held_signals *before)
{
    for (size_t i = 0; i < ENDING_COUNT; i++) sigaction(ending[i], &before->actions[i], NULL);
    sigprocmask(SIG_SETMASK, &before->mask, NULL);
}

/* Until a line was typed, or its end. False: a signal came. */
static bool await_line(const struct held_signals *before)
{
    struct pollfd terminal = {.fd = STDIN_FILENO, .events = POLLIN};
    while (ppoll(&terminal, 1, NULL, &before->mask) < 0 && errno == EINTR && caught == 0) continue;
    return caught == 0;
}

static bool read_hidden(const char *prompt, char *password, size_t cap)
{
    struct held_signals before;
    struct termios shown, hidden;
    if (tcgetattr(STDIN_FILENO, &shown) != 0) return false;
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    hold_signals(&before);
    tcsetattr(STDIN_FILENO, TCSAFLUSH,
              &hidden); /* before it is asked for: whoever answers at once is not flushed away */
    fputs(prompt, stderr);
    bool is_there = await_line(&before) && read_line(password, cap);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &shown);
    fputc('\n', stderr);
    release_signals(&before);
    return is_there;
}

/* NULL: it is in password. */
static const char *ask_password(char *password, char *again, size_t cap)
{
    if (!isatty(STDIN_FILENO)) {
        if (!read_line(password, cap)) return "standard input has no password, or one of more than 1024 bytes";
    } else {
        if (!read_hidden("New password: ", password, cap) || !read_hidden("Again: ", again, cap))
            return "there was no password, or one of more than 1024 bytes";
        if (strcmp(password, again) != 0) return "these are two passwords";
    }
    return password[0] == '\0' ? "the password is empty" : NULL;
}

/* Where the user's line is; .count: nowhere. */
static size_t find_user(const struct lines *lines, const char *user)
{
    char name[ACCESS_NAME_MAX + 1];
    size_t i = 0;
    while (i < lines->count && (entry(lines->at[i], name), strcmp(name, user) != 0)) i++;
    return i;
}

static int password_set(const char *path, const char *user, const char *kept)
{
    struct lines lines;
    char text[4500], line[LINE_MAX_BYTES + 1];
    if (lines_lock(path, text, sizeof text) != 0 || lines_read(&lines, path, true, text, sizeof text) != 0)
        return failed(text);
    size_t at = find_user(&lines, user);
    snprintf(line, sizeof line, "%s:%s", user, kept);
    if (at < lines.count) lines_remove(&lines, at);
    lines_add(&lines, line);
    return write_and_free(&lines, path);
}

/* As it would have ended the program. Who was stopped and goes on is asked nothing any more. */
static int end_by_signal(void)
{
    raise(caught);
    return failed("the password was not read to its end");
}

static int password_ask(const char *path, const char *user)
{
    char kept[crypto_pwhash_STRBYTES];
    char *password = sodium_malloc(PASSWORD_MAX + 1), *again = sodium_malloc(PASSWORD_MAX + 1);
    if (password == NULL || again == NULL) return failed("there is no memory for a password");
    setvbuf(stdin, NULL, _IONBF, 0); /* it stays nowhere else */
    const char *why = ask_password(password, again, PASSWORD_MAX + 1);
    if (why == NULL && password_keep(kept, password) != 0) why = "there is no memory to hash the password, 64 MiB";
    sodium_free(password);
    sodium_free(again);
    if (caught != 0) return end_by_signal();
    return why != NULL ? failed(why) : password_set(path, user, kept);
}

static int password_remove(const char *path, const char *user)
{
    struct lines lines;
    char text[4500];
    if (lines_lock(path, text, sizeof text) != 0 || lines_read(&lines, path, false, text, sizeof text) != 0)
        return failed(text);
    size_t at = find_user(&lines, user);
    if (at < lines.count) {
        lines_remove(&lines, at);
        return write_and_free(&lines, path);
    }
    lines_free(&lines);
    snprintf(text, sizeof text, "%.4000s has no user '%.40s'", path, user);
    return failed(text);
}

static int password_command(int argc, char **argv)
{
    bool removes = argc > 0 && strcmp(argv[0], "-d") == 0;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) return fputs(usage, stdout) < 0;
    if (argc - removes != 2) return wrong("passwd needs FILE and USER");
    const char *path = argv[removes], *user = argv[removes + 1];
    if (access_name_error(user) != NULL) return bad_name(user);
    return removes ? password_remove(path, user) : password_ask(path, user);
}

int access_command(int argc, char **argv)
{
    bool is_token = argc > 1 && strcmp(argv[1], "token") == 0;
    if (!is_token && (argc <= 1 || strcmp(argv[1], "passwd") != 0)) return -1;
    if (sodium_init() < 0) return failed("libsodium can't be used here");
    prctl(PR_SET_DUMPABLE, 0);
    return is_token ? token_command(argc - 2, argv + 2) : password_command(argc - 2, argv + 2);
}
