/* Steps of meta-training on given networks and images, for comparison with another implementation.
 *
 *   meta_steps CHECKPOINT DATA.safetensors PLAN.json [MOMENTS.safetensors]
 *
 * DATA holds "images", f32 (M, H, W, C), and "labels", i32 (M); step s takes batch s modulo
 * M / batch_size. PLAN is an object: "batch_size", "lr", "warmup_steps", "weight_decay", "beta1",
 * "eps" and "clip_norm" of the recipe, those left out having its defaults; "threads"; "steps", for
 * every step a list of requests of the genotype form, as many for each; "precision", "f32" if left
 * out; and "wait": if true, every step begins when a line comes on standard input. A network with
 * two linear layers has dropout; for the same numbers elsewhere all should have one.
 *
 * Every step prints a JSON line: the mean of its networks' losses, the norm of the gradient before
 * clipping, the seconds of the step, and those that making architectures and graphs of the requests
 * took before. MOMENTS gets Adam's first moments after the last step, named as the hypernetwork's
 * tensors: with beta1 0, and neither weight decay nor clipping, its gradient.
 *
 * An error goes to standard error as "CODE: WHERE: MESSAGE", exit status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "tensor/tensors.h"
#include "train/meta_impl.h"

static double now(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* What the steps work with. */
struct run {
    json_t *plan;
    struct ghn_meta_recipe recipe;
    int threads, wait;
    struct ghn_tensors *data;
    struct ghn_batch images; /* borrows from data */
    int64_t n_batches, n_in; /* n_in: elements of an image */
    struct ghn_model *start;
    struct ghn__meta_learner learner;
    struct ghn__meta_batch batch;
};

/* --- Setting up --- */

static enum ghn_status read_plan(struct run *run, const char *path, struct ghn_err *err) {
    json_error_t error;
    run->plan = json_load_file(path, 0, &error);
    if (!run->plan)
        return ghn_fail(err, GHN_JSON, path, "%s", error.text);
    struct ghn_meta_recipe *r = &run->recipe;
    *r = ghn_meta_recipe_paper;
    const char *precision = "f32";
    json_int_t warmup_steps = 0;
    const json_t *steps = NULL;
    if (json_unpack_ex(run->plan, &error, 0,
                       "{s?i, s?F, s?I, s?F, s?F, s?F, s?F, s?i, s?b, s?s, s:o}", "batch_size",
                       &r->batch_size, "lr", &r->lr, "warmup_steps", &warmup_steps, "weight_decay",
                       &r->weight_decay, "beta1", &r->beta1, "eps", &r->eps, "clip_norm",
                       &r->clip_norm, "threads", &run->threads, "wait", &run->wait, "precision",
                       &precision, "steps", &steps) != 0)
        return ghn_fail(err, GHN_WRONG_TYPE, path, "%s", error.text);
    if (!ghn_precision_parse(precision, &r->precision))
        return ghn_fail(err, GHN_OUT_OF_RANGE, path, "there is no precision \"%s\"", precision);
    r->warmup_steps = warmup_steps;
    r->steps = (int64_t)json_array_size(steps);
    r->meta_batch = (int)json_array_size(json_array_get(steps, 0));
    return ghn__meta_recipe_check(r, err);
}

static enum ghn_status read_data(struct run *run, const char *path, struct ghn_err *err) {
    enum ghn_status status = ghn_tensors_read(path, &run->data, err);
    if (status != GHN_OK)
        return status;
    const struct ghn_tensor *images = ghn_tensors_find(run->data, "images"),
                            *labels = ghn_tensors_find(run->data, "labels");
    if (!images || !labels || images->dtype != GHN_F32 || labels->dtype != GHN_I32 ||
        images->shape.ndim != 4 || labels->shape.ndim != 1 ||
        images->shape.dim[0] != labels->shape.dim[0] ||
        images->shape.dim[0] < run->recipe.batch_size)
        return ghn_fail(err, GHN_INVALID_FILE, path, "expected images, f32, and labels, i32");
    run->images.n = run->recipe.batch_size;
    run->images.images = (float *)(uintptr_t)images->data;
    run->images.labels = (int32_t *)(uintptr_t)labels->data;
    run->n_batches = images->shape.dim[0] / run->recipe.batch_size;
    run->n_in = images->shape.dim[1] * images->shape.dim[2] * images->shape.dim[3];
    return GHN_OK;
}

static enum ghn_status open_run(struct run *run, char **argv, struct ghn_err *err) {
    enum ghn_status status = read_plan(run, argv[2], err);
    if (status == GHN_OK)
        status = read_data(run, argv[1], err);
    if (status == GHN_OK)
        status = ghn_model_load(argv[0], &run->start, err);
    if (status == GHN_OK)
        status = ghn__meta_learner_init(&run->learner, ghn_model_config(run->start), run->start,
                                        &run->recipe, run->threads, err);
    return status == GHN_OK ? ghn__meta_batch_init(&run->batch, run->recipe.meta_batch, err)
                            : status;
}

