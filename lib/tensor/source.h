/* What the readers of the file formats share; private to lib/tensor. */
#ifndef GHN_TENSOR_SOURCE_H
#define GHN_TENSOR_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "tensor/tensors.h"

enum {
    GHN__MAX_TENSORS = 100000,
    GHN__MAX_NAME = 512,           /* bytes of a tensor's name */
    GHN__MAX_HEADER = 16 * 1048576 /* bytes of a safetensors header */
};

/* Untrusted bytes: a whole file, or a record of one. */
struct ghn__source {
    const unsigned char *data;
    size_t n;
    const char *what; /* the path, for errors */
};

/* A tensor as a reader finds it: a strided view of the source's bytes, checked to lie within them.
 */
struct ghn__view {
    const char *name; /* in ghn__parsed.arena, valid UTF-8, at most GHN__MAX_NAME bytes */
    enum ghn_dtype dtype;
    struct ghn_shape shape;
    const unsigned char *first;   /* element (0, 0, ...) */
    int64_t stride[GHN_MAX_DIMS]; /* in elements; only looked at if not contiguous */
    size_t n_bytes;               /* of the elements, without gaps between them */
    bool contiguous;
};

/* What a reader hands back. It starts zeroed but for arena; on failure the caller frees what is
 * there. Names need not be unique yet. */
struct ghn__parsed {
    struct ghn_arena *arena; /* lives as long as the set of tensors */
    struct ghn__view *views; /* by ghn_malloc */
    int n;
    json_t *metadata; /* an object */
};

/* The readers. GHN_INVALID_FILE where the bytes contradict the format, GHN_UNSUPPORTED_FILE where
 * the format allows what is not read, GHN_TOO_LARGE for a budget; all name source->what. */
enum ghn_status ghn__safetensors_parse(const struct ghn__source *source, struct ghn__parsed *parsed,
                                       struct ghn_err *err) GHN_MUST_CHECK;
enum ghn_status ghn__torch_parse(const struct ghn__source *source, struct ghn__parsed *parsed,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* Refuses a file that is of neither format, with advice if its first bytes are well known. */
enum ghn_status ghn__refuse_unknown(const struct ghn__source *source,
                                    struct ghn_err *err) GHN_MUST_CHECK;

/* Little-endian integers at an address of any alignment. */
static inline uint16_t ghn__le16(const unsigned char *p) {
    uint16_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

static inline uint32_t ghn__le32(const unsigned char *p) {
    uint32_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

static inline uint64_t ghn__le64(const unsigned char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

#endif
