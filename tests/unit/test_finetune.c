/* lib/train/finetune.h on the drawn data set: stopping anywhere changes nothing, divergence keeps
 * what was good, and it learns. */
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
#include "make_arch.h"
#include "nn/parallel.h"
#include "train/finetune.h"

static const char network[] =
    "{'format':'ghn-arch/1','input':{'name':'input','shape':[3,32,32]},'nodes':["
    "{'name':'c1','op':'conv2d','inputs':['input'],'attrs':{'out_channels':16,'kernel':3,'padding':"
    "1,'bias':false}},"
    "{'name':'b1','op':'batch_norm2d','inputs':['c1']},{'name':'r1','op':'relu','inputs':['b1']},"
    "{'name':'p1','op':'max_pool2d','inputs':['r1'],'attrs':{'kernel':4}},"
    "{'name':'d','op':'dropout','inputs':['p1'],'attrs':{'p':0.1}},"
    "{'name':'f','op':'flatten','inputs':['d']},"
    "{'name':'fc','op':'linear','inputs':['f'],'attrs':{'out_features':10}}],'output':'fc'}";

static struct ghn_arch *make_arch(void) {
    char text[sizeof(network)];
    memcpy(text, network, sizeof(network));
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    return arch_of(json_loads(text, 0, NULL));
}

/* A training of the network; with stop_at it is asked to stop once that step is reported. */
struct training {
    struct ghn_arch *arch;
    struct ghn_dataset *dataset;
    struct ghn_params *params;
    struct ghn_recipe recipe;
    int64_t stop_at;
    atomic_bool stop;
    double max_seconds;
    double first_top1, last_top1;
};

static void report(void *context, const struct ghn_progress *progress) {
    struct training *training = context;
    assert_true(isfinite(progress->images_per_second)); /* also in the first report of a sitting */
    if (training->stop_at > 0 && progress->step >= training->stop_at)
        atomic_store(&training->stop, true);
    if (isnan(progress->test_top1))
        return;
    if (progress->step == 0)
        training->first_top1 = progress->test_top1;
    training->last_top1 = progress->test_top1;
}

static void setup(struct training *t) {
    struct ghn_err err = GHN_ERR_INIT;
    *t = (struct training){.arch = make_arch(), .recipe = ghn_recipe_default};
    assert_int_equal(ghn_dataset_open("shapes", &t->dataset, &err), GHN_OK);
    assert_int_equal(ghn_params_new(t->arch, &t->params, &err), GHN_OK);
    ghn_params_initialise(t->params, 1);
    t->recipe.steps = 60;
    t->recipe.lr = 0.002;
    t->recipe.batch_size = 32;
    t->recipe.eval_images = 320;
}

static void teardown(struct training *t) {
    ghn_params_free(t->params);
    ghn_dataset_free(t->dataset);
    ghn_arch_free(t->arch);
}

static enum ghn_status train(struct training *t, const char *dir, struct ghn_err *err) {
    const struct ghn_finetune_options options = {.dir = dir,
                                                 .report_seconds = 1e-9,
                                                 .max_seconds = t->max_seconds,
                                                 .stop = &t->stop,
                                                 .report = report,
                                                 .context = t};
    return ghn_finetune(t->arch, t->dataset, &t->recipe, &options, t->params, err);
}

