/* A PyTorch file: an archive with a pickle that describes objects and a record for each storage. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "tensor/source.h"
#include "tensor/torch_pickle.h"
#include "tensor/torch_zip.h"

enum {
    MAX_DEPTH = 64,
    /* Values looked at, shared ones as often as they are met. */
    MAX_STEPS = 1000000,
    MAX_METADATA = 16 * 1048576, /* bytes of text, shared texts as often as they are met */
    MAX_VERSION = 10,            /* of the archive's layout, as PyTorch 2 has it */
};

struct reader {
    const struct ghn__source *source;
    const struct ghn__zip *zip;
    const char *root; /* the folder that all records are in; not NUL-terminated */
    size_t n_root;
    struct ghn__parsed *parsed;
    int capacity;                 /* of parsed->views */
    const struct ghn__list *top;  /* the dict that the pickle holds */
    char name[GHN__MAX_NAME + 1]; /* of the dict or tensor that is being collected */
    size_t n_name;
    int steps;
    size_t n_text; /* bytes of text in the metadata */
    struct ghn_err *err;
};

static enum ghn_status invalid(struct reader *r, const char *wrong) {
    return ghn_fail(r->err, GHN_INVALID_FILE, r->source->what, "%s", wrong);
}

static const struct ghn__record *find(const struct reader *r, const char *name) {
    return ghn__zip_find(r->zip, r->root, r->n_root, name, strlen(name));
}

static bool content_is(const struct ghn__record *record, const char *text) {
    return record->size == strlen(text) && memcmp(record->data, text, strlen(text)) == 0;
}

/* Finds ROOT/data.pkl, ROOT being the one folder that all records are in. */
static enum ghn_status find_pickle(struct reader *r, const struct ghn__record **ret) {
    const char *slash = memchr(r->zip->records[0].name, '/', r->zip->records[0].n_name);
    r->root = r->zip->records[0].name;
    r->n_root = slash ? (size_t)(slash - r->root) : 0;
    const struct ghn__record *pickle = slash ? find(r, "data.pkl") : NULL;
    if (!pickle)
        return ghn_fail(r->err, GHN_UNSUPPORTED_FILE, r->source->what,
                        "this is a ZIP archive but holds no data.pkl, so torch.save did not write "
                        "it");
    for (int i = 0; i < r->zip->n; i++) {
        const struct ghn__record *record = &r->zip->records[i];
        if (record->n_name <= r->n_root + 1 || memcmp(record->name, r->root, r->n_root + 1) != 0)
            return invalid(r, "the archive's records are not all in one folder");
    }
    if (find(r, "constants.pkl"))
        return ghn_fail(r->err, GHN_UNSUPPORTED_FILE, r->source->what,
                        "this is a TorchScript archive; save the model's state_dict() with "
                        "torch.save");
    *ret = pickle;
    return GHN_OK;
}

/* The records that say how the others are written. */
static enum ghn_status check_layout(struct reader *r) {
    const struct ghn__record *order = find(r, "byteorder"), *version = find(r, "version");
    if (order && !content_is(order, "little"))
        return ghn_fail(r->err, GHN_UNSUPPORTED_FILE, r->source->what,
                        "the file's tensors are not in little-endian order");
    if (!version)
        version = find(r, ".data/version");
    if (!version)
        return invalid(r, "the archive has no record \"version\"");
    int number = 0;
    uint64_t i = 0;
    for (; i < version->size && version->data[i] >= '0' && version->data[i] <= '9' && i < 4; i++)
        number = 10 * number + (version->data[i] - '0');
    bool ends = i == version->size || (i + 1 == version->size && version->data[i] == '\n');
    if (i == 0 || !ends)
        return invalid(r, "the record \"version\" holds no version");
    if (number < 1 || number > MAX_VERSION)
        return ghn_fail(r->err, GHN_UNSUPPORTED_FILE, r->source->what,
                        "the archive's layout has version %d; 1 to %d are read", number,
                        MAX_VERSION);
    return GHN_OK;
}

/* Counts a value that is looked at. Containers may share and hold one another, so that walking them
 * could take for ever. */
static enum ghn_status step(struct reader *r, int depth) {
    if (depth > MAX_DEPTH)
        return ghn_fail(r->err, GHN_TOO_LARGE, r->source->what,
                        "the objects nest more than %d levels deep", MAX_DEPTH);
    if (++r->steps > MAX_STEPS)
        return ghn_fail(r->err, GHN_TOO_LARGE, r->source->what, "the file has more than %d values",
                        MAX_STEPS);
    return GHN_OK;
}

