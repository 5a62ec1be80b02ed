/* ghn convert: other files as full safetensors files. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli.h"
#include "ghn/model.h"
#include "tensor/tensors.h"

const char cli_convert_help[] =
    "usage: ghn convert IN OUT.safetensors\n"
    "\n"
    "Writes IN as a safetensors file:\n"
    "  a hypernetwork (PyTorch or safetensors)   with its configuration, ready for ghnd\n"
    "  a PyTorch file of parameters              tensors of the state_dict, under their names\n"
    "  a blocks answer                           every tensor in full; what results is the same\n"
    "                                            file as the full answer, to the byte\n"
    "Nothing in IN is executed.\n";

/* Fills dst, of shape `full` from dimension d on, with the tiling of src, of shape `block`; size is
 * that of an element in bytes. stride: the bytes of one step along d in each. */
static void tile(unsigned char *dst, const unsigned char *src, const struct ghn_shape *full,
                 const struct ghn_shape *block, int d, size_t size) {
    size_t dst_step = size, src_step = size;
    for (int i = d + 1; i < full->ndim; i++) {
        dst_step *= (size_t)full->dim[i];
        src_step *= (size_t)block->dim[i];
    }
    size_t n = (size_t)full->dim[d], b = (size_t)block->dim[d];
    if (d + 1 == full->ndim) {
        for (size_t i = 0; i < n; i += b)
            (void)memcpy(dst + i * size, src, size * (n - i < b ? n - i : b));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (i < b)
            tile(dst + i * dst_step, src + i * src_step, full, block, d + 1, size);
        else
            (void)memcpy(dst + i * dst_step, dst + (i - b) * dst_step, dst_step);
    }
}

/* The shape that "tiles" gives for a tensor; GHN_INVALID_FILE if its block cannot be tiled to it.
 */
static enum ghn_status full_shape(const struct ghn_tensor *tensor, const json_t *dims,
                                  struct ghn_shape *ret, struct ghn_err *err) {
    struct ghn_shape full = {.ndim = tensor->shape.ndim};
    int64_t numel;
    bool ok = json_is_array(dims) && (int)json_array_size(dims) == full.ndim && full.ndim > 0;
    for (int i = 0; ok && i < full.ndim; i++) {
        full.dim[i] = json_integer_value(json_array_get(dims, (size_t)i));
        ok = full.dim[i] > 0 && tensor->shape.dim[i] > 0;
    }
    /* The product is below 2^63 / 8, the largest element, if this one holds with room. */
    ok = ok && ghn_shape_numel(&full, &numel) && numel <= INT64_MAX / 8;
    if (!ok)
        return ghn_fail(err, GHN_INVALID_FILE, tensor->name,
                        "the shape that the metadata entry \"tiles\" gives it does not fit its "
                        "block");
    *ret = full;
    return GHN_OK;
}

/* Replaces a block by the full tensor, whose memory the caller frees with ghn_free. */
static enum ghn_status expand(struct ghn_tensor *tensor, const json_t *dims, struct ghn_err *err) {
    struct ghn_shape full = {0};
    int64_t numel = 0;
    enum ghn_status status = full_shape(tensor, dims, &full, err);
    if (status != GHN_OK)
        return status;
    (void)ghn_shape_numel(&full, &numel);
    size_t size = ghn_dtype_size(tensor->dtype);
    unsigned char *data = ghn_malloc((size_t)numel * size);
    if (!data)
        return ghn_fail_memory(err);
    tile(data, tensor->data, &full, &tensor->shape, 0, size);
    tensor->data = data;
    tensor->shape = full;
    tensor->n_bytes = (size_t)numel * size;
    return GHN_OK;
}

static enum ghn_status convert_blocks(const struct ghn_tensors *tensors, const char *out,
                                      struct ghn_err *err) {
    json_t *tiles = cli_json_in(json_string_value(json_object_get(tensors->metadata, "tiles")));
    json_t *metadata = json_copy(tensors->metadata);
    size_t n = (size_t)tensors->n;
    struct ghn_tensor *items = ghn_calloc(n, sizeof(*items));
    enum ghn_status status = metadata && items ? GHN_OK : ghn_fail_memory(err);
    for (size_t i = 0; i < n && status == GHN_OK; i++) {
        const json_t *dims = json_object_get(tiles, tensors->items[i].name);
        items[i] = tensors->items[i];
        if (dims)
            status = expand(&items[i], dims, err);
    }
    if (status == GHN_OK) {
        (void)json_object_del(metadata, "tiles");
        (void)json_object_del(metadata, "format");
        status = ghn_safetensors_write(out, items, tensors->n, metadata, err);
    }
    for (size_t i = 0; i < n && items; i++)
        if (items[i].data != tensors->items[i].data)
            ghn_free((void *)items[i].data);
    ghn_free(items);
    json_decref(metadata);
    json_decref(tiles);
    return status;
}

/* The metadata as the strings that a safetensors file can hold, and where the file came from. */
static json_t *string_metadata(const struct ghn_tensors *tensors, const char *in) {
    json_t *strings = json_object(), *value;
    const char *key, *slash = strrchr(in, '/');
    json_object_foreach(tensors->metadata, key, value) {
        char *text =
            json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        (void)json_object_set_new(strings, key,
                                  json_string(text ? text : json_string_value(value)));
        free(text);
    }
    (void)json_object_set_new(strings, "converted_from", json_string(slash ? slash + 1 : in));
    (void)json_object_set_new(strings, "converted_from_sha256", json_string(tensors->sha256));
    return strings;
}

static bool is_blocks(const struct ghn_tensors *tensors) {
    const char *format = json_string_value(json_object_get(tensors->metadata, "format"));
    return format && strcmp(format, "ghn-blocks/1") == 0;
}

/* Writes what was read as what it is; *ret_kind says what that was. */
static enum ghn_status convert(const struct ghn_tensors *tensors, const char *in, const char *out,
                               const char **ret_kind, struct ghn_err *err) {
    struct ghn_model *model = NULL;
    enum ghn_status status;
    if (is_blocks(tensors)) {
        *ret_kind = "blocks in full";
        return convert_blocks(tensors, out, err);
    }
    json_t *metadata = string_metadata(tensors, in);
    if (!metadata)
        return ghn_fail_memory(err);
    if (ghn_model_load(in, &model, NULL) == GHN_OK) {
        *ret_kind = "hypernetwork";
        status = ghn_model_save(model, out, metadata, err);
    } else {
        *ret_kind = "parameters";
        status = ghn_safetensors_write(out, tensors->items, tensors->n, metadata, err);
    }
    ghn_model_unref(model);
    json_decref(metadata);
    return status;
}

int cli_convert(int argc, char **argv) {
    int first, code;
    if (!cli_options(argc, argv, NULL, 0, cli_convert_help, 2, 2, &first, &code))
        return code;
    const char *in = argv[first], *out = argv[first + 1], *kind = "";
    struct ghn_tensors *tensors = NULL;
    struct cli_header header = {0};
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghn_tensors_read(in, &tensors, &err);
    if (status == GHN_OK)
        status = convert(tensors, in, out, &kind, &err);
    ghn_tensors_free(tensors);
    if (status == GHN_OK)
        status = cli_header_read(out, &header, &err);
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    char count[CLI_NUMBER], bytes[CLI_NUMBER];
    printf("%s: %s, %d tensors, %s values, %s\n", out, kind, header.tensors,
           cli_count(header.elements, count), cli_bytes(header.bytes, bytes));
    cli_header_done(&header);
    return CLI_OK;
}
