/* Little-endian integers out of bytes, for the file readers of this folder. */
#ifndef GHN_TENSOR_BYTES_H
#define GHN_TENSOR_BYTES_H

#include <stdint.h>

static inline uint16_t ghn__le16(const unsigned char *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t ghn__le32(const unsigned char *p) {
    return (uint32_t)ghn__le16(p) | (uint32_t)ghn__le16(p + 2) << 16;
}

static inline uint64_t ghn__le64(const unsigned char *p) {
    return (uint64_t)ghn__le32(p) | (uint64_t)ghn__le32(p + 4) << 32;
}

static inline void ghn__put_le64(unsigned char *p, uint64_t v) {
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

#endif
