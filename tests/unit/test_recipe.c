/* Recipes: JSON, ranges, learning rates. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "train/recipe.h"

static enum ghn_status decode(const char *text, struct ghn_recipe *recipe, struct ghn_err *err) {
    json_t *object = json_loads(text, 0, NULL);
    assert_non_null(object);
    enum ghn_status status = ghn_recipe_from_json(object, "job", recipe, err);
    json_decref(object);
    return status;
}

static void an_empty_object_is_the_default(void **state) {
    (void)state;
    struct ghn_recipe recipe;
    assert_int_equal(decode("{\"network\": 5}", &recipe, NULL), GHN_OK);
    assert_int_equal(recipe.steps, 1000);
    assert_true(recipe.epochs == 0);
    assert_int_equal(recipe.batch_size, 64);
    assert_true(recipe.lr == 0.025);
    assert_int_equal(recipe.optimizer, GHN_SGD);
    assert_int_equal(recipe.schedule, GHN_COSINE);
    assert_true(recipe.augment);
    assert_true(recipe.clip_norm == 5);
}

static void fields_are_read(void **state) {
    (void)state;
    struct ghn_recipe r;
    assert_int_equal(
        decode("{\"epochs\": 2, \"batch_size\": 8, \"optimizer\": \"adamw\", \"beta1\": 0.5,"
               " \"beta2\": 0.75, \"eps\": 1e-6, \"weight_decay\": 0.1, \"schedule\": \"step\","
               " \"warmup_steps\": 3, \"step_size\": 4, \"gamma\": 0.25, \"clip_norm\": 0,"
               " \"label_smoothing\": 0.1, \"precision\": \"bf16\","
               " \"seed\": 9223372036854775807, \"n_shots\": 100, \"augment\": false,"
               " \"cutout\": 16, \"eval_every\": 7, \"eval_images\": 500, \"init\": \"upload\","
               " \"orth_from\": 37, \"orth_noise\": 0}",
               &r, NULL),
        GHN_OK);
    assert_int_equal(r.steps, 0);
    assert_true(r.epochs == 2 && r.batch_size == 8 && r.optimizer == GHN_ADAMW);
    assert_true(r.lr == 0.001); /* adamw's own default */
    assert_true(r.beta1 == 0.5 && r.beta2 == 0.75 && r.eps == 1e-6 && r.weight_decay == 0.1);
    assert_true(r.schedule == GHN_STEP && r.warmup_steps == 3 && r.step_size == 4);
    assert_true(r.gamma == 0.25 && r.clip_norm == 0 && r.label_smoothing == 0.1);
    assert_true(r.precision == GHN_PRECISION_BF16 && r.seed == INT64_MAX && r.n_shots == 100);
    assert_true(!r.augment && r.cutout == 16 && r.eval_every == 7 && r.eval_images == 500);
    assert_true(r.start == GHN_START_UPLOAD && r.orth_from == 37 && r.orth_noise == 0);
}

static void there_and_back(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}", "{\"steps\": 3, \"lr\": 0.1, \"nesterov\": true}",
        "{\"epochs\": 0.5, \"optimizer\": \"adamw\", \"lr\": 0.3, \"seed\": 12345678901}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct ghn_recipe first, second;
        assert_int_equal(decode(texts[i], &first, NULL), GHN_OK);
        json_t *object = ghn_recipe_to_json(&first), *given = json_loads(texts[i], 0, NULL);
        assert_int_equal(json_object_size(object), 26);
        assert_int_equal(ghn_recipe_from_json(object, "", &second, NULL), GHN_OK);
        json_t *again = ghn_recipe_to_json(&second), *value;
        assert_true(json_equal(object, again));
        const char *key;
        json_object_foreach(given, key, value) {
            assert_true(json_equal(json_object_get(object, key), value));
        }
        json_object_foreach(object, key, value) {
            assert_true(ghn_recipe_has(key));
        }
        json_decref(object);
        json_decref(again);
        json_decref(given);
    }
    assert_false(ghn_recipe_has("arch"));
}

