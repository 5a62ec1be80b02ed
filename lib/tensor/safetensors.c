/* The safetensors format: u64 header length, header in JSON, data. Stricter than the format's own
 * reader where readers differ. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/json.h"
#include "tensor/bytes.h"
#include "tensor/files.h"

enum { HEADER_MAX = 16 << 20 };

/* --- Reading --- */

/* A tensor as the header describes it. */
struct entry {
    const char *name; /* in the set's arena */
    enum ghn_dtype dtype;
    struct ghn_shape shape;
    uint64_t begin, end;
};

struct reader {
    struct ghn_tensors *tensors;
    const char *what;
    struct ghn_err *err;
};

static enum ghn_status invalid(const struct reader *r, const char *name, const char *message) {
    return ghn_fail(r->err, GHN_INVALID_FILE, r->what, "tensor \"%s\" %s", name, message);
}

/* A list of integers of 0 or more, at most max of them; -1 if it is anything else. */
static int read_integers(const json_t *list, int max, uint64_t *ret) {
    if (!json_is_array(list) || json_array_size(list) > (size_t)max)
        return -1;
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return -1;
        ret[i] = (uint64_t)json_integer_value(item);
    }
    return (int)json_array_size(list);
}

static enum ghn_status read_entry(const struct reader *r, const char *name, const json_t *object,
                                  struct entry *ret) {
    const json_t *dtype = json_object_get(object, "dtype");
    uint64_t dims[GHN_MAX_DIMS], offsets[2];
    int ndim = read_integers(json_object_get(object, "shape"), GHN_MAX_DIMS, dims);
    if (!json_is_object(object) || json_object_size(object) != 3 || !json_is_string(dtype) ||
        ndim < 0 || read_integers(json_object_get(object, "data_offsets"), 2, offsets) != 2)
        return invalid(
            r, name,
            "is not described by exactly a dtype, a shape (at most 8 dimensions) and two "
            "data_offsets");
    struct ghn_err unknown = GHN_ERR_INIT;
    if (ghn_dtype_parse(json_string_value(dtype), &ret->dtype, &unknown) != GHN_OK)
        return ghn_fail(r->err, GHN_UNSUPPORTED_FILE, r->what, "tensor \"%s\": %s", name,
                        unknown.message);
    ret->shape.ndim = ndim;
    for (int i = 0; i < ndim; i++)
        ret->shape.dim[i] = (int64_t)dims[i];
    ret->begin = offsets[0];
    ret->end = offsets[1];
    ret->name = ghn_arena_strdup(ghn__tensors_arena(r->tensors), name);
    return ret->name ? GHN_OK : ghn_fail_memory(r->err);
}

static enum ghn_status read_metadata(const struct reader *r, const json_t *metadata) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return ghn_fail(r->err, GHN_INVALID_FILE, r->what, "__metadata__ is no object");
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return ghn_fail(r->err, GHN_INVALID_FILE, r->what,
                            "__metadata__ has \"%.64s\", which is no string", key);
        if (json_object_set(r->tensors->metadata, key, value) != 0)
            return ghn_fail_memory(r->err);
    }
    return GHN_OK;
}

static int by_offset(const void *x, const void *y) {
    const struct entry *a = x, *b = y;
    return a->begin < b->begin ? -1 : a->begin > b->begin;
}

/* The tensors must cover the data without holes or overlaps, each with exactly its shape's bytes.
 */
static enum ghn_status place(const struct reader *r, struct entry *entries, size_t n,
                             const unsigned char *data, size_t n_data) {
    qsort(entries, n, sizeof(*entries), by_offset);
    uint64_t at = 0;
    enum ghn_status status = ghn__tensors_reserve(r->tensors, n, r->err);
    for (size_t i = 0; i < n && status == GHN_OK; i++) {
        const struct entry *e = &entries[i];
        size_t n_bytes = 0;
        status = ghn__tensor_bytes(e->dtype, &e->shape, r->what, e->name, &n_bytes, r->err);
        if (status != GHN_OK)
            return status;
        if (e->begin != at)
            return invalid(r, e->name, "does not begin where the one before it ends");
        if (e->end < e->begin || e->end - e->begin != n_bytes)
            return invalid(r, e->name, "has other data_offsets than its shape and dtype need");
        if (e->end > n_data)
            return invalid(r, e->name, "ends beyond the file; it may be cut short");
        status = ghn__tensors_add(r->tensors, r->what, e->name, e->dtype, &e->shape, data + at,
                                  n_bytes, r->err);
        at = e->end;
    }
    if (status == GHN_OK && at != n_data)
        status =
            ghn_fail(r->err, GHN_INVALID_FILE, r->what, "%llu bytes at its end belong to no tensor",
                     (unsigned long long)(n_data - at));
    return status;
}

static enum ghn_status read_entries(const struct reader *r, const json_t *header,
                                    struct entry *entries, size_t *ret_n) {
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach((json_t *)header, name, value) {
        enum ghn_status status = strcmp(name, "__metadata__") == 0
                                     ? read_metadata(r, value)
                                     : read_entry(r, name, value, &entries[n++]);
        if (status != GHN_OK)
            return status;
    }
    *ret_n = n;
    return GHN_OK;
}

