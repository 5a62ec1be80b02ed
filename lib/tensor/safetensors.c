/* Reading safetensors: an 8-byte length, a JSON header of that length, and the tensors' bytes. The
 * rules are stricter than the format's where it leaves room for two readers to see two files. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "tensor/source.h"

/* {"name": {"shape": [1]}} is all the nesting that there is, and a tensor of 8 dimensions takes 18
 * keys and values. */
static const struct ghn_json_limits header_limits = {.max_depth = 3,
                                                     .max_tokens = 20 * GHN__MAX_TENSORS};

/* The header while it is being read. */
struct header {
    const struct ghn__source *source;
    const unsigned char *data; /* the tensors' bytes */
    uint64_t n_data;
    struct ghn_err *err;
};

/* The place of one tensor among the data. */
struct span {
    uint64_t begin, end;
    int view;
};

/* The header's text as JSON, n bytes: one object, followed by nothing but spaces. */
static enum ghn_status load_json(const char *text, size_t n, const char *what, json_t **ret,
                                 struct ghn_err *err) {
    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (n == 0 || text[n - 1] != '}')
        return ghn_fail(err, GHN_INVALID_FILE, what,
                        "the header is not a JSON object padded with spaces");
    struct ghn_err inner = GHN_ERR_INIT;
    enum ghn_status status = ghn_json_load(text, n, &header_limits, ret, &inner);
    if (status == GHN_OK || status == GHN_NO_MEMORY)
        return status == GHN_OK ? GHN_OK : ghn_fail_memory(err);
    return ghn_fail(err, status == GHN_TOO_LARGE ? status : GHN_INVALID_FILE, what,
                    "the header cannot be read: %s", inner.message);
}

static enum ghn_status read_shape(const struct header *h, const char *name, const json_t *json,
                                  struct ghn_shape *ret) {
    size_t n = json_array_size(json);
    if (!json_is_array(json))
        return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                        "the shape of tensor \"%.100s\" is not a list", name);
    if (n > GHN_MAX_DIMS)
        return ghn_fail(h->err, GHN_TOO_LARGE, h->source->what,
                        "tensor \"%.100s\" has %zu dimensions; at most %d are read", name, n,
                        GHN_MAX_DIMS);
    ret->ndim = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(json, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                            "dimension %zu of tensor \"%.100s\" is not an integer >= 0", i, name);
        ret->dim[i] = json_integer_value(dim);
    }
    return GHN_OK;
}

/* data_offsets: [begin, end) counted from the end of the header. */
static enum ghn_status read_span(const struct header *h, const char *name, const json_t *json,
                                 struct span *ret) {
    const json_t *begin = json_array_get(json, 0), *end = json_array_get(json, 1);
    if (json_array_size(json) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                        "data_offsets of tensor \"%.100s\" are not two integers", name);
    json_int_t b = json_integer_value(begin), e = json_integer_value(end);
    if (b < 0 || e < b || (uint64_t)e > h->n_data)
        return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                        "data_offsets [%lld, %lld] of tensor \"%.100s\" do not lie in the file's "
                        "%llu bytes of data",
                        (long long)b, (long long)e, name, (unsigned long long)h->n_data);
    ret->begin = (uint64_t)b;
    ret->end = (uint64_t)e;
    return GHN_OK;
}

/* Size and dtype must say the same about a tensor's bytes. */
static enum ghn_status check_size(const struct header *h, const char *name,
                                  const struct ghn__view *view) {
    int64_t numel, n_bytes;
    if (!ghn_shape_numel(&view->shape, &numel) ||
        !ghn_mul_i64(numel, (int64_t)ghn_dtype_size(view->dtype), &n_bytes))
        return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                        "the size of tensor \"%.100s\" overflows", name);
    if ((uint64_t)n_bytes != view->n_bytes)
        return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                        "tensor \"%.100s\" takes %zu bytes by its data_offsets but %lld by its "
                        "shape and dtype",
                        name, view->n_bytes, (long long)n_bytes);
    return GHN_OK;
}

static enum ghn_status read_tensor(const struct header *h, const char *name, const json_t *json,
                                   struct ghn__view *view, struct span *span) {
    const char *what = h->source->what;
    const json_t *dtype = json_object_get(json, "dtype");
    const json_t *shape = json_object_get(json, "shape");
    const json_t *offsets = json_object_get(json, "data_offsets");
    if (strlen(name) > GHN__MAX_NAME)
        return ghn_fail(h->err, GHN_TOO_LARGE, what,
                        "the tensor name \"%.100s...\" is longer than %d bytes", name,
                        GHN__MAX_NAME);
    if (!json_is_object(json) || json_object_size(json) != 3 || !dtype || !shape || !offsets)
        return ghn_fail(h->err, GHN_INVALID_FILE, what,
                        "tensor \"%.100s\" is not described by dtype, shape and data_offsets alone",
                        name);
    if (!json_is_string(dtype))
        return ghn_fail(h->err, GHN_INVALID_FILE, what, "the dtype of tensor \"%.100s\" is no text",
                        name);
    if (ghn_dtype_parse(json_string_value(dtype), &view->dtype, NULL) != GHN_OK)
        return ghn_fail(h->err, GHN_UNSUPPORTED_FILE, what,
                        "tensor \"%.100s\" has the dtype \"%.32s\", which is not read", name,
                        json_string_value(dtype));
    enum ghn_status status = read_shape(h, name, shape, &view->shape);
    if (status == GHN_OK)
        status = read_span(h, name, offsets, span);
    if (status != GHN_OK)
        return status;
    view->first = h->data + span->begin;
    view->n_bytes = (size_t)(span->end - span->begin);
    view->contiguous = true;
    return check_size(h, name, view);
}

