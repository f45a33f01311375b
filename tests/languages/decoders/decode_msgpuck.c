/* Reads frames in hexadecimal, one a line, and prints what msgpuck makes of each. */
#include <inttypes.h>
#include <msgpuck.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is long is shown by its beginning and its length. */
static void show_bytes(char kind, const char *bytes, size_t len)
{
    size_t shown = len > 64 ? 32 : len;
    putchar(kind);
    for (size_t i = 0; i < shown; i++) printf("%02x", (unsigned char)bytes[i]);
    if (shown < len) printf("~%zu", len);
}

static void show_float(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    printf("f%016" PRIx64, bits);
}

static void show(const char **at);

static void show_all(const char **at, uint32_t count, bool is_map)
{
    putchar(is_map ? '{' : '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) putchar(',');
        show(at);
        if (!is_map) continue;
        putchar(':');
        show(at);
    }
    putchar(is_map ? '}' : ']');
}

static void show(const char **at)
{
    uint32_t len;
    const char *bytes;
    switch (mp_typeof(**at)) {
    case MP_NIL:
        mp_decode_nil(at);
        printf("nil");
        return;
    case MP_BOOL: printf(mp_decode_bool(at) ? "true" : "false"); return;
    case MP_UINT: printf("%" PRIu64, mp_decode_uint(at)); return;
    case MP_INT: printf("%" PRId64, mp_decode_int(at)); return;
    case MP_FLOAT: show_float((double)mp_decode_float(at)); return;
    case MP_DOUBLE: show_float(mp_decode_double(at)); return;
    case MP_STR:
        bytes = mp_decode_str(at, &len);
        show_bytes('s', bytes, len);
        return;
    case MP_BIN:
        bytes = mp_decode_bin(at, &len);
        show_bytes('b', bytes, len);
        return;
    case MP_ARRAY: show_all(at, mp_decode_array(at), false); return;
    case MP_MAP: show_all(at, mp_decode_map(at), true); return;
    case MP_EXT:
        mp_next(at);
        printf("x");
        return; /* it says no more of these */
    }
    abort();
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    while ((len = getline(&line, &cap, stdin)) > 1) {
        size_t count = (size_t)len / 2;
        for (size_t i = 0; i < count; i++) line[i] = (char)(digit(line[2 * i]) << 4 | digit(line[2 * i + 1]));
        const char *at = line, *end = line + count;
        if (mp_check(&at, end) == 0 && at == end) {
            at = line;
            show(&at);
        } else {
            printf("error");
        }
        putchar('\n');
    }
    free(line);
    return 0;
}
