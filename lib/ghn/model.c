/* Loading, making and saving hypernetworks. A model's reference count is atomic; all else in it is
 * written before anybody else sees it, and only read from then on. */
#include "ghn/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "base/rng.h"
#include "ghn/config.h"
#include "ghn/model_impl.h"
#include "tensor/tensors.h"

/* The configuration's key in a safetensors file's __metadata__: a JSON object as a string. */
static const char config_key[] = "ghn.config";

/* More than any published hypernetwork has, by far: 2^31 parameters, 8 GiB. */
static const int64_t parameters_max = INT64_C(1) << 31;

void ghn__tensor_specs(const struct ghn_config *c, struct ghn__tensor_spec ret[GHN__N_TENSORS]) {
    struct ghn__shape_table table;
    ghn__shape_table_init(&table, c->num_classes, c->max_shape[2]);
    const int64_t h = c->hid, O = c->max_shape[0], I = c->max_shape[1], S = c->max_shape[2];
    const int64_t K = c->num_classes, M = O > I ? O : I, m = c->ve ? h / 2 : h;
    const int64_t n_spatial = table.n_spatial + 1, n_channel = table.n_channels + 1;
    int i = 0;
#define GHN_TENSOR(symbol, name_, present_, init_, fan_in_, ndim_, d0, d1, d2, d3)                 \
    ret[i++] = (struct ghn__tensor_spec){.name = (name_),                                          \
                                         .present = (present_),                                    \
                                         .init = GHN__INIT_##init_,                                \
                                         .fan_in = (int)(fan_in_),                                 \
                                         .shape = {(ndim_), {(d0), (d1), (d2), (d3)}}};
#include "ghn/tensors.def"
#undef GHN_TENSOR
    /* Checked bounds keep every product below 2^10 * 2^10 * 2^12 * 2^11. */
    for (i = 0; i < GHN__N_TENSORS; i++)
        (void)ghn_shape_numel(&ret[i].shape, &ret[i].numel);
}

int64_t ghn__tensors_place(const struct ghn__tensor_spec specs[GHN__N_TENSORS], float *storage,
                           float *ret[GHN__N_TENSORS]) {
    int64_t n = 0;
    for (int i = 0; i < GHN__N_TENSORS; i++) {
        ret[i] = storage && specs[i].present ? storage + n : NULL;
        n += specs[i].present ? specs[i].numel : 0;
    }
    return n;
}

enum ghn_status ghn__n_parameters_check(int64_t n, struct ghn_err *err) {
    if (n <= parameters_max)
        return GHN_OK;
    return ghn_fail(err, GHN_OUT_OF_RANGE, "max_shape",
                    "the hypernetwork would have %lld parameters; at most %lld are allowed",
                    (long long)n, (long long)parameters_max);
}

/* A model whose tensors have room but no values yet. */
static enum ghn_status model_alloc(const struct ghn_config *config, struct ghn_model **ret,
                                   struct ghn_err *err) {
    struct ghn_model *model = ghn_calloc(1, sizeof(*model));
    if (!model)
        return ghn_fail_memory(err);
    atomic_init(&model->refs, 1);
    model->config = *config;
    model->kernels = ghn__kernels_best();
    ghn__shape_table_init(&model->shapes, config->num_classes, config->max_shape[2]);
    ghn__tensor_specs(config, model->specs);
    model->n_parameters = ghn__tensors_place(model->specs, NULL, model->tensors);
    enum ghn_status status = ghn__n_parameters_check(model->n_parameters, err);
    if (status == GHN_OK) {
        model->storage = ghn_malloc((size_t)model->n_parameters * sizeof(float));
        if (!model->storage)
            status = ghn_fail_memory(err);
    }
    if (status != GHN_OK) {
        ghn_model_unref(model);
        return status;
    }
    (void)ghn__tensors_place(model->specs, model->storage, model->tensors);
    *ret = model;
    return GHN_OK;
}

/* --- Loading --- */

static bool is_float(enum ghn_dtype dtype) {
    return dtype == GHN_F32 || dtype == GHN_F16 || dtype == GHN_BF16 || dtype == GHN_F64;
}

