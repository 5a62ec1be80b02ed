/* lib/deepnets: the sampler's rules, one by one. test_sample_built.c compares with what is built,
 * test_sample_marginals.c has the statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "deepnets/deepnets.h"
#include "deepnets/rules.h"
#include "deepnets/sample.h"
#include "sampling.h"

static bool same_cell(const struct ghn_cell *a, const struct ghn_cell *b) {
    size_t branches = 2 * (size_t)a->n_steps, states = (size_t)a->n_concat;
    return a->n_steps == b->n_steps && a->n_concat == b->n_concat &&
           memcmp(a->op, b->op, branches * sizeof(a->op[0])) == 0 &&
           memcmp(a->pred, b->pred, branches * sizeof(a->pred[0])) == 0 &&
           memcmp(a->concat, b->concat, states * sizeof(a->concat[0])) == 0;
}

static bool same(const struct ghn_net *a, const struct ghn_net *b) {
    return same_cell(&a->normal, &b->normal) && same_cell(&a->reduce, &b->reduce) &&
           a->n_cells == b->n_cells && a->ks == b->ks && a->C == b->C && a->C_mult == b->C_mult &&
           a->preproc == b->preproc && a->stem_type == b->stem_type &&
           a->stem_pool == b->stem_pool && a->norm == b->norm && a->fc_layers == b->fc_layers &&
           a->fc_dim == b->fc_dim && a->glob_avg == b->glob_avg;
}

static void read_net(const char *text, struct ghn_net *net) {
    json_t *root = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_json_load(text, strlen(text), NULL, &root, &err) != GHN_OK ||
        ghn_net_from_json(root, "", net, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    json_decref(root);
}

/* --- Splits --- */

static void splits_have_names(void **state) {
    (void)state;
    enum ghn_deepnets_split split = GHN_DEEPNETS_TRAIN;
    struct ghn_err err = GHN_ERR_INIT;
    for (int i = 0; i < GHN_N_DEEPNETS_SPLITS; i++) {
        const char *name = ghn_deepnets_split_name((enum ghn_deepnets_split)i);
        assert_int_equal(ghn_deepnets_split_from_name(name, "split", &split, &err), GHN_OK);
        assert_int_equal(split, i);
    }
    assert_string_equal(ghn_deepnets_split_name(GHN_DEEPNETS_BNFREE), "bnfree");
    assert_string_equal(ghn_deepnets_split_name(GHN_N_DEEPNETS_SPLITS), "?");
    assert_int_equal(ghn_deepnets_split_size(GHN_DEEPNETS_TRAIN), 1000000);
    assert_int_equal(ghn_deepnets_split_from_name("Train", "--split", &split, &err),
                     GHN_OUT_OF_RANGE);
    assert_string_equal(err.where, "--split");
    for (int i = 0; i < GHN_N_DEEPNETS_SPLITS; i++)
        assert_non_null(strstr(err.message, ghn_deepnets_split_name((enum ghn_deepnets_split)i)));
}

static void a_network_is_a_function_of_split_seed_and_index(void **state) {
    (void)state;
    struct ghn_net first[20];
    for (int i = 0; i < 20; i++)
        first[i] = sample(GHN_DEEPNETS_TRAIN, 5, i);
    for (int i = 19; i >= 0; i--) {
        struct ghn_net again = sample(GHN_DEEPNETS_TRAIN, 5, i),
                       other = sample(GHN_DEEPNETS_TRAIN, 6, i),
                       later = sample(GHN_DEEPNETS_TRAIN, 5, i + 20);
        assert_true(same(&again, &first[i]));
        assert_false(same(&other, &first[i]));
        assert_false(same(&later, &first[i]));
    }
    struct ghn_net far = sample(GHN_DEEPNETS_TRAIN, UINT64_MAX, INT64_MAX);
    assert_true(ghn__genotype_allowed(&far));
}

