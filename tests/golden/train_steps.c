/* Trains a network for a few steps of plain SGD, for comparison with PyTorch.
 *
 *   train_steps start REQUEST.json SEED ARCH.json STATE.safetensors
 *       writes the arch form of any request, and parameters by the layers' own initialisers
 *   train_steps run ARCH.json STATE.safetensors DATA.safetensors OUT.safetensors MODE PRECISION
 *               BATCH STEPS LR MOMENTUM WEIGHT_DECAY
 *       DATA holds "images", f32 (M, C, H, W), and "labels", i32 (M); step s takes batch s modulo
 *       M / BATCH. OUT gets the state_dict after the last step, the logits of step 0 as "/logits"
 *       and the losses, f64, as "/losses". In the modes that are not "train" only the logits are
 *       computed.
 *
 * An error goes to standard error as "CODE: WHERE: MESSAGE", exit status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "graph/form.h"
#include "nn/loss.h"
#include "nn/params.h"
#include "nn/run.h"
#include "tensor/tensors.h"

static enum ghn_status read_json(const char *path, json_t **ret, struct ghn_err *err) {
    json_error_t error;
    *ret = json_load_file(path, 0, &error);
    return *ret ? GHN_OK : ghn_fail(err, GHN_JSON, path, "%s", error.text);
}

/* The network of a request, or a bare arch. */
static enum ghn_status read_arch(const char *path, struct ghn_arch **ret, struct ghn_err *err) {
    const struct ghn_request_options options = {.allow_bare = true};
    struct ghn_graph *graph = NULL;
    json_t *root = NULL;
    enum ghn_status status = read_json(path, &root, err);
    if (status == GHN_OK)
        status = ghn_graph_from_request(root, &options, &graph, ret, err);
    ghn_graph_free(graph);
    json_decref(root);
    if (status == GHN_OK && !*ret)
        status = ghn_fail(err, GHN_MISSING_FIELD, path, "it holds no arch or genotype");
    return status;
}

/* Writes params with up to two tensors more. */
static enum ghn_status write_state(const struct ghn_params *params, const char *path,
                                   const struct ghn_tensor *more, int n_more, struct ghn_err *err) {
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn_tensor *items = NULL;
    int n = 0;
    enum ghn_status status = ghn_params_tensors(params, &arena, &items, &n, err);
    struct ghn_tensor *all = status == GHN_OK ? calloc((size_t)(n + n_more), sizeof *all) : NULL;
    if (status == GHN_OK && !all)
        status = ghn_fail_memory(err);
    if (status == GHN_OK) {
        memcpy(all, items, (size_t)n * sizeof *all);
        if (n_more > 0)
            memcpy(all + n, more, (size_t)n_more * sizeof *all);
        status = ghn_safetensors_write(path, all, n + n_more, NULL, err);
    }
    free(all);
    ghn_free(items);
    ghn_arena_done(&arena);
    return status;
}

static enum ghn_status start(char **argv, struct ghn_err *err) {
    struct ghn_arch *arch = NULL;
    struct ghn_params *params = NULL;
    enum ghn_status status = read_arch(argv[0], &arch, err);
    if (status == GHN_OK)
        status = ghn_params_new(arch, &params, err);
    if (status == GHN_OK) {
        ghn_params_initialise(params, strtoull(argv[1], NULL, 10));
        json_t *form = ghn_arch_to_json(arch);
        if (!form || json_dump_file(form, argv[2], 0) != 0)
            status = ghn_fail(err, GHN_IO, argv[2], "it cannot be written");
        json_decref(form);
    }
    if (status == GHN_OK)
        status = write_state(params, argv[3], NULL, 0, err);
    ghn_params_free(params);
    ghn_arch_free(arch);
    return status;
}

/* What one training works with. */
struct training {
    struct ghn_arch *arch;
    struct ghn_params *params;
    struct ghn_tensors *data;
    struct ghn_run *run;
    struct ghn_run_options options;
    int64_t steps;
    double lr, momentum, weight_decay;

    int64_t n_in, n_out; /* elements of an input and an output */
    int64_t n_batches;
    float *images; /* (M, H, W, C) */
    const int32_t *labels;
    float *output, *doutput, *gradient, *velocity, *logits;
    double *losses;
};

