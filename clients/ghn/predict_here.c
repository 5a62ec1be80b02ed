#include "predict.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/pool.h"
#include "cli.h"
#include "ghn/answer.h"
#include "ghn/encode.h"
#include "ghn/model.h"
#include "ghn/predict.h"

/* Bytes made and written at a time. */
enum { PIECE = 1 << 20 };

/* The parts of a request beside its network, decoded. */
struct wishes {
    enum ghn_dtype dtype;
    bool include_tensors;
    struct ghn_predict_options options;
};

static enum ghn_status read_dtype(const json_t *value, enum ghn_dtype *ret, struct ghn_err *err) {
    static const enum ghn_dtype dtypes[] = {GHN_F32, GHN_F16, GHN_BF16};
    static const char *const names[] = {"f32", "f16", "bf16"};
    enum ghn_status status = ghn_json_expect(value, "dtype", JSON_STRING, err);
    if (status != GHN_OK)
        return status;
    for (size_t i = 0; i < 3; i++)
        if (strcmp(json_string_value(value), names[i]) == 0) {
            *ret = dtypes[i];
            return GHN_OK;
        }
    return ghn_fail(err, GHN_OUT_OF_RANGE, "dtype", "'%s' is none of f32, f16, bf16",
                    json_string_value(value));
}

/* A boolean field, which may be absent. */
static enum ghn_status read_bool(const json_t *root, const char *key, bool *ret,
                                 struct ghn_err *err) {
    const json_t *value = json_object_get(root, key);
    return value ? ghn_json_bool(value, key, ret, err) : GHN_OK;
}

static enum ghn_status read_wishes(const json_t *root, struct wishes *ret, struct ghn_err *err) {
    struct wishes wishes = {.dtype = GHN_F32};
    const json_t *dtype = json_object_get(root, "dtype"), *seed = json_object_get(root, "seed");
    bool class_layers = true;
    int64_t number = 0;
    enum ghn_status status = dtype ? read_dtype(dtype, &wishes.dtype, err) : GHN_OK;
    if (status == GHN_OK)
        status = read_bool(root, "predict_class_layers", &class_layers, err);
    if (status == GHN_OK)
        status = read_bool(root, "include_tensors", &wishes.include_tensors, err);
    if (status == GHN_OK && seed)
        status = ghn_json_int(seed, "seed", 0, INT64_MAX, &number, err);
    if (status != GHN_OK)
        return status;
    wishes.options.keep_class_layers = !class_layers;
    wishes.options.seed = (uint64_t)number;
    *ret = wishes;
    return GHN_OK;
}

/* Copies the encoder's bytes to the output. */
static enum ghn_status write_all(struct ghn_encoder *encoder, struct cli_output *output,
                                 struct ghn_err *err) {
    uint64_t size = ghn_encoder_size(encoder);
    char *piece = ghn_malloc(PIECE);
    enum ghn_status status = piece ? GHN_OK : ghn_fail_memory(err);
    for (uint64_t done = 0; done < size && status == GHN_OK;) {
        size_t n = ghn_encoder_read(encoder, done, piece, PIECE);
        done += n;
        status = cli_output_write(output, piece, n, err);
        if (status == GHN_OK && !cli_output_progress(output, done, size))
            status = ghn_fail(err, GHN_IO, NULL, "interrupted; nothing was written");
    }
    ghn_free(piece);
    return status;
}

static enum ghn_status write_report(const struct ghn_model *model, const char *name,
                                    const struct ghn_prediction *prediction,
                                    const struct wishes *wishes, struct cli_output *output,
                                    struct ghn_err *err) {
    const struct ghn_report_options options = {.data = wishes->include_tensors,
                                               .dtype = wishes->dtype};
    json_t *report = ghn_answer_report(model, name, prediction, &options);
    char *text = report ? json_dumps(report, JSON_COMPACT) : NULL;
    enum ghn_status status =
        text ? cli_output_write(output, text, strlen(text), err) : ghn_fail_memory(err);
    free(text);
    json_decref(report);
    return status;
}

static enum ghn_status write_tensors(const struct ghn_model *model, const char *name,
                                     const struct ghn_prediction *prediction, enum ghn_form form,
                                     enum ghn_dtype dtype, struct cli_output *output,
                                     struct ghn_err *err) {
    struct ghn_encoder *encoder = NULL;
    json_t *metadata = ghn_answer_metadata(model, name, prediction);
    enum ghn_status status = metadata
                                 ? ghn_encoder_new(prediction, form, dtype, metadata, &encoder, err)
                                 : ghn_fail_memory(err);
    if (status == GHN_OK)
        status = write_all(encoder, output, err);
    ghn_encoder_free(encoder);
    json_decref(metadata);
    return status;
}

enum ghn_status cli_predict_here(struct cli_request *request, const char *path,
                                 const char *checkpoint, enum cli_form form,
                                 struct cli_output *output, struct ghn_err *err) {
    struct ghn_model *model = NULL;
    struct ghn_pool *pool = NULL;
    struct ghn_prediction *prediction = NULL;
    struct wishes wishes = {0};
    enum ghn_status status = cli_request_decode(request, path, err);
    if (status == GHN_OK)
        status = read_wishes(request->root, &wishes, err);
    if (status == GHN_OK)
        status = ghn_model_load(checkpoint, &model, err);
    if (status == GHN_OK)
        status = ghn_pool_new(0, &pool, err);
    if (status == GHN_OK)
        status = ghn_predict(model, request->graph, &wishes.options, pool, &prediction, err);
    if (status == GHN_OK) {
        const char *name = request->arch ? request->arch->name : "";
        status = form == CLI_REPORT
                     ? write_report(model, name, prediction, &wishes, output, err)
                     : write_tensors(model, name, prediction,
                                     form == CLI_BLOCKS ? GHN_FORM_BLOCKS : GHN_FORM_SAFETENSORS,
                                     wishes.dtype, output, err);
    }
    ghn_prediction_free(prediction);
    ghn_pool_free(pool);
    ghn_model_unref(model);
    return status;
}
