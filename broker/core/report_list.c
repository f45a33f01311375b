#include "report_list.h"

#include <stdlib.h>
#include <string.h>

#include "sure.h"

struct report_entry {
    uint64_t key, nth; /* the nth that was shown */
    uint32_t len;
    uint8_t bytes[];
};

/* a has to go before b does. */
static bool goes_first(const struct report_entry *a, const struct report_entry *b)
{
    return a->key != b->key ? a->key < b->key : a->nth > b->nth;
}

static void swap(struct report_list *list, uint32_t a, uint32_t b)
{
    struct report_entry *entry = list->entries[a];
    list->entries[a] = list->entries[b];
    list->entries[b] = entry;
}

static void sift_up(struct report_list *list, uint32_t at)
{
    for (uint32_t parent; at > 0; at = parent) {
        parent = (at - 1) / 2;
        if (!goes_first(list->entries[at], list->entries[parent])) return;
        swap(list, at, parent);
    }
}

static void sift_down(struct report_list *list)
{
    for (uint32_t at = 0, child; (child = 2 * at + 1) < list->count; at = child) {
        if (child + 1 < list->count && goes_first(list->entries[child + 1], list->entries[child])) child++;
        if (!goes_first(list->entries[child], list->entries[at])) return;
        swap(list, at, child);
    }
}

static void drop_least(struct report_list *list)
{
    list->bytes -= list->entries[0]->len;
    free(list->entries[0]);
    list->entries[0] = list->entries[--list->count];
    sift_down(list);
    list->is_full = true;
}

bool report_list_see(struct report_list *list, uint64_t key)
{
    list->total++;
    if (list->count == list->entries_max) list->is_full = true;
    return !list->is_full || (list->count > 0 && key > list->entries[0]->key);
}

void report_list_add(struct report_list *list, uint64_t key, mps_view bytes)
{
    struct report_entry *entry = sure_alloc(sizeof *entry + bytes.len);
    *entry = (struct report_entry){.key = key, .nth = list->total, .len = bytes.len};
    memcpy(entry->bytes, bytes.ptr, bytes.len);
    if (list->count == list->cap) {
        list->cap = list->cap > 0 ? 2 * list->cap : 16;
        list->entries = sure_grown(list->entries, list->cap * sizeof list->entries[0]);
    }
    list->entries[list->count++] = entry;
    list->bytes += bytes.len;
    sift_up(list, list->count - 1);
    while (list->count > 0 && (list->count > list->entries_max || list->bytes > list->bytes_max)) drop_least(list);
}

static int by_key(const void *a, const void *b)
{
    const struct report_entry *x = *(struct report_entry *const *)a, *y = *(struct report_entry *const *)b;
    return goes_first(y, x) ? -1 : 1;
}

void report_list_put(struct report_list *list, struct mps_out *out)
{
    if (list->count > 1) qsort(list->entries, list->count, sizeof list->entries[0], by_key);
    mps_put_array(out, list->count);
    for (uint32_t i = 0; i < list->count; i++)
        mps_put_raw(out, (mps_view){list->entries[i]->bytes, list->entries[i]->len});
}

void report_list_free(struct report_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) free(list->entries[i]);
    free(list->entries);
    *list = (struct report_list){0};
}
