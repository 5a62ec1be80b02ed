#include "ghn/blocks.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "ghn/tiling.h"

static const char *text_of(const struct ghn_tensors *tensors, const char *key) {
    return json_string_value(json_object_get(tensors->metadata, key));
}

bool ghn_blocks_is(const struct ghn_tensors *tensors) {
    const char *format = text_of(tensors, "format");
    return format && strcmp(format, "ghn-blocks/1") == 0;
}

/* The shape that "tiles" gives for a tensor. */
static enum ghn_status full_shape(const struct ghn_tensor *tensor, const json_t *dims,
                                  struct ghn_shape *ret, struct ghn_err *err) {
    struct ghn_shape full = {.ndim = tensor->shape.ndim};
    int64_t numel;
    bool ok = json_is_array(dims) && (int)json_array_size(dims) == full.ndim && full.ndim > 0;
    for (int i = 0; ok && i < full.ndim; i++) {
        full.dim[i] = json_integer_value(json_array_get(dims, (size_t)i));
        ok = tensor->shape.dim[i] > 0 && full.dim[i] >= tensor->shape.dim[i];
    }
    /* An element has at most 8 bytes. */
    ok = ok && ghn_shape_numel(&full, &numel) && numel <= INT64_MAX / 8;
    if (!ok)
        return ghn_fail(err, GHN_INVALID_FILE, tensor->name,
                        "the shape that the metadata entry \"tiles\" gives it does not fit its "
                        "block");
    *ret = full;
    return GHN_OK;
}

/* Replaces a block by the full tensor, whose data the caller frees with ghn_free. */
static enum ghn_status expand(struct ghn_tensor *tensor, const json_t *dims, struct ghn_err *err) {
    struct ghn_shape full = {0};
    struct ghn__tiling tiling;
    int64_t numel = 0;
    enum ghn_status status = full_shape(tensor, dims, &full, err);
    if (status != GHN_OK)
        return status;
    (void)ghn_shape_numel(&full, &numel);
    size_t size = ghn_dtype_size(tensor->dtype);
    void *data = ghn_malloc((size_t)numel * size);
    if (!data)
        return ghn_fail_memory(err);
    ghn__tiling_init(&tiling, &full, &tensor->shape);
    ghn__tiling_read(&tiling, tensor->data, size, 0, numel, data);
    tensor->data = data;
    tensor->shape = full;
    tensor->n_bytes = (size_t)numel * size;
    return GHN_OK;
}

/* The object that the metadata holds as text under "tiles"; a new reference. */
static enum ghn_status read_tiles(const struct ghn_tensors *blocks, json_t **ret,
                                  struct ghn_err *err) {
    const char *text = text_of(blocks, "tiles");
    struct ghn_err inner = GHN_ERR_INIT;
    if (!text) {
        *ret = NULL; /* every block is its tensor */
        return GHN_OK;
    }
    enum ghn_status status = ghn_json_load(text, strlen(text), NULL, ret, &inner);
    if (status == GHN_OK)
        return GHN_OK;
    return ghn_fail(err, status == GHN_NO_MEMORY ? status : GHN_INVALID_FILE, "__metadata__.tiles",
                    "%s", inner.message);
}

enum ghn_status ghn_blocks_write_full(const struct ghn_tensors *blocks, const char *path,
                                      struct ghn_err *err) {
    json_t *tiles = NULL, *metadata = NULL;
    struct ghn_tensor *items = NULL;
    int n = blocks->n, n_ready = 0;
    enum ghn_status status = read_tiles(blocks, &tiles, err);
    if (status != GHN_OK)
        return status;
    metadata = json_copy(blocks->metadata);
    items = ghn_calloc((size_t)n, sizeof(*items));
    status = metadata && items ? GHN_OK : ghn_fail_memory(err);
    for (; n_ready < n && status == GHN_OK; n_ready++) {
        const json_t *dims = json_object_get(tiles, blocks->items[n_ready].name);
        items[n_ready] = blocks->items[n_ready];
        if (dims)
            status = expand(&items[n_ready], dims, err);
    }
    if (status == GHN_OK) {
        (void)json_object_del(metadata, "tiles");
        (void)json_object_del(metadata, "format");
        status = ghn_safetensors_write(path, items, n, metadata, err);
    }
    for (int i = 0; i < n_ready; i++)
        if (items[i].data != blocks->items[i].data)
            ghn_free((void *)items[i].data);
    ghn_free(items);
    json_decref(metadata);
    json_decref(tiles);
    return status;
}