static char *folder(void) {
    static char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/ghn-train-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static void remove_folder(const char *path) {
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r '%s'", path);
    assert_int_equal(system(command), 0);
}

/* Stopped three times, and going on in another process each time, as far as memory and the number
 * of threads can tell: teams[i] is that of sitting i, and what it should still be afterwards. */
static void stop_and_go_on(const int teams[4]) {
    struct training whole, parts;
    struct ghn_err err = GHN_ERR_INIT;
    int before = ghn__parallel_threads();
    setup(&whole);
    setup(&parts);
    ghn__parallel_set_threads(teams[0]);
    assert_int_equal(train(&whole, NULL, &err), GHN_OK);
    const char *dir = folder();
    for (int i = 1; i <= 3; i++) {
        parts.stop_at = 17 * i;
        atomic_store(&parts.stop, false);
        err = (struct ghn_err)GHN_ERR_INIT;
        ghn__parallel_set_threads(teams[i - 1]);
        assert_int_equal(train(&parts, dir, &err), GHN_STOPPED);
        assert_int_equal(ghn__parallel_threads(), teams[i - 1]);
        ghn_params_initialise(parts.params, 99); /* what memory holds must not matter */
    }
    parts.stop_at = 0;
    atomic_store(&parts.stop, false);
    err = (struct ghn_err)GHN_ERR_INIT;
    ghn__parallel_set_threads(teams[3]);
    assert_int_equal(train(&parts, dir, &err), GHN_OK);
    ghn__parallel_set_threads(before);
    assert_memory_equal(whole.params->values, parts.params->values,
                        (size_t)whole.params->n * sizeof(float));
    assert_memory_equal(whole.params->statistics, parts.params->statistics,
                        (size_t)whole.params->n_statistics * sizeof(float));
    remove_folder(dir);
    teardown(&whole);
    teardown(&parts);
}

/* The limit is on all sittings together, and what was trained until then is kept. */
static void time_is_limited(void **state) {
    (void)state;
    struct training t;
    struct ghn_err err = GHN_ERR_INIT;
    char path[96];
    setup(&t);
    const char *dir = folder();
    (void)snprintf(path, sizeof(path), "%s/" GHN_PARAMETERS_FILE, dir);
    t.stop_at = 5;
    assert_int_equal(train(&t, dir, &err), GHN_STOPPED);
    atomic_store(&t.stop, false);
    t.stop_at = 0;
    t.max_seconds = 1e-9;
    assert_int_equal(unlink(path), 0);
    err = (struct ghn_err)GHN_ERR_INIT;
    assert_int_equal(train(&t, dir, &err), GHN_TIME_LIMIT);
    assert_non_null(strstr(err.message, "after step 6 of 60"));
    assert_int_equal(access(path, R_OK), 0);
    t.max_seconds = 3600;
    assert_int_equal(train(&t, dir, NULL), GHN_OK);
    remove_folder(dir);
    teardown(&t);
}

static void stopping_changes_nothing(void **state) {
    (void)state;
    int team = ghn__parallel_threads();
    stop_and_go_on((const int[]){team, team, team, team});
}

#ifdef _OPENMP
static void nor_does_another_number_of_threads(void **state) {
    (void)state;
    stop_and_go_on((const int[]){2, 1, 3, 2});
    stop_and_go_on((const int[]){1, 2, 2, 4});
}
#endif

static void it_learns(void **state) {
    (void)state;
    struct training t;
    struct ghn_err err = GHN_ERR_INIT;
    setup(&t);
    t.recipe.steps = 1000;
    assert_int_equal(train(&t, NULL, &err), GHN_OK);
    assert_true(t.first_top1 < 0.25);
    if (t.last_top1 < t.first_top1 + 0.2)
        fail_msg("accuracy went from %.3f to %.3f only", t.first_top1, t.last_top1);
    teardown(&t);
}

static void divergence_is_told_and_nothing_bad_is_kept(void **state) {
    (void)state;
    struct training t;
    struct ghn_err err = GHN_ERR_INIT;
    setup(&t);
    t.recipe.lr = 1e30;
    t.recipe.clip_norm = 0;
    t.recipe.schedule = GHN_CONSTANT;
    const char *dir = folder();
    char path[128];
    assert_int_equal(train(&t, dir, &err), GHN_DIVERGED);
    (void)snprintf(path, sizeof(path), "%s/" GHN_PARAMETERS_FILE, dir);
    struct ghn_tensors *tensors = NULL;
    err = (struct ghn_err)GHN_ERR_INIT;
    assert_int_equal(ghn_tensors_read(path, &tensors, &err), GHN_OK);
    assert_int_equal(ghn_params_load(t.params, tensors, &err), GHN_OK);
    for (int64_t i = 0; i < t.params->n; i++)
        assert_true(isfinite(t.params->values[i]));
    ghn_tensors_free(tensors);
    remove_folder(dir);
    teardown(&t);
}

/* A rate that is merely too high, without a folder; the message says what may help. */
static void a_high_rate_diverges_too(void **state) {
    (void)state;
    struct training t;
    struct ghn_err err = GHN_ERR_INIT;
    setup(&t);
    t.recipe.lr = 1e6;
    t.recipe.clip_norm = 0;
    t.recipe.momentum = 0.99;
    t.recipe.schedule = GHN_CONSTANT;
    t.recipe.steps = 5000;
    assert_int_equal(train(&t, NULL, &err), GHN_DIVERGED);
    assert_non_null(strstr(err.message, "lower learning rate"));
    teardown(&t);
}

static bool holds(const char *path, const struct training *t) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *tensors = NULL;
    struct ghn_params *params = NULL;
    assert_int_equal(ghn_params_new(t->arch, &params, &err), GHN_OK);
    assert_int_equal(ghn_tensors_read(path, &tensors, &err), GHN_OK);
    assert_int_equal(ghn_params_load(params, tensors, &err), GHN_OK);
    bool ret = memcmp(params->values, t->params->values, (size_t)params->n * sizeof(float)) == 0;
    ghn_tensors_free(tensors);
    ghn_params_free(params);
    return ret;
}