/* Recorded from this program: what was trained on seed 0 must stay what it was. */
static void networks_do_not_change(void **state) {
    (void)state;
    static const struct {
        enum ghn_deepnets_split split;
        int64_t index;
        uint64_t structure;
        int C;
        int64_t params;
    } expected[] = {
        {GHN_DEEPNETS_TRAIN, 0, 0x0D0052B99BDAF6D8, 32, 884458},
        {GHN_DEEPNETS_TRAIN, 999999, 0x8AF7AAB4A24AB46D, 32, 702442},
        {GHN_DEEPNETS_VAL, 0, 0x11B73790EDB4C930, 32, 2671418},
        {GHN_DEEPNETS_TEST, 499, 0x8F51546319741511, 64, 4221194},
        {GHN_DEEPNETS_WIDE, 0, 0xC80452E9AE757BA1, 128, 56297290},
        {GHN_DEEPNETS_DEEP, 0, 0x3B67BD42314B9DE1, 128, 2552842},
        {GHN_DEEPNETS_DENSE, 0, 0xA5F2048C2FB803A1, 64, 3978922},
        {GHN_DEEPNETS_BNFREE, 0, 0x397B48A6991A3AC1, 96, 2598378},
        {GHN_DEEPNETS_SEARCH, 50, 0xC08DEE57BCE3D0F1, 176, 2856490},
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct ghn_net net = sample(expected[i].split, 0, expected[i].index);
        uint64_t structure = ghn_net_structure(&net);
        int64_t params = ghn_net_n_params(&net);
        if (structure != expected[i].structure || net.C != expected[i].C ||
            params != expected[i].params)
            fail_msg("%s %lld: 0x%016llX, C %d, %lld", ghn_deepnets_split_name(expected[i].split),
                     (long long)expected[i].index, (unsigned long long)structure, net.C,
                     (long long)params);
    }
}

