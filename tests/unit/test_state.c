/* Checkpoints of trainings: there and back, damage, other trainings; histories. */
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

#include "base/rng.h"
#include "make_arch.h"
#include "train/state.h"
#include "train/state_file.h"

/* A small network; `stride` changes what it computes but no shape of a parameter. */
static struct ghn_arch *make_arch(int stride, const char *name) {
    json_t *root = json_pack(
        "{s:s, s:s, s:{s:s, s:[i,i,i]}, s:[{s:s, s:s, s:[s], s:{s:i, s:i, s:i}}, {s:s, s:s, s:[s]},"
        " {s:s, s:s, s:[s], s:{s:i}}, {s:s, s:s, s:[s]}, {s:s, s:s, s:[s], s:{s:i}}], s:s}",
        "format", "ghn-arch/1", "name", name, "input", "name", "x", "shape", 3, 32, 32, "nodes",
        "name", "c", "op", "conv2d", "inputs", "x", "attrs", "out_channels", 4, "kernel", 3,
        "stride", stride, "name", "bn", "op", "batch_norm2d", "inputs", "c", "name", "p", "op",
        "adaptive_avg_pool2d", "inputs", "bn", "attrs", "output_size", 1, "name", "f", "op",
        "flatten", "inputs", "p", "name", "fc", "op", "linear", "inputs", "f", "attrs",
        "out_features", 10, "output", "fc");
    return arch_of(root);
}

/* A training with nothing behind it. */
struct fixture {
    struct ghn_arch *arch;
    struct ghn_dataset *dataset;
    struct ghn_recipe recipe;
    struct ghn_params *params;
    struct ghn__optimizer *optimizer;
    struct ghn__history history;
    struct ghn__counters counters;
};

static void setup(struct fixture *f, struct ghn_arch *arch, const struct ghn_recipe *recipe) {
    *f = (struct fixture){.arch = arch, .recipe = *recipe};
    assert_int_equal(ghn_dataset_open("shapes", &f->dataset, NULL), GHN_OK);
    assert_int_equal(ghn_params_new(f->arch, &f->params, NULL), GHN_OK);
    assert_int_equal(ghn__optimizer_new(&f->recipe, f->params, &f->optimizer, NULL), GHN_OK);
    assert_int_equal(ghn__history_init(&f->history, NULL), GHN_OK);
}

static void teardown(struct fixture *f) {
    ghn__history_done(&f->history);
    ghn__optimizer_free(f->optimizer);
    ghn_params_free(f->params);
    ghn_dataset_free(f->dataset);
    ghn_arch_free(f->arch);
}

static struct ghn__state state_of(struct fixture *f) {
    return (struct ghn__state){.recipe = &f->recipe,
                               .start = "",
                               .dataset = f->dataset,
                               .params = f->params,
                               .optimizer = f->optimizer,
                               .history = &f->history,
                               .counters = &f->counters};
}

static void draw(float *values, int64_t n, uint64_t stream) {
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)ghn_rng_normal(1, stream, (uint64_t)i);
}

/* Numbers that would show it if they were lost or rounded. */
static void fill(struct fixture *f) {
    draw(f->params->values, f->params->n, 0);
    draw(f->params->statistics, f->params->n_statistics, 1);
    f->params->batches_tracked = 123;
    for (int i = 0; i < f->optimizer->n_slots; i++)
        draw(f->optimizer->slots[i], f->params->n, 2 + (uint64_t)i);
    f->optimizer->steps = 124;
    f->counters = (struct ghn__counters){.step = 125,
                                         .threads = 3,
                                         .settled = 120,
                                         .best_top1 = 1.0 / 3,
                                         .seconds = 1e5 / 7,
                                         .gradient_norm = sqrt(2),
                                         .tally = {0.1, 5, 320, 17}};
    for (int i = 0; i < 3; i++) {
        struct ghn_progress point = {.step = i,
                                     .steps = 10,
                                     .loss = i ? 2.0 / i : NAN,
                                     .test_top1 = i == 2 ? 0.7 : NAN,
                                     .seconds_left = NAN};
        ghn__history_add(&f->history, &point);
    }
}

static const char *temporary(char path[64]) {
    (void)snprintf(path, 64, "/tmp/ghn-state-%ld.safetensors", (long)getpid());
    return path;
}

