/* Files that the subcommands read: requests, and the headers of answers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/json.h"
#include "cli.h"
#include "ghn/model.h"

/* The longest file that is read as text; a request of thousands of nodes takes a megabyte. */
enum { MAX_TEXT = 64 << 20 };

/* The longest header that a safetensors file may have. */
enum { MAX_HEADER = 100 << 20 };

static const struct ghn_json_limits header_limits = {.max_depth = 8, .max_tokens = 8000000};

static enum ghn_status read_stream(FILE *in, const char *path, char **ret, size_t *ret_size,
                                   struct ghn_err *err) {
    size_t size = 0, capacity = 65536;
    char *text = malloc(capacity);
    while (text) {
        size += fread(text + size, 1, capacity - size, in);
        if (size < capacity)
            break;
        char *larger = capacity < MAX_TEXT ? realloc(text, 2 * capacity) : NULL;
        if (!larger) {
            free(text);
            return capacity < MAX_TEXT
                       ? ghn_fail_memory(err)
                       : ghn_fail(err, GHN_TOO_LARGE, path, "this is longer than any request");
        }
        text = larger;
        capacity *= 2;
    }
    if (!text)
        return ghn_fail_memory(err);
    if (ferror(in)) {
        free(text);
        return ghn_fail(err, GHN_IO, path, "it cannot be read: %s", strerror(errno));
    }
    *ret = text;
    *ret_size = size;
    return GHN_OK;
}

enum ghn_status cli_read(const char *path, char **ret, size_t *ret_size, struct ghn_err *err) {
    if (strcmp(path, "-") == 0)
        return read_stream(stdin, "standard input", ret, ret_size, err);
    FILE *in = fopen(path, "rb");
    if (!in)
        return ghn_fail(err, GHN_IO, path, "it cannot be opened: %s", strerror(errno));
    enum ghn_status status = read_stream(in, path, ret, ret_size, err);
    (void)fclose(in);
    return status;
}

enum ghn_status cli_read_json(const char *path, json_t **ret, struct ghn_err *err) {
    char *text = NULL;
    size_t size;
    enum ghn_status status = cli_read(path, &text, &size, err);
    if (status != GHN_OK)
        return status;
    struct ghn_err inner = GHN_ERR_INIT;
    status = ghn_json_load(text, size, NULL, ret, &inner);
    free(text);
    if (status != GHN_OK)
        return ghn_fail(err, status, strcmp(path, "-") == 0 ? "standard input" : path, "%s",
                        inner.message);
    return GHN_OK;
}

enum ghn_status cli_model_of(const char *path, struct ghn_model **ret, struct ghn_err *err) {
    struct ghn_model *model = NULL;
    struct ghn_err why = GHN_ERR_INIT;
    enum ghn_status status = ghn_model_load(path, &model, &why);
    if (status != GHN_OK && status != GHN_INVALID_CHECKPOINT)
        return ghn_fail(err, status, why.where, "%s", why.message);
    *ret = model;
    return GHN_OK;
}

/* The JSON of the header, and where the data starts. */
static enum ghn_status read_header(FILE *in, const char *path, json_t **ret, uint64_t *ret_data,
                                   struct ghn_err *err) {
    unsigned char prefix[8];
    if (fread(prefix, 1, 8, in) != 8)
        return ghn_fail(err, GHN_INVALID_FILE, path,
                        "this is no safetensors file: it is too short");
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--)
        size = size << 8 | prefix[i];
    if (size < 2 || size > MAX_HEADER)
        return ghn_fail(err, GHN_INVALID_FILE, path,
                        "this is no safetensors file: a header of %llu bytes",
                        (unsigned long long)size);
    char *text = malloc(size);
    if (!text)
        return ghn_fail_memory(err);
    enum ghn_status status;
    struct ghn_err inner = GHN_ERR_INIT;
    if (fread(text, 1, size, in) != size)
        status = ghn_fail(&inner, GHN_INVALID_FILE, NULL, "the header is cut off");
    else
        status = ghn_json_load(text, size, &header_limits, ret, &inner);
    free(text);
    if (status != GHN_OK)
        return ghn_fail(err, status, path, "%s", inner.message);
    *ret_data = 8 + size;
    return GHN_OK;
}

/* The number of elements of a shape; -1 if that is no shape. */
static int64_t numel(const json_t *shape) {
    int64_t product = 1;
    if (!json_is_array(shape))
        return -1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        int64_t dim = json_integer_value(json_array_get(shape, i));
        if (dim < 0 || !ghn_mul_i64(product, dim, &product))
            return -1;
    }
    return product;
}

/* Counts the tensors and finds the end of the data. */
static enum ghn_status count_tensors(struct cli_header *header, const char *path, uint64_t *ret_end,
                                     struct ghn_err *err) {
    json_t *tiles = cli_json_in(cli_header_text(header, "tiles")), *tensor;
    const char *name;
    enum ghn_status status = GHN_OK;
    uint64_t end = 0;
    json_object_foreach(header->root, name, tensor) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        json_t *full = json_object_get(tiles, name);
        int64_t n = numel(full ? full : json_object_get(tensor, "shape"));
        uint64_t stop = (uint64_t)json_integer_value(
            json_array_get(json_object_get(tensor, "data_offsets"), 1));
        if (n < 0 || !ghn_add_i64(header->elements, n, &header->elements)) {
            status = ghn_fail(err, GHN_INVALID_FILE, path, "the shape of '%s' is none", name);
            break;
        }
        header->tensors++;
        end = stop > end ? stop : end;
    }
    json_decref(tiles);
    if (status == GHN_OK)
        *ret_end = end;
    return status;
}

enum ghn_status cli_header_read(const char *path, struct cli_header *ret, struct ghn_err *err) {
    struct cli_header header = {0};
    uint64_t data = 0, end = 0;
    struct stat stat;
    FILE *in = fopen(path, "rb");
    if (!in)
        return ghn_fail(err, GHN_IO, path, "it cannot be opened: %s", strerror(errno));
    enum ghn_status status = read_header(in, path, &header.root, &data, err);
    if (status == GHN_OK)
        status = count_tensors(&header, path, &end, err);
    if (status == GHN_OK && fstat(fileno(in), &stat) != 0)
        status = ghn_fail(err, GHN_IO, path, "%s", strerror(errno));
    if (status == GHN_OK && (uint64_t)stat.st_size != data + end)
        status = ghn_fail(err, GHN_INVALID_FILE, path,
                          "it has %llu bytes, but its header speaks of %llu",
                          (unsigned long long)stat.st_size, (unsigned long long)(data + end));
    (void)fclose(in);
    if (status != GHN_OK) {
        cli_header_done(&header);
        return status;
    }
    header.bytes = data + end;
    *ret = header;
    return GHN_OK;
}

void cli_header_done(struct cli_header *header) {
    json_decref(header->root);
    header->root = NULL;
}

const char *cli_header_text(const struct cli_header *header, const char *key) {
    return json_string_value(json_object_get(json_object_get(header->root, "__metadata__"), key));
}

json_t *cli_json_in(const char *text) {
    json_t *root = NULL;
    if (!text || ghn_json_load(text, strlen(text), &header_limits, &root, NULL) != GHN_OK)
        return NULL;
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}