static void bad_indices_are_refused(void **state) {
    (void)state;
    static const struct {
        enum ghn_deepnets_split split;
        int64_t index;
        const char *where, *word;
    } bad[] = {{GHN_DEEPNETS_TRAIN, -1, "index", "0 or more"},
               {GHN_DEEPNETS_PREDEFINED, 0, "index", "ResNet-50"},
               {GHN_DEEPNETS_PREDEFINED, 2, "index", "0 and 1 only"},
               {GHN_N_DEEPNETS_SPLITS, 0, "split", "no split"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ghn_net net = {.C = -5};
        struct ghn_err err = GHN_ERR_INIT;
        assert_int_equal(ghn_sample_net(bad[i].split, 0, bad[i].index, &net, &err),
                         GHN_OUT_OF_RANGE);
        assert_string_equal(err.where, bad[i].where);
        assert_non_null(strstr(err.message, bad[i].word));
        assert_int_equal(net.C, -5);
    }
}

/* --- Rules of A3 --- */

#define CELLS(normal, reduce)                                                                      \
    "{\"genotype\": {\"normal\": [" normal "], \"normal_concat\": [2], \"reduce\": [" reduce       \
    "], \"reduce_concat\": [2]}, \"net\": {\"C\": 32, \"n_cells\": 4}}"
#define PAIR(a, b) "[\"" a "\", 0], [\"" b "\", 1]"
#define POOLS PAIR("max_pool_3x3", "skip_connect")

static void genotypes_are_refused_by_each_rule(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool allowed;
    } cases[] = {
        {CELLS(PAIR("conv_1x1", "skip_connect"), POOLS), true},
        {CELLS(PAIR("msa", "msa"), PAIR("msa", "msa")), true},
        {CELLS(POOLS, PAIR("none", "dil_conv_3x3")), true},
        /* Nothing to learn. */
        {CELLS(POOLS, PAIR("avg_pool_3x3", "none")), false},
        /* A cse without a convolution. */
        {CELLS(PAIR("cse", "skip_connect"), POOLS), false},
        {CELLS(PAIR("cse", "msa"), POOLS), false},
        {CELLS(PAIR("cse", "skip_connect"), PAIR("sep_conv_5x5", "none")), true},
        {CELLS(PAIR("cse", "conv_7x1_1x7"), PAIR("cse", "none")), true},
        /* Two in one cell. */
        {CELLS(PAIR("cse", "cse"), PAIR("conv_1x1", "none")), false},
        {CELLS(PAIR("conv_1x1", "none"), PAIR("cse", "cse")), false},
        {CELLS(PAIR("conv_5x5", "conv_7x7"), POOLS), false},
        {CELLS(POOLS, PAIR("conv_7x7", "conv_7x7")), false},
        {CELLS(PAIR("conv_5x5", "none"), PAIR("conv_7x7", "none")), true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn_net net;
        read_net(cases[i].text, &net);
        if (ghn__genotype_allowed(&net) != cases[i].allowed)
            fail_msg("%s: expected %d", cases[i].text, cases[i].allowed);
    }
}

/* Just within and just beyond the limit at each of the two sizes of image. The head of a net
 * without global pooling grows with the map: a flat head has 64 positions at 32 pixels and 196 at
 * 224. */
static void size_is_limited_at_both_resolutions(void **state) {
    (void)state;
    struct ghn_net net;
    read_net("{\"genotype\": {\"normal\": [[\"conv_3x3\", 0], [\"skip_connect\", 1]], "
             "\"normal_concat\": [2], \"reduce\": [[\"conv_3x3\", 0], [\"skip_connect\", 1]], "
             "\"reduce_concat\": [2]}, \"net\": {\"C\": 32, \"n_cells\": 6, \"norm\": \"bnorm\", "
             "\"glob_avg\": false, \"fc_layers\": 2}}",
             &net);
    struct ghn_net large = net;
    large.input[1] = large.input[2] = 224;
    int64_t n32 = ghn_net_n_params(&net), n224 = ghn_net_n_params(&large);
    assert_true(n224 > n32);
    assert_true(ghn__net_size_allowed(&net, n224));
    assert_false(ghn__net_size_allowed(&net, n224 - 1));
    /* With global pooling the wider stem for small images makes that count the larger one. */
    net.glob_avg = large.glob_avg = true;
    n32 = ghn_net_n_params(&net);
    assert_true(n32 > ghn_net_n_params(&large));
    assert_true(ghn__net_size_allowed(&net, n32));
    assert_false(ghn__net_size_allowed(&net, n32 - 1));
    /* The width, classes and image it has now make no difference. */
    net.C = 640;
    net.num_classes = 1000;
    net.input[1] = net.input[2] = 448;
    assert_true(ghn__net_size_allowed(&net, n32));
}

/* What every sampled network must be, split by split, stated apart from the sampler. */
static void check_ranges(enum ghn_deepnets_split split, const struct ghn_net *net) {
    bool deep_split = split == GHN_DEEPNETS_DEEP, dense = split == GHN_DEEPNETS_DENSE,
         search = split == GHN_DEEPNETS_SEARCH, vit = has_op(net, GHN_CELL_MSA);
    int steps = net->normal.n_steps, min_cells = deep_split ? 10 : search ? 6 : 4;
    int max_cells = deep_split ? 36 : search ? 20 : 18, most = dense ? 10 : search ? 6 : 4;
    int middle = dense ? 6 : search ? 3 : 2, shallow = deep_split ? 18 : 10;
    assert_in_range(net->n_cells, min_cells, max_cells);
    assert_in_range(steps, dense ? 2 : 1, net->n_cells > shallow ? middle : most);
    assert_int_equal(net->reduce.n_steps, steps);
    assert_true(net->ks == 3 || net->ks == 5 || net->ks == 7);
    assert_in_range(net->C_mult, 1, 2);
    assert_true(net->preproc || (steps == 1 && net->C_mult == 1 && (vit || search)));
    assert_true(net->glob_avg || (!vit && net->n_cells <= shallow));
    if (split == GHN_DEEPNETS_BNFREE)
        assert_int_equal(net->norm, GHN_NORM_NONE);
    else if (search || net->n_cells > min_cells + 1 || steps > middle)
        assert_int_equal(net->norm, GHN_NORM_BATCH);
    assert_true(net->norm == GHN_NORM_NONE || net->norm == GHN_NORM_BATCH);
    assert_true(net->stem_type == 0 || !net->stem_pool);
    assert_in_range(net->fc_layers, 1, 2);
    assert_int_equal(net->fc_dim, 256);
    assert_int_equal(net->num_classes, 10);
    assert_int_equal(net->input[0] * 10000 + net->input[1] * 100 + net->input[2], 33232);
    assert_true(ghn__genotype_allowed(net));
    assert_true(ghn__net_has_output(net));
    assert_true(ghn__net_size_allowed(net, dense || deep_split ? 100000000 : 10000000));
}

/* The states of a cell, and that both cells give the same ones. */
static void check_cells(const struct ghn_net *net) {
    int steps = net->normal.n_steps;
    const struct ghn_cell *cells[] = {&net->normal, &net->reduce};
    assert_int_equal(net->normal.n_concat, net->reduce.n_concat);
    assert_int_equal(net->normal.concat[net->normal.n_concat - 1], steps + 1);
    for (int c = 0; c < 2; c++) {
        for (int i = 0; i < 2 * steps; i++) {
            assert_in_range(cells[c]->pred[i], 0, i / 2 + 1);
            assert_true(steps > 1 || cells[c]->op[i] != GHN_CELL_NONE);
        }
        for (int i = 0; i < steps; i++)
            assert_int_not_equal(cells[c]->pred[2 * i], cells[c]->pred[2 * i + 1]);
        for (int i = 0; i < net->normal.n_concat; i++) {
            assert_int_equal(cells[c]->concat[i], net->normal.concat[i]);
            assert_true(cells[c]->concat[i] > (i ? cells[c]->concat[i - 1] : 1));
        }
    }
}

static void sampled_networks_keep_the_rules(void **state) {
    (void)state;
    for (int i = 0; i < GHN_DEEPNETS_PREDEFINED; i++) {
        enum ghn_deepnets_split split = (enum ghn_deepnets_split)i;
        int n = split == GHN_DEEPNETS_TRAIN ? 20000 : 100;
        for (int64_t index = 0; index < n; index++) {
            struct ghn_net net = sample(split, 11, index);
            check_ranges(split, &net);
            check_cells(&net);
        }
    }
}

/* --- The genotype form --- */

static void networks_survive_being_written(void **state) {
    (void)state;
    for (int i = 0; i < GHN_N_DEEPNETS_SPLITS; i++)
        for (int64_t index = 1; index < (i == GHN_DEEPNETS_PREDEFINED ? 2 : 40); index++) {
            struct ghn_net net = sample((enum ghn_deepnets_split)i, 15, index), again;
            struct ghn_err err = GHN_ERR_INIT;
            ghn_sample_for_images((enum ghn_deepnets_split)i, index % 2 ? 224 : 32, 100, &net);
            json_t *root = ghn_net_to_json(&net);
            assert_non_null(root);
            memset(&again, 0, sizeof(again));
            if (ghn_net_from_json(root, "", &again, &err) != GHN_OK)
                fail_msg("%s: %s", err.where, err.message);
            json_decref(root);
            assert_true(same(&net, &again));
            assert_int_equal(again.input[0], 3);
            assert_int_equal(again.input[1], index % 2 ? 224 : 32);
            assert_int_equal(again.num_classes, 100);
        }
}

/* --- The division of the space --- */

#define NET(normal, reduce, concat, fields)                                                        \
    "{\"genotype\": {\"normal\": [" normal "], \"normal_concat\": [" concat                        \
    "], \"reduce\": [" reduce "], \"reduce_concat\": [" concat                                     \
    "]}, \"net\": {\"C\": 32, \"n_cells\": 4" fields "}}"

static uint64_t structure_of(const char *text) {
    struct ghn_net net;
    read_net(text, &net);
    return ghn_net_structure(&net);
}

static void what_computes_the_same_has_one_structure(void **state) {
    (void)state;
    uint64_t plain = structure_of(NET(PAIR("conv_1x1", "none"), POOLS, "2", ""));
    /* The order of the branches. */
    assert_true(plain ==
                structure_of(NET("[\"none\", 1], [\"conv_1x1\", 0]",
                                 "[\"skip_connect\", 1], [\"max_pool_3x3\", 0]", "2", "")));
    /* What does not matter: where none would read, the width, the head's width, a step that nothing
     * reads, a pool that the stem does not have. */
    assert_true(plain == structure_of(NET("[\"conv_1x1\", 0], [\"none\", 0]", POOLS, "2", "")));
    assert_true(plain ==
                structure_of(NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"fc_dim\": 64")));
    assert_true(plain == structure_of(NET(PAIR("conv_1x1", "none") ", [\"cse\", 0], [\"cse\", 2]",
                                          POOLS ", " POOLS, "2", "")));
    /* The order of steps. */
    assert_true(structure_of(NET(PAIR("conv_1x1", "none") ", [\"cse\", 0], [\"none\", 2]",
                                 POOLS ", " POOLS, "2, 3", "")) ==
                structure_of(NET(PAIR("cse", "none") ", [\"conv_1x1\", 0], [\"none\", 2]",
                                 POOLS ", " POOLS, "2, 3", "")));
    /* The ViT stem has no kernel. */
    assert_true(structure_of(NET(PAIR("msa", "none"), POOLS, "2", ", \"ks\": 7")) ==
                structure_of(NET(PAIR("msa", "none"), POOLS, "2", ", \"stem_pool\": true")));
}

