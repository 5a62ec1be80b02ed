/* lib/train/evaluate_nets.h on the drawn data set: what it says of each network is what one finds
 * by hand, whatever the number of threads, and what goes wrong is counted or told. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ghn/model_impl.h"
#include "nn/parallel.h"
#include "train/evaluate_nets.h"

/* Networks of a test, which are small ones, and images: a full batch and one of 16. */
enum { FIRST = 20, NETS = 3, IMAGES = 80 };

static struct ghn_dataset *dataset;
static struct ghn_model *model;

static int setup(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_dataset_open("shapes", &dataset, &err), GHN_OK);
    assert_int_equal(ghn_model_new(&ghn_config_default, 3, &model, &err), GHN_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ghn_model_unref(model);
    ghn_dataset_free(dataset);
    return 0;
}

/* Of the training split, whose networks are small. */
static struct ghn_evaluate_nets_options options_of(int64_t first, int64_t count) {
    return (struct ghn_evaluate_nets_options){.split = GHN_DEEPNETS_TRAIN,
                                              .first = first,
                                              .count = count,
                                              .images = GHN_SPLIT_TEST,
                                              .max_images = IMAGES,
                                              .precision = GHN_PRECISION_F32,
                                              .threads = 1};
}

static void run(const struct ghn_evaluate_nets_options *options, struct ghn_net_scores *scores) {
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_evaluate_nets(model, dataset, options, scores, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
}

static void assert_same_score(const struct ghn_score *a, const struct ghn_score *b) {
    assert_int_equal(a->evaluation.images, b->evaluation.images);
    assert_memory_equal(&a->evaluation.loss, &b->evaluation.loss, sizeof(double));
    assert_memory_equal(&a->evaluation.top1, &b->evaluation.top1, sizeof(double));
    assert_memory_equal(&a->evaluation.top5, &b->evaluation.top5, sizeof(double));
    assert_int_equal(a->finite, b->finite);
}

static void assert_same(const struct ghn_net_scores *a, const struct ghn_net_scores *b, int n) {
    for (int i = 0; i < n; i++) {
        assert_int_equal(a[i].index, b[i].index);
        assert_int_equal(a[i].n_parameters, b[i].n_parameters);
        assert_same_score(&a[i].predicted, &b[i].predicted);
        assert_same_score(&a[i].trained, &b[i].trained);
    }
}

/* --- The scores --- */

/* Network `index` of the training split, without ghn_evaluate_nets. */
static void by_hand(int64_t index, int64_t *ret_n_parameters, struct ghn_evaluation *ret) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_net net;
    struct ghn_arch *arch = NULL;
    struct ghn_graph *graph = NULL;
    struct ghn_params *params = NULL;
    struct ghn_prediction *prediction = NULL;
    const struct ghn_predict_options options = {0};
    int team = ghn__parallel_threads();
    ghn__parallel_set_threads(1); /* as there: the bits of some kernels depend on it */
    assert_int_equal(ghn_sample_net(GHN_DEEPNETS_TRAIN, 0, index, &net, &err), GHN_OK);
    assert_int_equal(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err), GHN_OK);
    assert_int_equal(ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err), GHN_OK);
    assert_int_equal(ghn_predict(model, graph, &options, NULL, &prediction, &err), GHN_OK);
    assert_int_equal(ghn_params_new(arch, &params, &err), GHN_OK);
    assert_int_equal(ghn_params_from_prediction(params, prediction, &err), GHN_OK);
    assert_int_equal(ghn_evaluate(arch, params, dataset, GHN_SPLIT_TEST, IMAGES, 64,
                                  GHN_MODE_BATCH_STATISTICS, GHN_PRECISION_F32, NULL, ret, &err),
                     GHN_OK);
    *ret_n_parameters = arch->n_parameters;
    ghn__parallel_set_threads(team);
    ghn_params_free(params);
    ghn_prediction_free(prediction);
    ghn_graph_free(graph);
    ghn_arch_free(arch);
}

