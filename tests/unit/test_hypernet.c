/* lib/ghn: the training passes of hypernetworks. The plain twin is compared with predictions and
 * with finite differences, the fast passes with both. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ghn/encode.h"
#include "ghn/hypernet_impl.h"
#include "ghn/predict.h"
#include "ghn/reference.h"
#include "sanitized.h"

/* --- Hypernetworks and graphs --- */

/* Sizes of which nothing is a multiple of anything, each switch on and off. */
static const struct {
    const char *name;
    struct ghn_config config;
} configs[] = {
    {"GHN-2", {12, {20, 13, 5, 5}, 7, GHN_GATED_GNN, GHN_DECODER_CONV, true, true, true}},
    {"GHN-1", {12, {20, 13, 5, 5}, 7, GHN_GATED_GNN, GHN_DECODER_CONV, false, false, false}},
    {"MLP", {12, {20, 13, 5, 5}, 7, GHN_MLP, GHN_DECODER_CONV, true, true, true}},
    {"mlp decoder", {12, {13, 13, 5, 5}, 7, GHN_GATED_GNN, GHN_DECODER_MLP, true, true, true}},
    {"both", {8, {9, 9, 3, 3}, 12, GHN_MLP, GHN_DECODER_MLP, true, false, false}},
    {"no ve", {16, {7, 33, 3, 3}, 3, GHN_GATED_GNN, GHN_DECODER_CONV, true, false, true}},
    {"no ln", {16, {32, 32, 7, 7}, 10, GHN_GATED_GNN, GHN_DECODER_CONV, true, true, false}},
};
enum { N_CONFIGS = sizeof(configs) / sizeof(configs[0]), N_GRAPHS = 3, ENDS = -1 };

struct network {
    const char *nodes[32]; /* members of a node's JSON object but its name */
    int edges[40][2];      /* ends with ENDS; the chain is added */
};

/* Kernels within and beyond the blocks, the factorised pair, grouped and depthwise weights, weights
 * wider than blocks, tokens, norms of several dimensions, branches that meet again; a classifier of
 * two tensors, one of convolutions with more classes than any hypernetwork here has, and none. */
static const struct network networks[N_GRAPHS] = {
    {{"conv\",\"shape\":[33,3,8,8]", "bn\",\"shape\":[33]", "sep_conv\",\"shape\":[33,1,3,3]",
      "conv\",\"shape\":[50,33,1,7]", "conv\",\"shape\":[21,50,7,1]", "bias\",\"shape\":[21]",
      "max_pool\",\"shape\":[1,1,3,3]", "concat\"", "conv\",\"shape\":[40,71]",
      "bias\",\"shape\":[40]", "sum\"", "ln\",\"shape\":[40]", "glob_avg\"",
      "conv\",\"shape\":[9,40]", "bias\",\"shape\":[9]", NULL},
     {{2, 8}, {1, 7}, {5, 11}, {8, 11}, {ENDS, 0}}},
    {{"conv\",\"shape\":[16,3,3,3]", "dil_conv\",\"shape\":[16,4,5,5]", "msa\"", "cse\"",
      "conv\",\"shape\":[1,24,17]", "ln\",\"shape\":[24,3]", "conv\",\"shape\":[6,14,3]",
      "avg_pool\",\"shape\":[1,1,2,2]", "conv\",\"shape\":[15,70,1,1]", "bias\",\"shape\":[15]",
      NULL},
     {{1, 4}, {3, 6}, {1, 9}, {ENDS, 0}}},
    {{"conv\",\"shape\":[64,3,7,7]", "bn\",\"shape\":[64]", "conv\",\"shape\":[128,64,3,3]",
      "bias\",\"shape\":[128]", "sum\"", "bn\",\"shape\":[128]", "glob_avg\"", NULL},
     {{1, 5}, {ENDS, 0}}},
};

