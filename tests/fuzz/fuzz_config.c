/* Any bytes as a configuration file: it is read or refused with one sentence that names the file, and a refused one
 * changes nothing. What was read is printed, and what is printed reads as the same. */
/* Hostile 49. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "require.h"

#define TEXT_CAP 1000 /* as the broker has */

static struct config defaults;

/* A file in memory, which each config_load() opens anew. */
struct file {
    int fd;
    char path[40];
};

static void file_write(struct file *file, const void *bytes, size_t len)
{
    if (file->fd == 0) {
        file->fd = memfd_create("config", MFD_CLOEXEC);
        if (file->fd < 0) abort();
        snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    }
    if (ftruncate(file->fd, 0) != 0 || pwrite(file->fd, bytes, len, 0) != (ssize_t)len) abort();
}

static void check_sentence(const struct file *file, const char *text)
{
    size_t len = strnlen(text, TEXT_CAP), path_len = strlen(file->path);
    REQUIRE(len > 0 && len < TEXT_CAP, "a sentence of %zu bytes", len);
    REQUIRE(strncmp(text, file->path, path_len) == 0 && text[path_len] == ':', "a sentence without the file: %s", text);
    for (const char *p = text; *p != '\0'; p++)
        REQUIRE((unsigned char)*p >= ' ' && *p != 0x7f, "a control character in: %s", text);
}

static char *print(const struct config *config, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (out == NULL) abort();
    config_print(config, out);
    if (fclose(out) != 0) abort();
    return text;
}

/* Prints it, reads that, and prints again. */
static void check_printed(const struct config *config)
{
    static struct file file;
    struct config again = defaults;
    char text[TEXT_CAP] = "";
    size_t len, len_again;
    char *printed = print(config, &len);
    file_write(&file, printed, len);
    REQUIRE(config_load(&again, file.path, text, sizeof text) == 0, "what was printed is refused: %s\n%s", text,
            printed);
    char *printed_again = print(&again, &len_again);
    REQUIRE(len == len_again && memcmp(printed, printed_again, len) == 0, "printed is\n%s\nand again\n%s", printed,
            printed_again);
    free(printed);
    free(printed_again);
    config_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct file file;
    static struct config config;
    char text[TEXT_CAP] = "";
    if (defaults.limits.max_payload == 0) config_defaults(&defaults); /* once: it asks the system for its memory */
    memcpy(&config, &defaults, sizeof config);
    file_write(&file, data, size);
    if (config_load(&config, file.path, text, sizeof text) == 0) {
        check_printed(&config);
    } else {
        check_sentence(&file, text);
        REQUIRE(memcmp(&config, &defaults, sizeof config) == 0, "a refused file changes something: %s", text);
    }
    config_free(&config);
    return 0;
}