static void save(struct fixture *f, const char *path) {
    struct ghn_err err = GHN_ERR_INIT;
    const struct ghn__state state = state_of(f);
    if (ghn__state_save(path, &state, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
}

static enum ghn_status load(struct fixture *f, const char *path, struct ghn_err *err) {
    const struct ghn__state state = state_of(f);
    *err = (struct ghn_err)GHN_ERR_INIT;
    return ghn__state_load(path, &state, err);
}

/* Whether nothing has come into a fixture that was set up with zeros. */
static bool is_untouched(const struct fixture *f) {
    for (int64_t i = 0; i < f->params->n; i++)
        if (f->params->values[i] != 0 || f->optimizer->slots[0][i] != 0)
            return false;
    return f->params->batches_tracked == 0 && f->optimizer->steps == 0 && f->history.n == 0 &&
           f->counters.step == 0;
}

static void there_and_back(void **state) {
    (void)state;
    char path[64];
    struct ghn_recipe recipe = ghn_recipe_default;
    for (int adamw = 0; adamw < 2; adamw++) {
        struct fixture a, b;
        struct ghn_err err;
        recipe.optimizer = adamw ? GHN_ADAMW : GHN_SGD;
        setup(&a, make_arch(1, "one"), &recipe);
        setup(&b, make_arch(1, "another name"), &recipe);
        fill(&a);
        save(&a, temporary(path));
        if (load(&b, path, &err) != GHN_OK)
            fail_msg("%s: %s", err.where, err.message);
        size_t bytes = (size_t)a.params->n * sizeof(float);
        assert_memory_equal(a.params->values, b.params->values, bytes);
        assert_memory_equal(a.params->statistics, b.params->statistics,
                            (size_t)a.params->n_statistics * sizeof(float));
        assert_int_equal(a.optimizer->n_slots, 1 + adamw);
        for (int i = 0; i <= adamw; i++)
            assert_memory_equal(a.optimizer->slots[i], b.optimizer->slots[i], bytes);
        assert_int_equal(b.params->batches_tracked, 123);
        assert_int_equal(b.optimizer->steps, 124);
        assert_memory_equal(&a.counters, &b.counters, sizeof a.counters);
        assert_int_equal(b.history.n, 3);
        assert_true(isnan(b.history.points[0].loss) && b.history.points[1].loss == 2);
        assert_true(b.history.points[2].test_top1 == 0.7);
        (void)unlink(path);
        teardown(&a);
        teardown(&b);
    }
}

static char *read_whole(const char *path, size_t *ret_n) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *bytes = malloc(1 << 20);
    *ret_n = fread(bytes, 1, 1 << 20, file);
    assert_true(*ret_n > 1000 && *ret_n < 1 << 20);
    (void)fclose(file);
    return bytes;
}

static void write_whole(const char *path, const char *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void check_refused(struct fixture *f, const char *path, const char *what, size_t at) {
    struct ghn_err err;
    enum ghn_status status = load(f, path, &err);
    if (status != GHN_INVALID_FILE)
        fail_msg("%s at %zu: %s", what, at, ghn_status_code(status));
    assert_string_equal(err.where, path);
    if (!is_untouched(f))
        fail_msg("%s at %zu: half-loaded", what, at);
}

/* Any flipped bit and any cut is noticed, and nothing of the file is taken then. */
static void damage_is_noticed(void **state) {
    (void)state;
    char path[64];
    struct fixture a, b;
    setup(&a, make_arch(1, "net"), &ghn_recipe_default);
    setup(&b, make_arch(1, "net"), &ghn_recipe_default);
    fill(&a);
    save(&a, temporary(path));
    size_t n;
    char *bytes = read_whole(path, &n);
    for (size_t i = 0; i < n; i++) {
        char flip = (char)(1 << (i * 5 % 8));
        bytes[i] ^= flip;
        write_whole(path, bytes, n);
        check_refused(&b, path, "a flipped bit", i);
        bytes[i] ^= flip;
    }
    for (size_t length = 0; length < n; length += 1 + length / 16) {
        write_whole(path, bytes, length);
        check_refused(&b, path, "a cut", length);
    }
    json_t *history = NULL;
    (void)unlink(path);
    struct ghn_err err;
    assert_int_equal(load(&b, path, &err), GHN_IO);
    assert_int_equal(ghn_finetune_history("/nowhere", &history, &err), GHN_IO);
    assert_null(history);
    free(bytes);
    teardown(&a);
    teardown(&b);
}

/* A sound file of tensors that is no state. */
static void other_files_are_refused(void **state) {
    (void)state;
    char path[64];
    struct fixture f;
    setup(&f, make_arch(1, "net"), &ghn_recipe_default);
    float value = 1;
    const struct ghn_tensor item = {
        .name = "values", .dtype = GHN_F32, .shape = {1, {1}}, .data = &value, .n_bytes = 4};
    assert_int_equal(ghn_safetensors_write(temporary(path), &item, 1, NULL, NULL), GHN_OK);
    check_refused(&f, path, "no state", 0);
    write_whole(path, "nonsense", 8);
    check_refused(&f, path, "nonsense", 0);
    (void)unlink(path);
    teardown(&f);
}

static void expect_difference(struct fixture *f, const char *path, const char *words) {
    struct ghn_err err;
    assert_int_equal(load(f, path, &err), GHN_OUT_OF_RANGE);
    if (!strstr(err.message, words))
        fail_msg("'%s' is not in: %s", words, err.message);
    assert_true(is_untouched(f));
}

static void another_training_is_refused(void **state) {
    (void)state;
    char path[64];
    struct fixture a, b;
    setup(&a, make_arch(1, "net"), &ghn_recipe_default);
    fill(&a);
    save(&a, temporary(path));

    setup(&b, make_arch(2, "net"), &ghn_recipe_default);
    expect_difference(&b, path, "another network");
    teardown(&b);

    struct ghn_recipe recipe = ghn_recipe_default;
    recipe.lr = 0.5;
    setup(&b, make_arch(1, "net"), &recipe);
    expect_difference(&b, path, "lr is 0.025 there and 0.5 here");
    teardown(&b);

    recipe = ghn_recipe_default;
    recipe.epochs = 3;
    recipe.steps = 0;
    setup(&b, make_arch(1, "net"), &recipe);
    expect_difference(&b, path, "epochs is absent there and 3.0 here");
    teardown(&b);

    /* nor the other way round, though steps would have been the default */
    setup(&b, make_arch(1, "net"), &recipe);
    fill(&b);
    save(&b, path);
    teardown(&b);
    setup(&b, make_arch(1, "net"), &ghn_recipe_default);
    expect_difference(&b, path, "epochs is said there and not here");
    teardown(&b);

    save(&a, path);
    setup(&b, make_arch(1, "net"), &ghn_recipe_default);
    b.dataset->n[GHN_SPLIT_TRAIN] -= 1;
    expect_difference(&b, path, "train_images is 50000 there and 49999 here");
    teardown(&b);
    (void)unlink(path);
    teardown(&a);
}

/* It stays within its bound, in order, with the first and the latest point, evenly spread. */
static void histories_are_thinned(void **state) {
    (void)state;
    struct ghn__history history;
    assert_int_equal(ghn__history_init(&history, NULL), GHN_OK);
    for (int64_t step = 0; step <= 12345; step++) {
        const struct ghn_progress point = {.step = step};
        ghn__history_add(&history, &point);
        assert_true(history.n <= GHN__HISTORY_MAX);
        assert_int_equal(history.points[0].step, 0);
        assert_int_equal(history.points[history.n - 1].step, step);
    }
    assert_true(history.n >= GHN__HISTORY_MAX / 2);
    for (int i = 1; i < history.n; i++)
        assert_true(history.points[i].step > history.points[i - 1].step);
    ghn__history_done(&history);
}

/* A state of an earlier program lacks the fields that came later. */
static void fields_that_came_later_had_their_defaults(void **state) {
    (void)state;
    char difference[GHN__STATE_DIFFERENCE];
    json_t *old = json_pack("{s:f}", "lr", 0.1),
           *ours = json_pack("{s:f, s:s}", "lr", 0.1, "new", "off"),
           *defaults = json_pack("{s:f, s:s}", "lr", 0.5, "new", "off");
    assert_false(ghn__state_difference(old, ours, defaults, difference));
    assert_true(ghn__state_difference(old, ours, NULL, difference));
    assert_string_equal(difference, "new is absent there and \"off\" here");
    assert_int_equal(json_object_set_new(ours, "new", json_string("on")), 0);
    assert_true(ghn__state_difference(old, ours, defaults, difference));
    assert_string_equal(difference, "new is \"off\" there and \"on\" here");
    assert_true(ghn__state_difference(old, defaults, defaults, difference));
    assert_string_equal(difference, "lr is 0.1 there and 0.5 here");
    assert_true(ghn__state_difference(ours, old, defaults, difference));
    assert_string_equal(difference, "new is said there and not here");
    json_decref(old);
    json_decref(ours);
    json_decref(defaults);
}

/* Takes a field out of the recipe that a state was saved with, as if it had not been known then. */
static void forget(const char *path, const char *field) {
    static const struct ghn__state_kind kind = {"ghn-training/1", "a training"};
    struct ghn_tensors *file = NULL;
    json_t *training = NULL;
    assert_int_equal(ghn__state_file_read(path, &kind, &file, &training, NULL), GHN_OK);
    assert_int_equal(json_object_del(json_object_get(training, "recipe"), field), 0);
    assert_int_equal(ghn__state_file_write(path, &kind, training, file->items, file->n, NULL),
                     GHN_OK);
    ghn_tensors_free(file);
}

static void states_of_earlier_programs_are_taken_on(void **state) {
    (void)state;
    char path[64];
    struct ghn_recipe recipe = ghn_recipe_default;
    for (int changed = 0; changed < 2; changed++) {
        struct fixture a, b;
        struct ghn_err err;
        recipe.nesterov ^= changed;
        setup(&a, make_arch(1, "net"), &recipe);
        fill(&a);
        save(&a, temporary(path));
        forget(path, "nesterov");
        setup(&b, make_arch(1, "net"), &recipe);
        assert_int_equal(load(&b, path, &err), changed ? GHN_OUT_OF_RANGE : GHN_OK);
        teardown(&b);
        (void)unlink(path);
        teardown(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(another_training_is_refused),
        cmocka_unit_test(histories_are_thinned),
        cmocka_unit_test(states_of_earlier_programs_are_taken_on),
        cmocka_unit_test(fields_that_came_later_had_their_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
