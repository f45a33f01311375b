/* Runs a fuzzer's function on every file of the directories named, and on files named: what libFuzzer does with a
 * corpus, for builds without it. */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "require.h"

static void replay(const char *path)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        perror(path);
        exit(2);
    }
    uint8_t *data =
        malloc((size_t)info.st_size + 1); /* as large as the file, so that a sanitizer sees what goes beyond */
    if (data == NULL) abort();
    size_t len = fread(data, 1, (size_t)info.st_size, file);
    fclose(file);
    data = realloc(data, len > 0 ? len : 1);
    if (data == NULL) abort();
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, len);
    free(data);
}

static unsigned replay_all(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        perror(path);
        exit(2);
    }
    if (!S_ISDIR(info.st_mode)) {
        replay(path);
        return 1;
    }
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    unsigned files = 0;
    for (int i = 0; i < count; i++) {
        char inner[4096];
        snprintf(inner, sizeof inner, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') files += replay_all(inner);
        free(names[i]);
    }
    free(names);
    return files;
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    for (int i = 1; i < argc; i++) files += replay_all(argv[i]);
    printf("%u files replayed\n", files);
    return files > 0 ? 0 : 2;
}
