/* Reads frames in hexadecimal, one a line, and prints what msgpack-c makes of each. */
#include <inttypes.h>
#include <msgpack.h>
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

static void show(const msgpack_object *object);

static void show_array(const msgpack_object_array *array)
{
    putchar('[');
    for (uint32_t i = 0; i < array->size; i++) {
        if (i > 0) putchar(',');
        show(&array->ptr[i]);
    }
    putchar(']');
}

static void show_map(const msgpack_object_map *map)
{
    putchar('{');
    for (uint32_t i = 0; i < map->size; i++) {
        if (i > 0) putchar(',');
        show(&map->ptr[i].key);
        putchar(':');
        show(&map->ptr[i].val);
    }
    putchar('}');
}

static void show(const msgpack_object *object)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL: printf("nil"); return;
    case MSGPACK_OBJECT_BOOLEAN: printf(object->via.boolean ? "true" : "false"); return;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: printf("%" PRIu64, object->via.u64); return;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: printf("%" PRId64, object->via.i64); return;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: show_float(object->via.f64); return;
    case MSGPACK_OBJECT_STR: show_bytes('s', object->via.str.ptr, object->via.str.size); return;
    case MSGPACK_OBJECT_BIN: show_bytes('b', object->via.bin.ptr, object->via.bin.size); return;
    case MSGPACK_OBJECT_ARRAY: show_array(&object->via.array); return;
    case MSGPACK_OBJECT_MAP: show_map(&object->via.map); return;
    case MSGPACK_OBJECT_EXT:
        printf("x%d", object->via.ext.type);
        show_bytes(':', object->via.ext.ptr, object->via.ext.size);
        return;
    }
    printf("unknown");
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
        size_t count = (size_t)len / 2, end = 0;
        for (size_t i = 0; i < count; i++) line[i] = (char)(digit(line[2 * i]) << 4 | digit(line[2 * i + 1]));
        msgpack_unpacked frame;
        msgpack_unpacked_init(&frame);
        if (msgpack_unpack_next(&frame, line, count, &end) == MSGPACK_UNPACK_SUCCESS && end == count) show(&frame.data);
        else printf("error");
        putchar('\n');
        msgpack_unpacked_destroy(&frame);
    }
    free(line);
    return 0;
}
