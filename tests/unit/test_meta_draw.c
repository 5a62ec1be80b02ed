/* Meta-batches: which architectures a step of a meta-training draws, with limits and widths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "deepnets/sample.h"
#include "train/meta_impl.h"

static struct ghn_err err;
static struct ghn_dataset *dataset;

static void ok(enum ghn_status status) {
    if (status != GHN_OK)
        fail_msg("%s: %s: %s", ghn_status_code(status), err.where, err.message);
}

static int set_up(void **state) {
    (void)state;
    return ghn_dataset_open("shapes", &dataset, &err) != GHN_OK;
}

static int tear_down(void **state) {
    (void)state;
    ghn_dataset_free(dataset);
    return 0;
}

/* Three networks of 32 channels for images of 16 pixels. */
static struct ghn_meta_recipe small_recipe(void) {
    struct ghn_meta_recipe recipe = ghn_meta_recipe_paper;
    recipe.meta_batch = 3;
    recipe.side = 16;
    recipe.widths = false;
    return recipe;
}

/* Candidates are for the recipe's images and no larger than it says; each is the same as without
 * that limit where it is small enough. */
static void test_candidates(void **state) {
    (void)state;
    enum { MILLION = 1000000, GROUPS = 20 };
    struct ghn_meta_recipe any = small_recipe();
    any.widths = true;
    struct ghn_meta_recipe limited = any;
    limited.max_flops = 10 * MILLION;
    struct ghn__meta_batch batches[2];
    struct ghn_pool *pool = NULL;
    uint64_t next_use[2] = {0};
    int replaced = 0;
    ok(ghn_pool_new(2, &pool, &err));
    for (int i = 0; i < 2; i++)
        ok(ghn__meta_batch_init(&batches[i], any.meta_batch, &err));
    for (int group = 0; group < GROUPS; group++) {
        ok(ghn__meta_batch_draw(&batches[0], &any, dataset, pool, &next_use[0], &err));
        ok(ghn__meta_batch_draw(&batches[1], &limited, dataset, pool, &next_use[1], &err));
        for (int i = 0; i < any.meta_batch; i++) {
            const struct ghn__candidate *a = &batches[0].candidates[i],
                                        *b = &batches[1].candidates[i];
            assert_int_equal(b->net.input[1], 16);
            assert_true(b->arch->flops <= limited.max_flops);
            if (a->arch->flops <= limited.max_flops)
                assert_memory_equal(&a->net, &b->net, sizeof a->net);
            else
                replaced++;
        }
    }
    assert_true(replaced > 0);
    for (int i = 0; i < 2; i++)
        ghn__meta_batch_done(&batches[i]);
    ghn_pool_free(pool);
}

/* A share of the networks is as wide as evaluation ones; the others are what they would be. */
static void test_wide(void **state) {
    (void)state;
    enum { GROUPS = 20 };
    struct ghn_meta_recipe narrow = small_recipe();
    struct ghn_meta_recipe half = narrow, limited;
    half.wide = 0.5;
    limited = half;
    limited.max_flops = 100000000;
    struct ghn__meta_batch batches[3];
    struct ghn_pool *pool = NULL;
    uint64_t next_use[3] = {0};
    int wide = 0;
    ok(ghn_pool_new(2, &pool, &err));
    for (int i = 0; i < 3; i++)
        ok(ghn__meta_batch_init(&batches[i], narrow.meta_batch, &err));
    for (int group = 0; group < GROUPS; group++) {
        ok(ghn__meta_batch_draw(&batches[0], &narrow, dataset, pool, &next_use[0], &err));
        ok(ghn__meta_batch_draw(&batches[1], &half, dataset, pool, &next_use[1], &err));
        ok(ghn__meta_batch_draw(&batches[2], &limited, dataset, pool, &next_use[2], &err));
        for (int i = 0; i < narrow.meta_batch; i++) {
            struct ghn_net a = batches[0].candidates[i].net, b = batches[1].candidates[i].net,
                           c = batches[2].candidates[i].net;
            if (a.C != b.C) {
                assert_int_equal(b.C, ghn_evaluation_width(&a));
                /* what is too large is replaced by another one as wide */
                assert_int_equal(c.C, ghn_evaluation_width(&c));
                wide++;
                b.C = a.C;
            }
            assert_memory_equal(&a, &b, sizeof a);
        }
    }
    int n = GROUPS * narrow.meta_batch;
    assert_true(wide > n / 4 && wide < 3 * n / 4);
    for (int i = 0; i < 3; i++)
        ghn__meta_batch_done(&batches[i]);
    ghn_pool_free(pool);
}

/* The learning rate grows, falls over the last steps or all of them, and where there are more steps
 * than before is what it would have been. */
static void test_learning_rate(void **state) {
    (void)state;
    struct ghn_meta_recipe recipe = ghn_meta_recipe_paper;
    recipe.steps = 1000;
    recipe.lr = 2;
    assert_float_equal(ghn__meta_lr(&recipe, 0), 2, 0);
    assert_float_equal(ghn__meta_lr(&recipe, 999), 2, 0);
    recipe.warmup_steps = 4;
    assert_float_equal(ghn__meta_lr(&recipe, 0), 0.5, 1e-12);
    assert_float_equal(ghn__meta_lr(&recipe, 4), 2, 0);
    recipe.decay_steps = 200;
    assert_float_equal(ghn__meta_lr(&recipe, 800), 2, 0);
    assert_float_equal(ghn__meta_lr(&recipe, 900), 1, 1e-12);
    assert_float_equal(ghn__meta_lr(&recipe, 999), 0.02, 1e-12);
    recipe.decay_steps = GHN_META_ALL_STEPS;
    assert_float_equal(ghn__meta_lr(&recipe, 500), 1, 1e-12);
    recipe.steps = 2000;
    assert_float_equal(ghn__meta_lr(&recipe, 500), 1.5, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learning_rate),
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_wide),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
