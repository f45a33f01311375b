/* CRC-32C (Castagnoli), as iSCSI, ext4 and SCTP use it. */
#ifndef PUBSUB_CRC32C_H
#define PUBSUB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of len bytes that follow those that `crc` is of; 0: of none. */
uint32_t mps_crc32c(uint32_t crc, const void *data, size_t len);

#endif