/* The header as JSON: it starts with '{', and only spaces may follow its end. */
static enum ghn_status load_header(const struct reader *r, const unsigned char *text, size_t n,
                                   json_t **ret) {
    static const struct ghn_json_limits limits = {.max_depth = 4, .max_tokens = 1200000};
    while (n > 0 && text[n - 1] == ' ')
        n--;
    struct ghn_err inner = GHN_ERR_INIT;
    if (n == 0 || text[0] != '{' || text[n - 1] != '}')
        return ghn_fail(r->err, GHN_INVALID_FILE, r->what, "its header is no JSON object");
    enum ghn_status status = ghn_json_load(text, n, &limits, ret, &inner);
    if (status == GHN_NO_MEMORY)
        return ghn_fail_memory(r->err);
    if (status != GHN_OK)
        return ghn_fail(r->err, GHN_INVALID_FILE, r->what, "its header cannot be read: %s",
                        inner.message);
    if (json_object_size(*ret) <= GHN_TENSORS_MAX)
        return GHN_OK;
    json_decref(*ret);
    *ret = NULL;
    return ghn_fail(r->err, GHN_TOO_LARGE, r->what, "it has more than %d tensors", GHN_TENSORS_MAX);
}

enum ghn_status ghn__safetensors_parse(struct ghn_tensors *tensors, const unsigned char *data,
                                       size_t n, const char *what, struct ghn_err *err) {
    struct reader r = {tensors, what, err};
    uint64_t size = n >= 8 ? ghn__le64(data) : 0;
    if (n < 8 || size > n - 8)
        return ghn_fail(err, GHN_INVALID_FILE, what,
                        "its header is longer than the file; it may be cut short");
    if (size > HEADER_MAX)
        return ghn_fail(err, GHN_TOO_LARGE, what, "its header has %llu bytes, more than %d",
                        (unsigned long long)size, HEADER_MAX);
    json_t *header = NULL;
    struct entry *entries = NULL;
    size_t n_entries = 0;
    enum ghn_status status = load_header(&r, data + 8, (size_t)size, &header);
    if (status == GHN_OK) {
        entries = ghn_calloc(json_object_size(header), sizeof(*entries));
        status = entries ? read_entries(&r, header, entries, &n_entries) : ghn_fail_memory(err);
    }
    if (status == GHN_OK)
        status = place(&r, entries, n_entries, data + 8 + size, n - 8 - (size_t)size);
    ghn_free(entries);
    json_decref(header);
    return status;
}

/* --- Writing --- */

static json_t *shape_to_json(const struct ghn_shape *shape) {
    json_t *array = json_array();
    for (int i = 0; i < shape->ndim; i++)
        if (json_array_append_new(array, json_integer(shape->dim[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* The header's JSON: metadata first, then the tensors in order; NULL if there is no memory. */
static json_t *header_to_json(const struct ghn_tensor *items, int n, const json_t *metadata) {
    json_t *header = json_object();
    int failed = !header;
    if (metadata && json_object_size(metadata) > 0)
        failed |= json_object_set_new(header, "__metadata__", json_deep_copy(metadata));
    uint64_t at = 0;
    for (int i = 0; i < n && !failed; i++) {
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", ghn_dtype_name(items[i].dtype),
                                  "shape", shape_to_json(&items[i].shape), "data_offsets",
                                  (json_int_t)at, (json_int_t)(at + items[i].n_bytes));
        failed |= json_object_set_new(header, items[i].name, entry);
        at += items[i].n_bytes;
    }
    if (!failed)
        return header;
    json_decref(header);
    return NULL;
}

enum ghn_status ghn_safetensors_header(const struct ghn_tensor *items, int n,
                                       const json_t *metadata, char **ret_header, size_t *ret_size,
                                       struct ghn_err *err) {
    json_t *json = header_to_json(items, n, metadata);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        return ghn_fail_memory(err);
    size_t length = strlen(text);
    size_t size = (8 + length + GHN_ALIGN - 1) / GHN_ALIGN * GHN_ALIGN;
    char *header = ghn_malloc(size);
    if (header) {
        ghn__put_le64((unsigned char *)header, size - 8);
        memcpy(header + 8, text, length);
        memset(header + 8 + length, ' ', size - 8 - length);
    }
    free(text);
    if (!header)
        return ghn_fail_memory(err);
    *ret_header = header;
    *ret_size = size;
    return GHN_OK;
}

enum ghn_status ghn_safetensors_write(const char *path, const struct ghn_tensor *items, int n,
                                      const json_t *metadata, struct ghn_err *err) {
    char *header = NULL;
    size_t size = 0;
    struct ghn_atomic_file *file = NULL;
    enum ghn_status status = ghn_safetensors_header(items, n, metadata, &header, &size, err);
    if (status == GHN_OK)
        status = ghn_atomic_file_new(path, &file, err);
    if (status == GHN_OK)
        status = ghn_atomic_file_write(file, header, size, err);
    for (int i = 0; i < n && status == GHN_OK; i++)
        status = ghn_atomic_file_write(file, items[i].data, items[i].n_bytes, err);
    ghn_free(header);
    if (status == GHN_OK)
        return ghn_atomic_file_commit(file, err);
    ghn_atomic_file_abort(file);
    return status;
}