/* Until an evaluation counts, the folder has the latest parameters; one that began with running
 * statistics, or that was asked for, counts at once. */
static void the_latest_parameters_are_kept_until_then(void **state) {
    (void)state;
    char path[96];
    for (int k = 0; k < 3; k++) {
        struct training t;
        struct ghn_err err = GHN_ERR_INIT;
        setup(&t);
        const char *dir = folder();
        (void)snprintf(path, sizeof(path), "%s/" GHN_PARAMETERS_FILE, dir);
        t.params->batches_tracked = k == 1;
        t.recipe.eval_every = k == 2 ? 30 : 0;
        t.stop_at = 5;
        assert_int_equal(train(&t, dir, &err), GHN_STOPPED);
        assert_int_equal(holds(path, &t), k == 0);
        if (k > 0)
            ghn_params_initialise(t.params, 1);
        assert_true(holds(path, &t));
        remove_folder(dir);
        teardown(&t);
    }
}

/* The first running mean after one batch. */
static float mean_after_a_batch(enum ghn_start start) {
    struct training t;
    struct ghn_err err = GHN_ERR_INIT;
    setup(&t);
    t.recipe.steps = 1;
    t.recipe.start = start;
    assert_int_equal(train(&t, NULL, &err), GHN_OK);
    float ret = t.params->statistics[0];
    teardown(&t);
    return ret;
}

/* After one batch a prediction's running statistics are that batch's; those of other starts have a
 * tenth of it, as in PyTorch. */
static void a_prediction_has_new_statistics(void **state) {
    (void)state;
    float random = mean_after_a_batch(GHN_START_RANDOM);
    assert_true(fabsf(random) > 1e-4f);
    assert_float_equal(mean_after_a_batch(GHN_START_UPLOAD), random, 0);
    assert_float_equal(mean_after_a_batch(GHN_START_GHN), 10 * random, 1e-4);
}

/* How often it is evaluated where nobody says: ten times, or as often as takes a tenth of the time.
 * A forward pass of 320 images is counted as four steps of 32. */
