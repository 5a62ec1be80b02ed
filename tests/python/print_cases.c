/* Prints what the reference twin computes for every case of unit/nn_cases.h, a JSON object a line:
 * the form, parameters and statistics, the input, the output, and from a gradient by the output
 * those by the input and by the parameters. */
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/rng.h"
#include "nn/params.h"
#include "nn/reference.h"
#include "nn_cases.h"

static json_t *numbers(const double *values, int64_t n) {
    json_t *array = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(array, json_real(values[i]));
    return array;
}

/* {name: numbers} of all parameters. */
static json_t *by_name(const struct ghn_arch *arch, const struct ghn_params *params,
                       const double *values) {
    json_t *object = json_object();
    for (int p = 0; p < arch->n_params; p++)
        json_object_set_new(
            object, arch->params[p].name,
            numbers(values + params->offsets[p], params->offsets[p + 1] - params->offsets[p]));
    return object;
}

/* {name: shape} of all parameters. */
static json_t *shapes(const struct ghn_arch *arch) {
    json_t *object = json_object();
    for (int p = 0; p < arch->n_params; p++)
        json_object_set_new(object, arch->params[p].name,
                            ghn_shape_to_json(&arch->params[p].shape));
    return object;
}

/* {node: [C means, C variances]}. */
static json_t *by_node(const struct ghn_arch *arch, const struct ghn_params *params,
                       const double *statistics) {
    json_t *object = json_object();
    for (int i = 0; i < arch->n_nodes; i++)
        if (params->statistics_offsets[i] >= 0)
            json_object_set_new(object, arch->nodes[i].name,
                                numbers(statistics + params->statistics_offsets[i],
                                        2 * arch->nodes[i].shape.dim[0]));
    return object;
}

static json_t *run(const struct nn_case *c, const struct ghn_arch *arch, struct ghn_params *params,
                   struct ghn_reference *reference) {
    int64_t n_in = 0, n_out = 0, batch = nn_case_batch(c);
    if (!ghn_shape_numel(&arch->nodes[0].shape, &n_in) ||
        !ghn_shape_numel(&arch->nodes[arch->output].shape, &n_out))
        return NULL;
    double *images = ghn_calloc((size_t)(n_in * batch), sizeof(double));
    double *doutput = ghn_calloc((size_t)(n_out * batch), sizeof(double));
    double *values = ghn_calloc((size_t)params->n, sizeof(double));
    double *dvalues = ghn_calloc((size_t)params->n, sizeof(double));
    double *statistics = ghn_calloc((size_t)params->n_statistics, sizeof(double));
    if (!images || !doutput || !values || !dvalues || !statistics)
        return NULL;
    nn_case_images(c, n_in * batch, images);
    nn_case_values(c, arch, values, statistics);
    for (int64_t i = 0; i < n_out * batch; i++)
        doutput[i] = 2 * ghn_rng_uniform(3, 2, (uint64_t)i) - 1;
    json_t *result = json_pack(
        "{s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "case", c->name, "batch", (int)batch,
        "mode", (int)c->mode, "arch", ghn_arch_to_json(arch), "shapes", shapes(arch), "params",
        by_name(arch, params, values), "statistics", by_node(arch, params, statistics), "images",
        numbers(images, n_in * batch), "doutput", numbers(doutput, n_out * batch));
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_reference_forward(reference, values, statistics, images, 1, 1, &err) ||
        ghn_reference_backward(reference, values, doutput, dvalues, &err))
        return NULL;
    const double *output = ghn_reference_value(reference, arch->output);
    json_object_set_new(result, "output", numbers(output, n_out * batch));
    json_object_set_new(result, "dimages",
                        numbers(ghn_reference_gradient(reference, 0), n_in * batch));
    json_object_set_new(result, "dparams", by_name(arch, params, dvalues));
    json_object_set_new(result, "statistics_after", by_node(arch, params, statistics));
    double *all[] = {images, doutput, values, dvalues, statistics};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ghn_free(all[i]);
    return result;
}

int main(void) {
    for (int k = 0; k < nn_n_cases; k++) {
        const struct nn_case *c = &nn_cases[k];
        struct ghn_arch *arch = nn_case_arch(c, false);
        struct ghn_params *params = NULL;
        struct ghn_reference *reference = NULL;
        if (ghn_params_new(arch, &params, NULL) ||
            ghn_reference_new(arch, nn_case_batch(c), c->mode, &reference, NULL))
            return EXIT_FAILURE;
        json_t *result = run(c, arch, params, reference);
        char *text = result ? json_dumps(result, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
        if (!text)
            return EXIT_FAILURE;
        (void)puts(text);
        free(text);
        json_decref(result);
        ghn_reference_free(reference);
        ghn_params_free(params);
        ghn_arch_free(arch);
    }
    return EXIT_SUCCESS;
}
