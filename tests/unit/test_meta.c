/* lib/train/meta.h on the drawn data set: stopping anywhere changes nothing, nor does the number of
 * threads, damage and other recipes are told, and it learns. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ghn/hypernet.h"
#include "small_hypernet.h"
#include "train/meta_impl.h"
#include "train/state_file.h"

/* --- Trainings --- */

static struct ghn_dataset *dataset;
static char folder[] = "/tmp/ghn-test-meta-XXXXXX";

static void remove_files(void) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, GHN_META_STATE_FILE);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/%s", folder, GHN_META_CHECKPOINT_FILE);
    (void)unlink(path);
}

static int set_up(void **state) {
    (void)state;
    return !mkdtemp(folder) || ghn_dataset_open("shapes", &dataset, &err) != GHN_OK;
}

static int tear_down(void **state) {
    (void)state;
    remove_files();
    ghn_dataset_free(dataset);
    return rmdir(folder);
}

enum { SMALL_SIDE = 8 };

static struct ghn_meta_recipe small_recipe(void) {
    struct ghn_meta_recipe recipe = ghn_meta_recipe_paper;
    recipe.steps = 6;
    recipe.meta_batch = 3;
    recipe.batch_size = 8;
    recipe.side = SMALL_SIDE;
    recipe.images = 64;
    recipe.pool = 4;
    recipe.widths = false;
    recipe.precision = GHN_PRECISION_F32;
    return recipe;
}

/* The hypernetwork's parameters after training, `sitting` steps at a time (0: all at once). */
static float *train(const struct ghn_meta_recipe *recipe, int sitting, int threads,
                    int64_t *ret_n) {
    const struct ghn_meta_options options = {
        .dir = folder, .threads = threads, .stop_after = sitting};
    struct ghn_model *model = NULL;
    struct ghn_hypernet *hypernet = NULL;
    enum ghn_status status = GHN_STOPPED;
    remove_files();
    for (int i = 0; i < 20 && status == GHN_STOPPED; i++)
        status = ghn_meta_train(&config, NULL, dataset, recipe, &options, &model, &err);
    ok(status);
    err = (struct ghn_err)GHN_ERR_INIT;
    ok(ghn_hypernet_from_model(model, &hypernet, &err));
    *ret_n = ghn_hypernet_n(hypernet);
    float *values = malloc((size_t)*ret_n * sizeof *values);
    assert_non_null(values);
    memcpy(values, ghn_hypernet_values(hypernet), (size_t)*ret_n * sizeof *values);
    ghn_hypernet_free(hypernet);
    ghn_model_unref(model);
    return values;
}

/* Of the allocations of a short training, with Muon, an average, and a folder, every one of the
 * first hundred and then ever fewer fail. */
static void test_failed_allocations(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    const struct ghn_meta_options options = {.dir = folder, .threads = 1};
    enum ghn_status status = GHN_NO_MEMORY;
    recipe.steps = 2;
    recipe.meta_batch = recipe.pool = 1;
    recipe.optimizer = GHN_META_MUON;
    recipe.ema_decay = 0.9;
    int failures = 0;
    for (long n = 1; status != GHN_OK; n += 1 + (n > 100 ? n / 10 : 0), failures++) {
        struct ghn_model *model = NULL;
        remove_files();
        err = (struct ghn_err)GHN_ERR_INIT;
        ghn_mem_fail_at(n, 0);
        status = ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err);
        ghn_mem_fail_at(0, 0);
        if (status != GHN_OK) {
            assert_int_equal(status, GHN_NO_MEMORY);
            assert_int_equal(err.status, GHN_NO_MEMORY);
            assert_null(model);
        }
        ghn_model_unref(model);
        assert_true(n < 1000000);
    }
    assert_true(failures > 100);
}

static void check_same_bits(const struct ghn_meta_recipe *recipe) {
    int64_t n = 0, m = 0;
    float *straight = train(recipe, 0, 1, &n), *stopped = train(recipe, 2, 1, &m);
    assert_int_equal(n, m);
    assert_memory_equal(straight, stopped, (size_t)n * sizeof *straight);
    free(stopped);
    stopped = train(recipe, 0, 3, &m);
    assert_memory_equal(straight, stopped, (size_t)n * sizeof *straight);
    free(stopped);
    free(straight);
}

