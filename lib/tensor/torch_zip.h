/* A strict reader of the one kind of ZIP archive that PyTorch writes: stored records, one after the
 * other, each described twice in the same words. Private to lib/tensor. */
#ifndef GHN_TENSOR_TORCH_ZIP_H
#define GHN_TENSOR_TORCH_ZIP_H

#include "base/status.h"
#include "tensor/source.h"

struct ghn__record {
    const char *name; /* in the archive's bytes, not NUL-terminated; valid UTF-8 */
    size_t n_name;
    const unsigned char *data; /* in the archive's bytes */
    uint64_t size;
    uint64_t header; /* the offset of the local header */
    uint32_t crc;
    uint16_t flags;
};

struct ghn__zip {
    int n;
    struct ghn__record *records; /* by name */
};

/* Opens an archive and checks all of it: the checksums, that both descriptions of every record
 * agree, that records neither overlap nor leave room between them, that names are harmless and
 * unique. The caller frees with ghn__zip_done. GHN_INVALID_FILE, GHN_UNSUPPORTED_FILE for
 * compression, encryption and archives in parts, GHN_TOO_LARGE. */
enum ghn_status ghn__zip_open(const struct ghn__source *source, struct ghn__zip *ret,
                              struct ghn_err *err) GHN_MUST_CHECK;

void ghn__zip_done(struct ghn__zip *zip);

/* The record whose name is the n_root bytes of root, '/', and the n bytes of name; or NULL. */
const struct ghn__record *ghn__zip_find(const struct ghn__zip *zip, const char *root, size_t n_root,
                                        const char *name, size_t n);

#endif