/* The record of a storage, which must be as long as the pickle says. */
static enum ghn_status find_storage(struct reader *r, const struct ghn__torch_storage *storage,
                                    const struct ghn__record **ret) {
    char path[32] = "data/";
    memcpy(path + 5, storage->key->bytes, storage->key->n); /* at most 10 digits */
    const struct ghn__record *record = find(r, path);
    if (!record)
        return ghn_fail(r->err, GHN_INVALID_FILE, r->source->what,
                        "tensor \"%.100s\" lies in record \"%s\", which is not there", r->name,
                        path);
    int64_t n_bytes;
    if (!ghn_mul_i64(storage->numel, (int64_t)ghn_dtype_size(storage->dtype), &n_bytes) ||
        (uint64_t)n_bytes != record->size)
        return ghn_fail(r->err, GHN_INVALID_FILE, r->source->what,
                        "tensor \"%.100s\" lies in record \"%s\" of %llu bytes, which does not "
                        "hold %lld elements of %s",
                        r->name, path, (unsigned long long)record->size, (long long)storage->numel,
                        ghn_dtype_name(storage->dtype));
    *ret = record;
    return GHN_OK;
}

/* Whether elements follow one another in row-major order; dimensions of 1 have no stride. */
static bool is_contiguous(const struct ghn__torch_tensor *t) {
    int64_t expected = 1;
    for (int i = t->shape.ndim - 1; i >= 0; i--) {
        if (t->shape.dim[i] == 1)
            continue;
        if (t->stride[i] != expected)
            return false;
        expected *= t->shape.dim[i];
    }
    return true;
}

/* Checks that a tensor of numel elements lies within its storage, and that no small storage stands
 * for a large tensor. */
static bool fits(const struct ghn__torch_tensor *t, int64_t numel) {
    int64_t last = t->offset, extent;
    if (numel == 0)
        return t->offset <= t->storage->numel;
    for (int i = 0; i < t->shape.ndim; i++)
        if (!ghn_mul_i64(t->shape.dim[i] - 1, t->stride[i], &extent) ||
            !ghn_add_i64(last, extent, &last))
            return false;
    return last < t->storage->numel && numel <= t->storage->numel;
}

static bool grow_views(struct reader *r) {
    if (r->parsed->n < r->capacity)
        return true;
    int more = r->capacity ? 2 * r->capacity : 64;
    struct ghn__view *views = ghn_realloc(r->parsed->views, (size_t)r->capacity * sizeof(*views),
                                          (size_t)more * sizeof(*views));
    if (!views)
        return false;
    r->parsed->views = views;
    r->capacity = more;
    return true;
}

/* Adds a tensor under the name in r->name. */
static enum ghn_status add_tensor(struct reader *r, const struct ghn__torch_tensor *tensor) {
    const struct ghn__record *record = NULL;
    enum ghn_status status = find_storage(r, tensor->storage, &record);
    if (status != GHN_OK)
        return status;
    int64_t numel, size = (int64_t)ghn_dtype_size(tensor->storage->dtype);
    if (!ghn_shape_numel(&tensor->shape, &numel) || !fits(tensor, numel))
        return ghn_fail(r->err, GHN_INVALID_FILE, r->source->what,
                        "tensor \"%.100s\" reaches beyond its storage of %lld elements", r->name,
                        (long long)tensor->storage->numel);
    if (r->parsed->n == GHN__MAX_TENSORS)
        return ghn_fail(r->err, GHN_TOO_LARGE, r->source->what, "more than %d tensors",
                        GHN__MAX_TENSORS);
    const char *name = ghn_arena_strdup(r->parsed->arena, r->name);
    if (!name || !grow_views(r))
        return ghn_fail_memory(r->err);
    struct ghn__view *view = &r->parsed->views[r->parsed->n++];
    *view = (struct ghn__view){.name = name,
                               .dtype = tensor->storage->dtype,
                               .shape = tensor->shape,
                               .first = record->data + tensor->offset * size,
                               .n_bytes = (size_t)(numel * size),
                               .contiguous = numel == 0 || is_contiguous(tensor)};
    memcpy(view->stride, tensor->stride, sizeof(view->stride));
    return GHN_OK;
}