static void test_same_bits(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    check_same_bits(&recipe);
    recipe.optimizer = GHN_META_MUON;
    recipe.ema_decay = 0.9;
    recipe.own_images = true;
    check_same_bits(&recipe);
}

/* One step of each optimiser from the same parameters: AdamW is Adam without weight decay and the
 * decay apart from it; Muon is AdamW on everything but the matrices. */
static void test_optimizers(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    struct ghn_matrix matrices[GHN_HYPERNET_MATRICES];
    struct ghn_hypernet *fresh = NULL;
    float *after[3];
    int64_t n = 0, moved = 0, in_matrices = 0;
    recipe.steps = 1;
    recipe.lr = 0.01;
    ok(ghn_hypernet_new(&config, recipe.seed, &fresh, &err));
    const float *before = ghn_hypernet_values(fresh);
    for (int i = 0; i < 3; i++) {
        recipe.optimizer = (enum ghn_meta_optimizer)i;
        recipe.weight_decay = recipe.optimizer == GHN_META_ADAM ? 0 : 0.5;
        after[i] = train(&recipe, 0, 1, &n);
    }
    for (int64_t k = 0; k < n; k++)
        assert_float_equal(after[GHN_META_ADAMW][k],
                           after[GHN_META_ADAM][k] - 0.01 * 0.5 * before[k], 1e-6);
    int n_matrices = ghn_hypernet_matrices(fresh, matrices);
    int64_t from = 0;
    for (int i = 0; i <= n_matrices; i++) {
        int64_t to = i < n_matrices ? matrices[i].first : n;
        for (int64_t k = from; k < to; k++) {
            assert_float_equal(after[GHN_META_MUON][k], after[GHN_META_ADAMW][k], 1e-7);
            moved += after[GHN_META_MUON][k] != before[k];
        }
        from = i < n_matrices ? to + (int64_t)matrices[i].rows * matrices[i].cols : to;
        for (int64_t k = to; k < from; k++)
            in_matrices += fabs((double)after[GHN_META_MUON][k] - after[GHN_META_ADAMW][k]) > 1e-5;
    }
    assert_true(moved > 100);
    assert_true(in_matrices > n / 2);
    for (int i = 0; i < 3; i++)
        free(after[i]);
    ghn_hypernet_free(fresh);
}

/* A checkpoint is the average of the initial parameters and those after the first step, when there
 * is one step. */
static void test_ema(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    struct ghn_hypernet *fresh = NULL;
    int64_t n = 0, m = 0;
    recipe.steps = 1;
    ok(ghn_hypernet_new(&config, recipe.seed, &fresh, &err));
    const float *before = ghn_hypernet_values(fresh);
    float *after = train(&recipe, 0, 1, &n);
    for (int i = 0; i < 2; i++) {
        recipe.ema_decay = i == 0 ? 0.1 : 0.999;
        double keep = i == 0 ? 0.1 : 2.0 / 11;
        float *mean = train(&recipe, 0, 1, &m);
        assert_int_equal(n, m);
        double moved = 0;
        for (int64_t k = 0; k < n; k++) {
            assert_float_equal(mean[k], keep * before[k] + (1 - keep) * after[k], 1e-6);
            moved = fmax(moved, fabs((double)mean[k] - before[k]));
        }
        assert_true(moved > 5e-4);
        free(mean);
    }
    free(after);
    ghn_hypernet_free(fresh);
}

/* The losses of the candidates of a fresh hypernetwork on those images. */
static void losses_on(const struct ghn_meta_recipe *recipe, const struct ghn_batch *images,
                      double *ret) {
    struct ghn__meta_learner learner;
    struct ghn__meta_batch batch;
    struct ghn__meta_outcome outcome;
    uint64_t next_use = 0;
    ok(ghn__meta_learner_init(&learner, &config, NULL, recipe, 2, &err));
    ok(ghn__meta_batch_init(&batch, recipe->meta_batch, &err));
    ok(ghn__meta_batch_draw(&batch, recipe, dataset, NULL, &next_use, &err));
    ok(ghn__meta_learner_step(&learner, &batch, images, &outcome, &err));
    for (int i = 0; i < batch.m; i++)
        ret[i] = batch.candidates[i].loss;
    ghn__meta_batch_done(&batch);
    ghn__meta_learner_done(&learner);
}

