/* The object tree of a PyTorch file: a restricted unpickler.
 *
 * It knows the opcodes of pickle protocol 2 that torch.save writes, and builds numbers, strings,
 * tuples, lists, dicts and tensors. A GLOBAL is looked up in a fixed table and becomes a tag;
 * nothing in a pickle can name code that would run, here or anywhere. */
#ifndef GHN_TENSOR_TORCH_PICKLE_H
#define GHN_TENSOR_TORCH_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

enum ghn_py_kind {
    GHN_PY_NONE,
    GHN_PY_BOOL,
    GHN_PY_INT,
    GHN_PY_FLOAT,
    GHN_PY_STR,
    GHN_PY_TUPLE,
    GHN_PY_LIST,
    GHN_PY_DICT,
    GHN_PY_GLOBAL,  /* a tag; never part of a finished tree but as an operand */
    GHN_PY_STORAGE, /* a record of the archive */
    GHN_PY_TENSOR,
};

enum ghn_py_global {
    GHN_PY_ORDERED_DICT,
    GHN_PY_REBUILD_TENSOR,
    GHN_PY_REBUILD_PARAMETER,
    GHN_PY_STORAGE_TYPE, /* with the dtype in ghn_py.dtype */
    GHN_PY_SIZE,         /* torch.Size: a tuple */
};

struct ghn_py {
    enum ghn_py_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct { /* STR: UTF-8, no NUL inside, NUL-terminated */
            const char *text;
            size_t length;
        };
        struct { /* TUPLE, LIST: n items; DICT: n keys and values in turn, 2n items */
            struct ghn_py **items;
            size_t n, capacity;
        };
        struct { /* GLOBAL; STORAGE: key names the record, numel its elements */
            enum ghn_py_global global;
            enum ghn_dtype dtype;
            const char *key;
            int64_t numel;
        };
        struct { /* TENSOR: strides and offset count elements of the storage */
            const struct ghn_py *storage;
            int64_t offset;
            struct ghn_shape shape;
            int64_t stride[GHN_MAX_DIMS];
        };
    };
};

/* Unpickles the n bytes at data into arena. `what` names the file in errors: GHN_INVALID_FILE for a
 * pickle that is broken, GHN_UNSUPPORTED_FILE for one that asks for more than parameters, naming
 * what. */
enum ghn_status ghn__unpickle(const unsigned char *data, size_t n, const char *what,
                              struct ghn_arena *arena, const struct ghn_py **ret,
                              struct ghn_err *err) GHN_MUST_CHECK;

/* The value of a dict's string key, or NULL (also if dict is no dict). */
const struct ghn_py *ghn__py_get(const struct ghn_py *dict, const char *key);

#endif
