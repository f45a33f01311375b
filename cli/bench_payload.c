#include "bench_payload.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli.h"

#define BIN_HEAD 5
#define HEAD (BIN_HEAD + sizeof(struct fields)) /* where the pattern begins */
#define PERIOD 251                              /* a prime, so that what is shifted by any power of two differs */
#define PATTERN (16 * PERIOD)                   /* bytes that are compared at once */
#define WHOLE_BYTES (4 * 1024)                  /* up to here each message is compared as a whole */
#define WHOLE_EVERY 16                          /* and of longer ones one of so many */

/* Behind the head of the bin. There are no gaps between them. */
struct fields {
    uint8_t kind[2];
    uint16_t host;
    uint32_t run;
    uint64_t number, sent_ns;
};
_Static_assert(sizeof(struct fields) == 24, "as the header says");

static const uint8_t *pattern(void)
{
    static uint8_t bytes[PATTERN];
    if (bytes[1] == 0) {
        for (size_t i = 0; i < PATTERN; i++) bytes[i] = (uint8_t)(i % PERIOD);
    }
    return bytes;
}

static void put_bin_head(uint8_t *payload, uint32_t len)
{
    const uint32_t big_endian = htobe32(len);
    payload[0] = 0xc6;
    memcpy(payload + 1, &big_endian, sizeof big_endian);
}

void bench_payload_fill(uint8_t *payload, size_t len)
{
    put_bin_head(payload, (uint32_t)(len - BIN_HEAD));
    for (size_t at = HEAD; at < len; at += PATTERN) {
        memcpy(payload + at, pattern(), len - at < PATTERN ? len - at : PATTERN);
    }
}

void bench_payload_head(uint8_t *payload, const struct bench_head *head)
{
    const struct fields fields = {
        .kind = {'p', head->end ? 'e' : 'm'},
        .host = htole16(head->host),
        .run = htole32(head->run),
        .number = htole64(head->number),
        .sent_ns = htole64(head->sent_ns),
    };
    memcpy(payload + BIN_HEAD, &fields, sizeof fields);
}

static bool is_pattern(const uint8_t *payload, size_t len)
{
    for (size_t at = HEAD; at < len; at += PATTERN) {
        if (memcmp(payload + at, pattern(), len - at < PATTERN ? len - at : PATTERN) != 0) return false;
    }
    return true;
}

bool bench_payload_read(const uint8_t *payload, size_t len, struct bench_head *head)
{
    uint8_t bin_head[BIN_HEAD];
    struct fields fields;
    if (len < BENCH_PAYLOAD_MIN) return false;
    put_bin_head(bin_head, (uint32_t)(len - BIN_HEAD));
    memcpy(&fields, payload + BIN_HEAD, sizeof fields);
    if (memcmp(payload, bin_head, BIN_HEAD) != 0) return false;
    if (fields.kind[0] != 'p' || (fields.kind[1] != 'm' && fields.kind[1] != 'e')) return false;
    head->end = fields.kind[1] == 'e';
    head->host = le16toh(fields.host);
    head->run = le32toh(fields.run);
    head->number = le64toh(fields.number);
    head->sent_ns = le64toh(fields.sent_ns);
    bool whole = len <= WHOLE_BYTES || head->number % WHOLE_EVERY == 0;
    return is_pattern(payload, whole ? len : WHOLE_BYTES);
}

uint16_t bench_host(void)
{
    char id[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file) {
        if (!fgets(id, sizeof id, file)) id[0] = '\0';
        fclose(file);
    }
    if (!*id && gethostname(id, sizeof id - 1) != 0) return 0;
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *p = id; *p; p++) hash = (hash ^ (uint8_t)*p) * 16777619u;
    return (uint16_t)(hash ^ hash >> 16);
}

uint32_t bench_new_run(void)
{
    uint32_t run = 0;
    if (getrandom(&run, sizeof run, GRND_NONBLOCK) != sizeof run) run = (uint32_t)now_ns() ^ (uint32_t)getpid();
    return run;
}
