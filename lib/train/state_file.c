#include "train/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/json.h"
#include "base/mem.h"

struct ghn_tensor ghn__state_tensor(const char *name, const float *data, int64_t n) {
    return (struct ghn_tensor){.name = name,
                               .dtype = GHN_F32,
                               .shape = {1, {n}},
                               .data = data,
                               .n_bytes = (size_t)n * sizeof *data};
}

enum { CRC = 16 };

/* The checksum of text and tensors, in hex. */
static void checksum(const char *training, const struct ghn_tensor *tensors, int n, char ret[CRC]) {
    unsigned long crc = crc32_z(0, (const unsigned char *)training, strlen(training));
    for (int i = 0; i < n; i++)
        crc = crc32_z(crc, tensors[i].data, tensors[i].n_bytes);
    (void)snprintf(ret, CRC, "%08lx", crc);
}

enum ghn_status ghn__state_file_write(const char *path, const struct ghn__state_kind *kind,
                                      json_t *training, const struct ghn_tensor *tensors, int n,
                                      struct ghn_err *err) {
    char *text = training ? json_dumps(training, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(training);
    if (!text)
        return ghn_fail_memory(err);
    char crc[CRC];
    checksum(text, tensors, n, crc);
    json_t *metadata =
        json_pack("{s:s, s:s, s:s}", "format", kind->format, "training", text, "crc32", crc);
    enum ghn_status status =
        metadata ? ghn_safetensors_write(path, tensors, n, metadata, err) : ghn_fail_memory(err);
    json_decref(metadata);
    free(text);
    return status;
}

enum ghn_status ghn__state_damaged(const char *path, const char *what, struct ghn_err *err) {
    return ghn_fail(err, GHN_INVALID_FILE, path, "the saved state of the training is damaged: %s",
                    what);
}

/* A file that is not read as safetensors is a damaged one. */
static enum ghn_status read_tensors(const char *path, struct ghn_tensors **ret,
                                    struct ghn_err *err) {
    struct ghn_err inner = GHN_ERR_INIT;
    enum ghn_status status = ghn_tensors_read(path, ret, &inner);
    if (status == GHN_IO || status == GHN_NO_MEMORY)
        return ghn_fail(err, status, path, "%s", inner.message);
    return status == GHN_OK ? GHN_OK : ghn__state_damaged(path, inner.message, err);
}

enum ghn_status ghn__state_file_read(const char *path, const struct ghn__state_kind *kind,
                                     struct ghn_tensors **ret_file, json_t **ret_training,
                                     struct ghn_err *err) {
    enum ghn_status status = read_tensors(path, ret_file, err);
    if (status != GHN_OK)
        return status;
    const json_t *metadata = (*ret_file)->metadata;
    const char *format = json_string_value(json_object_get(metadata, "format")),
               *text = json_string_value(json_object_get(metadata, "training")),
               *crc = json_string_value(json_object_get(metadata, "crc32"));
    if (!format || strcmp(format, kind->format) != 0 || !text)
        return ghn_fail(err, GHN_INVALID_FILE, path, "it is no saved state of %s", kind->name);
    char expected[CRC];
    checksum(text, (*ret_file)->items, (*ret_file)->n, expected);
    if (!crc || strcmp(crc, expected) != 0)
        return ghn__state_damaged(path, "its checksum is wrong", err);
    if (ghn_json_load(text, strlen(text), NULL, ret_training, NULL) != GHN_OK)
        return ghn__state_damaged(path, "its description is unreadable", err);
    return GHN_OK;
}

enum ghn_status ghn__state_check_tensors(const char *path, const struct ghn_tensors *file,
                                         const struct ghn_tensor *wanted, int n,
                                         struct ghn_err *err) {
    for (int i = 0; i < n; i++) {
        const struct ghn_tensor *tensor = ghn_tensors_find(file, wanted[i].name);
        if (!tensor || tensor->dtype != GHN_F32 || tensor->n_bytes != wanted[i].n_bytes)
            return ghn__state_damaged(path, "a tensor is missing, or has another size", err);
    }
    return GHN_OK;
}

void ghn__state_copy_tensors(const struct ghn_tensors *file, const struct ghn_tensor *wanted,
                             int n) {
    for (int i = 0; i < n; i++)
        memcpy((void *)(uintptr_t)wanted[i].data, ghn_tensors_find(file, wanted[i].name)->data,
               wanted[i].n_bytes);
}

enum ghn_status ghn__state_history(const char *dir, const char *name,
                                   const struct ghn__state_kind *kind, json_t **ret,
                                   struct ghn_err *err) {
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn_tensors *file = NULL;
    json_t *training = NULL;
    const char *path = ghn_arena_printf(&arena, "%s/%s", dir, name);
    enum ghn_status status =
        path ? ghn__state_file_read(path, kind, &file, &training, err) : ghn_fail_memory(err);
    json_t *history = json_object_get(training, "history");
    if (status == GHN_OK && !json_is_array(history))
        status = ghn__state_damaged(path, "it has no history", err);
    if (status == GHN_OK)
        *ret = json_incref(history);
    json_decref(training);
    ghn_tensors_free(file);
    ghn_arena_done(&arena);
    return status;
}

bool ghn__state_difference(const json_t *there, const json_t *here, const json_t *before,
                           char buf[GHN__STATE_DIFFERENCE]) {
    const char *key;
    json_t *ours, *value;
    json_object_foreach((json_t *)here, key, ours) {
        const json_t *theirs = json_object_get(there, key);
        if (!theirs)
            theirs = json_object_get(before, key);
        if (json_equal(theirs, ours))
            continue;
        char *a = theirs ? json_dumps(theirs, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        char *b = json_dumps(ours, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        (void)snprintf(buf, GHN__STATE_DIFFERENCE, "%.40s is %.80s there and %.80s here", key,
                       a ? a : "absent", b ? b : "different");
        free(a);
        free(b);
        return true;
    }
    json_object_foreach((json_t *)there, key, value) {
        if (json_object_get(here, key))
            continue;
        (void)snprintf(buf, GHN__STATE_DIFFERENCE, "%.40s is said there and not here", key);
        return true;
    }
    return false;
}

json_t *ghn__state_through_text(json_t *object) {
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_t *ret = text ? json_loads(text, 0, NULL) : NULL;
    json_decref(object);
    free(text);
    return ret;
}