static void scores_are_those_found_by_hand(void **state) {
    (void)state;
    struct ghn_evaluate_nets_options options = options_of(FIRST, NETS);
    struct ghn_net_scores scores[NETS] = {0};
    run(&options, scores);
    for (int i = 0; i < NETS; i++) {
        struct ghn_evaluation expected;
        int64_t n_parameters = 0;
        by_hand(FIRST + i, &n_parameters, &expected);
        assert_int_equal(scores[i].index, FIRST + i);
        assert_int_equal(scores[i].n_parameters, n_parameters);
        assert_true(scores[i].predicted.finite);
        assert_true(scores[i].predicted.seconds > 0);
        assert_int_equal(scores[i].predicted.evaluation.images, IMAGES);
        assert_true(scores[i].predicted.evaluation.loss == expected.loss);
        assert_true(scores[i].predicted.evaluation.top1 == expected.top1);
        assert_true(scores[i].predicted.evaluation.top5 == expected.top5);
        assert_int_equal(scores[i].trained.evaluation.images, 0);
    }
    assert_true(scores[0].predicted.evaluation.loss != scores[1].predicted.evaluation.loss);
}

static void threads_and_memory_change_nothing(void **state) {
    (void)state;
    struct ghn_evaluate_nets_options options = options_of(FIRST, NETS);
    struct ghn_net_scores one[NETS] = {0}, three[NETS] = {0}, streamed[NETS] = {0};
    run(&options, one);
    options.threads = 3;
    run(&options, three);
    assert_same(one, three, NETS);
    options.hold_bytes = 1;
    run(&options, streamed);
    assert_same(one, streamed, NETS);
}

/* Images from the middle of the training part; held or not, they are the same, and others than
 * those of the beginning. */
static void images_are_chosen(void **state) {
    (void)state;
    struct ghn_evaluate_nets_options options = options_of(FIRST, 1);
    struct ghn_net_scores first = {0}, held = {0}, streamed = {0}, last = {0};
    options.images = GHN_SPLIT_TRAIN;
    run(&options, &first);
    options.first_image = dataset->n[GHN_SPLIT_TRAIN] - 70;
    run(&options, &held);
    assert_int_equal(held.predicted.evaluation.images, 70);
    assert_true(held.predicted.evaluation.loss != first.predicted.evaluation.loss);
    options.hold_bytes = 1;
    run(&options, &streamed);
    assert_same(&held, &streamed, 1);
    options.max_images = 1;
    run(&options, &last);
    assert_int_equal(last.predicted.evaluation.images, 1);
}

/* Every split can be evaluated, and the predefined networks. */
static void every_split_works(void **state) {
    (void)state;
    for (int split = 0; split < GHN_N_DEEPNETS_SPLITS; split++) {
        struct ghn_evaluate_nets_options options = options_of(1, 1);
        struct ghn_net_scores scores = {0};
        options.split = (enum ghn_deepnets_split)split;
        options.max_images = 4;
        options.batch = 2;
        run(&options, &scores);
        assert_int_equal(scores.predicted.evaluation.images, 4);
        assert_true(scores.n_parameters > 10000);
    }
}

/* A hypernetwork that has a NaN predicts networks that fail; they are guessing, and counted. */
static void failed_networks_count_as_guessing(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_model *broken = NULL;
    struct ghn_evaluate_nets_options options = options_of(FIRST, 2);
    struct ghn_net_scores scores[2] = {0};
    struct ghn_scores_summary summary;
    assert_int_equal(ghn_model_new(&ghn_config_default, 3, &broken, &err), GHN_OK);
    ((float *)broken->tensors[GHN__CLASS_B])[4] = NAN;
    assert_int_equal(ghn_evaluate_nets(broken, dataset, &options, scores, &err), GHN_OK);
    for (int i = 0; i < 2; i++) {
        const struct ghn_score *score = &scores[i].predicted;
        assert_false(score->finite);
        assert_int_equal(score->evaluation.images, IMAGES);
        assert_true(score->evaluation.top1 == 0.1 && score->evaluation.top5 == 0.5);
        assert_true(fabs(score->evaluation.loss - log(10)) < 1e-12);
    }
    assert_int_equal(ghn_summarise_scores(scores, 2, false, 10, &summary, &err), GHN_OK);
    assert_int_equal(summary.n, 2);
    assert_int_equal(summary.not_finite, 2);
    assert_int_equal(summary.better_than_chance, 0);
    assert_true(summary.mean == 0.1);
    ghn_model_unref(broken);
}

/* --- Training beside --- */

