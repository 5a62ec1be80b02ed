#include "ghn/hypernet.h"

#include <assert.h>
#include <string.h>

#include "ghn/config.h"
#include "ghn/hypernet_impl.h"

/* A hypernetwork without values; config must have been checked. */
static enum ghn_status alloc(const struct ghn_config *config, struct ghn_hypernet **ret,
                             struct ghn_err *err) {
    struct ghn_hypernet *h = ghn_calloc(1, sizeof(*h));
    if (!h)
        return ghn_fail_memory(err);
    h->config = *config;
    h->kernels = ghn__kernels_best();
    ghn__shape_table_init(&h->shapes, config->num_classes, config->max_shape[2]);
    ghn__tensor_specs(config, h->specs);
    h->n = ghn__tensors_place(h->specs, NULL, h->tensors);
    enum ghn_status status = ghn__n_parameters_check(h->n, err);
    if (status != GHN_OK)
        goto error;
    h->values = ghn_malloc((size_t)h->n * sizeof(float));
    h->gradient = ghn_calloc((size_t)h->n, sizeof(float));
    if (!h->values || !h->gradient) {
        status = ghn_fail_memory(err);
        goto error;
    }
    (void)ghn__tensors_place(h->specs, h->values, h->tensors);
    (void)ghn__tensors_place(h->specs, h->gradient, h->gradients);
    *ret = h;
    return GHN_OK;
error:
    ghn_hypernet_free(h);
    return status;
}

enum ghn_status ghn_hypernet_new(const struct ghn_config *config, uint64_t seed,
                                 struct ghn_hypernet **ret, struct ghn_err *err) {
    struct ghn_hypernet *h = NULL;
    enum ghn_status status = ghn__config_check(config, err);
    if (status == GHN_OK)
        status = alloc(config, &h, err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < GHN__N_TENSORS; i++)
        if (h->tensors[i])
            ghn__tensor_initialise(&h->specs[i], seed, h->tensors[i]);
    *ret = h;
    return GHN_OK;
}

enum ghn_status ghn_hypernet_from_model(const struct ghn_model *model, struct ghn_hypernet **ret,
                                        struct ghn_err *err) {
    return ghn_hypernet_for_classes(model, model->config.num_classes, 0, ret, err);
}

enum ghn_status ghn_hypernet_for_classes(const struct ghn_model *model, int num_classes,
                                         uint64_t seed, struct ghn_hypernet **ret,
                                         struct ghn_err *err) {
    struct ghn_config config = model->config;
    struct ghn_hypernet *h = NULL;
    config.num_classes = num_classes;
    enum ghn_status status = ghn_hypernet_new(&config, seed, &h, err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < GHN__N_TENSORS; i++)
        if (h->tensors[i] && ghn_shape_equal(&h->specs[i].shape, &model->specs[i].shape))
            memcpy(h->tensors[i], model->tensors[i], (size_t)h->specs[i].numel * sizeof(float));
    *ret = h;
    return GHN_OK;
}

enum ghn_status ghn_hypernet_to_model(const struct ghn_hypernet *h, const float *values,
                                      struct ghn_model **ret, struct ghn_err *err) {
    return ghn__model_from_values(&h->config, values ? values : h->values, ret, err);
}

void ghn_hypernet_free(struct ghn_hypernet *h) {
    if (!h)
        return;
    ghn_free(h->values);
    ghn_free(h->gradient);
    ghn_free(h);
}

const struct ghn_config *ghn_hypernet_config(const struct ghn_hypernet *h) {
    return &h->config;
}

int64_t ghn_hypernet_n(const struct ghn_hypernet *h) {
    return h->n;
}

float *ghn_hypernet_values(struct ghn_hypernet *h) {
    return h->values;
}

float *ghn_hypernet_gradient(struct ghn_hypernet *h) {
    return h->gradient;
}

int ghn_hypernet_matrices(const struct ghn_hypernet *h,
                          struct ghn_matrix ret[GHN_HYPERNET_MATRICES]) {
    int n = 0;
    for (int i = 0; i < GHN__N_TENSORS; i++) {
        const struct ghn__tensor_spec *spec = &h->specs[i];
        if (!spec->present || spec->shape.ndim < 2 || spec->init != GHN__INIT_UNIFORM)
            continue; /* a vector, or a table of embeddings */
        assert(n < GHN_HYPERNET_MATRICES);
        ret[n++] = (struct ghn_matrix){.first = h->tensors[i] - h->values,
                                       .rows = (int)spec->shape.dim[0],
                                       .cols = (int)spec->shape.dim[1]};
    }
    return n;
}

int64_t ghn__hypernet_n_embedder(const struct ghn_hypernet *h) {
    int64_t n = 0;
    for (int i = 0; i < GHN__FIRST_OF_DECODERS; i++)
        n += h->specs[i].present ? h->specs[i].numel : 0;
    return n;
}
