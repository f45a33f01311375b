#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"

static int fail(char *text, size_t text_cap, const char *path, const char *what, const char *why)
{
    snprintf(text, text_cap, "%s: %s%s", path, what, why);
    return -1;
}

void lines_add(struct lines *lines, const char *line)
{
    if (lines->count == lines->cap) {
        lines->cap = lines->cap > 0 ? 2 * lines->cap : 16;
        lines->at = realloc(lines->at, lines->cap * sizeof lines->at[0]);
    }
    char *own = lines->at != NULL ? strdup(line) : NULL;
    if (own == NULL) abort(); /* a line of the operator's file */
    lines->at[lines->count++] = own;
}

static void wipe_line(char *line)
{
    sodium_memzero(line, strlen(line));
    free(line);
}

void lines_remove(struct lines *lines, size_t i)
{
    wipe_line(lines->at[i]);
    lines->count--;
    memmove(&lines->at[i], &lines->at[i + 1], (lines->count - i) * sizeof lines->at[0]);
}

void lines_free(struct lines *lines)
{
    while (lines->count > 0) wipe_line(lines->at[--lines->count]);
    free(lines->at);
    *lines = (struct lines){0};
}

static const char *file_error(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return strerror(errno);
    if (!S_ISREG(st.st_mode)) return "it is not a regular file";
    if (st.st_uid != geteuid()) return "it belongs to another user than the one who runs this program";
    if ((st.st_mode & 077) != 0) return "others than its owner may use it; chmod 600 it";
    return NULL;
}

static int read_all(struct lines *lines, FILE *file, const char *path, char *text, size_t text_cap)
{
    char line[LINE_MAX_BYTES + 1], place[40];
    size_t len = 0;
    int byte, number = 1;
    while ((byte = getc(file)) != EOF || len > 0) {
        if (byte == '\n' || byte == EOF) {
            line[len] = '\0';
            lines_add(lines, line);
            len = 0;
            number++;
            if (byte == EOF || lines->count >= LINES_MAX) break;
            continue;
        }
        snprintf(place, sizeof place, "line %d", number);
        if (byte < ' ' || byte == 0x7f) return fail(text, text_cap, path, place, " holds a control character");
        if (len == LINE_MAX_BYTES) return fail(text, text_cap, path, place, " is longer than 250 bytes");
        line[len++] = (char)byte;
    }
    sodium_memzero(line, sizeof line);
    if (lines->count >= LINES_MAX) return fail(text, text_cap, path, "", "it has more than 199999 lines");
    return ferror(file) ? fail(text, text_cap, path, "cannot be read: ", strerror(errno)) : 0;
}

int lines_read(struct lines *lines, const char *path, bool missing_is_empty, char *text, size_t text_cap)
{
    *lines = (struct lines){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would hold us until somebody writes to it */
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (fd >= 0 && file == NULL) close(fd);
    if (file == NULL && errno == ENOENT && missing_is_empty) return 0;
    if (file == NULL) return fail(text, text_cap, path, "cannot be opened: ", strerror(errno));
    const char *why = file_error(fileno(file));
    int result =
        why != NULL ? fail(text, text_cap, path, "is not used: ", why) : read_all(lines, file, path, text, text_cap);
    fclose(file);
    if (result != 0) lines_free(lines);
    return result;
}

static int open_directory(const char *path)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    return open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int lines_lock(const char *path, char *text, size_t text_cap)
{
    int fd = open_directory(path), result;
    do result = fd < 0 ? -1 : flock(fd, LOCK_EX);
    while (result != 0 && fd >= 0 && errno == EINTR);
    return result == 0 ? 0 : fail(text, text_cap, path, "cannot be locked: ", strerror(errno));
}

/* So that the name, too, is on the disk. */
static int sync_directory(const char *path)
{
    int fd = open_directory(path);
    if (fd < 0) return -1;
    int result = fsync(fd);
    close(fd);
    return result;
}

int lines_write(const struct lines *lines, const char *path, char *text, size_t text_cap)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return fail(text, text_cap, path, "", "the name is too long");
    int fd = mkstemp(temporary); /* mode 0600 */
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL) {
        int error = errno;
        if (fd >= 0) close(fd), unlink(temporary);
        return fail(text, text_cap, path, "cannot be written: ", strerror(error));
    }
    for (size_t i = 0; i < lines->count; i++) fprintf(file, "%s\n", lines->at[i]);
    int failed = ferror(file) || fflush(file) != 0 || fsync(fd) != 0, error = errno;
    failed |= fclose(file) != 0;
    if (!failed && rename(temporary, path) == 0 && sync_directory(path) == 0) return 0;
    if (!failed) error = errno;
    unlink(temporary);
    return fail(text, text_cap, path, "cannot be written: ", strerror(error));
}

const char *line_read(const char *line, char *name, size_t name_cap, const char **rest)
{
    name[0] = '\0';
    line += strspn(line, " \t");
    if (line[0] == '\0' || line[0] == '#') return NULL;
    const char *colon = strchr(line, ':');
    if (colon == NULL) return "it is not NAME:...";
    if ((size_t)(colon - line) >= name_cap) return "the name is longer than 32 bytes";
    snprintf(name, name_cap, "%.*s", (int)(colon - line), line);
    *rest = colon + 1;
    return access_name_error(name);
}