/* Network `index` trained for a few steps of the recipe of ghn2-spec D, with running statistics. */
static void train_by_hand(int64_t index, int64_t steps, struct ghn_evaluation *ret) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_net net;
    struct ghn_arch *arch = NULL;
    struct ghn_params *params = NULL;
    struct ghn_recipe recipe = ghn_recipe_default;
    const struct ghn_finetune_options options = {0};
    json_t *fields =
        json_pack("{s:I, s:i, s:s, s:f, s:f, s:f, s:s, s:i, s:s, s:i, s:i, s:s}", "steps",
                  (json_int_t)steps, "batch_size", 96, "optimizer", "sgd", "lr", 0.025, "momentum",
                  0.9, "weight_decay", 3e-4, "schedule", "cosine", "clip_norm", 5, "precision",
                  "f32", "seed", 9, "eval_images", 8, "init", "random");
    assert_int_equal(ghn_recipe_from_json(fields, "", &recipe, &err), GHN_OK);
    json_decref(fields);
    assert_int_equal(ghn_sample_net(GHN_DEEPNETS_TRAIN, 0, index, &net, &err), GHN_OK);
    assert_int_equal(net.norm, GHN_NORM_BATCH);
    net.norm = GHN_NORM_BATCH_TRACK;
    assert_int_equal(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err), GHN_OK);
    assert_int_equal(ghn_params_new(arch, &params, &err), GHN_OK);
    ghn_params_initialise(params, 9);
    int team = ghn__parallel_threads();
    ghn__parallel_set_threads(1);
    assert_int_equal(ghn_finetune(arch, dataset, &recipe, &options, params, &err), GHN_OK);
    assert_int_equal(ghn_evaluate(arch, params, dataset, GHN_SPLIT_TEST, IMAGES, 64, GHN_MODE_EVAL,
                                  GHN_PRECISION_F32, NULL, ret, &err),
                     GHN_OK);
    ghn__parallel_set_threads(team);
    ghn_params_free(params);
    ghn_arch_free(arch);
}

/* Training beside changes nothing of what is predicted, and does not depend on threads. */
static void training_beside_is_that_of_the_recipe(void **state) {
    (void)state;
    struct ghn_evaluate_nets_options options = options_of(FIRST + 1, 2);
    struct ghn_net_scores one[2] = {0}, two[2] = {0}, without[2] = {0};
    struct ghn_evaluation expected;
    run(&options, without);
    options.sgd_steps = 2;
    options.seed = 9;
    run(&options, one);
    for (int i = 0; i < 2; i++) {
        assert_same_score(&without[i].predicted, &one[i].predicted);
        assert_int_equal(one[i].trained.evaluation.images, IMAGES);
        assert_true(one[i].trained.finite);
        assert_true(one[i].trained.seconds > 0);
    }
    train_by_hand(FIRST + 2, 2, &expected);
    assert_true(one[1].trained.evaluation.loss == expected.loss);
    assert_true(one[1].trained.evaluation.top1 == expected.top1);
    options.threads = 2;
    run(&options, two);
    assert_same(one, two, 2);
}

/* --- Part of it --- */

/* Told of each network that is done; stops after the first. */
struct listener {
    atomic_bool stop;
    int told;
    int64_t last;
};

static void stop_after_one(void *context, const struct ghn_net_scores *scores) {
    struct listener *listener = context;
    listener->told++;
    listener->last = scores->index;
    atomic_store(&listener->stop, true);
}

static void count_calls(void *context, const struct ghn_net_scores *scores) {
    struct listener *listener = context;
    listener->told++;
    listener->last = scores->index;
}

static void it_stops_and_goes_on(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    struct listener listener = {0};
    struct ghn_evaluate_nets_options options = options_of(FIRST, NETS);
    struct ghn_net_scores whole[NETS] = {0}, parts[NETS] = {0};
    run(&options, whole);
    options.stop = &listener.stop;
    options.report = stop_after_one;
    options.context = &listener;
    assert_int_equal(ghn_evaluate_nets(model, dataset, &options, parts, &err), GHN_STOPPED);
    assert_non_null(strstr(err.message, "after 1 network"));
    assert_int_equal(listener.told, 1);
    assert_same(whole, parts, 1);
    for (int i = 1; i < NETS; i++)
        assert_int_equal(parts[i].predicted.evaluation.images, 0);

    /* What is known is not found again: a mark in it stays. */
    parts[0].predicted.evaluation.top1 = 2;
    atomic_store(&listener.stop, false);
    options.report = count_calls;
    run(&options, parts);
    assert_int_equal(listener.told, NETS);
    assert_int_equal(listener.last, FIRST + NETS - 1);
    assert_true(parts[0].predicted.evaluation.top1 == 2);
    assert_same(whole + 1, parts + 1, NETS - 1);
}

/* --- The summary --- */