static struct ghn_graph *new_graph(const struct network *network) {
    char text[8192], *at = text;
    at += sprintf(at, "{\"nodes\":[{\"op\":\"input\"}");
    int n = 0;
    for (; network->nodes[n]; n++) {
        at += sprintf(at, ",{\"op\":\"%s", network->nodes[n]);
        if (strstr(network->nodes[n], "shape") && !strstr(network->nodes[n], "pool"))
            at += sprintf(at, ",\"name\":\"n%d.%s\"", n,
                          strstr(network->nodes[n], "bias") ? "bias" : "weight");
        at += sprintf(at, "}");
    }
    at += sprintf(at, "],\"edges\":[[0,1]");
    for (int v = 1; v < n; v++)
        at += sprintf(at, ",[%d,%d]", v, v + 1);
    for (int e = 0; network->edges[e][0] != ENDS; e++)
        at += sprintf(at, ",[%d,%d]", network->edges[e][0], network->edges[e][1]);
    strcpy(at, "]}");
    json_t *form = json_loads(text, 0, NULL);
    assert_non_null(form);
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_graph_from_json(form, "", &ghn_limits_default, &graph, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    json_decref(form);
    return graph;
}

static struct ghn_graph *graphs[N_GRAPHS];

static int make_graphs(void **state) {
    (void)state;
    for (int i = 0; i < N_GRAPHS; i++)
        graphs[i] = new_graph(&networks[i]);
    return 0;
}

static int free_graphs(void **state) {
    (void)state;
    for (int i = 0; i < N_GRAPHS; i++)
        ghn_graph_free(graphs[i]);
    return 0;
}

static struct ghn_hypernet *new_hypernet(const struct ghn_config *config) {
    struct ghn_hypernet *h = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_hypernet_new(config, 5, &h, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return h;
}

static struct ghn_tape *new_tape(void) {
    struct ghn_tape *tape = NULL;
    assert_int_equal(ghn_tape_new(&tape, NULL), GHN_OK);
    return tape;
}

static void forward(const struct ghn_hypernet *h, struct ghn_pool *pool, int m,
                    struct ghn_tape *tape) {
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_hypernet_forward(h, (const struct ghn_graph *const *)graphs, m, pool, tape, &err) !=
        GHN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(ghn_tape_m(tape), m);
}

static double *new_doubles(int64_t n) {
    double *p = calloc((size_t)n + 1, sizeof(*p));
    assert_non_null(p);
    return p;
}

static double *values_of(struct ghn_hypernet *h) {
    double *values = new_doubles(h->n);
    for (int64_t j = 0; j < h->n; j++)
        values[j] = (double)h->values[j];
    return values;
}

/* d loss / d prediction of graph i: exact in both precisions. */
static double weight_of(int i, int64_t j) {
    return (double)(float)(2.0 * ghn_rng_uniform(17, (uint64_t)i, (uint64_t)j) - 1.0);
}

/* --- Forward --- */

static void assert_near(const char *what, double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * (1.0 + fabs(expected))))
        fail_msg("%s: %.9g, expected %.9g", what, found, expected);
}

static void compare_prediction(const struct ghn_tape *tape, struct ghn_hypernet *h,
                               const struct ghn_prediction *prediction, int i) {
    struct ghn_err err = GHN_ERR_INIT;
    uint64_t pattern = 0;
    double *values = values_of(h), *plain = new_doubles(ghn__reference_n(&h->config, graphs[i]));
    assert_int_equal(ghn__reference_forward(&h->config, values, graphs[i], plain, &pattern, &err),
                     GHN_OK);
    int64_t at = 0, compared = 0;
    for (int k = 0; k < graphs[i]->n_slots; k++) {
        const struct ghn_slot *slot = &graphs[i]->slots[k];
        assert_int_equal(ghn_tape_predicts(tape, i, k), prediction->outcomes[k] == GHN_PREDICTED);
        if (!ghn_tape_predicts(tape, i, k))
            continue;
        float *expected = malloc((size_t)slot->numel * sizeof(float));
        float *found = malloc((size_t)slot->numel * sizeof(float));
        ghn_prediction_values(prediction, k, 0, slot->numel, expected);
        ghn_tape_read(tape, i, k, found);
        for (int64_t j = 0; j < slot->numel; j++) {
            assert_near(slot->name, (double)found[j], (double)expected[j], 4e-6);
            assert_near(slot->name, plain[at + j], (double)expected[j], 4e-6);
        }
        at += slot->numel;
        compared++;
        free(expected);
        free(found);
    }
    assert_true(compared > 4);
    assert_int_equal(at, ghn__reference_n(&h->config, graphs[i]));
    free(plain);
    free(values);
}