static enum ghn_status load_tensor(struct ghn_model *model, int i, const struct ghn_tensors *file,
                                   const char *path, struct ghn_err *err) {
    const struct ghn__tensor_spec *spec = &model->specs[i];
    const struct ghn_tensor *tensor = ghn_tensors_find(file, spec->name);
    if (!tensor)
        return ghn_fail(err, GHN_INVALID_CHECKPOINT, path,
                        "tensor \"%s\" is missing, which the configuration asks for", spec->name);
    if (!ghn_shape_equal(&tensor->shape, &spec->shape)) {
        char found[GHN_SHAPE_TEXT], expected[GHN_SHAPE_TEXT];
        return ghn_fail(err, GHN_INVALID_CHECKPOINT, path,
                        "tensor \"%s\" has shape %s; the configuration asks for %s", spec->name,
                        ghn_shape_text(&tensor->shape, found, sizeof(found)),
                        ghn_shape_text(&spec->shape, expected, sizeof(expected)));
    }
    if (!is_float(tensor->dtype))
        return ghn_fail(err, GHN_INVALID_CHECKPOINT, path,
                        "tensor \"%s\" has type %s, which is no floating-point type", spec->name,
                        ghn_dtype_name(tensor->dtype));
    if (tensor->dtype == GHN_F32)
        memcpy(model->tensors[i], tensor->data, (size_t)spec->numel * sizeof(float));
    else
        ghn_dtype_to_f32(tensor->dtype, model->tensors[i], tensor->data, (size_t)spec->numel);
    for (int64_t j = 0; j < spec->numel; j++)
        if (!isfinite(model->tensors[i][j]))
            return ghn_fail(err, GHN_INVALID_CHECKPOINT, path,
                            "tensor \"%s\" holds a value that is not finite, at element %lld",
                            spec->name, (long long)j);
    return GHN_OK;
}

static enum ghn_status refuse_unknown(const struct ghn_model *model, const struct ghn_tensors *file,
                                      const char *path, struct ghn_err *err) {
    for (int t = 0; t < file->n; t++) {
        int i = 0;
        while (i < GHN__N_TENSORS &&
               !(model->specs[i].present && strcmp(model->specs[i].name, file->items[t].name) == 0))
            i++;
        if (i == GHN__N_TENSORS)
            return ghn_fail(err, GHN_INVALID_CHECKPOINT, path,
                            "tensor \"%.100s\" is none of a hypernetwork of this configuration",
                            file->items[t].name);
    }
    return GHN_OK;
}

/* The "config" object of a file, a new reference. */
static enum ghn_status find_config(const struct ghn_tensors *file, const char *path, json_t **ret,
                                   struct ghn_err *err) {
    if (file->format == GHN_TORCH_ZIP) {
        *ret = json_incref(json_object_get(file->metadata, "config"));
        return *ret ? GHN_OK
                    : ghn_fail(err, GHN_INVALID_CHECKPOINT, path,
                               "there is no \"config\", which says what the hypernetwork looks "
                               "like");
    }
    const char *text = json_string_value(json_object_get(file->metadata, config_key));
    if (!text)
        return ghn_fail(err, GHN_INVALID_CHECKPOINT, path,
                        "__metadata__ has no \"%s\", which says what the hypernetwork looks like",
                        config_key);
    struct ghn_err inner = GHN_ERR_INIT;
    enum ghn_status status = ghn_json_load(text, strlen(text), NULL, ret, &inner);
    if (status == GHN_NO_MEMORY)
        return ghn_fail_memory(err);
    if (status != GHN_OK)
        return ghn_fail(err, GHN_INVALID_CHECKPOINT, path, "__metadata__ entry \"%s\": %s",
                        config_key, inner.message);
    return GHN_OK;
}

static enum ghn_status load_config(const struct ghn_tensors *file, const char *path,
                                   struct ghn_config *ret, struct ghn_err *err) {
    json_t *json = NULL;
    enum ghn_status status = find_config(file, path, &json, err);
    if (status != GHN_OK)
        return status;
    struct ghn_err inner = GHN_ERR_INIT;
    status = ghn__config_from_json(json, "config", ret, &inner);
    json_decref(json);
    if (status == GHN_OK)
        return GHN_OK;
    return ghn_fail(err, GHN_INVALID_CHECKPOINT, path, "%s: %s", inner.where, inner.message);
}

static enum ghn_status load_tensors(struct ghn_model *model, const struct ghn_tensors *file,
                                    const char *path, struct ghn_err *err) {
    enum ghn_status status = refuse_unknown(model, file, path, err);
    for (int i = 0; i < GHN__N_TENSORS && status == GHN_OK; i++)
        if (model->specs[i].present)
            status = load_tensor(model, i, file, path, err);
    if (status != GHN_OK)
        return status;
    model->metadata = json_incref(file->metadata);
    memcpy(model->sha256, file->sha256, sizeof(model->sha256));
    return ghn__pack(model, err);
}

enum ghn_status ghn_model_load(const char *path, struct ghn_model **ret, struct ghn_err *err) {
    struct ghn_tensors *file = NULL;
    struct ghn_model *model = NULL;
    struct ghn_config config;
    enum ghn_status status = ghn_tensors_read(path, &file, err);
    if (status == GHN_OK)
        status = load_config(file, path, &config, err);
    if (status == GHN_OK)
        status = model_alloc(&config, &model, err);
    if (status == GHN_OK)
        status = load_tensors(model, file, path, err);
    ghn_tensors_free(file);
    if (status == GHN_OK)
        *ret = model;
    else
        ghn_model_unref(model);
    return status;
}

