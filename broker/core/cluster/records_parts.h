/* Inside of what brokers share by records: records.c has the puts of this broker, and hands on what comes. */
#ifndef CLUSTER_RECORDS_PARTS_H
#define CLUSTER_RECORDS_PARTS_H

#include "records.h"

/* Kinds of shared records. Values are frames of msgpack, whose first field is RECORD_OP. */
enum shared_kind {
    SHARED_RETAINED = 1, /* topic -> [40, when it expires, MSG frame, user, client]: see open.c, retained_put() */
    SHARED_PLACE = 2,    /* as RECORD_CURSOR's key -> see place_record.h */
    SHARED_LEASE = 3,    /* likewise, of groups only -> see lease.c */
};
#define RECORD_OP 40u
#define RECORD_VALUES_MAX 60000u /* values of msgpack in one; the scan counts in 16 bits */

/* A record that was told, and perhaps is to be looked at later. */
struct held_record {
    struct engine_record record; /* its key and value are .bytes */
    uint8_t bytes[];
};

/* A put of this broker of which it isn't known yet what the others know. */
struct own_put {
    struct hash_node in_puts;  /* by kind and key */
    struct hash_node in_marks; /* by .mark */
    struct list_node in_list;  /* of .taken or .untaken */
    uint64_t mark;
    uint64_t since;            /* mark of the first one of those that the engine had no room for, up to this one */
    uint64_t revision;         /* 0: it isn't known whether it is done; else it is, and only the record is still to come */
    uint32_t connects;         /* records.connects when that was told */
    bool is_taken;             /* by the engine */
    bool is_careful;           /* what others put goes before it */
    struct held_record *held;  /* the last one of its key that was told meanwhile; NULL: none */
    uint8_t kind;              /* enum shared_kind */
    uint32_t key_len;
    uint8_t key[];
};

/* A retained value that has expired, and is to go from the records, too, if nobody has set another one until then. */
struct doomed {
    struct list_node in_doomed;
    uint64_t due_ms, revision;
    uint8_t topic_len;
    uint8_t topic[];
};

/* The last claim of another broker, of late. */
struct heard_claim {
    struct hash_node in_heard;
    struct list_node in_age;
    uint64_t claim, came_ms;
    const struct neighbour *from;
    bool is_told;                /* it has said since that it ended its part for this broker, */
    uint32_t words;              /* and the last words of so many places */
    uint8_t id_len;
    uint8_t id[MPS_ID_MAX];
};

struct records {
    struct cluster *cluster;
    uint64_t last_mark;
    uint64_t put_revision;       /* the highest one of what was put here, */
    uint64_t put_before;         /* and of that before the present load began */
    uint64_t told_revision;      /* what others put up to this one has been told */
    uint64_t last_claim;         /* the latest that was heard of, or made (claim.c) */
    struct hash heard;           /* struct heard_claim, by client */
    struct list heard_by_age;    /* likewise */
    struct hash askings;         /* struct asking (claim.c), by client: claims that not all have answered */
    struct list askings_by_age;  /* likewise */
    struct hash puts, marks;     /* struct own_put */
    struct list taken, untaken;  /* likewise */
    uint32_t taken_count, untaken_count;
    uint64_t untaken_ms;         /* when to try those again */
    uint32_t connects;           /* times that the records could be reached again */
    uint8_t load;                /* names the last load that told all, or the one that does so now */
    bool is_full;                /* what is being told is all that there is */
    bool is_loaded;              /* what there is is known */
    struct snapshot sweep;       /* of retained values, after all was told */
    struct list doomed;          /* struct doomed; who is due first comes first */
    uint32_t doomed_count;
    struct hash known;           /* struct known_record (known.h): places and leases, as they were told last */
    struct hash known_clients;   /* struct known_client: those of each client */
    struct list known_all;       /* likewise */
    uint64_t known_bytes;
    struct list cursors;         /* struct shared_cursor */
    struct heap expiries, sayings, looks; /* timers of both */
    struct records_figures figures;
};

static inline mps_view own_key(const struct own_put *own)
{
    return (mps_view){own->key, own->key_len};
}

/* records.c */
/* It is to be this everywhere; value.ptr NULL: not to be. What was put before under this key doesn't matter any more.
 * expected: as in struct engine_put; if that isn't ENGINE_PUT_ANYHOW, what others put goes before this. NULL: the engine
 * doesn't take values so long. */
struct own_put *own_put_make(struct records *records, enum shared_kind kind, mps_view key, mps_view value, uint64_t expected);
struct own_put *own_put_find(const struct records *records, enum shared_kind kind, mps_view key); /* NULL: none */
void own_put_drop(struct records *records, struct own_put *own);
/* What a record is to a put of the same key. EARLIER: what was put holds, the record doesn't matter; as far as is known yet, so it is
 * held. Else the put is over, and dropped. */
enum own_verdict { OWN_EARLIER, OWN_IT, OWN_LATER };
enum own_verdict own_put_judge(struct records *records, struct own_put *own, const struct engine_record *record);
/* It is done. If somebody else's came after it and was told before this, that is looked at now. */
void own_put_done(struct records *records, struct own_put *own, uint64_t revision);
/* Whether the bytes are a frame of RECORD_OP, whose fields can be read. payload_len_max: of what it may hold besides some KiB. */
bool record_is_frame(mps_view value, uint32_t len_max);
/* The reader stands at its second field. fields: how many it has, the first one counted. */
struct mps_reader record_open(mps_view value, uint32_t *fields);
void record_is_bad(struct records *records, const struct engine_record *record, const char *why);

/* places.c */
void places_join(struct records *records);
void places_leave(struct records *records);
void places_say_all(struct records *records); /* this broker goes: others go on where it stands */
uint64_t places_turn(struct records *records);
void places_on_record(struct records *records, const struct engine_record *record);
void places_on_loaded(struct records *records, bool is_all); /* is_all: what was not told is no more */

/* place_record.c */
void place_forget(struct records *records, mps_view key); /* the record of a place goes */

/* lease.c */
void leases_on_record(struct records *records, const struct engine_record *record);
void leases_on_done(struct records *records, struct own_put *own, bool is_done, uint64_t revision);

/* shared_retained.c */
void retained_on_record(struct records *records, const struct engine_record *record);
void retained_on_done(struct records *records, struct own_put *own, bool is_done, uint64_t revision);
void retained_on_loaded(struct records *records);
void retained_put_again(struct records *records, struct own_put *own); /* as it is now */
uint64_t retained_records_turn(struct records *records);
void retained_records_free(struct records *records);

#endif