static void forward_is_prediction(void **state) {
    (void)state;
    for (int c = 0; c < N_CONFIGS; c++) {
        struct ghn_hypernet *h = new_hypernet(&configs[c].config);
        struct ghn_tape *tape = new_tape();
        struct ghn_model *model = NULL;
        assert_int_equal(ghn_hypernet_to_model(h, NULL, &model, NULL), GHN_OK);
        forward(h, NULL, N_GRAPHS, tape);
        for (int i = 0; i < N_GRAPHS; i++) {
            struct ghn_prediction *prediction = NULL;
            assert_int_equal(ghn_predict(model, graphs[i], NULL, NULL, &prediction, NULL), GHN_OK);
            assert_ptr_equal(ghn_tape_graph(tape, i), graphs[i]);
            compare_prediction(tape, h, prediction, i);
            ghn_prediction_free(prediction);
        }
        ghn_model_unref(model);
        ghn_tape_free(tape);
        ghn_hypernet_free(h);
    }
}

/* --- Backward --- */

static double loss(const struct ghn_config *config, const double *values, int i, double *scratch,
                   uint64_t *ret_pattern) {
    double sum = 0.0;
    assert_int_equal(ghn__reference_forward(config, values, graphs[i], scratch, ret_pattern, NULL),
                     GHN_OK);
    for (int64_t j = 0; j < ghn__reference_n(config, graphs[i]); j++)
        sum += weight_of(i, j) * scratch[j];
    return sum;
}

/* The plain gradient of graph i's loss, added to gradient. */
static void plain_backward(const struct ghn_config *config, const double *values, int i,
                           double *gradient) {
    int64_t n = ghn__reference_n(config, graphs[i]);
    double *d = new_doubles(n);
    for (int64_t j = 0; j < n; j++)
        d[j] = weight_of(i, j);
    assert_int_equal(ghn__reference_backward(config, values, graphs[i], d, gradient, NULL), GHN_OK);
    free(d);
}

/* A place of the values, and a direction from there within one tensor (numel). */
struct ray {
    const struct ghn_hypernet *h;
    double *values, *scratch;
    int graph, tensor;
    const double *direction;
};

static double loss_along(const struct ray *ray, double step, uint64_t *ret_pattern) {
    int64_t first = ray->h->tensors[ray->tensor] - ray->h->values;
    int64_t n = ray->h->specs[ray->tensor].numel;
    for (int64_t j = 0; j < n; j++)
        ray->values[first + j] = (double)ray->h->values[first + j] + step * ray->direction[j];
    double result = loss(&ray->h->config, ray->values, ray->graph, ray->scratch, ret_pattern);
    for (int64_t j = 0; j < n; j++)
        ray->values[first + j] = (double)ray->h->values[first + j];
    return result;
}

/* Compares the slope along a ray with the gradient's; false if there is a kink. */
static bool check_slope(const struct ray *ray, const double *gradient) {
    double step = 4e-6, slope = 0.0;
    uint64_t below, above;
    int64_t first = ray->h->tensors[ray->tensor] - ray->h->values;
    double difference = loss_along(ray, step, &above) - loss_along(ray, -step, &below);
    if (above != below)
        return false;
    for (int64_t j = 0; j < ray->h->specs[ray->tensor].numel; j++)
        slope += ray->direction[j] * gradient[first + j];
    assert_near(ray->h->specs[ray->tensor].name, slope, difference / (2.0 * step), 4e-6);
    return true;
}

/* Slopes along single elements of a tensor, among them some with large gradients, and along
 * directions of unit length through all of it. */