/* With images of their own, candidates see what each would see if its share were all. */
static void test_own_images(void **state) {
    (void)state;
    enum { M = 3, IMAGES = 8, SIZE = SMALL_SIDE * SMALL_SIDE * 3 };
    struct ghn_meta_recipe recipe = small_recipe();
    float *pixels = malloc(sizeof *pixels * M * IMAGES * SIZE);
    int32_t labels[M * IMAGES];
    double own[M], shared[M];
    assert_non_null(pixels);
    for (int i = 0; i < M * IMAGES * SIZE; i++)
        pixels[i] = (float)sin(i * (1 + 0.001 * i));
    for (int i = 0; i < M * IMAGES; i++)
        labels[i] = i * 7 % 10;
    recipe.own_images = true;
    assert_int_equal(ghn__meta_images(&recipe), M * IMAGES);
    losses_on(&recipe, &(struct ghn_batch){.n = M * IMAGES, .images = pixels, .labels = labels},
              own);
    recipe.own_images = false;
    assert_int_equal(ghn__meta_images(&recipe), IMAGES);
    for (int i = 0; i < M; i++) {
        losses_on(&recipe,
                  &(struct ghn_batch){.n = IMAGES,
                                      .images = pixels + (size_t)i * IMAGES * SIZE,
                                      .labels = labels + (size_t)i * IMAGES},
                  shared);
        assert_float_equal(own[i], shared[i], 0);
        assert_true(own[(i + 1) % M] != shared[(i + 1) % M]);
    }
    free(pixels);
}

/* Steps may be added to; the rest of the recipe, the configuration and the data stay. */
static void test_identity(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    const struct ghn_meta_options options = {.dir = folder, .threads = 1};
    struct ghn_model *model = NULL;
    int64_t n = 0;
    recipe.steps = 1;
    free(train(&recipe, 0, 1, &n));
    recipe.lr = 1e-4;
    assert_int_equal(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err),
                     GHN_OUT_OF_RANGE);
    if (!strstr(err.message, "recipe.lr"))
        fail_msg("%s", err.message);
    recipe.lr = ghn_meta_recipe_paper.lr;
    recipe.steps = 2;
    err = (struct ghn_err)GHN_ERR_INIT;
    ok(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err));
    ghn_model_unref(model);
    struct ghn_config other = config;
    other.hid = 12;
    assert_int_equal(ghn_meta_train(&other, NULL, dataset, &recipe, &options, &model, &err),
                     GHN_OUT_OF_RANGE);
    assert_non_null(strstr(err.message, "config.hid"));
    err = (struct ghn_err)GHN_ERR_INIT;
}

/* A state of a program that did not know a field of the recipe is taken on where it has its
 * default, and only there. */
static void test_earlier_state(void **state) {
    (void)state;
    static const struct ghn__state_kind kind = {"ghn-meta-training/1", "a meta-training"};
    struct ghn_meta_recipe recipe = small_recipe();
    const struct ghn_meta_options options = {.dir = folder, .threads = 1};
    int64_t n = 0;
    recipe.steps = 1;
    free(train(&recipe, 0, 1, &n));
    char path[256];
    struct ghn_tensors *file = NULL;
    json_t *training = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, GHN_META_STATE_FILE);
    ok(ghn__state_file_read(path, &kind, &file, &training, &err));
    assert_int_equal(json_object_del(json_object_get(training, "recipe"), "wide"), 0);
    ok(ghn__state_file_write(path, &kind, training, file->items, file->n, &err));
    ghn_tensors_free(file);
    struct ghn_model *model = NULL;
    recipe.wide = 0.25;
    assert_int_equal(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err),
                     GHN_OUT_OF_RANGE);
    assert_non_null(strstr(err.message, "recipe.wide is 0.0 there and 0.25 here"));
    err = (struct ghn_err)GHN_ERR_INIT;
    recipe.wide = 0;
    ok(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err));
    ghn_model_unref(model);
}

