/* The payload of a message that measures: who sent it, which one it is, when, and bytes that are known beforehand. It
 * is a document as those of most messages are, one bin: a property that says it is none would be the dearest part of
 * it.
 *
 *   byte 0  5 bytes  head of a bin of 32 bits' length, whatever the length
 *        5  2        "pm": a message; "pe": the publisher's last word
 *        7  2        the host that sent it: its clock can only be compared with one of the same host
 *        9  4        the run: one for each publisher
 *       13  8        the number of the message, 0, 1, 2, ...; in the last word how many there were
 *       21  8        when it was sent, ns of the host's monotonic clock
 *       29           a pattern
 * Little endian behind the head of the bin. */
#ifndef CLI_BENCH_PAYLOAD_H
#define CLI_BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PAYLOAD_MIN 32 /* bytes */

struct bench_head {
    bool end;
    uint16_t host;
    uint32_t run;
    uint64_t number, sent_ns;
};

/* Writes a payload of len bytes, BENCH_PAYLOAD_MIN to 4 GiB, but for what *head says, which the other one writes. */
void bench_payload_fill(uint8_t *payload, size_t len);
void bench_payload_head(uint8_t *payload, const struct bench_head *head);

/* False: it is none of ours, or not as it was sent. Of one that is large only each 16th is compared to its last byte.
 */
bool bench_payload_read(const uint8_t *payload, size_t len, struct bench_head *head);

uint16_t bench_host(void);    /* this host, until it is started again */
uint32_t bench_new_run(void); /* a random number */

#endif
