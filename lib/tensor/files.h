/* Between the file readers of this folder. */
#ifndef GHN_TENSOR_FILES_H
#define GHN_TENSOR_FILES_H

#include <stddef.h>

#include "base/mem.h"
#include "base/names.h"
#include "base/status.h"
#include "tensor/tensors.h"

/* What a set's tensors lie in. */
struct ghn__storage {
    struct ghn_arena arena; /* names, items */
    unsigned char *file;    /* the file's bytes */
    void **copies; /* tensors that had to be copied, one entry a tensor; NULL where it lies in the
                      file */
    struct ghn_names names; /* tensor name -> number */
};

/* Gives `tensors`, which has room for n items (see ghn__tensors_reserve), one more of that name,
 * type and shape whose bytes are data; n_bytes is what they take. The name is taken as it is. The
 * data is copied if it is not aligned. INVALID_FILE for a duplicate name. */
enum ghn_status ghn__tensors_add(struct ghn_tensors *tensors, const char *what, const char *name,
                                 enum ghn_dtype dtype, const struct ghn_shape *shape,
                                 const void *data, size_t n_bytes,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* The same, but the caller fills the n_bytes at *ret. */
enum ghn_status ghn__tensors_add_new(struct ghn_tensors *tensors, const char *what,
                                     const char *name, enum ghn_dtype dtype,
                                     const struct ghn_shape *shape, size_t n_bytes, void **ret,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* Makes room for n items in all. */
enum ghn_status ghn__tensors_reserve(struct ghn_tensors *tensors, size_t n,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* Bytes of a tensor; INVALID_FILE if it has more than 2^31 elements in a dimension's product that
 * overflows, or none at all. */
enum ghn_status ghn__tensor_bytes(enum ghn_dtype dtype, const struct ghn_shape *shape,
                                  const char *what, const char *name, size_t *ret,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* The arena of a set. */
struct ghn_arena *ghn__tensors_arena(struct ghn_tensors *tensors);

/* Fill a new set from n bytes at data, which it holds. */
enum ghn_status ghn__safetensors_parse(struct ghn_tensors *tensors, const unsigned char *data,
                                       size_t n, const char *what,
                                       struct ghn_err *err) GHN_MUST_CHECK;
enum ghn_status ghn__torch_parse(struct ghn_tensors *tensors, const unsigned char *data, size_t n,
                                 const char *what, struct ghn_err *err) GHN_MUST_CHECK;

enum {
    GHN_TENSORS_MAX = 100000,  /* tensors in a file */
    GHN_TENSOR_NAME_MAX = 512, /* bytes of a name */
};

#endif