/* One wrong byte anywhere in the state, or its end missing, is noticed. */
static void test_damage(void **state) {
    (void)state;
    const struct ghn_meta_options options = {.dir = folder, .threads = 1};
    struct ghn_meta_recipe recipe = small_recipe();
    struct ghn_model *model = NULL;
    char path[128];
    int64_t n = 0;
    recipe.steps = 1;
    free(train(&recipe, 0, 1, &n));
    recipe.steps = 2;
    (void)snprintf(path, sizeof path, "%s/%s", folder, GHN_META_STATE_FILE);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file), places[] = {4, 40, size / 2, size - 1};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fseek(file, places[i], SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, places[i], SEEK_SET), 0);
        (void)fputc(byte ^ 0x10, file);
        (void)fflush(file);
        err = (struct ghn_err)GHN_ERR_INIT;
        assert_int_equal(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err),
                         GHN_INVALID_FILE);
        assert_string_equal(err.where, path);
        assert_int_equal(fseek(file, places[i], SEEK_SET), 0);
        (void)fputc(byte, file);
        (void)fflush(file);
    }
    err = (struct ghn_err)GHN_ERR_INIT;
    ok(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err));
    ghn_model_unref(model);
    assert_int_equal(truncate(path, size / 2), 0);
    assert_int_equal(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err),
                     GHN_INVALID_FILE);
    (void)fclose(file);
    err = (struct ghn_err)GHN_ERR_INIT;
}

static void check_refused(const struct ghn_meta_recipe *recipe, const char *where) {
    const struct ghn_meta_options options = {.threads = 1};
    struct ghn_model *model = NULL;
    err = (struct ghn_err)GHN_ERR_INIT;
    assert_int_equal(ghn_meta_train(&config, NULL, dataset, recipe, &options, &model, &err),
                     GHN_OUT_OF_RANGE);
    assert_string_equal(err.where, where);
    assert_null(model);
    err = (struct ghn_err)GHN_ERR_INIT;
}

static void test_bad_recipes(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    recipe.meta_batch = 65;
    check_refused(&recipe, "meta_batch");
    recipe = small_recipe();
    recipe.lr = NAN;
    check_refused(&recipe, "lr");
    recipe = small_recipe();
    recipe.batch_size = 65; /* of 64 images */
    check_refused(&recipe, "shapes");
    recipe = small_recipe();
    recipe.first = 49990;
    check_refused(&recipe, "images");
    recipe = small_recipe();
    recipe.seed = (uint64_t)1 << 63;
    check_refused(&recipe, "seed");
    recipe = small_recipe();
    recipe.optimizer = (enum ghn_meta_optimizer)3;
    check_refused(&recipe, "optimizer");
    recipe = small_recipe();
    recipe.max_nodes = 3;
    check_refused(&recipe, "max_nodes");
    recipe = small_recipe();
    recipe.max_flops = 1000;
    check_refused(&recipe, "max_flops");
    recipe = small_recipe();
    recipe.ema_decay = 1;
    check_refused(&recipe, "ema_decay");
    recipe = small_recipe();
    recipe.own_images = true;
    recipe.batch_size = 22; /* for each of 3, of 64 */
    check_refused(&recipe, "shapes");
    recipe = small_recipe();
    recipe.side = 7;
    check_refused(&recipe, "side");
    recipe.side = 28; /* two reductions do not halve it whole */
    check_refused(&recipe, "side");
    recipe = small_recipe();
    recipe.wide = 1.5;
    check_refused(&recipe, "wide");
}

/* The first and the latest steps that a training told of. */
struct told {
    struct ghn_meta_progress first, last;
};

static void keep(void *context, const struct ghn_meta_progress *progress, bool point) {
    struct told *told = context;
    if (point || isnan(progress->loss))
        return;
    if (isnan(told->first.loss))
        told->first = *progress;
    told->last = *progress;
}

/* What a training from the start told. */
static struct told told_by(const struct ghn_meta_recipe *recipe, int threads) {
    struct told told = {.first = {.loss = NAN}};
    const struct ghn_meta_options options = {
        .threads = threads, .report_seconds = 1e-9, .report = keep, .context = &told};
    struct ghn_model *model = NULL;
    ok(ghn_meta_train(&config, NULL, dataset, recipe, &options, &model, &err));
    ghn_model_unref(model);
    return told;
}

