/* The gradient of a whole step of meta-training, from the loss of networks into the hypernetwork:
 * in f64 against finite differences, in f32 against f64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "deepnets/sample.h"
#include "ghn/hypernet.h"
#include "ghn/reference.h"
#include "nn/loss.h"
#include "nn/reference.h"
#include "sanitized.h"
#include "small_hypernet.h"
#include "train/meta_impl.h"
#include "train/tape.h"

enum { IMAGES = 4, CLASSES = 10, SIDE = 16, AREA = SIDE * SIDE, PIXELS = 3 * AREA };

/* A network and its graph, run in f64 with predicted parameters. */
struct subject {
    struct ghn_arch *arch;
    struct ghn_graph *graph;
    struct ghn_params *params; /* for its layout; other parameters than predicted ones stay */
    struct ghn_reference *reference;
    double *values, *dvalues, *predicted, *images; /* images: (N, C, H, W) */
    int32_t labels[IMAGES];
};

/* The network with SiLU for ReLU and average pools for max pools: a slope measured across kinks
 * says little, and a network has millions of them. */
static struct ghn_arch *smooth_network(int64_t index) {
    struct ghn_net net;
    struct ghn_arch *arch = NULL, *ret = NULL;
    ok(ghn_sample_net(GHN_DEEPNETS_TRAIN, 5, index, &net, &err));
    net.C = 16;
    net.input[1] = net.input[2] = SIDE;
    net.fc_layers = 1; /* two have dropout between them */
    ok(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err));
    json_t *root = ghn_arch_to_json(arch), *node;
    size_t i;
    assert_non_null(root);
    json_array_foreach(json_object_get(root, "nodes"), i, node) {
        const char *op = json_string_value(json_object_get(node, "op"));
        json_t *attrs = json_object_get(node, "attrs");
        if (strcmp(op, "relu") == 0) {
            (void)json_object_set_new(node, "op", json_string("silu"));
        } else if (strcmp(op, "max_pool2d") == 0) {
            (void)json_object_set_new(node, "op", json_string("avg_pool2d"));
            (void)json_object_del(attrs, "dilation");
        }
    }
    ok(ghn_arch_from_json(root, "", &ghn_limits_default, &ret, &err));
    json_decref(root);
    ghn_arch_free(arch);
    return ret;
}

static void open_subject(struct subject *s, int64_t index) {
    s->arch = smooth_network(index);
    ok(ghn_graph_from_arch(s->arch, &ghn_limits_default, &s->graph, &err));
    ok(ghn_params_new(s->arch, &s->params, &err));
    ghn_params_initialise(s->params, 0);
    ok(ghn_reference_new(s->arch, IMAGES, GHN_MODE_BATCH_STATISTICS, &s->reference, &err));
    s->values = calloc((size_t)s->params->n, sizeof *s->values);
    s->dvalues = calloc((size_t)s->params->n, sizeof *s->dvalues);
    s->predicted = calloc((size_t)ghn__reference_n(&config, s->graph), sizeof *s->predicted);
    s->images = calloc((size_t)IMAGES * PIXELS, sizeof *s->images);
    for (int i = 0; i < IMAGES * PIXELS; i++)
        s->images[i] = (float)ghn_rng_normal(3, 0, (uint64_t)i);
    for (int i = 0; i < IMAGES; i++)
        s->labels[i] = i * 3 % CLASSES;
}

static void close_subject(struct subject *s) {
    free(s->values);
    free(s->dvalues);
    free(s->predicted);
    free(s->images);
    ghn_reference_free(s->reference);
    ghn_params_free(s->params);
    ghn_graph_free(s->graph);
    ghn_arch_free(s->arch);
}

/* Copies predicted tensors to the parameters of the same names, or gradients back. */
static void exchange(const struct subject *s, const bool predicts[], double *predicted,
                     double *values, bool back) {
    int64_t at = 0;
    for (int k = 0; k < s->graph->n_slots; k++) {
        const struct ghn_slot *slot = &s->graph->slots[k];
        int64_t n = 0;
        if (!predicts[k])
            continue;
        assert_true(ghn_shape_numel(&slot->shape, &n));
        for (int i = 0; i < s->arch->n_params; i++)
            if (strcmp(s->arch->params[i].name, slot->name) == 0)
                for (int64_t j = 0; j < n; j++)
                    *(back ? &predicted[at + j] : &values[s->params->offsets[i] + j]) =
                        back ? values[s->params->offsets[i] + j] : predicted[at + j];
        at += n;
    }
}

/* Softmax cross-entropy, mean over the images; and its gradient. */
static double cross_entropy(const double *logits, const int32_t *labels, double *dlogits) {
    double loss = 0;
    for (int i = 0; i < IMAGES; i++) {
        const double *row = logits + (ptrdiff_t)i * CLASSES;
        double sum = 0;
        for (int k = 0; k < CLASSES; k++)
            sum += exp(row[k] - row[labels[i]]);
        loss += log(sum) / IMAGES;
        for (int k = 0; k < CLASSES; k++)
            dlogits[i * CLASSES + k] =
                (exp(row[k] - row[labels[i]]) / sum - (k == labels[i])) / IMAGES;
    }
    return loss;
}