static void close_run(struct run *run) {
    ghn__meta_batch_done(&run->batch);
    ghn__meta_learner_done(&run->learner);
    ghn_model_unref(run->start);
    ghn_tensors_free(run->data);
    json_decref(run->plan);
}

/* --- Steps --- */

static enum ghn_status build(const struct run *run, const json_t *request,
                             struct ghn__candidate *candidate, struct ghn_err *err) {
    enum ghn_status status = ghn_net_from_json(request, "", &candidate->net, err);
    if (status == GHN_OK)
        status = ghn_net_to_arch(&candidate->net, &ghn_limits_default, &candidate->arch, err);
    if (status == GHN_OK)
        status = ghn_graph_from_arch(candidate->arch, &ghn_limits_default, &candidate->graph, err);
    const int64_t *input = candidate->net.input;
    if (status == GHN_OK && input[0] * input[1] * input[2] != run->n_in)
        status = ghn_fail(err, GHN_SHAPE_MISMATCH, "input", "the images do not suit the network");
    if (status == GHN_OK && candidate->net.num_classes != ghn_model_config(run->start)->num_classes)
        status = ghn_fail(err, GHN_SHAPE_MISMATCH, "num_classes", "it is not the hypernetwork's");
    return status;
}

/* The candidates of a step in place of the last ones. */
static enum ghn_status build_all(struct run *run, const json_t *requests, struct ghn_err *err) {
    int m = run->recipe.meta_batch;
    if (json_array_size(requests) != (size_t)m)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "steps", "every step should have %d networks", m);
    ghn__meta_batch_done(&run->batch);
    enum ghn_status status = ghn__meta_batch_init(&run->batch, m, err);
    for (int i = 0; i < m && status == GHN_OK; i++)
        status = build(run, json_array_get(requests, (size_t)i), &run->batch.candidates[i], err);
    return status;
}

static enum ghn_status step(struct run *run, int64_t number, struct ghn_err *err) {
    double started = now();
    const json_t *steps = json_object_get(run->plan, "steps");
    enum ghn_status status = build_all(run, json_array_get(steps, (size_t)number), err);
    if (status != GHN_OK)
        return status;
    double built = now();
    int64_t first = number % run->n_batches * run->images.n;
    struct ghn_batch images = run->images;
    struct ghn__meta_outcome outcome;
    images.images += first * run->n_in;
    images.labels += first;
    status = ghn__meta_learner_step(&run->learner, &run->batch, &images, &outcome, err);
    if (status == GHN_OK)
        (void)printf("{\"step\": %lld, \"loss\": %.9g, \"gradient_norm\": %.9g, \"networks\": %d, "
                     "\"seconds\": %.6f, \"building\": %.6f}\n",
                     (long long)number, outcome.loss / outcome.networks, outcome.norm,
                     outcome.networks, now() - built, built - started);
    (void)fflush(stdout);
    return status;
}

static bool may_go_on(const struct run *run) {
    int c = run->wait ? getchar() : '\n';
    while (c != '\n' && c != EOF)
        c = getchar();
    return c != EOF;
}

/* Adam's first moments as a hypernetwork's tensors. */
static enum ghn_status write_moments(struct run *run, const char *path, struct ghn_err *err) {
    struct ghn__meta_learner *learner = &run->learner;
    struct ghn_model *model = NULL;
    memcpy(ghn_hypernet_values(learner->hypernet), learner->m,
           (size_t)learner->n * sizeof *learner->m);
    enum ghn_status status = ghn_hypernet_to_model(learner->hypernet, NULL, &model, err);
    if (status == GHN_OK)
        status = ghn_model_save(model, path, NULL, err);
    ghn_model_unref(model);
    return status;
}

int main(int argc, char **argv) {
    struct ghn_err err = GHN_ERR_INIT;
    struct run run = {0};
    if (argc != 4 && argc != 5) {
        (void)fprintf(stderr, "usage: see %s\n", __FILE__);
        return 2;
    }
    enum ghn_status status = open_run(&run, argv + 1, &err);
    for (int64_t i = 0; status == GHN_OK && i < run.recipe.steps && may_go_on(&run); i++)
        status = step(&run, i, &err);
    if (status == GHN_OK && argc == 5)
        status = write_moments(&run, argv[4], &err);
    close_run(&run);
    if (status != GHN_OK)
        (void)fprintf(stderr, "%s: %s: %s\n", ghn_status_code(status), err.where, err.message);
    return status == GHN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