/* The gradient of each network is cut to a norm, and with it that of the hypernetwork. */
static void test_clip_network(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    double norms[2];
    recipe.steps = 1;
    for (int i = 0; i < 2; i++) {
        recipe.clip_network = i * 1e-3;
        norms[i] = told_by(&recipe, 1).last.gradient_norm;
    }
    if (!(norms[1] > 0 && norms[1] < 1e-2 * norms[0]))
        fail_msg("the gradient's norm went from %g to %g", norms[0], norms[1]);
}

struct validations {
    int calls;
    double told;    /* by the last point */
    double seconds; /* of training, as last reported */
};

static double validate(void *context, const struct ghn_model *model) {
    struct validations *validations = context;
    assert_non_null(model);
    return 0.25 * ++validations->calls;
}

static void keep_validation(void *context, const struct ghn_meta_progress *progress, bool point) {
    struct validations *validations = context;
    validations->seconds = progress->seconds;
    if (point)
        validations->told = progress->validation;
}

/* The hypernetwork is validated when it is time, and at the end. */
static void test_validation(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    struct validations validations = {0};
    struct ghn_meta_options options = {.threads = 1,
                                       .point_seconds = 1e-9,
                                       .report = keep_validation,
                                       .validate = validate,
                                       .context = &validations};
    struct ghn_model *model = NULL;
    recipe.steps = 3;
    ok(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err));
    ghn_model_unref(model);
    assert_int_equal(validations.calls, 1);
    assert_float_equal(validations.told, 0.25, 0);
    options.validate_seconds = 1e-9;
    ok(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err));
    ghn_model_unref(model);
    assert_int_equal(validations.calls, 4);
    assert_float_equal(validations.told, 1, 0);
}

/* Short sittings add up to the time of a validation. */
static void test_validation_of_sittings(void **state) {
    (void)state;
    enum { SITTINGS = 8 };
    struct ghn_meta_recipe recipe = small_recipe();
    struct validations validations = {0};
    struct ghn_meta_options options = {.dir = folder,
                                       .threads = 1,
                                       .point_seconds = 1e-9,
                                       .stop_after = 1,
                                       .report = keep_validation,
                                       .validate = validate,
                                       .validate_seconds = 1e9,
                                       .context = &validations};
    struct ghn_model *model = NULL;
    recipe.steps = 2 * SITTINGS;
    remove_files();
    for (int i = 0; i <= SITTINGS; i++) {
        assert_int_equal(validations.calls, 0);
        if (i == SITTINGS)
            options.validate_seconds = validations.seconds;
        assert_int_equal(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err),
                         GHN_STOPPED);
        err = (struct ghn_err)GHN_ERR_INIT;
    }
    assert_int_equal(validations.calls, 1);

    /* The last one, at the end, is what the checkpoint tells. */
    char path[128];
    options.stop_after = 0;
    ok(ghn_meta_train(&config, NULL, dataset, &recipe, &options, &model, &err));
    ghn_model_unref(model);
    (void)snprintf(path, sizeof path, "%s/%s", folder, GHN_META_CHECKPOINT_FILE);
    ok(ghn_model_load(path, &model, &err));
    const json_t *says = json_object_get(ghn_model_metadata(model), "training_validation");
    json_t *told = json_pack("{s:i, s:f}", "step", 2 * SITTINGS, "top1", validations.told),
           *kept = json_loads(json_string_value(says), 0, NULL);
    assert_true(json_equal(told, kept));
    json_decref(told);
    json_decref(kept);
    ghn_model_unref(model);
}

/* The same networks and images again and again: the loss falls from that of a guess. */
static void test_learns(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = small_recipe();
    recipe.steps = 100;
    recipe.pool = 2;
    recipe.images = 8;
    recipe.augment = false;
    struct told told = told_by(&recipe, 2);
    assert_true(told.first.loss > 1.5);
    if (!(told.last.loss < 0.75 * told.first.loss))
        fail_msg("the loss went from %g to %g", told.first.loss, told.last.loss);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_allocations),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_bad_recipes),
        cmocka_unit_test(test_clip_network),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_ema),
        cmocka_unit_test(test_optimizers),
        cmocka_unit_test(test_own_images),
        cmocka_unit_test(test_earlier_state),
        cmocka_unit_test(test_validation_of_sittings),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