/* Appends ".KEY", or "KEY" at the beginning, to the name in r->name. */
static enum ghn_status extend_name(struct reader *r, const struct ghn__value *key) {
    char digits[24];
    struct ghn__text text;
    if (key->kind == GHN__INT)
        text = (struct ghn__text){
            digits, (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)key->as.integer)};
    else
        text = *key->as.text;
    if (memchr(text.bytes, '\0', text.n))
        return invalid(r, "a tensor's name contains NUL");
    size_t n_dot = r->n_name > 0;
    if (text.n + n_dot > GHN__MAX_NAME - r->n_name)
        return ghn_fail(r->err, GHN_TOO_LARGE, r->source->what,
                        "the name of a tensor in \"%.100s\" is longer than %d bytes", r->name,
                        GHN__MAX_NAME);
    if (n_dot)
        r->name[r->n_name] = '.';
    memcpy(r->name + r->n_name + n_dot, text.bytes, text.n);
    r->n_name += n_dot + text.n;
    r->name[r->n_name] = '\0';
    return GHN_OK;
}

static bool key_is(const struct ghn__value *key, const char *text) {
    return key->kind == GHN__TEXT && key->as.text->n == strlen(text) &&
           memcmp(key->as.text->bytes, text, key->as.text->n) == 0;
}

/* The optimiser's state is training's business; "optimzer" is how the official files spell it. */
static bool is_optimiser(const struct ghn__value *key) {
    return key_is(key, "optimzer") || key_is(key, "optimizer");
}

/* Collects the tensors of a dict and of the dicts in it; other values are left out. Recursion is
 * bounded by MAX_DEPTH. */