static void check_tensor(struct ray *ray, const double *gradient) {
    enum { ELEMENTS = 2, LARGE = 4, RAYS = SANITIZED ? 2 : 6 }; /* each up to the next */
    int64_t n = ray->h->specs[ray->tensor].numel;
    const double *own = gradient + (ray->h->tensors[ray->tensor] - ray->h->values);
    int checked = 0;
    for (uint64_t k = 0; k < RAYS; k++) {
        double *direction = new_doubles(n);
        int64_t j = (int64_t)(ghn_rng_bits(3, (uint64_t)ray->tensor, k) % (uint64_t)n);
        for (uint64_t t = 0; k >= ELEMENTS && t < 50; t++) {
            uint64_t bits = ghn_rng_bits(4, (uint64_t)ray->tensor, 50 * k + t);
            if (fabs(own[bits % (uint64_t)n]) > fabs(own[j]))
                j = (int64_t)(bits % (uint64_t)n);
        }
        direction[j] = 1.0;
        for (int64_t i = 0; k >= LARGE && i < n; i++)
            direction[i] =
                ghn_rng_normal(5 + k, (uint64_t)ray->tensor, (uint64_t)i) / sqrt((double)n);
        ray->direction = direction;
        checked += check_slope(ray, gradient);
        free(direction);
    }
    if (checked < RAYS / 2)
        fail_msg("%s: only %d of %d rays have no kink", ray->h->specs[ray->tensor].name, checked,
                 RAYS);
}

static void plain_gradient_is_that_of_differences(void **state) {
    (void)state;
    for (int c = 0; c < N_CONFIGS; c++) {
        struct ghn_hypernet *h = new_hypernet(&configs[c].config);
        double *values = values_of(h);
        for (int i = 0; i < (SANITIZED ? 1 : 2); i++) {
            double *gradient = new_doubles(h->n);
            double *scratch = new_doubles(ghn__reference_n(&h->config, graphs[i]));
            plain_backward(&h->config, values, i, gradient);
            struct ray ray = {.h = h, .values = values, .scratch = scratch, .graph = i};
            for (ray.tensor = 0; ray.tensor < GHN__N_TENSORS; ray.tensor++)
                if (h->specs[ray.tensor].present)
                    check_tensor(&ray, gradient);
            free(gradient);
            free(scratch);
        }
        free(values);
        ghn_hypernet_free(h);
    }
}

/* Gives the tape the gradients of its first m networks' losses. */
static void fold_all(struct ghn_tape *tape, int m) {
    for (int i = 0; i < m; i++) {
        int64_t at = 0;
        for (int k = 0; k < graphs[i]->n_slots; k++) {
            int64_t n = graphs[i]->slots[k].numel;
            if (!ghn_tape_predicts(tape, i, k))
                continue;
            float *d = malloc((size_t)n * sizeof(float));
            for (int64_t j = 0; j < n; j++)
                d[j] = (float)weight_of(i, at + j);
            ghn_tape_fold(tape, i, k, d);
            free(d);
            at += n;
        }
    }
}

static void backward(struct ghn_hypernet *h, struct ghn_pool *pool, int m, struct ghn_tape *tape) {
    forward(h, pool, m, tape);
    fold_all(tape, m);
    assert_int_equal(ghn_hypernet_backward(h, tape, pool, NULL), GHN_OK);
}

/* That a tensor's gradient is the expected one, up to a share of its largest element. */
static void compare_gradient(const char *config, const struct ghn_hypernet *h, int tensor,
                             const double *expected) {
    int64_t first = h->tensors[tensor] - h->values;
    double largest = 0.0;
    for (int64_t j = 0; j < h->specs[tensor].numel; j++)
        largest = fmax(largest, fabs(expected[first + j]));
    assert_true(largest > 0.0);
    for (int64_t j = 0; j < h->specs[tensor].numel; j++)
        if (!(fabs((double)h->gradient[first + j] - expected[first + j]) <= 2e-5 * largest))
            fail_msg("%s: %s: element %lld is %.9g, expected %.9g (largest %.9g)", config,
                     h->specs[tensor].name, (long long)j, (double)h->gradient[first + j],
                     expected[first + j], largest);
}

static void fast_gradient_is_the_plain_one(void **state) {
    (void)state;
    for (int c = 0; c < N_CONFIGS; c++) {
        struct ghn_hypernet *h = new_hypernet(&configs[c].config);
        struct ghn_tape *tape = new_tape();
        double *values = values_of(h), *expected = new_doubles(h->n);
        backward(h, NULL, N_GRAPHS, tape);
        for (int i = 0; i < N_GRAPHS; i++)
            plain_backward(&h->config, values, i, expected);
        for (int t = 0; t < GHN__N_TENSORS; t++)
            if (h->specs[t].present)
                compare_gradient(configs[c].name, h, t, expected);
        free(expected);
        free(values);
        ghn_tape_free(tape);
        ghn_hypernet_free(h);
    }
}