/* The loss in f64 for those values of the hypernetwork; with gradient, that is added to. */
static double loss_of(struct subject *s, const bool predicts[], const double *hyper,
                      double *gradient) {
    double dlogits[IMAGES * CLASSES];
    uint64_t pattern;
    ok(ghn__reference_forward(&config, hyper, s->graph, s->predicted, &pattern, &err));
    for (int64_t i = 0; i < s->params->n; i++)
        s->values[i] = s->params->values[i];
    exchange(s, predicts, s->predicted, s->values, false);
    ok(ghn_reference_forward(s->reference, s->values, NULL, s->images, 0, 0, &err));
    double loss =
        cross_entropy(ghn_reference_value(s->reference, s->arch->output), s->labels, dlogits);
    if (gradient) {
        ok(ghn_reference_backward(s->reference, s->values, dlogits, s->dvalues, &err));
        exchange(s, predicts, s->predicted, s->dvalues, true);
        ok(ghn__reference_backward(&config, hyper, s->graph, s->predicted, gradient, &err));
    }
    return loss;
}

/* The f32 gradient by the passes that training uses. */
static void fast_gradient(struct subject *s, struct ghn_hypernet *h, struct ghn_tape *tape) {
    struct ghn_run *run = NULL;
    const struct ghn_run_options options = {
        .batch = IMAGES, .mode = GHN_MODE_TRAIN, .precision = GHN_PRECISION_F32};
    static float images[IMAGES * PIXELS], logits[IMAGES * CLASSES], dlogits[IMAGES * CLASSES];
    for (int i = 0; i < IMAGES; i++)
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < AREA; p++)
                images[(i * AREA + p) * 3 + c] = (float)s->images[(i * 3 + c) * AREA + p];
    float *gradient = calloc((size_t)s->params->n, sizeof *gradient);
    assert_non_null(gradient);
    ok(ghn_tape_write(tape, 0, 0, s->params, &err));
    ok(ghn_run_new(s->arch, &options, &run, &err));
    ok(ghn_run_forward(run, s->params, images, 0, 0, logits, &err));
    (void)ghn_cross_entropy(logits, s->labels, IMAGES, CLASSES, 0, dlogits);
    ok(ghn_run_backward(run, s->params, dlogits, gradient, &err));
    ok(ghn_tape_add_gradient(tape, 0, s->params, gradient, &err));
    ok(ghn_hypernet_backward(h, tape, NULL, &err));
    ghn_run_free(run);
    free(gradient);
}

static double norm_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* Along random directions: the slope of the loss is the gradient's part in that direction. The
 * hypernetwork's own ReLUs have kinks, which a step of 1e-7 seldom meets: one direction in five may
 * be off. */
static void check_differences(struct subject *s, const bool predicts[], double *hyper,
                              const double *gradient, int64_t n) {
    int off = 0;
    double *moved = calloc((size_t)n, sizeof *moved), scale = norm_of(gradient, n);
    assert_non_null(moved);
    for (uint64_t d = 0; d < (SANITIZED ? 1 : 5); d++) {
        const double h = 1e-7;
        double slope = 0, losses[2];
        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < n; i++)
                moved[i] = hyper[i] + (side ? h : -h) * ghn_rng_normal(7, d, (uint64_t)i);
            losses[side] = loss_of(s, predicts, moved, NULL);
        }
        for (int64_t i = 0; i < n; i++)
            slope += gradient[i] * ghn_rng_normal(7, d, (uint64_t)i);
        double error = fabs((losses[1] - losses[0]) / (2 * h) - slope);
        if (!(error <= 1e-4 * scale)) {
            print_message("direction %d: the slope is off by %g of %g\n", (int)d, error, scale);
            off++;
        }
    }
    free(moved);
    assert_in_range(off, 0, 1);
}

static void check_step(int64_t index) {
    struct subject s = {0};
    struct ghn_hypernet *h = NULL;
    struct ghn_tape *tape = NULL;
    open_subject(&s, index);
    ok(ghn_hypernet_new(&config, 11, &h, &err));
    ok(ghn_tape_new(&tape, &err));
    const struct ghn_graph *graphs[] = {s.graph};
    ok(ghn_hypernet_forward(h, graphs, 1, NULL, tape, &err));
    bool *predicts = calloc((size_t)s.graph->n_slots, sizeof *predicts);
    assert_non_null(predicts);
    for (int k = 0; k < s.graph->n_slots; k++)
        predicts[k] = ghn_tape_predicts(tape, 0, k);
    int64_t n = ghn_hypernet_n(h);
    double *hyper = calloc((size_t)n, sizeof *hyper), *gradient = calloc((size_t)n, sizeof *hyper);
    assert_true(hyper && gradient);
    for (int64_t i = 0; i < n; i++)
        hyper[i] = ghn_hypernet_values(h)[i];
    double loss = loss_of(&s, predicts, hyper, gradient), off = 0;
    assert_true(loss > 1 && norm_of(gradient, n) > 1e-3);
    check_differences(&s, predicts, hyper, gradient, n);
    fast_gradient(&s, h, tape);
    for (int64_t i = 0; i < n; i++)
        off += pow(ghn_hypernet_gradient(h)[i] - gradient[i], 2);
    if (!(sqrt(off) <= 1e-3 * norm_of(gradient, n)))
        fail_msg("network %d: the gradient in f32 is off by %g of %g", (int)index, sqrt(off),
                 norm_of(gradient, n));
    free(hyper);
    free(gradient);
    free(predicts);
    ghn_tape_free(tape);
    ghn_hypernet_free(h);
    close_subject(&s);
}

static void test_whole_step(void **state) {
    (void)state;
    for (int64_t index = 0; index < (SANITIZED ? 1 : 3); index++)
        check_step(index);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
