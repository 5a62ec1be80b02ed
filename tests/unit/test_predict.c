/* lib/ghn: shape tables, plans, decoders against their definitions, whole predictions. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ghn/decode.h"
#include "ghn/encode.h"
#include "ghn/model_impl.h"
#include "ghn/plan.h"
#include "ghn/predict.h"
#include "ghn/shape_table.h"

/* Odd sizes throughout, so that nothing is a multiple of anything. */
static const struct ghn_config small = {.hid = 12,
                                        .max_shape = {20, 13, 5, 5},
                                        .num_classes = 7,
                                        .weight_norm = true,
                                        .ve = true,
                                        .layernorm = true};

static struct ghn_model *new_model(const struct ghn_config *config) {
    struct ghn_model *model = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_model_new(config, 3, &model, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

/* The graph of a chain: input, then the nodes given as JSON, separated by ';'. */
static struct ghn_graph *chain(const char *nodes) {
    json_t *list = json_pack("[{s:s}]", "op", "input"), *edges = json_array();
    char *copy = strdup(nodes), *save = NULL;
    for (char *one = strtok_r(copy, ";", &save); one; one = strtok_r(NULL, ";", &save)) {
        json_t *node = json_loads(one, 0, NULL);
        assert_non_null(node);
        int n = (int)json_array_size(list);
        json_array_append_new(list, node);
        json_array_append_new(edges, json_pack("[i, i]", n - 1, n));
    }
    free(copy);
    json_t *form = json_pack("{s:o, s:o}", "nodes", list, "edges", edges);
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_graph_from_json(form, "", &ghn_limits_default, &graph, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    json_decref(form);
    return graph;
}

static const char network[] = "{\"op\":\"conv\",\"name\":\"a.weight\",\"shape\":[33,3,7,7]};"
                              "{\"op\":\"bn\",\"name\":\"b.weight\",\"shape\":[33]};"
                              "{\"op\":\"sep_conv\",\"name\":\"c.weight\",\"shape\":[33,1,3,3]};"
                              "{\"op\":\"conv\",\"name\":\"d.weight\",\"shape\":[50,33,1,7]};"
                              "{\"op\":\"bias\",\"name\":\"d.bias\",\"shape\":[50]};"
                              "{\"op\":\"max_pool\",\"shape\":[1,1,2,2]};"
                              "{\"op\":\"conv\",\"name\":\"e.weight\",\"shape\":[5,50]};"
                              "{\"op\":\"ln\",\"name\":\"f.weight\",\"shape\":[50]};"
                              "{\"op\":\"conv\",\"name\":\"g.weight\",\"shape\":[9,50]};"
                              "{\"op\":\"bias\",\"name\":\"g.bias\",\"shape\":[9]}";

static struct ghn_prediction *predict(const struct ghn_model *model, const struct ghn_graph *graph,
                                      const struct ghn_predict_options *options,
                                      struct ghn_pool *pool) {
    struct ghn_prediction *prediction = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_predict(model, graph, options, pool, &prediction, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return prediction;
}

static int slot_of(const struct ghn_graph *graph, const char *name) {
    for (int i = 0; i < graph->n_slots; i++)
        if (strcmp(graph->slots[i].name, name) == 0)
            return i;
    fail_msg("there is no tensor %s", name);
    return -1;
}

/* --- Shape tables --- */

static void channels_map_as_specified(void **state) {
    (void)state;
    static const struct {
        int classes, size, entry;
    } cases[] = {
        {10, 1, 1},       {10, 2, 1},        {10, 3, 3},       {10, 4, 8},    {10, 7, 8},
        {10, 9, 8},       {10, 10, 10},      {10, 11, 10},     {10, 12, 10},  {10, 13, 10},
        {10, 14, 16},     {10, 60, 56},      {10, 64, 64},     {10, 72, 64},  {10, 73, 80},
        {10, 8192, 8192}, {10, 8193, 8192},  {10, 9999, 8192}, {1000, 11, 8}, {1000, 12, 8},
        {1000, 13, 16},   {1000, 999, 1000}, {5, 5, 8},        {5, 4, 8},     {9000, 8999, 9000},
        {10, 4112, 4096}, {10, 4113, 4128},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn__shape_table table;
        ghn__shape_table_init(&table, cases[i].classes, 11);
        int row = ghn__channel_row(&table, cases[i].size);
        assert_int_equal(table.channels[row], cases[i].entry);
    }
}

static void sides_map_as_specified(void **state) {
    (void)state;
    static const struct {
        int side, size, entry;
    } cases[] = {
        {11, 1, 1},   {11, 2, 3},   {11, 4, 3},   {11, 6, 5},    {11, 8, 7},   {11, 10, 9},
        {11, 12, 11}, {11, 13, 14}, {11, 15, 14}, {11, 16, 16},  {11, 17, 16}, {11, 400, 16},
        {16, 13, 13}, {16, 15, 15}, {16, 12, 11}, {16, 100, 16}, {7, 11, 11},
    };
    struct ghn__shape_table table;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ghn__shape_table_init(&table, 10, cases[i].side);
        assert_int_equal(table.spatial[ghn__spatial_row(&table, cases[i].size)], cases[i].entry);
    }
    ghn__shape_table_init(&table, 10, 11);
    assert_int_equal(table.n_channels, 391);
    assert_int_equal(table.n_spatial, 8);
    ghn__shape_table_init(&table, 1000, 16);
    assert_int_equal(table.n_channels, 391);
    assert_int_equal(table.n_spatial, 10);
}

static void shapes_become_rows(void **state) {
    (void)state;
    struct ghn__shape_table t;
    ghn__shape_table_init(&t, 10, 11);
    static const struct {
        struct ghn_shape shape;
        int entries[4]; /* 0: "no shape" */
    } cases[] = {
        {{0, {0}}, {0, 0, 0, 0}},          {{1, {64}}, {64, 1, 1, 1}},
        {{2, {10, 512}}, {10, 512, 1, 1}}, {{3, {1, 197, 768}}, {1, 768, 14, 14}},
        {{3, {8, 3, 5}}, {8, 3, 5, 1}},    {{4, {64, 3, 7, 1}}, {64, 3, 7, 1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int rows[4];
        ghn__shape_rows(&t, &cases[i].shape, rows);
        for (int k = 0; k < 4; k++) {
            int none = k < 2 ? t.n_channels : t.n_spatial;
            if (cases[i].entries[k] == 0)
                assert_int_equal(rows[k], none);
            else
                assert_int_equal((k < 2 ? t.channels : t.spatial)[rows[k]], cases[i].entries[k]);
        }
    }
}

/* --- Scales and blocks --- */

static void scales_follow_fan_in(void **state) {
    (void)state;
    static const struct {
        struct ghn_shape shape;
        double beta, fan_in;
    } cases[] = {
        {{4, {64, 32, 3, 3}}, 2, 288}, {{4, {64, 1, 3, 3}}, 1, 9},
        {{4, {64, 32, 1, 7}}, 1, 224}, {{4, {64, 32, 7, 1}}, 2, 224},
        {{2, {10, 512}}, 2, 512},      {{4, {1, 64, 11, 11}}, 1, 1},
        {{4, {1, 64, 7, 7}}, 2, 3136}, {{4, {2, 64, 11, 11}}, 2, 7744},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double expected = sqrt(cases[i].beta / cases[i].fan_in);
        double found = (double)ghn__weight_scale(&small, &cases[i].shape);
        assert_true(fabs(found - expected) < 1e-7 * expected);
    }
    struct ghn_config off = small;
    off.weight_norm = false;
    assert_true(ghn__weight_scale(&off, &cases[0].shape) == 1.0f);
}

static void blocks_have_their_shapes(void **state) {
    (void)state;
    struct ghn_graph *graph = chain(network);
    static const struct {
        const char *name;
        enum ghn__maker maker;
        struct ghn_shape block;
    } cases[] = {
        {"a.weight", GHN__MAKE_WEIGHT, {4, {20, 3, 5, 5}}},
        {"b.weight", GHN__MAKE_NORM_WEIGHT, {1, {20}}},
        {"b.bias", GHN__MAKE_BIAS, {1, {20}}},
        {"c.weight", GHN__MAKE_WEIGHT, {4, {20, 1, 3, 3}}},
        {"d.weight", GHN__MAKE_WEIGHT, {4, {20, 13, 1, 5}}},
        {"e.weight", GHN__MAKE_WEIGHT, {2, {5, 13}}},
        {"g.weight", GHN__MAKE_CLASS_WEIGHT, {2, {7, 13}}},
        {"g.bias", GHN__MAKE_CLASS_BIAS, {1, {7}}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn__plan plan = ghn__plan_slot(&small, graph, slot_of(graph, cases[i].name));
        assert_int_equal(plan.maker, cases[i].maker);
        assert_true(ghn_shape_equal(&plan.block, &cases[i].block));
    }
    ghn_graph_free(graph);
}

/* What the last nodes of a network must be to be its classifier. */
static void classifiers_are_recognised(void **state) {
    (void)state;
    static const struct {
        const char *nodes;
        enum ghn__maker weight, bias;
    } cases[] = {
        {"{\"op\":\"conv\",\"name\":\"w\",\"shape\":[9,50,1,1]};"
         "{\"op\":\"bias\",\"name\":\"b\",\"shape\":[9]}",
         GHN__MAKE_CLASS_WEIGHT, GHN__MAKE_CLASS_BIAS},
        {"{\"op\":\"conv\",\"name\":\"w\",\"shape\":[9,50,3,3]};"
         "{\"op\":\"bias\",\"name\":\"b\",\"shape\":[9]}",
         GHN__MAKE_WEIGHT, GHN__MAKE_CLASS_BIAS},
        {"{\"op\":\"sep_conv\",\"name\":\"w\",\"shape\":[9,50,1,1]};"
         "{\"op\":\"bias\",\"name\":\"b\",\"shape\":[9]}",
         GHN__MAKE_WEIGHT, GHN__MAKE_CLASS_BIAS},
        {"{\"op\":\"conv\",\"name\":\"w\",\"shape\":[9,50,1,1]};"
         "{\"op\":\"bias\",\"name\":\"b\",\"shape\":[9]};{\"op\":\"glob_avg\"}",
         GHN__MAKE_WEIGHT, GHN__MAKE_BIAS},
        {"{\"op\":\"bias\",\"name\":\"b\",\"shape\":[9]};"
         "{\"op\":\"conv\",\"name\":\"w\",\"shape\":[9,50]}",
         GHN__MAKE_WEIGHT, GHN__MAKE_BIAS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn_graph *graph = chain(cases[i].nodes);
        assert_int_equal(ghn__plan_slot(&small, graph, slot_of(graph, "w")).maker, cases[i].weight);
        assert_int_equal(ghn__plan_slot(&small, graph, slot_of(graph, "b")).maker, cases[i].bias);
        ghn_graph_free(graph);
    }
}

/* --- The convolutional decoder --- */

/* Many jobs of all sizes at once (several batches of tiles), against one at a time in double. */
static void decoder_agrees_with_its_definition(void **state) {
    (void)state;
    enum { JOBS = 220, MOST = 20 * 13 * 25 };
    struct ghn_model *model = new_model(&small);
    static struct ghn__weight_job jobs[JOBS];
    float *embeddings = ghn_malloc(JOBS * 12 * sizeof(float));
    float *found = ghn_calloc(JOBS * MOST, sizeof(float));
    float *expected = ghn_malloc(MOST * sizeof(float));
    for (int i = 0; i < JOBS * 12; i++)
        embeddings[i] = sinf((float)i);
    for (int j = 0; j < JOBS; j++)
        jobs[j] = (struct ghn__weight_job){.embedding = embeddings + j * 12,
                                           .dst = found + j * MOST,
                                           .O = 1 + j * 7 % 20,
                                           .I = 1 + j * 5 % 13,
                                           .height = 1 + j % 5,
                                           .width = 1 + j / 5 % 5,
                                           .scale = 0.5f + 0.01f * (float)j};
    assert_int_equal(ghn__decode_conv(model, jobs, JOBS, NULL, NULL), GHN_OK);
    for (int j = 0; j < JOBS; j++) {
        struct ghn__weight_job one = jobs[j];
        int n = one.O * one.I * one.height * one.width;
        one.dst = expected;
        assert_int_equal(ghn__decode_conv_ref(model, &one, NULL), GHN_OK);
        for (int i = 0; i < n; i++)
            if (!(fabsf(jobs[j].dst[i] - expected[i]) <= 4e-6f))
                fail_msg("job %d, element %d: %.9g, not %.9g", j, i, (double)jobs[j].dst[i],
                         (double)expected[i]);
        for (int i = n; i < MOST; i++)
            assert_true(jobs[j].dst[i] == 0.0f);
    }
    ghn_free(embeddings);
    ghn_free(found);
    ghn_free(expected);
    ghn_model_unref(model);
}

/* Sizes on which the reference fails, and kernels larger than the block: all by one formula. */
static void every_size_follows_the_formula(void **state) {
    (void)state;
    struct ghn_model *model = new_model(&small);
    static const int inputs[] = {1, 5, 7, 10, 11, 13, 14, 15, 17, 26, 31, 40};
    static const int sides[][2] = {{1, 1}, {3, 3}, {1, 7},   {7, 1},
                                   {5, 5}, {7, 7}, {14, 14}, {9, 2}};
    float block[20 * 13 * 25];
    for (size_t a = 0; a < sizeof(inputs) / sizeof(inputs[0]); a++)
        for (size_t b = 0; b < sizeof(sides) / sizeof(sides[0]); b++) {
            char node[512];
            int I = inputs[a], h = sides[b][0], w = sides[b][1];
            snprintf(node, sizeof(node),
                     "{\"op\":\"conv\",\"name\":\"w\",\"shape\":[33,%d,%d,%d]};{\"op\":\"bn\","
                     "\"name\":\"weight\",\"shape\":[33]};{\"op\":\"glob_avg\"}",
                     I, h, w);
            struct ghn_graph *graph = chain(node);
            struct ghn_prediction *p = predict(model, graph, NULL, NULL);
            struct ghn__weight_job whole = {.embedding = p->embeddings + 12,
                                            .dst = block,
                                            .O = 20,
                                            .I = 13,
                                            .height = 5,
                                            .width = 5,
                                            .scale =
                                                ghn__weight_scale(&small, &graph->slots[0].shape)};
            assert_int_equal(ghn__decode_conv_ref(model, &whole, NULL), GHN_OK);
            float *values = ghn_malloc((size_t)(33 * I * h * w) * sizeof(float)), *at = values;
            ghn_prediction_values(p, 0, 0, 33 * I * h * w, values);
            for (int o = 0; o < 33; o++)
                for (int i = 0; i < I; i++)
                    for (int y = 0; y < h; y++)
                        for (int x = 0; x < w; x++, at++) {
                            int from = ((o % 20 * 13 + i % 13) * 5 + y % 5) * 5 + x % 5;
                            assert_true(fabsf(*at - block[from]) <= 2e-6f);
                        }
            ghn_free(values);
            ghn_prediction_free(p);
            ghn_graph_free(graph);
        }
    ghn_model_unref(model);
}

/* --- Whole predictions --- */

static void same_prediction(const struct ghn_prediction *a, const struct ghn_prediction *b,
                            float tolerance) {
    for (int i = 0; i < a->graph->n_slots; i++) {
        int64_t n = 0;
        assert_true(ghn_shape_equal(&a->blocks[i].shape, &b->blocks[i].shape));
        assert_int_equal(!a->blocks[i].data, !b->blocks[i].data);
        (void)ghn_shape_numel(&a->blocks[i].shape, &n);
        for (int64_t j = 0; j < n && a->blocks[i].data; j++)
            if (!(fabsf(a->blocks[i].data[j] - b->blocks[i].data[j]) <= tolerance))
                fail_msg("%s: %.9g, not %.9g", a->graph->slots[i].name,
                         (double)a->blocks[i].data[j], (double)b->blocks[i].data[j]);
    }
}

/* Every kind of hypernetwork, with the plain kernels and with the fast ones. */
static void fast_and_plain_agree(void **state) {
    (void)state;
    struct ghn_graph *graph = chain(network);
    for (int kind = 0; kind < 5; kind++) {
        struct ghn_config config = small;
        if (kind == 1)
            config.ve = config.layernorm = config.weight_norm = false;
        if (kind == 2)
            config.hypernet = GHN_MLP;
        if (kind == 3) {
            config.decoder = GHN_DECODER_MLP;
            config.max_shape[1] = config.max_shape[0];
        }
        if (kind == 4)
            config.hid = 4;
        struct ghn_model *model = new_model(&config);
        struct ghn_prediction *fast = predict(model, graph, NULL, NULL);
        model->kernels = &ghn__kernels_ref;
        struct ghn_prediction *plain = predict(model, graph, NULL, NULL);
        same_prediction(fast, plain, 2e-5f);
        ghn_prediction_free(fast);
        ghn_prediction_free(plain);
        ghn_model_unref(model);
    }
    ghn_graph_free(graph);
}

/* The classifier's head by its definition: a contraction over the block's outputs. */
static void class_weight_is_the_contraction(void **state) {
    (void)state;
    struct ghn_model *model = new_model(&small);
    struct ghn_graph *graph = chain(network);
    struct ghn_prediction *p = predict(model, graph, NULL, NULL);
    int slot = slot_of(graph, "g.weight");
    float block[20 * 13], values[9 * 50];
    struct ghn__weight_job job = {.embedding = p->embeddings + graph->slots[slot].node * 12,
                                  .dst = block,
                                  .O = 20,
                                  .I = 13,
                                  .height = 1,
                                  .width = 1,
                                  .scale = 1.0f};
    assert_int_equal(ghn__decode_conv_ref(model, &job, NULL), GHN_OK);
    ghn_prediction_values(p, slot, 0, 9 * 50, values);
    for (int k = 0; k < 9; k++)
        for (int i = 0; i < 50; i++) {
            double sum = (double)model->tensors[GHN__CLASS_B][k % 7];
            for (int o = 0; o < 20; o++)
                sum += (double)model->tensors[GHN__CLASS_W][k % 7 * 20 + o] *
                       fmax((double)block[o * 13 + i % 13], 0.0);
            assert_true(fabs((double)values[k * 50 + i] - sum * sqrt(2.0 / 50.0)) < 1e-6);
        }
    ghn_prediction_free(p);
    ghn_graph_free(graph);
    ghn_model_unref(model);
}

static void class_layers_may_be_left_out(void **state) {
    (void)state;
    struct ghn_model *model = new_model(&small);
    struct ghn_graph *graph = chain(network);
    struct ghn_predict_options options = {.keep_class_layers = true};
    struct ghn_prediction *all = predict(model, graph, NULL, NULL);
    struct ghn_prediction *some = predict(model, graph, &options, NULL);
    int left_out = 0;
    for (int i = 0; i < graph->n_slots; i++) {
        if (graph->slots[i].name[0] == 'g') {
            assert_int_equal(some->outcomes[i], GHN_OMITTED);
            assert_non_null(some->reasons[i]);
            assert_null(some->blocks[i].data);
            assert_true(ghn_shape_equal(&some->blocks[i].shape, &graph->slots[i].shape));
            left_out++;
        } else {
            int64_t n;
            assert_true(ghn_shape_numel(&all->blocks[i].shape, &n));
            assert_int_equal(some->outcomes[i], GHN_PREDICTED);
            assert_null(some->reasons[i]);
            assert_memory_equal(some->blocks[i].data, all->blocks[i].data, (size_t)n * 4);
        }
    }
    assert_int_equal(left_out, 2);
    ghn_prediction_free(all);
    ghn_prediction_free(some);
    ghn_graph_free(graph);
    ghn_model_unref(model);
}

static void sizes_are_known_in_advance(void **state) {
    (void)state;
    struct ghn_model *model = new_model(&small);
    struct ghn_graph *graph = chain(network);
    struct ghn_prediction *p = predict(model, graph, NULL, NULL);
    assert_int_equal(p->n_bytes, ghn_predict_bytes(&small, graph));
    ghn_prediction_free(p);
    ghn_graph_free(graph);
    ghn_model_unref(model);
}

static void bytes_do_not_depend_on_the_pool(void **state) {
    (void)state;
    struct ghn_graph *graph = chain(network);
    for (int decoder = 0; decoder < 2; decoder++) {
        struct ghn_config config = small;
        config.decoder = decoder ? GHN_DECODER_MLP : GHN_DECODER_CONV;
        config.max_shape[0] = config.max_shape[1] = 13;
        struct ghn_model *model = new_model(&config);
        struct ghn_prediction *alone = predict(model, graph, NULL, NULL);
        for (int n = 1; n <= 4; n++) {
            struct ghn_pool *pool;
            assert_int_equal(ghn_pool_new(n, &pool, NULL), GHN_OK);
            struct ghn_prediction *p = predict(model, graph, NULL, pool);
            same_prediction(p, alone, 0.0f);
            ghn_prediction_free(p);
            ghn_pool_free(pool);
        }
        ghn_prediction_free(alone);
        ghn_model_unref(model);
    }
    ghn_graph_free(graph);
}

struct race {
    struct ghn_model *model;
    struct ghn_graph *graph;
    struct ghn_pool *pool;
    struct ghn_prediction *prediction;
};

static void *race(void *argument) {
    struct race *r = argument;
    for (int i = 0; i < 20; i++) {
        ghn_prediction_free(r->prediction);
        r->prediction = NULL;
        if (ghn_predict(r->model, r->graph, NULL, r->pool, &r->prediction, NULL) != GHN_OK)
            break;
    }
    return NULL;
}

static void many_threads_may_share_a_model(void **state) {
    (void)state;
    enum { THREADS = 6 };
    struct ghn_model *model = new_model(&small);
    struct ghn_graph *graph = chain(network);
    struct ghn_pool *pool;
    struct race races[THREADS];
    pthread_t threads[THREADS];
    assert_int_equal(ghn_pool_new(3, &pool, NULL), GHN_OK);
    struct ghn_prediction *alone = predict(model, graph, NULL, NULL);
    for (int t = 0; t < THREADS; t++) {
        races[t] = (struct race){ghn_model_ref(model), graph, t % 2 ? pool : NULL, NULL};
        assert_int_equal(pthread_create(&threads[t], NULL, race, &races[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        assert_non_null(races[t].prediction);
        same_prediction(races[t].prediction, alone, 0.0f);
        ghn_prediction_free(races[t].prediction);
        ghn_model_unref(races[t].model);
    }
    ghn_prediction_free(alone);
    ghn_pool_free(pool);
    ghn_graph_free(graph);
    ghn_model_unref(model);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct ghn_graph *graph = chain(network);
    for (int decoder = 0; decoder < 2; decoder++) {
        struct ghn_config config = small;
        config.decoder = decoder ? GHN_DECODER_MLP : GHN_DECODER_CONV;
        config.max_shape[0] = config.max_shape[1] = 13;
        struct ghn_model *model = new_model(&config);
        for (int sticky = 0; sticky < 2; sticky++) {
            int failures = 0;
            for (long n = 1;; n++) {
                struct ghn_prediction *p = NULL;
                struct ghn_err err = GHN_ERR_INIT;
                ghn_mem_fail_at(n, sticky);
                enum ghn_status status = ghn_predict(model, graph, NULL, NULL, &p, &err);
                ghn_mem_fail_at(0, 0);
                if (status == GHN_OK) {
                    ghn_prediction_free(p);
                    break;
                }
                assert_null(p);
                assert_int_equal(status, GHN_NO_MEMORY);
                assert_int_equal(err.status, GHN_NO_MEMORY);
                failures++;
            }
            assert_true(failures >= 6);
        }
        ghn_model_unref(model);
    }
    ghn_graph_free(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_map_as_specified),
        cmocka_unit_test(sides_map_as_specified),
        cmocka_unit_test(shapes_become_rows),
        cmocka_unit_test(scales_follow_fan_in),
        cmocka_unit_test(blocks_have_their_shapes),
        cmocka_unit_test(classifiers_are_recognised),
        cmocka_unit_test(decoder_agrees_with_its_definition),
        cmocka_unit_test(every_size_follows_the_formula),
        cmocka_unit_test(fast_and_plain_agree),
        cmocka_unit_test(class_weight_is_the_contraction),
        cmocka_unit_test(class_layers_may_be_left_out),
        cmocka_unit_test(sizes_are_known_in_advance),
        cmocka_unit_test(bytes_do_not_depend_on_the_pool),
        cmocka_unit_test(many_threads_may_share_a_model),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("predict", tests, NULL, NULL);
}
