#include "bindings.h"

#include <stdlib.h>
#include <string.h>

size_t bindings_name_len(const char *p)
{
    size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyz");
    return len <= BINDING_NAME_MAX ? len : 0;
}

mps_view bindings_find(const struct bindings *bindings, const char *name, size_t name_len)
{
    for (size_t i = 0; i < bindings->count; i++) {
        const char *known = bindings->at[i].name;
        if (strlen(known) == name_len && memcmp(known, name, name_len) == 0)
            return (mps_view){bindings->at[i].text, bindings->at[i].len};
    }
    return (mps_view){NULL, 0};
}

bool bindings_add(struct bindings *bindings, const char *name, size_t name_len, mps_view text)
{
    if (bindings->count == BINDINGS_MAX) return false;
    uint8_t *copy = malloc(text.len + 1u);
    if (copy == NULL) abort();
    memcpy(copy, text.ptr, text.len);
    size_t i = bindings->count++;
    memcpy(bindings->at[i].name, name, name_len);
    bindings->at[i].name[name_len] = '\0';
    bindings->at[i].text = copy;
    bindings->at[i].len = text.len;
    return true;
}

void bindings_cut(struct bindings *bindings, size_t count)
{
    while (bindings->count > count) free(bindings->at[--bindings->count].text);
}

void bindings_free(struct bindings *bindings)
{
    bindings_cut(bindings, 0);
}
