/* PyTorch files: from the archive's records and its pickle to tensors and plain values. */
#include <string.h>

#include "base/checked.h"
#include "tensor/files.h"
#include "tensor/torch_pickle.h"
#include "tensor/torch_zip.h"

enum {
    PICKLE_MAX = 64 << 20,
    DEPTH_MAX = 32,      /* of nested containers */
    VISITS_MAX = 500000, /* of objects: the memo lets a small pickle unfold into a huge tree */
};

struct collector {
    struct ghn_tensors *tensors;
    const struct ghn_zip *zip;
    const char *what;
    struct ghn_err *err;
    long visits;
};

/* --- Plain values, for the metadata --- */

static bool tick(struct collector *c) {
    return ++c->visits <= VISITS_MAX;
}

/* The JSON of a value; NULL, without an error, for what is none: a tensor, a number that JSON has
 * not, a tree too deep or large. */
static json_t *to_json(struct collector *c, const struct ghn_py *value, int depth);

static json_t *list_to_json(struct collector *c, const struct ghn_py *list, int depth) {
    json_t *array = json_array();
    for (size_t i = 0; i < list->n; i++) {
        json_t *item = to_json(c, list->items[i], depth + 1);
        if (!item || json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* Of a dict what has a string for its key and plain values; the rest is left out. */
static json_t *dict_to_json(struct collector *c, const struct ghn_py *dict, int depth) {
    json_t *object = json_object();
    for (size_t i = 0; i < dict->n; i++) {
        const struct ghn_py *key = dict->items[2 * i];
        json_t *value =
            key->kind == GHN_PY_STR ? to_json(c, dict->items[2 * i + 1], depth + 1) : NULL;
        if (value)
            (void)json_object_set_new(object, key->text, value);
    }
    return object;
}

static json_t *to_json(struct collector *c, const struct ghn_py *value, int depth) {
    if (depth > DEPTH_MAX || !tick(c))
        return NULL;
    switch (value->kind) {
    case GHN_PY_NONE:
        return json_null();
    case GHN_PY_BOOL:
        return json_boolean(value->boolean);
    case GHN_PY_INT:
        return json_integer(value->integer);
    case GHN_PY_FLOAT:
        return json_real(value->real); /* NULL for infinities and NaN */
    case GHN_PY_STR:
        return json_stringn(value->text, value->length);
    case GHN_PY_TUPLE:
    case GHN_PY_LIST:
        return list_to_json(c, value, depth);
    case GHN_PY_DICT:
        return dict_to_json(c, value, depth);
    default:
        return NULL;
    }
}

/* --- Tensors --- */

static bool is_contiguous(const struct ghn_py *tensor) {
    int64_t expected = 1;
    for (int i = tensor->shape.ndim - 1; i >= 0; i--) {
        if (tensor->shape.dim[i] != 1 && tensor->stride[i] != expected)
            return false;
        expected *= tensor->shape.dim[i];
    }
    return true;
}

/* Copies a strided tensor of elements of `size` bytes, in row-major order, to dst. */
static void gather(const struct ghn_py *tensor, const unsigned char *src, size_t size,
                   unsigned char *dst, int64_t numel) {
    int64_t index[GHN_MAX_DIMS] = {0};
    int64_t at = tensor->offset;
    for (int64_t k = 0; k < numel; k++) {
        memcpy(dst + (size_t)k * size, src + (size_t)at * size, size);
        for (int d = tensor->shape.ndim - 1; d >= 0; d--) {
            at += tensor->stride[d];
            if (++index[d] < tensor->shape.dim[d])
                break;
            at -= tensor->stride[d] * tensor->shape.dim[d];
            index[d] = 0;
        }
    }
}

/* Whether every element lies within a storage of numel elements: offset + sum (size - 1) stride <
 * numel. */
static bool stays_inside(const struct ghn_py *tensor, int64_t numel) {
    int64_t last = tensor->offset;
    for (int i = 0; i < tensor->shape.ndim; i++) {
        int64_t step;
        if (tensor->shape.dim[i] < 1 ||
            !ghn_mul_i64(tensor->shape.dim[i] - 1, tensor->stride[i], &step) ||
            !ghn_add_i64(last, step, &last))
            return false;
    }
    return last < numel;
}

static enum ghn_status invalid(const struct collector *c, const char *name, const char *message) {
    return ghn_fail(c->err, GHN_INVALID_FILE, c->what, "tensor \"%s\" %s", name, message);
}

/* The record of a tensor's storage, if it is as large as the pickle says. */
static enum ghn_status find_record(const struct collector *c, const char *name,
                                   const struct ghn_py *storage, const unsigned char **ret) {
    char record[64] = "data/";
    (void)strncat(record, storage->key, sizeof(record) - strlen(record) - 1);
    const struct ghn_zip_member *member = ghn__zip_find(c->zip, record);
    int64_t n_bytes;
    if (!member)
        return invalid(c, name, "names a record that is not in the archive");
    if (!ghn_mul_i64(storage->numel, (int64_t)ghn_dtype_size(storage->dtype), &n_bytes) ||
        (size_t)n_bytes != member->size)
        return invalid(c, name, "has a record of another size than its pickle says");
    *ret = member->data;
    return GHN_OK;
}

static enum ghn_status add_tensor(struct collector *c, const char *name,
                                  const struct ghn_py *tensor) {
    const struct ghn_py *storage = tensor->storage;
    const unsigned char *data = NULL;
    size_t n_bytes = 0, size = ghn_dtype_size(storage->dtype);
    enum ghn_status status =
        ghn__tensor_bytes(storage->dtype, &tensor->shape, c->what, name, &n_bytes, c->err);
    if (status == GHN_OK)
        status = find_record(c, name, storage, &data);
    if (status != GHN_OK)
        return status;
    /* An expanded tensor (stride 0) may claim far more elements than its storage has; no parameter
     * is one. */
    if (!stays_inside(tensor, storage->numel) || n_bytes / size > (size_t)storage->numel)
        return invalid(c, name, "reaches beyond its record");
    if (is_contiguous(tensor))
        return ghn__tensors_add(c->tensors, c->what, name, storage->dtype, &tensor->shape,
                                data + (size_t)tensor->offset * size, n_bytes, c->err);
    void *copy = NULL;
    status = ghn__tensors_add_new(c->tensors, c->what, name, storage->dtype, &tensor->shape,
                                  n_bytes, &copy, c->err);
    if (status == GHN_OK)
        gather(tensor, data, size, copy, (int64_t)(n_bytes / size));
    return status;
}

/* Optimiser state, which is as large as the parameters and not what is asked for ("optimzer" is how
 * the published checkpoints spell it). */
static bool is_left_out(const char *key) {
    return strcmp(key, "optimizer") == 0 || strcmp(key, "optimzer") == 0;
}

/* Adds every tensor below a dict, names joined by dots. With c->tensors->items unset it only counts
 * them into *n. */
static enum ghn_status collect(struct collector *c, const struct ghn_py *dict, const char *prefix,
                               int depth, size_t *n) {
    for (size_t i = 0; i < dict->n; i++) {
        const struct ghn_py *key = dict->items[2 * i], *value = dict->items[2 * i + 1];
        if (!tick(c) || depth > DEPTH_MAX)
            return ghn_fail(c->err, GHN_TOO_LARGE, c->what, "its dicts nest too deep or too wide");
        if (key->kind != GHN_PY_STR || is_left_out(key->text) ||
            (value->kind != GHN_PY_TENSOR && value->kind != GHN_PY_DICT))
            continue;
        char *name = ghn_arena_printf(ghn__tensors_arena(c->tensors), "%s%s%s", prefix,
                                      *prefix ? "." : "", key->text);
        if (!name)
            return ghn_fail_memory(c->err);
        enum ghn_status status = GHN_OK;
        if (value->kind == GHN_PY_DICT)
            status = collect(c, value, name, depth + 1, n);
        else if (++*n > GHN_TENSORS_MAX)
            status = ghn_fail(c->err, GHN_TOO_LARGE, c->what, "it has more than %d tensors",
                              GHN_TENSORS_MAX);
        else if (c->tensors->items)
            status = add_tensor(c, name, value);
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

/* Tensors from "state_dict" if there is one, else from the top; what else is plain becomes
 * metadata. */
static enum ghn_status convert(struct collector *c, const struct ghn_py *top) {
    if (top->kind != GHN_PY_DICT)
        return ghn_fail(c->err, GHN_UNSUPPORTED_FILE, c->what,
                        "it holds no dict of tensors (a state_dict), nor one under \"state_dict\"");
    const struct ghn_py *state = ghn__py_get(top, "state_dict");
    if (!state || state->kind != GHN_PY_DICT)
        state = top;
    size_t n = 0;
    enum ghn_status status = collect(c, state, "", 0, &n);
    if (status == GHN_OK)
        status = ghn__tensors_reserve(c->tensors, n, c->err);
    n = 0;
    if (status == GHN_OK)
        status = collect(c, state, "", 0, &n);
    for (size_t i = 0; i < top->n && status == GHN_OK; i++) {
        const struct ghn_py *key = top->items[2 * i], *value = top->items[2 * i + 1];
        if (key->kind != GHN_PY_STR || is_left_out(key->text) || value == state)
            continue;
        json_t *json = to_json(c, value, 0);
        if (json && json_object_set_new(c->tensors->metadata, key->text, json) != 0)
            status = ghn_fail_memory(c->err);
    }
    return status;
}

enum ghn_status ghn__torch_parse(struct ghn_tensors *tensors, const unsigned char *data, size_t n,
                                 const char *what, struct ghn_err *err) {
    struct ghn_zip zip;
    struct ghn_arena arena = GHN_ARENA_INIT; /* of what is needed only while reading */
    struct collector c = {.tensors = tensors, .zip = &zip, .what = what, .err = err};
    const struct ghn_py *top = NULL;
    enum ghn_status status = ghn__zip_open(data, n, what, &arena, &zip, err);
    const struct ghn_zip_member *pickle = status == GHN_OK ? ghn__zip_find(&zip, "data.pkl") : NULL;
    if (status == GHN_OK && !pickle)
        status = ghn_fail(err, GHN_UNSUPPORTED_FILE, what,
                          "it is a zip archive without a data.pkl, so no PyTorch file");
    const struct ghn_zip_member *order = status == GHN_OK ? ghn__zip_find(&zip, "byteorder") : NULL;
    if (order && (order->size != 6 || memcmp(order->data, "little", 6) != 0))
        status = ghn_fail(err, GHN_UNSUPPORTED_FILE, what, "its numbers are big-endian");
    if (status == GHN_OK && pickle->size > PICKLE_MAX)
        status = ghn_fail(err, GHN_TOO_LARGE, what, "its data.pkl is larger than 64 MiB");
    if (status == GHN_OK)
        status = ghn__unpickle(pickle->data, pickle->size, what, &arena, &top, err);
    if (status == GHN_OK)
        status = convert(&c, top);
    ghn__zip_done(&zip);
    ghn_arena_done(&arena);
    return status;
}
