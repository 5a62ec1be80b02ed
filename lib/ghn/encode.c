#include "ghn/encode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arch/initialise.h"
#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/mem.h"
#include "ghn/tiling.h"
#include "tensor/tensors.h"

enum {
    FILE_CHUNK = 1 << 20,  /* bytes written to a file at once */
    VALUES_AT_ONCE = 1024, /* values that are generated at once, on the stack */
};

/* A tensor of the answer. */
struct entry {
    int slot;
    uint64_t begin, end; /* its bytes in the answer */
    struct ghn__tiling tiling;
};

struct ghn_encoder {
    const struct ghn_prediction *prediction;
    enum ghn_form form;
    enum ghn_dtype dtype;
    char *header;
    size_t header_size;
    int n_entries;
    struct entry *entries;
    uint64_t size;
    int last; /* the entry that was read last, where the next reading most likely goes on */
    /* With another type than f32: the block of entry converted_entry in that type. */
    char *converted;
    int converted_entry;
};

static const struct ghn_shape *answer_shape(const struct ghn_prediction *prediction,
                                            enum ghn_form form, int slot) {
    return form == GHN_FORM_BLOCKS ? &prediction->blocks[slot].shape
                                   : &prediction->graph->slots[slot].shape;
}

/* --- The header --- */

/* Adds an object as a string under key; takes the reference; 0 if that went well. */
static int set_text(json_t *metadata, const char *key, json_t *object) {
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    int failed = !text || json_object_set_new(metadata, key, json_string(text)) != 0;
    free(text);
    json_decref(object);
    return failed;
}