static enum ghn_status check_metadata(const struct header *h, json_t *metadata) {
    if (!json_is_object(metadata))
        return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what, "__metadata__ is not an object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                            "__metadata__ entry \"%.100s\" is not a text", key);
    }
    return GHN_OK;
}

static int by_place(const void *a, const void *b) {
    const struct span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The tensors, sorted by place, must fill the data without hole or overlap. Two empty tensors at
 * one place have no order and are refused. */
static enum ghn_status check_places(const struct header *h, const struct span *spans,
                                    const struct ghn__view *views, int n) {
    uint64_t end = 0;
    for (int i = 0; i < n; i++) {
        const char *name = views[spans[i].view].name;
        if (spans[i].begin != end)
            return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                            "tensor \"%.100s\" begins at byte %llu where %llu was expected: %s",
                            name, (unsigned long long)spans[i].begin, (unsigned long long)end,
                            spans[i].begin < end ? "an overlap" : "a hole");
        if (i > 0 && spans[i].end == spans[i - 1].begin)
            return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                            "tensor \"%.100s\" shares its place with another empty one", name);
        end = spans[i].end;
    }
    if (end != h->n_data)
        return ghn_fail(h->err, GHN_INVALID_FILE, h->source->what,
                        "the tensors take %llu bytes but the file has %llu bytes of data",
                        (unsigned long long)end, (unsigned long long)h->n_data);
    return GHN_OK;
}

/* Reads every entry of the header into views, in the header's order, and spans. */
static enum ghn_status read_entries(const struct header *h, json_t *json, struct ghn_arena *arena,
                                    struct ghn__view *views, struct span *spans, int *ret_n) {
    int n = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value) {
        enum ghn_status status;
        if (strcmp(key, "__metadata__") == 0) {
            status = check_metadata(h, value);
        } else {
            status = read_tensor(h, key, value, &views[n], &spans[n]);
            if (status == GHN_OK && !(views[n].name = ghn_arena_strdup(arena, key)))
                status = ghn_fail_memory(h->err);
            spans[n].view = n;
            n++;
        }
        if (status != GHN_OK)
            return status;
    }
    *ret_n = n;
    return GHN_OK;
}

static enum ghn_status read_views(const struct header *h, json_t *json,
                                  struct ghn__parsed *parsed) {
    size_t capacity = json_object_size(json);
    struct span *spans = ghn_calloc(capacity, sizeof(*spans));
    struct ghn__view *views = ghn_calloc(capacity, sizeof(*views));
    enum ghn_status status = GHN_NO_MEMORY;
    parsed->views = ghn_calloc(capacity, sizeof(*views));
    if (!spans || !views || !parsed->views) {
        (void)ghn_fail_memory(h->err);
        goto done;
    }
    int n = 0;
    status = read_entries(h, json, parsed->arena, views, spans, &n);
    if (status != GHN_OK)
        goto done;
    if (n > 0)
        qsort(spans, (size_t)n, sizeof(*spans), by_place);
    status = check_places(h, spans, views, n);
    for (int i = 0; i < n; i++)
        parsed->views[i] = views[spans[i].view];
    parsed->n = n;
done:
    ghn_free(spans);
    ghn_free(views);
    return status;
}

enum ghn_status ghn__safetensors_parse(const struct ghn__source *source, struct ghn__parsed *parsed,
                                       struct ghn_err *err) {
    if (source->n < 8)
        return ghn_fail(err, GHN_INVALID_FILE, source->what, "the file is shorter than 8 bytes");
    uint64_t n_header = ghn__le64(source->data);
    if (n_header > source->n - 8)
        return ghn_fail(err, GHN_INVALID_FILE, source->what,
                        "a header of %llu bytes in a file of %zu: it is cut off, or no safetensors",
                        (unsigned long long)n_header, source->n);
    if (n_header > GHN__MAX_HEADER)
        return ghn_fail(err, GHN_TOO_LARGE, source->what,
                        "a header of %llu bytes; at most %d are read", (unsigned long long)n_header,
                        GHN__MAX_HEADER);
    json_t *json = NULL;
    enum ghn_status status =
        load_json((const char *)source->data + 8, (size_t)n_header, source->what, &json, err);
    if (status != GHN_OK)
        return status;
    struct header h = {source, source->data + 8 + n_header, source->n - 8 - n_header, err};
    if (json_object_size(json) > GHN__MAX_TENSORS)
        status =
            ghn_fail(err, GHN_TOO_LARGE, source->what, "more than %d tensors", GHN__MAX_TENSORS);
    else
        status = read_views(&h, json, parsed);
    json_t *metadata = json_object_get(json, "__metadata__");
    if (status == GHN_OK) {
        parsed->metadata = metadata ? json_incref(metadata) : json_object();
        if (!parsed->metadata)
            status = ghn_fail_memory(err);
    }
    json_decref(json);
    return status;
}