static bool parse_mode(const char *name, enum ghn_mode *ret) {
    static const char *const names[] = {"train", "eval", "batch-statistics"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum ghn_mode)i;
            return true;
        }
    return false;
}

/* (M, C, H, W) as (M, H, W, C); inputs of other shapes stay as they are. */
static void channels_last(const struct ghn_shape *shape, int64_t m, const float *from, float *to) {
    int64_t c = shape->ndim == 3 ? shape->dim[0] : 1, n = 0;
    if (!ghn_shape_numel(shape, &n))
        return;
    int64_t pixels = n / c;
    for (int64_t i = 0; i < m; i++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t p = 0; p < pixels; p++)
                to[i * n + p * c + k] = from[i * n + k * pixels + p];
}

/* Checks the images and labels and takes them over. */
static enum ghn_status take_data(struct training *t, const char *path, struct ghn_err *err) {
    const struct ghn_shape *input = &t->arch->nodes[0].shape;
    enum ghn_status status = ghn_tensors_read(path, &t->data, err);
    if (status != GHN_OK)
        return status;
    const struct ghn_tensor *images = ghn_tensors_find(t->data, "images"),
                            *labels = ghn_tensors_find(t->data, "labels");
    if (!images || !labels || images->dtype != GHN_F32 || labels->dtype != GHN_I32 ||
        images->shape.ndim != input->ndim + 1 || labels->shape.ndim != 1)
        return ghn_fail(err, GHN_INVALID_FILE, path, "expected images, f32, and labels, i32");
    int64_t m = images->shape.dim[0];
    t->n_batches = m / t->options.batch;
    if (t->n_batches < 1 || labels->shape.dim[0] != m ||
        memcmp(images->shape.dim + 1, input->dim, (size_t)input->ndim * sizeof *input->dim) != 0)
        return ghn_fail(err, GHN_SHAPE_MISMATCH, path, "the images do not suit the network");
    t->images = ghn_malloc(images->n_bytes);
    if (!t->images)
        return ghn_fail_memory(err);
    channels_last(input, m, images->data, t->images);
    t->labels = labels->data;
    return GHN_OK;
}

static enum ghn_status allocate(struct training *t, struct ghn_err *err) {
    size_t out = (size_t)(t->options.batch * t->n_out), n = (size_t)t->params->n;
    t->output = ghn_calloc(out, sizeof(float));
    t->doutput = ghn_calloc(out, sizeof(float));
    t->logits = ghn_calloc(out, sizeof(float));
    t->gradient = ghn_calloc(n, sizeof(float));
    t->velocity = ghn_calloc(n, sizeof(float));
    t->losses = ghn_calloc((size_t)t->steps + 1, sizeof(double));
    return t->output && t->doutput && t->logits && t->gradient && t->velocity && t->losses
               ? GHN_OK
               : ghn_fail_memory(err);
}

static enum ghn_status open_training(struct training *t, char **argv, struct ghn_err *err) {
    struct ghn_tensors *state = NULL;
    enum ghn_status status = read_arch(argv[0], &t->arch, err);
    if (status == GHN_OK)
        status = ghn_params_new(t->arch, &t->params, err);
    if (status == GHN_OK)
        status = ghn_tensors_read(argv[1], &state, err);
    if (status == GHN_OK)
        status = ghn_params_load(t->params, state, err);
    ghn_tensors_free(state);
    if (status == GHN_OK)
        status = take_data(t, argv[2], err);
    if (status == GHN_OK && (!ghn_shape_numel(&t->arch->nodes[0].shape, &t->n_in) ||
                             !ghn_shape_numel(&t->arch->nodes[t->arch->output].shape, &t->n_out)))
        status = ghn_fail(err, GHN_TOO_LARGE, argv[0], "the network is too large");
    for (int64_t i = 0; status == GHN_OK && i < t->n_batches * t->options.batch; i++)
        if (t->labels[i] < 0 || t->labels[i] >= t->n_out)
            status = ghn_fail(err, GHN_OUT_OF_RANGE, argv[2], "a label is no class");
    if (status == GHN_OK)
        status = allocate(t, err);
    return status == GHN_OK ? ghn_run_new(t->arch, &t->options, &t->run, err) : status;
}

