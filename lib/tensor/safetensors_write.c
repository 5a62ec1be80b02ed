/* Writing safetensors. What the reader would refuse is refused here. */
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/mem.h"
#include "base/names.h"
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

/* The header's text as it grows. It is written here and not by jansson: an answer has a header, and
 * building and dumping a value of six numbers for each tensor takes as long as predicting them. */
struct text {
    char *at;
    size_t n, capacity;
};

/* Room for n more bytes, and the place for them; NULL if there is no memory. */
static char *reserve(struct text *text, size_t n) {
    if (text->capacity - text->n < n) {
        size_t capacity = 2 * text->capacity + n;
        char *at = ghn_realloc(text->at, text->n, capacity);
        if (!at)
            return NULL;
        text->at = at;
        text->capacity = capacity;
    }
    return text->at + text->n;
}

static char *put(char *to, const char *s) {
    size_t n = strlen(s);
    memcpy(to, s, n);
    return to + n;
}

static char *put_number(char *to, uint64_t number) {
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (n > 0)
        *to++ = digits[--n];
    return to;
}

/* A JSON string: at most 6 bytes for each of s, and 2. */
static char *put_string(char *to, const char *s) {
    *to++ = '"';
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20) {
            to = put(to, "\\u00");
            *to++ = "01"[c >> 4];
            *to++ = "0123456789abcdef"[c & 15];
            continue;
        }
        if (c == '"' || c == '\\')
            *to++ = '\\';
        *to++ = (char)c;
    }
    *to++ = '"';
    return to;
}

/* "name":{"dtype":...,"shape":[...],"data_offsets":[begin,end]} */
enum { ENTRY_MAX = 6 * GHN__MAX_NAME + 128 + 21 * (GHN_MAX_DIMS + 2) };
static char *put_entry(char *to, const struct ghn_tensor *item, uint64_t begin, uint64_t end) {
    to = put_string(to, item->name);
    to = put(to, ":{\"dtype\":\"");
    to = put(to, ghn_dtype_name(item->dtype));
    to = put(to, "\",\"shape\":[");
    for (int d = 0; d < item->shape.ndim; d++) {
        if (d > 0)
            *to++ = ',';
        to = put_number(to, (uint64_t)item->shape.dim[d]);
    }
    to = put(to, "],\"data_offsets\":[");
    to = put_number(to, begin);
    *to++ = ',';
    to = put_number(to, end);
    return put(to, "]}");
}

static enum ghn_status add_items(const struct ghn_tensor *items, int n, struct text *text,
                                 struct ghn_names *names, struct ghn_err *err) {
    uint64_t begin = 0, end;
    for (int i = 0; i < n; i++) {
        enum ghn_status status = check_item(items, i, err);
        if (status != GHN_OK)
            return status;
        int known = ghn_names_add(names, items[i].name, i);
        if (known == GHN_NAMES_NO_MEMORY)
            return ghn_fail_memory(err);
        if (known != i)
            return ghn_fail(err, GHN_DUPLICATE_NAME, items[i].name, "two tensors have this name");
        if (!ghn_add_u64(begin, items[i].n_bytes, &end) || end > INT64_MAX)
            return ghn_fail(err, GHN_TOO_LARGE, items[i].name, "the file's size overflows");
        char *to = reserve(text, ENTRY_MAX);
        if (!to)
            return ghn_fail_memory(err);
        if (text->at[text->n - 1] != '{')
            *to++ = ',';
        text->n = (size_t)(put_entry(to, &items[i], begin, end) - text->at);
        begin = end;
    }
    return GHN_OK;
}

static enum ghn_status add_metadata(const json_t *metadata, struct text *text,
                                    struct ghn_err *err) {
    static const char key_text[] = "\"__metadata__\":";
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return ghn_fail(err, GHN_WRONG_TYPE, key, "a metadata entry must be a string");
    }
    char *json = json_dumps(metadata, JSON_COMPACT);
    char *to = json ? reserve(text, sizeof(key_text) + strlen(json)) : NULL;
    if (to)
        text->n = (size_t)(put(put(to, key_text), json) - text->at);
    free(json);
    return to ? GHN_OK : ghn_fail_memory(err);
}

/* Ends the text, pads it with spaces and puts its length in front, where 8 bytes are kept. */
static enum ghn_status frame(struct text *text, struct ghn_err *err) {
    char *to = reserve(text, 1 + GHN_ALIGN);
    if (!to)
        return ghn_fail_memory(err);
    *to = '}';
    text->n++;
    size_t padded = (text->n + GHN_ALIGN - 1) / GHN_ALIGN * GHN_ALIGN;
    uint64_t n_header = padded - 8;
    if (n_header > GHN__MAX_HEADER)
        return ghn_fail(err, GHN_TOO_LARGE, NULL, "a header of %zu bytes; at most %d are allowed",
                        text->n - 8, GHN__MAX_HEADER);
    memset(text->at + text->n, ' ', padded - text->n);
    memcpy(text->at, &n_header, 8);
    text->n = padded;
    return GHN_OK;
}

enum ghn_status ghn_safetensors_header(const struct ghn_tensor *items, int n,
                                       const json_t *metadata, char **ret_header, size_t *ret_size,
                                       struct ghn_err *err) {
    if (n > GHN__MAX_TENSORS)
        return ghn_fail(err, GHN_TOO_LARGE, NULL, "%d tensors; at most %d fit into a file", n,
                        GHN__MAX_TENSORS);
    struct text text = {NULL, 0, 0};
    struct ghn_names names = GHN_NAMES_INIT;
    char *to = reserve(&text, 64 + 128 * (size_t)n);
    enum ghn_status status = to ? GHN_OK : ghn_fail_memory(err);
    if (status == GHN_OK) {
        memset(to, 0, 8);
        to[8] = '{';
        text.n = 9;
        if (metadata && json_object_size(metadata) > 0)
            status = add_metadata(metadata, &text, err);
    }
    if (status == GHN_OK)
        status = add_items(items, n, &text, &names, err);
    if (status == GHN_OK)
        status = frame(&text, err);
    ghn_names_done(&names);
    if (status != GHN_OK) {
        ghn_free(text.at);
        return status;
    }
    *ret_header = text.at;
    *ret_size = text.n;
    return GHN_OK;
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
