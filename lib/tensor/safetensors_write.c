/* Writing safetensors. What the reader would refuse is refused here. */
#include <string.h>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/utf8.h"
#include "tensor/source.h"

static enum ghn_status check_item(const struct ghn_tensor *items, int i, struct ghn_err *err) {
    const struct ghn_tensor *item = &items[i];
    size_t n_name = strlen(item->name);
    int64_t numel, n_bytes;
    if (!ghn_utf8_valid(item->name, n_name) || n_name > GHN__MAX_NAME ||
        strcmp(item->name, "__metadata__") == 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, item->name,
                        "a tensor's name must be UTF-8 of at most %d bytes, and not __metadata__",
                        GHN__MAX_NAME);
    if (!ghn_shape_numel(&item->shape, &numel) ||
        !ghn_mul_i64(numel, (int64_t)ghn_dtype_size(item->dtype), &n_bytes) ||
        (uint64_t)n_bytes != item->n_bytes)
        return ghn_fail(err, GHN_SHAPE_MISMATCH, item->name,
                        "%zu bytes are not what the tensor's shape and type take", item->n_bytes);
    if (n_bytes == 0 && i > 0 && items[i - 1].n_bytes == 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, item->name,
                        "two tensors without elements cannot follow one another");
    return GHN_OK;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, or NULL if there is no memory. */
static json_t *describe(const struct ghn_tensor *item, uint64_t begin, uint64_t end) {
    json_t *shape = json_array();
    for (int i = 0; shape && i < item->shape.ndim; i++)
        if (json_array_append_new(shape, json_integer(item->shape.dim[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", ghn_dtype_name(item->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

static enum ghn_status add_items(const struct ghn_tensor *items, int n, json_t *json,
                                 struct ghn_err *err) {
    uint64_t begin = 0, end;
    for (int i = 0; i < n; i++) {
        enum ghn_status status = check_item(items, i, err);
        if (status != GHN_OK)
            return status;
        if (json_object_get(json, items[i].name))
            return ghn_fail(err, GHN_DUPLICATE_NAME, items[i].name, "two tensors have this name");
        if (!ghn_add_u64(begin, items[i].n_bytes, &end) || end > INT64_MAX)
            return ghn_fail(err, GHN_TOO_LARGE, items[i].name, "the file's size overflows");
        if (json_object_set_new(json, items[i].name, describe(&items[i], begin, end)) != 0)
            return ghn_fail_memory(err);
        begin = end;
    }
    return GHN_OK;
}

static enum ghn_status add_metadata(const json_t *metadata, json_t *json, struct ghn_err *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return ghn_fail(err, GHN_WRONG_TYPE, key, "a metadata entry must be a string");
    }
    /* Copied rather than shared: a reference count is not safe with other threads. */
    if (json_object_set_new(json, "__metadata__", json_deep_copy(metadata)) != 0)
        return ghn_fail_memory(err);
    return GHN_OK;
}

/* The JSON after its length, padded with spaces. */
static enum ghn_status frame(const json_t *json, char **ret_header, size_t *ret_size,
                             struct ghn_err *err) {
    size_t n = json_dumpb(json, NULL, 0, JSON_COMPACT);
    if (n == 0)
        return ghn_fail_memory(err);
    uint64_t n_header = (8 + n + GHN_ALIGN - 1) / GHN_ALIGN * GHN_ALIGN - 8;
    if (n_header > GHN__MAX_HEADER)
        return ghn_fail(err, GHN_TOO_LARGE, NULL, "a header of %zu bytes; at most %d are allowed",
                        n, GHN__MAX_HEADER);
    char *header = ghn_malloc(8 + n_header);
    if (!header)
        return ghn_fail_memory(err);
    memcpy(header, &n_header, 8);
    memset(header + 8, ' ', n_header);
    if (json_dumpb(json, header + 8, n_header, JSON_COMPACT) != n) {
        ghn_free(header);
        return ghn_fail_memory(err);
    }
    *ret_header = header;
    *ret_size = 8 + n_header;
    return GHN_OK;
}

enum ghn_status ghn_safetensors_header(const struct ghn_tensor *items, int n,
                                       const json_t *metadata, char **ret_header, size_t *ret_size,
                                       struct ghn_err *err) {
    if (n > GHN__MAX_TENSORS)
        return ghn_fail(err, GHN_TOO_LARGE, NULL, "%d tensors; at most %d fit into a file", n,
                        GHN__MAX_TENSORS);
    json_t *json = json_object();
    if (!json)
        return ghn_fail_memory(err);
    enum ghn_status status =
        metadata && json_object_size(metadata) > 0 ? add_metadata(metadata, json, err) : GHN_OK;
    if (status == GHN_OK)
        status = add_items(items, n, json, err);
    if (status == GHN_OK)
        status = frame(json, ret_header, ret_size, err);
    json_decref(json);
    return status;
}

enum ghn_status ghn_safetensors_write(const char *path, const struct ghn_tensor *items, int n,
                                      const json_t *metadata, struct ghn_err *err) {
    char *header = NULL;
    size_t n_header = 0;
    struct ghn_atomic_file *file = NULL;
    enum ghn_status status = ghn_safetensors_header(items, n, metadata, &header, &n_header, err);
    if (status == GHN_OK)
        status = ghn_atomic_file_new(path, &file, err);
    if (status == GHN_OK)
        status = ghn_atomic_file_write(file, header, n_header, err);
    for (int i = 0; i < n && status == GHN_OK; i++)
        status = ghn_atomic_file_write(file, items[i].data, items[i].n_bytes, err);
    ghn_free(header);
    if (status == GHN_OK)
        return ghn_atomic_file_commit(file, err);
    ghn_atomic_file_abort(file);
    return status;
}
