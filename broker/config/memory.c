#include "memory.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number in a cgroup's file; no limit if it says "max" or can't be read. */
static uint64_t limit_in(const char *path)
{
    char text[32] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL) return UINT64_MAX;
    bool given = fgets(text, sizeof text, file) != NULL && text[0] >= '0' && text[0] <= '9';
    fclose(file);
    errno = 0;
    uint64_t bytes = given ? strtoull(text, NULL, 10) : UINT64_MAX;
    return errno == 0 ? bytes : UINT64_MAX;
}

/* The least limit of a cgroup and those above it. A container may see its own cgroup as the top, under a path that
 * it can't follow: then the top's is found here, too. */
static uint64_t least_limit(const char *root, const char *mount, const char *group, const char *file)
{
    char directory[PATH_MAX], path[PATH_MAX];
    uint64_t least = UINT64_MAX;
    int top = snprintf(directory, sizeof directory, "%s%s", root, mount);
    int len = snprintf(directory, sizeof directory, "%s%s%s", root, mount, group);
    if (len < 0 || (size_t)len >= sizeof directory) return least;
    for (;;) {
        int path_len = snprintf(path, sizeof path, "%s/%s", directory, file);
        uint64_t limit = path_len > 0 && (size_t)path_len < sizeof path ? limit_in(path) : UINT64_MAX;
        if (limit < least) least = limit;
        char *slash = strrchr(directory, '/');
        if (slash == NULL || slash - directory < top) return least;
        *slash = '\0';
    }
}

/* Whether a comma-separated list has this name. */
static bool has_name(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (; list != NULL; list = strchr(list, ','), list = list ? list + 1 : NULL) {
        if (strncmp(list, name, len) == 0 && (list[len] == ',' || list[len] == '\0')) return true;
    }
    return false;
}

/* One line of /proc/self/cgroup, "hierarchy:controllers:/path", of which version 2 has no controllers. */
static uint64_t limit_of_line(const char *root, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL) return UINT64_MAX;
    *controllers++ = *group++ = '\0';
    if (strcmp(group, "/") == 0) group++;
    if (has_name(controllers, "memory")) {
        return least_limit(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    }
    if (controllers[0] != '\0') return UINT64_MAX;
    uint64_t pure = least_limit(root, "/sys/fs/cgroup", group, "memory.max");
    uint64_t beside_1 = least_limit(root, "/sys/fs/cgroup/unified", group, "memory.max");
    return pure < beside_1 ? pure : beside_1;
}

uint64_t memory_available_bytes(const char *root)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t least = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_MAX;
    char path[PATH_MAX], *line = NULL;
    size_t line_cap = 0;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &line_cap, file) > 0) {
        uint64_t limit = limit_of_line(root, line);
        if (limit < least) least = limit;
    }
    free(line);
    if (file != NULL) fclose(file);
    return least > 0 ? least : 1;
}