static void errors_name_the_field(void **state) {
    (void)state;
    static const struct {
        const char *text, *where, *words;
        enum ghn_status status;
    } cases[] = {
        {"{\"steps\": 5, \"epochs\": 1}", "job.epochs", "exclude", GHN_OUT_OF_RANGE},
        {"{\"steps\": 0}", "job.steps", "[1, 1000000000]", GHN_OUT_OF_RANGE},
        {"{\"steps\": 1.5}", "job.steps", "integer", GHN_WRONG_TYPE},
        {"{\"epochs\": 0}", "job.epochs", "not in", GHN_OUT_OF_RANGE},
        {"{\"lr\": -1}", "job.lr", "[0, 1e+09]", GHN_OUT_OF_RANGE},
        {"{\"lr\": \"1\"}", "job.lr", "a string", GHN_WRONG_TYPE},
        {"{\"momentum\": 1}", "job.momentum", "[0, 1)", GHN_OUT_OF_RANGE},
        {"{\"augment\": 1}", "job.augment", "boolean", GHN_WRONG_TYPE},
        {"{\"optimizer\": \"adam\"}", "job.optimizer", "sgd, adamw", GHN_OUT_OF_RANGE},
        {"{\"schedule\": null}", "job.schedule", "null", GHN_WRONG_TYPE},
        {"{\"batch_size\": 65537}", "job.batch_size", "65536", GHN_OUT_OF_RANGE},
        {"{\"nesterov\": true, \"momentum\": 0}", "job.nesterov", "momentum", GHN_OUT_OF_RANGE},
        {"{\"init\": \"\"}", "job.init", "upload", GHN_OUT_OF_RANGE},
        {"[1]", "job", "object", GHN_WRONG_TYPE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ghn_recipe recipe = {.batch_size = -7};
        struct ghn_err err = GHN_ERR_INIT;
        assert_int_equal(decode(cases[i].text, &recipe, &err), cases[i].status);
        assert_string_equal(err.where, cases[i].where);
        if (!strstr(err.message, cases[i].words))
            fail_msg("%s: %s", cases[i].text, err.message);
        assert_int_equal(recipe.batch_size, -7); /* untouched */
    }
}

static void near(double value, double expected) {
    if (fabs(value - expected) > 1e-12)
        fail_msg("%.17g, expected %.17g", value, expected);
}

static void learning_rates(void **state) {
    (void)state;
    struct ghn_recipe recipe = ghn_recipe_default;
    recipe.lr = 1;
    near(ghn_recipe_lr(&recipe, 0, 100), 1);
    near(ghn_recipe_lr(&recipe, 50, 100), 0.5);
    near(ghn_recipe_lr(&recipe, 25, 100), 0.5 + sqrt(2) / 4);
    near(ghn_recipe_lr(&recipe, 100, 100), 0);
    recipe.warmup_steps = 20;
    near(ghn_recipe_lr(&recipe, 0, 100), 0.05);
    near(ghn_recipe_lr(&recipe, 19, 100), 1);
    near(ghn_recipe_lr(&recipe, 20, 100), 1);
    near(ghn_recipe_lr(&recipe, 60, 100), 0.5);
    near(ghn_recipe_lr(&recipe, 9, 10), 0.5); /* longer than the whole: never finished */
    recipe.warmup_steps = 0;
    recipe.schedule = GHN_STEP;
    near(ghn_recipe_lr(&recipe, 33, 100), 1);
    near(ghn_recipe_lr(&recipe, 34, 100), 0.1);
    near(ghn_recipe_lr(&recipe, 99, 100), 0.01);
    recipe.step_size = 10;
    recipe.gamma = 0.5;
    near(ghn_recipe_lr(&recipe, 39, 100), 0.125);
    recipe.schedule = GHN_CONSTANT;
    near(ghn_recipe_lr(&recipe, 99, 100), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_object_is_the_default),
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(errors_name_the_field),
        cmocka_unit_test(learning_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