static void gradients_add_up(void **state) {
    (void)state;
    struct ghn_hypernet *h = new_hypernet(&configs[0].config);
    struct ghn_tape *tape = new_tape();
    backward(h, NULL, N_GRAPHS, tape);
    double *once = new_doubles(h->n);
    for (int64_t j = 0; j < h->n; j++)
        once[j] = (double)h->gradient[j];
    backward(h, NULL, N_GRAPHS, tape);
    for (int64_t j = 0; j < h->n; j++)
        assert_near("twice the gradient", (double)h->gradient[j], 2.0 * once[j], 1e-5);
    free(once);
    ghn_tape_free(tape);
    ghn_hypernet_free(h);
}

/* --- Threads, memory --- */

/* The gradient after a step from zero; the caller frees it. */
static float *one_step(const struct ghn_config *config, struct ghn_pool *pool,
                       struct ghn_tape *tape) {
    struct ghn_hypernet *h = new_hypernet(config);
    size_t size = (size_t)h->n * sizeof(float);
    float *gradient = malloc(size);
    assert_non_null(gradient);
    backward(h, pool, N_GRAPHS, tape);
    memcpy(gradient, h->gradient, size);
    ghn_hypernet_free(h);
    return gradient;
}

static void bytes_depend_neither_on_threads_nor_on_the_tape(void **state) {
    (void)state;
    struct ghn_tape *used = new_tape();
    for (int c = 0; c < N_CONFIGS; c++) {
        struct ghn_tape *tape = new_tape();
        struct ghn_hypernet *h = new_hypernet(&configs[c].config);
        float *expected = one_step(&h->config, NULL, tape);
        for (int n = 1; n <= 4; n++) {
            struct ghn_pool *pool = NULL;
            assert_int_equal(ghn_pool_new(n, &pool, NULL), GHN_OK);
            float *gradient = one_step(&h->config, pool, used);
            assert_memory_equal(gradient, expected, (size_t)h->n * sizeof(float));
            free(gradient);
            ghn_pool_free(pool);
        }
        free(expected);
        ghn_hypernet_free(h);
        ghn_tape_free(tape);
    }
    ghn_tape_free(used);
}

static enum ghn_status whole_step(const struct ghn_config *config, struct ghn_err *err) {
    struct ghn_hypernet *h = NULL;
    struct ghn_tape *tape = NULL;
    struct ghn_model *model = NULL;
    enum ghn_status status = ghn_hypernet_new(config, 1, &h, err);
    if (status == GHN_OK)
        status = ghn_tape_new(&tape, err);
    if (status == GHN_OK)
        status = ghn_hypernet_forward(h, (const struct ghn_graph *const *)graphs, N_GRAPHS, NULL,
                                      tape, err);
    if (status == GHN_OK) {
        fold_all(tape, N_GRAPHS);
        status = ghn_hypernet_backward(h, tape, NULL, err);
    }
    if (status == GHN_OK)
        status = ghn_hypernet_to_model(h, NULL, &model, err);
    ghn_model_unref(model);
    ghn_tape_free(tape);
    ghn_hypernet_free(h);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    for (int c = 0; c < N_CONFIGS; c++) {
        int failures = 0;
        for (long n = 1;; n++) {
            struct ghn_err err = GHN_ERR_INIT;
            ghn_mem_fail_at(n, 0);
            enum ghn_status status = whole_step(&configs[c].config, &err);
            ghn_mem_fail_at(0, 0);
            if (status == GHN_OK)
                break;
            assert_int_equal(status, GHN_NO_MEMORY);
            assert_int_equal(err.status, GHN_NO_MEMORY);
            failures++;
        }
        assert_true(failures >= 8);
    }
}

/* --- Models --- */