static void what_differs_has_another_structure(void **state) {
    (void)state;
    static const char *const texts[] = {
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ""),
        NET(PAIR("conv_3x3", "none"), POOLS, "2", ""),
        NET("[\"none\", 0], [\"conv_1x1\", 1]", POOLS, "2", ""),
        NET(POOLS, PAIR("conv_1x1", "none"), "2", ""),
        NET(PAIR("conv_1x1", "skip_connect"), POOLS, "2", ""),
        NET(PAIR("conv_1x1", "none") ", [\"cse\", 0], [\"cse\", 2]", POOLS ", " POOLS, "3", ""),
        NET(PAIR("conv_1x1", "none") ", [\"cse\", 0], [\"cse\", 2]", POOLS ", " POOLS, "2, 3", ""),
        NET(PAIR("conv_1x1", "none") ", [\"msa\", 0], [\"cse\", 2]", POOLS ", " POOLS, "2", ""),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"ks\": 5"),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"C_mult\": 1"),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"C_mult\": 1, \"preproc\": false"),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"stem_type\": 1"),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"stem_pool\": true"),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"norm\": null"),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"fc_layers\": 2"),
        NET(PAIR("conv_1x1", "none"), POOLS, "2", ", \"glob_avg\": false"),
    };
    uint64_t seen[sizeof(texts) / sizeof(texts[0])];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        seen[i] = structure_of(texts[i]);
        for (size_t j = 0; j < i; j++)
            if (seen[i] == seen[j])
                fail_msg("%s and %s", texts[i], texts[j]);
    }
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Every split on its side, under several seeds, and nothing twice where that is promised. */
static void splits_are_apart(void **state) {
    (void)state;
    for (int64_t index = 0; index < 20000; index++) {
        struct ghn_net net = sample(GHN_DEEPNETS_TRAIN, (uint64_t)index % 7, index);
        assert_int_equal(ghn__side_of(ghn_net_structure(&net)), GHN__SIDE_TRAIN);
    }
    for (int i = GHN_DEEPNETS_VAL; i < GHN_DEEPNETS_PREDEFINED; i++) {
        enum ghn_deepnets_split split = (enum ghn_deepnets_split)i;
        int n = (int)(ghn_deepnets_split_size(split) < 500 ? ghn_deepnets_split_size(split) : 500);
        uint64_t structures[500];
        for (int index = 0; index < n; index++) {
            struct ghn_net net = sample(split, 1, index);
            structures[index] = ghn_net_structure(&net);
            assert_int_equal(ghn__side_of(structures[index]),
                             split == GHN_DEEPNETS_VAL ? GHN__SIDE_VAL : GHN__SIDE_TEST);
        }
        qsort(structures, (size_t)n, sizeof(structures[0]), compare);
        for (int j = 1; j < n && split != GHN_DEEPNETS_SEARCH; j++)
            assert_true(structures[j] != structures[j - 1]);
    }
}