static void close_training(struct training *t) {
    ghn_run_free(t->run);
    ghn_free(t->images);
    ghn_free(t->output);
    ghn_free(t->doutput);
    ghn_free(t->logits);
    ghn_free(t->gradient);
    ghn_free(t->velocity);
    ghn_free(t->losses);
    ghn_tensors_free(t->data);
    ghn_params_free(t->params);
    ghn_arch_free(t->arch);
}

/* torch.optim.SGD: the momentum's sum begins with the first gradient. */
static void update(struct training *t) {
    float *values = t->params->values, lr = (float)t->lr, momentum = (float)t->momentum,
          decay = (float)t->weight_decay;
    for (int64_t i = 0; i < t->params->n; i++) {
        t->velocity[i] = momentum * t->velocity[i] + t->gradient[i] + decay * values[i];
        values[i] -= lr * t->velocity[i];
    }
}

static enum ghn_status step(struct training *t, int64_t number, struct ghn_err *err) {
    int batch = t->options.batch;
    int64_t first = number % t->n_batches * batch;
    enum ghn_status status = ghn_run_forward(t->run, t->params, t->images + first * t->n_in, 0,
                                             (uint64_t)number, t->output, err);
    if (status != GHN_OK)
        return status;
    if (number == 0)
        memcpy(t->logits, t->output, (size_t)(batch * t->n_out) * sizeof(float));
    if (t->options.mode != GHN_MODE_TRAIN)
        return GHN_OK;
    t->losses[number] =
        ghn_cross_entropy(t->output, t->labels + first, batch, (int)t->n_out, 0, t->doutput);
    status = ghn_run_backward(t->run, t->params, t->doutput, t->gradient, err);
    if (status == GHN_OK)
        update(t);
    return status;
}

static enum ghn_status write_training(const struct training *t, const char *path,
                                      struct ghn_err *err) {
    size_t out = (size_t)(t->options.batch * t->n_out);
    const struct ghn_tensor more[] = {
        {.name = "/logits",
         .dtype = GHN_F32,
         .shape = {.ndim = 2, .dim = {t->options.batch, t->n_out}},
         .data = t->logits,
         .n_bytes = out * sizeof(float)},
        {.name = "/losses",
         .dtype = GHN_F64,
         .shape = {.ndim = 1, .dim = {t->steps}},
         .data = t->losses,
         .n_bytes = (size_t)t->steps * sizeof(double)},
    };
    return write_state(t->params, path, more, 2, err);
}

static enum ghn_status run(char **argv, struct ghn_err *err) {
    struct training t = {.options.batch = (int)strtol(argv[6], NULL, 10),
                         .steps = strtol(argv[7], NULL, 10),
                         .lr = strtod(argv[8], NULL),
                         .momentum = strtod(argv[9], NULL),
                         .weight_decay = strtod(argv[10], NULL)};
    if (!parse_mode(argv[4], &t.options.mode) ||
        !ghn_precision_parse(argv[5], &t.options.precision) || t.options.batch < 1 || t.steps < 1)
        return ghn_fail(err, GHN_OUT_OF_RANGE, NULL, "mode, precision, batch or steps is wrong");
    if (t.options.mode != GHN_MODE_TRAIN)
        t.steps = 1;
    enum ghn_status status = open_training(&t, argv, err);
    for (int64_t i = 0; status == GHN_OK && i < t.steps; i++)
        status = step(&t, i, err);
    if (status == GHN_OK)
        status = write_training(&t, argv[3], err);
    close_training(&t);
    return status;
}

int main(int argc, char **argv) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status;
    if (argc == 6 && strcmp(argv[1], "start") == 0) {
        status = start(argv + 2, &err);
    } else if (argc == 13 && strcmp(argv[1], "run") == 0) {
        status = run(argv + 2, &err);
    } else {
        (void)fprintf(stderr, "usage: see %s\n", __FILE__);
        return 2;
    }
    if (status != GHN_OK)
        (void)fprintf(stderr, "%s: %s: %s\n", ghn_status_code(status), err.where, err.message);
    return status == GHN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