static void sums_are_those_of_the_numbers(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_scores_summary summary;
    /* 0.121 is more than two standard errors above 0.1 on 3,600 images, 0.109 is not. */
    static const double top1[] = {0.5, 0.109, 0.1, 0.3, 0.121};
    struct ghn_net_scores scores[6] = {0};
    for (int i = 0; i < 5; i++)
        scores[i].predicted = (struct ghn_score){
            .evaluation = {3600, 2 + i, top1[i], 0.5 + 0.1 * i}, .finite = i != 2};
    assert_int_equal(ghn_summarise_scores(scores, 6, false, 10, &summary, &err), GHN_OK);
    assert_int_equal(summary.n, 5);
    assert_true(fabs(summary.mean - 0.226) < 1e-12);
    assert_true(fabs(summary.standard_error - 0.077827) < 1e-6);
    assert_true(summary.median == 0.121);
    assert_true(summary.max == 0.5);
    assert_true(fabs(summary.mean_top5 - 0.7) < 1e-12);
    assert_true(fabs(summary.mean_loss - 4) < 1e-12);
    assert_int_equal(summary.not_finite, 1);
    assert_int_equal(summary.better_than_chance, 3);
    assert_int_equal(ghn_summarise_scores(scores, 4, false, 10, &summary, &err), GHN_OK);
    assert_true(fabs(summary.median - (0.109 + 0.3) / 2) < 1e-12);
    assert_int_equal(ghn_summarise_scores(scores, 1, false, 10, &summary, &err), GHN_OK);
    assert_true(summary.mean == 0.5 && summary.median == 0.5 && isnan(summary.standard_error));
    assert_int_equal(ghn_summarise_scores(scores, 6, true, 10, &summary, &err), GHN_OK);
    assert_int_equal(summary.n, 0);
    assert_true(isnan(summary.mean) && isnan(summary.median) && isnan(summary.max));
}

/* --- Errors --- */

static void refuse(const struct ghn_evaluate_nets_options *options, enum ghn_status expected,
                   const char *words) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_net_scores scores[NETS] = {0};
    assert_int_equal(ghn_evaluate_nets(model, dataset, options, scores, &err), expected);
    char text[sizeof err.where + sizeof err.message + 2];
    (void)snprintf(text, sizeof text, "%s: %s", err.where, err.message);
    if (!strstr(text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, text);
}

static void mistakes_are_named(void **state) {
    (void)state;
    struct ghn_evaluate_nets_options options = options_of(-1, 1);
    refuse(&options, GHN_OUT_OF_RANGE, "from number -1 on");
    options = options_of(0, 0);
    refuse(&options, GHN_OUT_OF_RANGE, "train: 0 networks");
    options = options_of(1, 2);
    options.split = GHN_DEEPNETS_PREDEFINED;
    refuse(&options, GHN_OUT_OF_RANGE, "predefined: 2 networks from number 1 on; there are 2");
    options = options_of(0, 1);
    options.first_image = 10000;
    refuse(&options, GHN_OUT_OF_RANGE, "shapes: there are no images from number 10000 on");
    options = options_of(0, 1);
    options.side = 28;
    refuse(&options, GHN_SHAPE_MISMATCH, "shapes: its images are 32 x 32");
    options = options_of(0, 1);
    options.images = GHN_SPLIT_TRAIN;
    options.sgd_steps = 1;
    refuse(&options, GHN_OUT_OF_RANGE, "sgd_steps: networks are trained on all training images");
    options = options_of(2, 1);
    options.batch = -1;
    refuse(&options, GHN_OUT_OF_RANGE, "train[2]: batch: -1 images");
}

static void classes_must_be_the_same(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_config config = ghn_config_default;
    struct ghn_model *other = NULL;
    struct ghn_evaluate_nets_options options = options_of(0, 1);
    struct ghn_net_scores scores = {0};
    config.num_classes = 100;
    assert_int_equal(ghn_model_new(&config, 1, &other, &err), GHN_OK);
    assert_int_equal(ghn_evaluate_nets(other, dataset, &options, &scores, &err),
                     GHN_SHAPE_MISMATCH);
    assert_non_null(
        strstr(err.message, "10 classes; the hypernetwork predicts classifiers of 100"));
    ghn_model_unref(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_found_by_hand),
        cmocka_unit_test(threads_and_memory_change_nothing),
        cmocka_unit_test(images_are_chosen),
        cmocka_unit_test(every_split_works),
        cmocka_unit_test(failed_networks_count_as_guessing),
        cmocka_unit_test(training_beside_is_that_of_the_recipe),
        cmocka_unit_test(it_stops_and_goes_on),
        cmocka_unit_test(sums_are_those_of_the_numbers),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(classes_must_be_the_same),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
