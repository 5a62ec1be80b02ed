/* Steps of an optimiser, for comparison with torch.optim. Standard input is a JSON object: "recipe"
 * (a recipe's fields), "values" (a vector) and "gradients" (a vector for each step); standard
 * output gets the values after each step, an array of vectors. The learning rate is the recipe's
 * for step s of as many as there are gradients. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "train/optimizer.h"

/* A network whose only parameter on the path is a vector of n. */
static struct ghn_arch *make_arch(size_t n, struct ghn_err *err) {
    json_t *root = json_pack("{s:s, s:{s:s, s:[i]}, s:[{s:s, s:s, s:[s], s:{s:i, s:b}}], s:s}",
                             "format", "ghn-arch/1", "input", "name", "x", "shape", 1, "nodes",
                             "name", "fc", "op", "linear", "inputs", "x", "attrs", "out_features",
                             (int)n, "bias", 0, "output", "fc");
    struct ghn_arch *arch = NULL;
    if (!root || ghn_arch_from_json(root, "", &ghn_limits_default, &arch, err) != GHN_OK)
        arch = NULL;
    json_decref(root);
    return arch;
}

static void read_vector(const json_t *array, float *ret) {
    for (size_t i = 0; i < json_array_size(array); i++)
        ret[i] = (float)json_number_value(json_array_get(array, i));
}

static json_t *vector(const float *values, int64_t n) {
    json_t *array = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(array, json_real(values[i]));
    return array;
}

static int run(const json_t *input, struct ghn_err *err) {
    struct ghn_recipe recipe;
    struct ghn_params *params = NULL;
    struct ghn__optimizer *optimizer = NULL;
    const json_t *values = json_object_get(input, "values"),
                 *gradients = json_object_get(input, "gradients");
    struct ghn_arch *arch = make_arch(json_array_size(values), err);
    if (!arch || ghn_recipe_from_json(json_object_get(input, "recipe"), "", &recipe, err) ||
        ghn_params_new(arch, &params, err) || ghn__optimizer_new(&recipe, params, &optimizer, err))
        return 1;
    read_vector(values, params->values);
    float *gradient = ghn_calloc((size_t)params->n, sizeof *gradient);
    json_t *output = json_array();
    int64_t steps = (int64_t)json_array_size(gradients);
    for (int64_t step = 0; gradient && step < steps; step++) {
        read_vector(json_array_get(gradients, (size_t)step), gradient);
        ghn__optimizer_step(optimizer, params->values, gradient, ghn__norm(gradient, params->n),
                            ghn_recipe_lr(&recipe, step, steps));
        json_array_append_new(output, vector(params->values, params->n));
    }
    int failed = json_dumpf(output, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(output);
    ghn_free(gradient);
    ghn__optimizer_free(optimizer);
    ghn_params_free(params);
    ghn_arch_free(arch);
    return failed != 0;
}

int main(void) {
    struct ghn_err err = GHN_ERR_INIT;
    json_t *input = json_loadf(stdin, 0, NULL);
    int code = input ? run(input, &err) : 1;
    if (code)
        (void)fprintf(stderr, "%s: %s\n", err.where, err.message);
    json_decref(input);
    return code;
}