static void evaluations_take_a_tenth_of_the_time(void **state) {
    (void)state;
    const int64_t steps[] = {60, 500}, every[] = {40, 50};
    for (int i = 0; i < 2; i++) {
        struct training t;
        struct ghn_err err = GHN_ERR_INIT;
        setup(&t);
        t.recipe.steps = steps[i];
        t.stop_at = 101;
        const char *dir = folder();
        enum ghn_status expected = i == 0 ? GHN_OK : GHN_STOPPED;
        assert_int_equal(train(&t, dir, &err), expected);
        json_t *history = NULL, *point;
        assert_int_equal(ghn_finetune_history(dir, &history, &err), GHN_OK);
        size_t at;
        json_array_foreach(history, at, point) {
            json_int_t step = json_integer_value(json_object_get(point, "step"));
            bool tested = json_is_number(json_object_get(point, "test_top1"));
            assert_int_equal(tested, step % every[i] == 0 || step == steps[i]);
        }
        json_decref(history);
        remove_folder(dir);
        teardown(&t);
    }
}

/* The folder has the parameters of the best evaluation, to the bit. */
static void the_best_parameters_are_kept(void **state) {
    (void)state;
    struct training t;
    struct ghn_err err = GHN_ERR_INIT;
    setup(&t);
    t.recipe.steps = 120;
    t.recipe.eval_every = 10;
    t.recipe.eval_images = 500;
    t.recipe.lr = 0.5; /* so much that accuracy goes up and down */
    t.recipe.schedule = GHN_CONSTANT;
    const char *dir = folder();
    char path[128];
    assert_int_equal(train(&t, dir, &err), GHN_OK);
    json_t *history = NULL;
    assert_int_equal(ghn_finetune_history(dir, &history, &err), GHN_OK);
    double best = -1;
    size_t i;
    json_t *point;
    json_array_foreach(history, i, point) {
        const json_t *top1 = json_object_get(point, "test_top1");
        if (json_is_number(top1) && json_number_value(top1) > best)
            best = json_number_value(top1);
    }
    json_decref(history);
    (void)snprintf(path, sizeof path, "%s/" GHN_PARAMETERS_FILE, dir);
    struct ghn_tensors *tensors = NULL;
    struct ghn_evaluation evaluation = {0};
    assert_int_equal(ghn_tensors_read(path, &tensors, &err), GHN_OK);
    assert_int_equal(ghn_params_load(t.params, tensors, &err), GHN_OK);
    assert_true(t.params->batches_tracked > 0);
    assert_int_equal(ghn_evaluate(t.arch, t.params, t.dataset, GHN_SPLIT_TEST, 500, 64,
                                  GHN_MODE_EVAL, t.recipe.precision, NULL, &evaluation, &err),
                     GHN_OK);
    assert_int_equal(evaluation.images, 500);
    assert_true(fabs(evaluation.top1 - best) < 1e-9);
    assert_true(best > t.first_top1);
    ghn_tensors_free(tensors);
    remove_folder(dir);
    teardown(&t);
}

/* From setting up over a step and evaluations to the end, with one allocation after another
 * failing. */
static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    struct training t;
    setup(&t);
    t.recipe.steps = 1;
    t.recipe.batch_size = 4;
    t.recipe.eval_images = 4;
    enum ghn_status status = GHN_NO_MEMORY;
    long n = 1;
    for (; status != GHN_OK; n++) {
        struct ghn_err err = GHN_ERR_INIT;
        ghn_mem_fail_at(n, 0);
        status = train(&t, NULL, &err);
        ghn_mem_fail_at(0, 0);
        if (status != GHN_OK)
            assert_int_equal(status, GHN_NO_MEMORY);
        assert_int_equal(err.status, status);
        assert_true(n < 2000);
    }
    assert_true(n > 30);
    teardown(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_is_limited),
        cmocka_unit_test(the_latest_parameters_are_kept_until_then),
        cmocka_unit_test(a_prediction_has_new_statistics),
        cmocka_unit_test(evaluations_take_a_tenth_of_the_time),
        cmocka_unit_test(stopping_changes_nothing),
#ifdef _OPENMP
        cmocka_unit_test(nor_does_another_number_of_threads),
#endif
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(it_learns),
        cmocka_unit_test(divergence_is_told_and_nothing_bad_is_kept),
        cmocka_unit_test(a_high_rate_diverges_too),
        cmocka_unit_test(the_best_parameters_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
