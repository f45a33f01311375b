/* Inside the store in memory: what the disk holds (memory_disk.c) and who changes it (memory.c). */
#ifndef STORE_MEMORY_PARTS_H
#define STORE_MEMORY_PARTS_H

#include "memory_store.h"

struct kept_block {
    struct store_block block; /* .bytes is our own */
    bool damaged, head_damaged;
};

struct kept_stream {
    struct kept_block *blocks; /* by position */
    uint32_t count, room;
};

struct kept_record {
    uint32_t kind;
    mps_view key, value; /* our own */
    bool damaged;
};

struct memory_disk {
    struct kept_stream streams[STORE_STREAMS_MAX];
    struct kept_record *records; /* by kind and key */
    uint32_t records_count, records_room;
    bool open;
};

void disk_apply(struct memory_disk *disk, const struct store_batch *batch);
void disk_read(const struct memory_disk *disk, struct store_read *read); /* fills what read_done() tells */
void disk_load(const struct memory_disk *disk, const struct store_visitor *visitor);

/* Memory of our own with these bytes; never NULL. */
mps_view copy_of(mps_view bytes);

#endif