/* --- Making and saving --- */

void ghn__tensor_initialise(const struct ghn__tensor_spec *spec, uint64_t seed, float *ret) {
    uint64_t stream = ghn_rng_stream(spec->name);
    double bound = 1.0 / sqrt((double)spec->fan_in);
    for (int64_t i = 0; i < spec->numel; i++) {
        uint64_t number = (uint64_t)i;
        switch (spec->init) {
        case GHN__INIT_NORMAL:
            ret[i] = (float)ghn_rng_normal(seed, stream, number);
            break;
        case GHN__INIT_UNIFORM:
            ret[i] = (float)(bound * (2.0 * ghn_rng_uniform(seed, stream, number) - 1.0));
            break;
        default:
            ret[i] = spec->init == GHN__INIT_ONE ? 1.0f : 0.0f;
        }
    }
}

/* Finishes a model whose tensors have their values; frees it on failure. */
static enum ghn_status finish_new(struct ghn_model *model, struct ghn_model **ret,
                                  struct ghn_err *err) {
    model->metadata = json_object();
    enum ghn_status status = model->metadata ? ghn__pack(model, err) : ghn_fail_memory(err);
    if (status == GHN_OK)
        *ret = model;
    else
        ghn_model_unref(model);
    return status;
}

enum ghn_status ghn_model_new(const struct ghn_config *config, uint64_t seed,
                              struct ghn_model **ret, struct ghn_err *err) {
    struct ghn_model *model = NULL;
    enum ghn_status status = ghn__config_check(config, err);
    if (status == GHN_OK)
        status = model_alloc(config, &model, err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < GHN__N_TENSORS; i++)
        if (model->tensors[i])
            ghn__tensor_initialise(&model->specs[i], seed, model->tensors[i]);
    return finish_new(model, ret, err);
}

enum ghn_status ghn__model_from_values(const struct ghn_config *config, const float *values,
                                       struct ghn_model **ret, struct ghn_err *err) {
    struct ghn_model *model = NULL;
    enum ghn_status status = model_alloc(config, &model, err);
    if (status != GHN_OK)
        return status;
    memcpy(model->storage, values, (size_t)model->n_parameters * sizeof(float));
    return finish_new(model, ret, err);
}

/* A copy of metadata (which may be NULL) with the configuration; NULL if there is no memory. */
static json_t *with_config(const json_t *metadata, const struct ghn_config *config) {
    json_t *json = metadata ? json_copy((json_t *)metadata) : json_object();
    json_t *entries = ghn__config_to_json(config);
    char *text = entries ? json_dumps(entries, JSON_COMPACT) : NULL;
    if (!json || !text || json_object_set_new(json, config_key, json_string(text)) != 0) {
        json_decref(json);
        json = NULL;
    }
    json_decref(entries);
    free(text);
    return json;
}

enum ghn_status ghn_model_save(const struct ghn_model *model, const char *path,
                               const json_t *metadata, struct ghn_err *err) {
    struct ghn_tensor items[GHN__N_TENSORS];
    int n = 0;
    for (int i = 0; i < GHN__N_TENSORS; i++)
        if (model->tensors[i])
            items[n++] =
                (struct ghn_tensor){.name = model->specs[i].name,
                                    .dtype = GHN_F32,
                                    .shape = model->specs[i].shape,
                                    .data = model->tensors[i],
                                    .n_bytes = (size_t)model->specs[i].numel * sizeof(float)};
    json_t *json = with_config(metadata, &model->config);
    if (!json)
        return ghn_fail_memory(err);
    enum ghn_status status = ghn_safetensors_write(path, items, n, json, err);
    json_decref(json);
    return status;
}

/* --- The rest --- */

struct ghn_model *ghn_model_ref(struct ghn_model *model) {
    atomic_fetch_add_explicit(&model->refs, 1, memory_order_relaxed);
    return model;
}

void ghn_model_unref(struct ghn_model *model) {
    if (!model || atomic_fetch_sub_explicit(&model->refs, 1, memory_order_acq_rel) > 1)
        return;
    json_decref(model->metadata);
    ghn_free(model->storage);
    ghn_free(model->packed.storage);
    ghn_free(model);
}

const struct ghn_config *ghn_model_config(const struct ghn_model *model) {
    return &model->config;
}

int64_t ghn_model_n_parameters(const struct ghn_model *model) {
    return model->n_parameters;
}

const json_t *ghn_model_metadata(const struct ghn_model *model) {
    return model->metadata;
}

const char *ghn_model_sha256(const struct ghn_model *model) {
    return model->sha256;
}