static json_t *not_predicted(const struct ghn_prediction *prediction) {
    json_t *object = json_object();
    for (int i = 0; i < prediction->graph->n_slots && object; i++) {
        if (prediction->outcomes[i] == GHN_PREDICTED)
            continue;
        const char *why = prediction->reasons[i] ? prediction->reasons[i] : "";
        if (json_object_set_new(object, prediction->graph->slots[i].name, json_string(why)) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

/* The full shapes of those tensors whose blocks are smaller. */
static json_t *tiles(const struct ghn_encoder *encoder) {
    json_t *object = json_object();
    for (int e = 0; e < encoder->n_entries && object; e++) {
        int slot = encoder->entries[e].slot;
        const struct ghn_shape *shape = &encoder->prediction->graph->slots[slot].shape;
        if (ghn_shape_equal(shape, &encoder->prediction->blocks[slot].shape))
            continue;
        if (json_object_set_new(object, encoder->prediction->graph->slots[slot].name,
                                ghn_shape_to_json(shape)) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

/* The __metadata__ of the answer, a new reference; NULL if there is no memory. */
static json_t *make_metadata(const struct ghn_encoder *encoder, const json_t *given) {
    json_t *metadata = given ? json_copy((json_t *)given) : json_object();
    json_t *missing = not_predicted(encoder->prediction);
    int failed = !metadata || !missing;
    if (!failed && json_object_size(missing) > 0)
        failed = set_text(metadata, "not_predicted", json_incref(missing));
    if (!failed && encoder->form == GHN_FORM_BLOCKS)
        failed = json_object_set_new(metadata, "format", json_string("ghn-blocks/1")) != 0 ||
                 set_text(metadata, "tiles", tiles(encoder)) != 0;
    json_decref(missing);
    if (failed) {
        json_decref(metadata);
        return NULL;
    }
    return metadata;
}

static enum ghn_status make_header(struct ghn_encoder *encoder, const json_t *given,
                                   struct ghn_err *err) {
    struct ghn_tensor *items = ghn_calloc((size_t)encoder->n_entries, sizeof(*items));
    json_t *metadata = make_metadata(encoder, given);
    enum ghn_status status = items && metadata ? GHN_OK : ghn_fail_memory(err);
    for (int e = 0; e < encoder->n_entries && items; e++) {
        const struct entry *entry = &encoder->entries[e];
        items[e] = (struct ghn_tensor){
            .name = encoder->prediction->graph->slots[entry->slot].name,
            .dtype = encoder->dtype,
            .shape = *answer_shape(encoder->prediction, encoder->form, entry->slot),
            .n_bytes = (size_t)(entry->end - entry->begin),
        };
    }
    if (status == GHN_OK)
        status = ghn_safetensors_header(items, encoder->n_entries, metadata, &encoder->header,
                                        &encoder->header_size, err);
    ghn_free(items);
    json_decref(metadata);
    return status;
}

/* --- Making an encoder --- */

/* Lists the tensors of the answer, with bytes counted from 0; returns the most elements that a
 * block has. */
static int64_t list_entries(struct ghn_encoder *encoder) {
    const struct ghn_prediction *prediction = encoder->prediction;
    uint64_t at = 0, size = ghn_dtype_size(encoder->dtype);
    int64_t largest = 0;
    for (int i = 0; i < prediction->graph->n_slots; i++) {
        if (prediction->outcomes[i] == GHN_OMITTED)
            continue;
        const struct ghn_shape *shape = answer_shape(prediction, encoder->form, i);
        struct entry *entry = &encoder->entries[encoder->n_entries++];
        int64_t numel = 0, block = 0;
        (void)ghn_shape_numel(shape, &numel);
        (void)ghn_shape_numel(&prediction->blocks[i].shape, &block);
        *entry = (struct entry){.slot = i, .begin = at, .end = at + (uint64_t)numel * size};
        ghn__tiling_init(&entry->tiling, shape, &prediction->blocks[i].shape);
        at = entry->end;
        if (prediction->blocks[i].data)
            largest = ghn_max_i64(largest, block);
    }
    encoder->size = at;
    return largest;
}

static enum ghn_status encoder_init(struct ghn_encoder *encoder, const json_t *metadata,
                                    struct ghn_err *err) {
    size_t n_slots = (size_t)encoder->prediction->graph->n_slots;
    encoder->entries = ghn_calloc(n_slots, sizeof(*encoder->entries));
    if (!encoder->entries)
        return ghn_fail_memory(err);
    size_t largest = (size_t)list_entries(encoder);
    encoder->converted_entry = -1;
    if (encoder->dtype != GHN_F32) {
        encoder->converted = ghn_malloc(largest * ghn_dtype_size(encoder->dtype));
        if (!encoder->converted)
            return ghn_fail_memory(err);
    }
    enum ghn_status status = make_header(encoder, metadata, err);
    if (status != GHN_OK)
        return status;
    encoder->size += encoder->header_size;
    for (int e = 0; e < encoder->n_entries; e++) {
        encoder->entries[e].begin += encoder->header_size;
        encoder->entries[e].end += encoder->header_size;
    }
    return GHN_OK;
}

enum ghn_status ghn_encoder_new(const struct ghn_prediction *prediction, enum ghn_form form,
                                enum ghn_dtype dtype, const json_t *metadata,
                                struct ghn_encoder **ret, struct ghn_err *err) {
    if (dtype != GHN_F32 && dtype != GHN_F16 && dtype != GHN_BF16)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "dtype",
                        "values are sent as F32, F16 or BF16, not %s", ghn_dtype_name(dtype));
    struct ghn_encoder *encoder = ghn_calloc(1, sizeof(*encoder));
    if (!encoder)
        return ghn_fail_memory(err);
    encoder->prediction = prediction;
    encoder->form = form;
    encoder->dtype = dtype;
    enum ghn_status status = encoder_init(encoder, metadata, err);
    if (status == GHN_OK)
        *ret = encoder;
    else
        ghn_encoder_free(encoder);
    return status;
}

void ghn_encoder_free(struct ghn_encoder *encoder) {
    if (!encoder)
        return;
    ghn_free(encoder->header);
    ghn_free(encoder->entries);
    ghn_free(encoder->converted);
    ghn_free(encoder);
}

uint64_t ghn_encoder_size(const struct ghn_encoder *encoder) {
    return encoder->size;
}

/* --- Reading --- */

/* Values that are generated by their initialiser; ret need not be aligned. */
static void generate(const struct ghn_prediction *prediction, int slot, enum ghn_dtype dtype,
                     int64_t first, int64_t n, char *ret) {
    float values[VALUES_AT_ONCE], converted[VALUES_AT_ONCE];
    size_t size = ghn_dtype_size(dtype);
    while (n > 0) {
        int64_t part = ghn_min_i64(n, VALUES_AT_ONCE);
        ghn_initialise(&prediction->graph->slots[slot].init, prediction->graph->slots[slot].name,
                       prediction->seed, first, part, values);
        ghn_dtype_from_f32(dtype, converted, values, (size_t)part);
        memcpy(ret, converted, (size_t)part * size);
        ret += (size_t)part * size;
        first += part;
        n -= part;
    }
}

/* The block of an entry in the encoder's type. */
static const void *typed_block(struct ghn_encoder *encoder, int e) {
    const struct ghn_block *block = &encoder->prediction->blocks[encoder->entries[e].slot];
    if (encoder->dtype == GHN_F32)
        return block->data;
    if (encoder->converted_entry != e) {
        int64_t n = 0;
        (void)ghn_shape_numel(&block->shape, &n);
        ghn_dtype_from_f32(encoder->dtype, encoder->converted, block->data, (size_t)n);
        encoder->converted_entry = e;
    }
    return encoder->converted;
}

static void read_values(struct ghn_encoder *encoder, int e, int64_t first, int64_t n, char *ret) {
    const struct entry *entry = &encoder->entries[e];
    if (encoder->prediction->blocks[entry->slot].data)
        ghn__tiling_read(&entry->tiling, typed_block(encoder, e), ghn_dtype_size(encoder->dtype),
                         first, n, ret);
    else
        generate(encoder->prediction, entry->slot, encoder->dtype, first, n, ret);
}

/* Bytes [at, at + n) of an entry, which may begin and end within a value. */
static void read_bytes(struct ghn_encoder *encoder, int e, uint64_t at, char *ret, size_t n) {
    size_t size = ghn_dtype_size(encoder->dtype);
    while (n > 0) {
        size_t skip = (size_t)(at % size), whole = n / size;
        size_t part = whole * size;
        if (skip == 0 && whole > 0) {
            read_values(encoder, e, (int64_t)(at / size), (int64_t)whole, ret);
        } else {
            char value[sizeof(double)];
            read_values(encoder, e, (int64_t)(at / size), 1, value);
            part = size - skip < n ? size - skip : n;
            memcpy(ret, value + skip, part);
        }
        at += part;
        ret += part;
        n -= part;
    }
}

/* The entry that byte `offset`, beyond the header, belongs to. */
static int find_entry(const struct ghn_encoder *encoder, uint64_t offset) {
    for (int e = encoder->last; e < encoder->n_entries && e < encoder->last + 2; e++)
        if (offset >= encoder->entries[e].begin && offset < encoder->entries[e].end)
            return e;
    int low = 0, high = encoder->n_entries;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (encoder->entries[middle].begin <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

size_t ghn_encoder_read(struct ghn_encoder *encoder, uint64_t offset, void *buf, size_t n) {
    char *ret = buf;
    if (offset >= encoder->size)
        return 0;
    if (n > encoder->size - offset)
        n = (size_t)(encoder->size - offset);
    size_t left = n;
    if (offset < encoder->header_size) {
        size_t part = encoder->header_size - (size_t)offset;
        part = part < left ? part : left;
        memcpy(ret, encoder->header + offset, part);
        offset += part;
        ret += part;
        left -= part;
    }
    while (left > 0) {
        int e = find_entry(encoder, offset);
        const struct entry *entry = &encoder->entries[e];
        size_t part = entry->end - offset < left ? (size_t)(entry->end - offset) : left;
        read_bytes(encoder, e, offset - entry->begin, ret, part);
        encoder->last = e;
        offset += part;
        ret += part;
        left -= part;
    }
    return n;
}

enum ghn_status ghn_encoder_write_file(struct ghn_encoder *encoder, const char *path,
                                       struct ghn_err *err) {
    char *chunk = ghn_malloc(FILE_CHUNK);
    if (!chunk)
        return ghn_fail_memory(err);
    struct ghn_atomic_file *file = NULL;
    enum ghn_status status = ghn_atomic_file_new(path, &file, err);
    for (uint64_t at = 0; at < encoder->size && status == GHN_OK;) {
        size_t n = ghn_encoder_read(encoder, at, chunk, FILE_CHUNK);
        status = ghn_atomic_file_write(file, chunk, n, err);
        at += n;
    }
    if (status == GHN_OK)
        status = ghn_atomic_file_commit(file, err);
    else
        ghn_atomic_file_abort(file);
    ghn_free(chunk);
    return status;
}

void ghn_prediction_values(const struct ghn_prediction *prediction, int slot, int64_t first,
                           int64_t n, float *ret) {
    const struct ghn_block *block = &prediction->blocks[slot];
    if (!block->data) {
        generate(prediction, slot, GHN_F32, first, n, (char *)ret);
        return;
    }
    struct ghn__tiling tiling;
    ghn__tiling_init(&tiling, &prediction->graph->slots[slot].shape, &block->shape);
    ghn__tiling_read(&tiling, block->data, sizeof(float), first, n, ret);
}