/* --- Widths --- */

static void wide_is_test_but_wider(void **state) {
    (void)state;
    for (int64_t index = 0; index < 40; index++) {
        struct ghn_net test = sample(GHN_DEEPNETS_TEST, 2, index),
                       wide = sample(GHN_DEEPNETS_WIDE, 2, index);
        double ratio = (double)ghn_net_n_params(&wide) / (double)ghn_net_n_params(&test);
        /* The published pairs have 14.7 to 15.9; a head that is not pooled grows only by 4. */
        assert_true(ratio > (test.glob_avg ? 14.5 : 4) && ratio < 16);
        test.C *= 4;
        assert_true(same(&test, &wide));
        /* Large images get half of that. */
        ghn_sample_for_images(GHN_DEEPNETS_WIDE, 224, 1000, &wide);
        assert_int_equal(wide.C, test.C / 2);
        assert_int_equal(wide.num_classes, 1000);
        ghn_sample_for_images(GHN_DEEPNETS_WIDE, 32, 10, &wide);
        assert_true(same(&test, &wide));
        ghn_sample_for_images(GHN_DEEPNETS_TEST, 224, 10, &test);
        assert_int_equal(test.C, wide.C);
    }
}

/* Which widths are drawn for a network of each branch of A4. */
static void training_widths_follow_the_size(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int max_C, max_fc_dim;
    } cases[] = {
        {NET(PAIR("conv_1x1", "skip_connect"), POOLS, "2", ""), 128, 512},
        {NET(PAIR("conv_1x1", "skip_connect"), POOLS, "2", ", \"glob_avg\": false"), 32, 256},
        {NET(PAIR("conv_5x5", "skip_connect"), POOLS, "2", ", \"C_mult\": 1"), 32, 256},
        {"{\"genotype\": {\"normal\": [[\"conv_1x1\", 0], [\"none\", 1]], \"normal_concat\": [2], "
         "\"reduce\": [" POOLS "], \"reduce_concat\": [2]}, \"net\": {\"C\": 32, \"n_cells\": 9, "
         "\"C_mult\": 1}}",
         64, 256},
        {"{\"genotype\": {\"normal\": [[\"conv_1x1\", 0], [\"none\", 1]], \"normal_concat\": [2], "
         "\"reduce\": [" POOLS "], \"reduce_concat\": [2]}, \"net\": {\"C\": 32, \"n_cells\": 11, "
         "\"C_mult\": 1}}",
         48, 256},
        {"{\"genotype\": {\"normal\": [[\"conv_1x1\", 0], [\"none\", 1]], \"normal_concat\": [2], "
         "\"reduce\": [" POOLS "], \"reduce_concat\": [2]}, \"net\": {\"C\": 32, \"n_cells\": 13, "
         "\"C_mult\": 1}}",
         32, 256},
        /* By size: 0.2, 0.4 and 0.8 million parameters are the bounds. */
        {NET(PAIR("conv_3x3", "skip_connect"), POOLS, "2", ""), 64, 256},
        {NET(PAIR("conv_3x3", "conv_3x3"), PAIR("conv_3x3", "skip_connect"), "2", ""), 48, 256},
        {NET(PAIR("conv_7x1_1x7", "conv_7x1_1x7"), PAIR("conv_7x1_1x7", "conv_3x3"), "2", ""), 32,
         256},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn_net net;
        struct ghn_rng rng = {.seed = 9};
        int n_C[9] = {0}, n_dim[9] = {0}, most_C = 0, most_dim = 0;
        read_net(cases[i].text, &net);
        for (int draw = 0; draw < 2000; draw++) {
            ghn_draw_width(&net, &rng);
            assert_true(net.C % 16 == 0 && net.C >= 32 && net.C <= 128);
            assert_true(net.fc_dim % 64 == 0 && net.fc_dim >= 64 && net.fc_dim <= 512);
            assert_true(net.fc_dim <= 256 || net.C <= 64);
            most_C = net.C > most_C ? net.C : most_C;
            most_dim = net.fc_dim > most_dim ? net.fc_dim : most_dim;
            n_C[net.C / 16]++;
            n_dim[net.fc_dim / 64]++;
        }
        if (most_C != cases[i].max_C || most_dim != cases[i].max_fc_dim)
            fail_msg("%s: C to %d, fc_dim to %d", cases[i].text, most_C, most_dim);
        /* Uniform, to five standard deviations. */
        int choices = cases[i].max_C / 16 - 1;
        for (int C = 2; C <= cases[i].max_C / 16; C++)
            assert_in_range(n_C[C], 2000 / choices - 110, 2000 / choices + 110);
        assert_true(n_dim[1] > 100 && n_dim[4] > 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_have_names),
        cmocka_unit_test(a_network_is_a_function_of_split_seed_and_index),
        cmocka_unit_test(networks_do_not_change),
        cmocka_unit_test(bad_indices_are_refused),
        cmocka_unit_test(genotypes_are_refused_by_each_rule),
        cmocka_unit_test(size_is_limited_at_both_resolutions),
        cmocka_unit_test(sampled_networks_keep_the_rules),
        cmocka_unit_test(networks_survive_being_written),
        cmocka_unit_test(what_computes_the_same_has_one_structure),
        cmocka_unit_test(what_differs_has_another_structure),
        cmocka_unit_test(splits_are_apart),
        cmocka_unit_test(wide_is_test_but_wider),
        cmocka_unit_test(training_widths_follow_the_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
