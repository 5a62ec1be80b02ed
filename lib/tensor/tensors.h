/* A set of named tensors, as a parameter or checkpoint file holds it. */
#ifndef GHN_TENSOR_TENSORS_H
#define GHN_TENSOR_TENSORS_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

struct ghn_tensor {
    const char *name; /* unique in its set, valid UTF-8, at most 512 bytes */
    enum ghn_dtype dtype;
    struct ghn_shape shape;
    const void *data; /* contiguous, row-major, little-endian, aligned to 64 bytes */
    size_t n_bytes;
};

enum ghn_file_format { GHN_SAFETENSORS, GHN_TORCH_ZIP };

/* A set of tensors in file order. Immutable once read; owned by whoever read it. */
struct ghn_tensors {
    enum ghn_file_format format;
    int n;
    struct ghn_tensor *items;
    /* What the file says besides tensors, as a JSON object (never NULL): for safetensors the
     * __metadata__ strings; for a PyTorch file the plain values at the top (numbers, strings,
     * lists, dicts: "epoch", "config" ...), without tensors. */
    json_t *metadata;
    char sha256[65]; /* of the whole file, in hex; empty for a set that came from no file */
    void *storage;   /* private: what the tensors' data lies in */
};

/* Reads a whole file of either format, told apart by its first bytes. In a PyTorch file the tensors
 * are those under "state_dict" if the top object has that key, else those of the top object itself,
 * and nested dicts are flattened with '.'; the optimiser's ("optimzer", "optimizer") are left out.
 * Errors: GHN_IO; GHN_INVALID_FILE and GHN_UNSUPPORTED_FILE with err->where = path, naming tensor
 * or record and what was expected; GHN_TOO_LARGE, also for more than the machine's memory. The
 * caller frees with ghn_tensors_free. Nothing in a file is ever executed. */
enum ghn_status ghn_tensors_read(const char *path, struct ghn_tensors **ret,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* The same for n bytes in memory, which are copied; `what` stands for the path in errors. */
enum ghn_status ghn_tensors_parse(const void *data, size_t n, const char *what,
                                  struct ghn_tensors **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Frees a set; NULL is allowed. */
void ghn_tensors_free(struct ghn_tensors *tensors);

/* The tensor of that name, or NULL. */
const struct ghn_tensor *ghn_tensors_find(const struct ghn_tensors *tensors, const char *name);

/* Writes tensors as a safetensors file, in the order given, atomically (temporary file, fsync,
 * rename, fsync of the folder): either the whole new file is at path or what was there before.
 * metadata: a JSON object whose values must be strings, or NULL. */
enum ghn_status ghn_safetensors_write(const char *path, const struct ghn_tensor *items, int n,
                                      const json_t *metadata, struct ghn_err *err) GHN_MUST_CHECK;

/* Makes a safetensors header (length prefix, JSON, padding with spaces so that the data starts at a
 * multiple of 64 bytes) for tensors laid out one after the other; only name, dtype, shape and
 * n_bytes of the items are looked at. *ret_header is freed by the caller with ghn_free. */
enum ghn_status ghn_safetensors_header(const struct ghn_tensor *items, int n,
                                       const json_t *metadata, char **ret_header, size_t *ret_size,
                                       struct ghn_err *err) GHN_MUST_CHECK;

#endif
