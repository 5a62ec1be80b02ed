/* A restricted unpickler: it builds tensors' descriptions and plain values, and can do nothing
 * else. What a pickle may name is a short static list, and a name only ever becomes an enumerator.
 * Private to lib/tensor. */
#ifndef GHN_TENSOR_TORCH_PICKLE_H
#define GHN_TENSOR_TORCH_PICKLE_H

#include "base/status.h"
#include "tensor/source.h"

enum ghn__kind {
    GHN__NONE,
    GHN__FALSE,
    GHN__TRUE,
    GHN__INT,
    GHN__REAL,
    GHN__TEXT,
    GHN__TUPLE,
    GHN__LIST,
    GHN__DICT, /* also an OrderedDict */
    GHN__GLOBAL,
    GHN__STORAGE,
    GHN__TENSOR,
};

/* What a pickle may name. */
enum ghn__global {
    GHN__ORDERED_DICT,
    GHN__REBUILD_TENSOR,
    GHN__REBUILD_PARAMETER,
    GHN__STORAGE_TYPE, /* plus an enum ghn_dtype */
};

struct ghn__value {
    enum ghn__kind kind;
    union {
        int64_t integer;
        double real;
        struct ghn__text *text;
        struct ghn__list *list; /* tuple, list, dict */
        int global;
        const struct ghn__torch_storage *storage;
        const struct ghn__torch_tensor *tensor;
    } as;
};

/* Valid UTF-8, not NUL-terminated, in the pickle's own bytes. */
struct ghn__text {
    const char *bytes;
    size_t n;
};

/* Values in order; a dict's are key, value, key, value ... with texts and integers as keys, which
 * may repeat. Containers may hold themselves: whoever walks them must bound depth and steps. */
struct ghn__list {
    struct ghn__value *items;
    int n, capacity;
    bool ordered; /* an OrderedDict */
};

struct ghn__torch_storage {
    enum ghn_dtype dtype;
    const struct ghn__text *key; /* digits: it lies in the record data/KEY */
    int64_t numel;
};

/* A strided view of a storage. Nothing is checked against the storage's size yet. */
struct ghn__torch_tensor {
    const struct ghn__torch_storage *storage;
    int64_t offset; /* in elements, >= 0 */
    struct ghn_shape shape;
    int64_t stride[GHN_MAX_DIMS]; /* in elements, >= 0 */
};

/* Runs a pickle; *ret and all it points to live in arena. GHN_INVALID_FILE if it is malformed,
 * GHN_UNSUPPORTED_FILE if it asks for what is not on the lists, GHN_TOO_LARGE. */
enum ghn_status ghn__unpickle(const struct ghn__source *pickle, struct ghn_arena *arena,
                              struct ghn__value *ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