static void values_are_those_of_models(void **state) {
    (void)state;
    for (int c = 0; c < N_CONFIGS; c++) {
        struct ghn_model *model = NULL, *back = NULL;
        struct ghn_hypernet *h = new_hypernet(&configs[c].config), *copy = NULL;
        assert_int_equal(ghn_model_new(&configs[c].config, 5, &model, NULL), GHN_OK);
        assert_int_equal(ghn_hypernet_from_model(model, &copy, NULL), GHN_OK);
        assert_int_equal(ghn_hypernet_n(h), ghn_model_n_parameters(model));
        size_t size = (size_t)ghn_hypernet_n(h) * sizeof(float);
        assert_memory_equal(ghn_hypernet_values(h), ghn_hypernet_values(copy), size);
        assert_int_equal(ghn_hypernet_to_model(copy, NULL, &back, NULL), GHN_OK);
        assert_memory_equal(back->storage, model->storage, size);
        assert_int_equal(ghn_model_config(back)->hid, ghn_hypernet_config(h)->hid);
        for (int64_t j = 0; j < h->n; j++)
            assert_true(ghn_hypernet_gradient(h)[j] == 0.0f);
        ghn_model_unref(back);
        ghn_model_unref(model);
        ghn_hypernet_free(copy);
        ghn_hypernet_free(h);
    }
}

/* Of another number of classes: all else is the model's, what depends on it is as in a new one. */
static void classes_can_change(void **state) {
    (void)state;
    for (int c = 0; c < N_CONFIGS; c++) {
        struct ghn_config config = configs[c].config;
        struct ghn_model *model = NULL;
        struct ghn_hypernet *h = NULL;
        assert_int_equal(ghn_model_new(&config, 5, &model, NULL), GHN_OK);
        assert_int_equal(ghn_hypernet_for_classes(model, config.num_classes + 3, 7, &h, NULL),
                         GHN_OK);
        config.num_classes += 3;
        assert_int_equal(ghn_hypernet_config(h)->num_classes, config.num_classes);
        struct ghn_hypernet *fresh = NULL;
        assert_int_equal(ghn_hypernet_new(&config, 7, &fresh, NULL), GHN_OK);
        int kept = 0, renewed = 0;
        for (int i = 0; i < GHN__N_TENSORS; i++) {
            const struct ghn__tensor_spec *spec = &h->specs[i];
            if (!spec->present)
                continue;
            bool same = ghn_shape_equal(&spec->shape, &model->specs[i].shape);
            assert_memory_equal(h->tensors[i], same ? model->tensors[i] : fresh->tensors[i],
                                (size_t)spec->numel * sizeof(float));
            *(same ? &kept : &renewed) += 1;
        }
        assert_true(kept > renewed && renewed >= 2);
        ghn_hypernet_free(fresh);
        ghn_hypernet_free(h);
        h = NULL;
        assert_int_equal(ghn_hypernet_for_classes(model, 0, 7, &h, NULL), GHN_OUT_OF_RANGE);
        assert_null(h);
        ghn_model_unref(model);
    }
}

static void bad_configurations_are_refused(void **state) {
    (void)state;
    struct ghn_config config = configs[0].config;
    struct ghn_hypernet *h = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    config.hid = 13;
    assert_int_equal(ghn_hypernet_new(&config, 1, &h, &err), GHN_OUT_OF_RANGE);
    assert_string_equal(err.where, "hid");
    assert_null(h);
    err = (struct ghn_err)GHN_ERR_INIT;
    config = (struct ghn_config){.hid = 1024, .max_shape = {1024, 1024, 64, 64}, .num_classes = 10};
    assert_int_equal(ghn_hypernet_new(&config, 1, &h, &err), GHN_OUT_OF_RANGE);
    assert_string_equal(err.where, "max_shape");
    assert_null(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_models),
        cmocka_unit_test(classes_can_change),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(forward_is_prediction),
        cmocka_unit_test(plain_gradient_is_that_of_differences),
        cmocka_unit_test(fast_gradient_is_the_plain_one),
        cmocka_unit_test(gradients_add_up),
        cmocka_unit_test(bytes_depend_neither_on_threads_nor_on_the_tape),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("hypernet", tests, make_graphs, free_graphs);
}