static enum ghn_status collect(struct reader *r, const struct ghn__list *dict, int depth) {
    size_t n_name = r->n_name;
    for (int i = 0; i < dict->n; i += 2) {
        const struct ghn__value *key = &dict->items[i], *value = &dict->items[i + 1];
        enum ghn_status status = step(r, depth);
        if (status == GHN_OK && (value->kind == GHN__TENSOR || value->kind == GHN__DICT) &&
            !(dict == r->top && is_optimiser(key))) {
            status = extend_name(r, key);
            if (status == GHN_OK)
                status = value->kind == GHN__TENSOR ? add_tensor(r, value->as.tensor)
                                                    : collect(r, value->as.list, depth + 1);
            r->n_name = n_name;
            r->name[n_name] = '\0';
        }
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

static enum ghn_status to_json(struct reader *r, const struct ghn__value *value, int depth,
                               json_t **ret);

static enum ghn_status count_text(struct reader *r, size_t n) {
    r->n_text += n;
    if (r->n_text > MAX_METADATA)
        return ghn_fail(r->err, GHN_TOO_LARGE, r->source->what,
                        "the file's plain values hold more than %d bytes of text", MAX_METADATA);
    return GHN_OK;
}

static enum ghn_status list_to_json(struct reader *r, const struct ghn__list *list, int depth,
                                    json_t *array) {
    for (int i = 0; i < list->n; i++) {
        json_t *item = NULL;
        enum ghn_status status = to_json(r, &list->items[i], depth + 1, &item);
        if (status == GHN_OK && item && json_array_append_new(array, item) != 0)
            status = ghn_fail_memory(r->err);
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

/* Adds a dict's entry to an object; integers as keys become text, as Python's json has it. */
static enum ghn_status entry_to_json(struct reader *r, const struct ghn__value *key,
                                     const struct ghn__value *value, int depth, json_t *object) {
    char digits[24];
    const char *text = digits;
    size_t n;
    if (key->kind == GHN__INT) {
        n = (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)key->as.integer);
    } else {
        text = key->as.text->bytes;
        n = key->as.text->n;
    }
    if (memchr(text, '\0', n))
        return invalid(r, "a key of a dict contains NUL");
    if (json_object_getn(object, text, n))
        return ghn_fail(r->err, GHN_INVALID_FILE, r->source->what,
                        "the key \"%.*s\" stands twice in one dict", (int)(n < 100 ? n : 100),
                        text);
    json_t *item = NULL;
    enum ghn_status status = count_text(r, n);
    if (status == GHN_OK)
        status = to_json(r, value, depth, &item);
    if (status == GHN_OK && item && json_object_setn_new(object, text, n, item) != 0)
        status = ghn_fail_memory(r->err);
    return status;
}

static enum ghn_status dict_to_json(struct reader *r, const struct ghn__list *dict, int depth,
                                    json_t *object) {
    for (int i = 0; i < dict->n; i += 2) {
        enum ghn_status status =
            entry_to_json(r, &dict->items[i], &dict->items[i + 1], depth + 1, object);
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

static json_t *plain_to_json(const struct ghn__value *value) {
    switch (value->kind) {
    case GHN__FALSE:
        return json_false();
    case GHN__TRUE:
        return json_true();
    case GHN__INT:
        return json_integer(value->as.integer);
    case GHN__REAL:
        /* JSON has neither infinity nor NaN. */
        return isfinite(value->as.real) ? json_real(value->as.real) : json_null();
    case GHN__TEXT:
        return json_stringn(value->as.text->bytes, value->as.text->n);
    case GHN__LIST:
    case GHN__TUPLE:
        return json_array();
    case GHN__DICT:
        return json_object();
    default:
        return json_null();
    }
}

/* A plain value as JSON; *ret stays NULL for tensors, for the names that a pickle may hold, and for
 * dicts in which there was nothing else. Recursion is bounded by MAX_DEPTH. */
static enum ghn_status to_json(struct reader *r, const struct ghn__value *value, int depth,
                               json_t **ret) {
    enum ghn_status status = step(r, depth);
    if (status == GHN_OK && value->kind == GHN__TEXT)
        status = count_text(r, value->as.text->n);
    if (status != GHN_OK || value->kind >= GHN__GLOBAL)
        return status;
    json_t *json = plain_to_json(value);
    if (!json)
        return ghn_fail_memory(r->err);
    if (value->kind == GHN__LIST || value->kind == GHN__TUPLE)
        status = list_to_json(r, value->as.list, depth, json);
    else if (value->kind == GHN__DICT)
        status = dict_to_json(r, value->as.list, depth, json);
    bool emptied = value->kind == GHN__DICT && value->as.list->n > 0 && json_object_size(json) == 0;
    if (status != GHN_OK || emptied)
        json_decref(json);
    else
        *ret = json;
    return status;
}

/* The top object's plain values, but for the state_dict and the optimiser. */
static enum ghn_status read_metadata(struct reader *r, const struct ghn__list *dict) {
    r->parsed->metadata = json_object();
    if (!r->parsed->metadata)
        return ghn_fail_memory(r->err);
    for (int i = 0; i < dict->n; i += 2) {
        const struct ghn__value *key = &dict->items[i];
        if (key_is(key, "state_dict") || is_optimiser(key))
            continue;
        enum ghn_status status = entry_to_json(r, key, &dict->items[i + 1], 0, r->parsed->metadata);
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

/* What the pickle holds into tensors and metadata. */
static enum ghn_status read_objects(struct reader *r, const struct ghn__value *value) {
    if (value->kind != GHN__DICT)
        return ghn_fail(r->err, GHN_UNSUPPORTED_FILE, r->source->what,
                        "the file holds no dict of tensors; save the model's state_dict()");
    const struct ghn__list *top = r->top = value->as.list;
    const struct ghn__value *state = NULL;
    for (int i = 0; i < top->n; i += 2)
        if (key_is(&top->items[i], "state_dict")) {
            if (state)
                return invalid(r, "the key \"state_dict\" stands twice");
            state = &top->items[i + 1];
        }
    if (state && state->kind != GHN__DICT)
        return ghn_fail(r->err, GHN_UNSUPPORTED_FILE, r->source->what,
                        "\"state_dict\" is not a dict of tensors");
    enum ghn_status status = read_metadata(r, top);
    return status == GHN_OK ? collect(r, state ? state->as.list : top, 0) : status;
}

enum ghn_status ghn__torch_parse(const struct ghn__source *source, struct ghn__parsed *parsed,
                                 struct ghn_err *err) {
    struct ghn__zip zip;
    enum ghn_status status = ghn__zip_open(source, &zip, err);
    if (status != GHN_OK)
        return status;
    struct reader r = {.source = source, .zip = &zip, .parsed = parsed, .err = err};
    struct ghn_arena objects = GHN_ARENA_INIT;
    const struct ghn__record *record = NULL;
    struct ghn__value value;
    status = find_pickle(&r, &record);
    if (status == GHN_OK)
        status = check_layout(&r);
    if (status == GHN_OK) {
        struct ghn__source pickle = {record->data, (size_t)record->size, source->what};
        status = ghn__unpickle(&pickle, &objects, &value, err);
    }
    if (status == GHN_OK)
        status = read_objects(&r, &value);
    ghn_arena_done(&objects);
    ghn__zip_done(&zip);
    return status;
}
