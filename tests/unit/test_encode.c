/* lib/ghn: tilings, and answers as streams of bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/initialise.h"
#include "base/mem.h"
#include "base/rng.h"
#include "ghn/encode.h"
#include "ghn/tiling.h"
#include "tensor/tensors.h"

static int random_int(uint64_t stream, uint64_t i, int min, int max) {
    return min + (int)(ghn_rng_uniform(7, stream, i) * (double)(max - min + 1));
}

/* --- Tilings --- */

/* sources[j]: which element of the block (n_block) element j of the tensor (n) repeats. Sums of
 * small whole numbers are exact. */
static void check_fold(const struct ghn__tiling *tiling, const float *sources, int64_t n,
                       int64_t n_block) {
    float *gradient = ghn_malloc((size_t)n * sizeof(float));
    float *found = ghn_calloc((size_t)n_block, sizeof(float));
    float *expected = ghn_calloc((size_t)n_block, sizeof(float));
    for (int64_t j = 0; j < n; j++) {
        gradient[j] = (float)(j % 19 - 7);
        expected[(int64_t)sources[j]] += gradient[j];
    }
    ghn__tiling_fold(tiling, gradient, n, found);
    assert_memory_equal(found, expected, (size_t)n_block * sizeof(float));
    ghn_free(gradient);
    ghn_free(found);
    ghn_free(expected);
}

static void check_tiling(const struct ghn_shape *tensor, const struct ghn_shape *block,
                         uint64_t seed) {
    int64_t n = 0, n_block = 0;
    struct ghn__tiling tiling;
    assert_true(ghn_shape_numel(tensor, &n) && ghn_shape_numel(block, &n_block));
    float *values = ghn_malloc((size_t)n_block * sizeof(float));
    float *found = ghn_malloc((size_t)n * sizeof(float));
    float *expected = ghn_malloc((size_t)n * sizeof(float));
    for (int64_t i = 0; i < n_block; i++)
        values[i] = (float)i;
    ghn__tiling_init(&tiling, tensor, block);
    ghn__tiling_read_ref(tensor, block, values, 0, n, expected);
    for (int k = 0; k < 20; k++) {
        int first = k ? random_int(seed, (uint64_t)k, 0, (int)n - 1) : 0;
        int count = k ? random_int(seed + 1, (uint64_t)k, 0, (int)n - first) : (int)n;
        memset(found, 0xFF, (size_t)n * sizeof(float));
        ghn__tiling_read(&tiling, values, sizeof(float), first, count, found);
        assert_memory_equal(found, expected + first, (size_t)count * sizeof(float));
        for (int64_t i = count; i < n; i++)
            assert_true(found[i] != found[i]); /* still the NaN of before */
    }
    check_fold(&tiling, expected, n, n_block);
    ghn_free(values);
    ghn_free(found);
    ghn_free(expected);
}

static void tilings_follow_the_formula(void **state) {
    (void)state;
    static const struct {
        struct ghn_shape tensor, block;
    } cases[] = {
        {{1, {1}}, {1, {1}}},
        {{1, {1000}}, {1, {64}}},
        {{2, {100, 200}}, {2, {64, 64}}},
        {{2, {1000, 64}}, {2, {10, 64}}},
        {{4, {128, 256, 3, 3}}, {4, {64, 64, 3, 3}}},
        {{4, {96, 1, 5, 5}}, {4, {64, 1, 5, 5}}},
        {{4, {1, 64, 14, 14}}, {4, {1, 64, 11, 11}}},
        {{4, {3, 70, 4, 9}}, {4, {2, 64, 4, 5}}},
        {{4, {64, 3, 7, 7}}, {4, {64, 3, 7, 7}}},
        {{3, {5, 6, 7}}, {3, {1, 1, 1}}},
        {{2, {2, 40000}}, {2, {1, 3}}},
        {{2, {2, 40000}}, {2, {2, 30000}}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_tiling(&cases[i].tensor, &cases[i].block, i);
}

static void random_tilings_follow_the_formula(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct ghn_shape tensor = {.ndim = random_int(seed, 100, 1, 5)}, block = {0};
        block.ndim = tensor.ndim;
        for (int d = 0; d < tensor.ndim; d++) {
            tensor.dim[d] = random_int(seed, 101 + (uint64_t)d, 1, 9);
            block.dim[d] = random_int(seed, 201 + (uint64_t)d, 1, (int)tensor.dim[d]);
            if (ghn_rng_uniform(seed, 301, (uint64_t)d) < 0.5)
                block.dim[d] = tensor.dim[d];
        }
        check_tiling(&tensor, &block, seed);
    }
}

/* --- Answers --- */

static const char form[] = "{\"nodes\":[{\"op\":\"input\"},"
                           "{\"op\":\"conv\",\"name\":\"a.weight\",\"shape\":[30,3,7,7]},"
                           "{\"op\":\"bn\",\"name\":\"b.weight\",\"shape\":[33]},"
                           "{\"op\":\"conv\",\"name\":\"gamma\",\"shape\":[3,41]},"
                           "{\"op\":\"conv\",\"name\":\"t.weight\",\"shape\":[2000,2]},"
                           "{\"op\":\"conv\",\"name\":\"e.weight\",\"shape\":[9,50]},"
                           "{\"op\":\"bias\",\"name\":\"e.bias\",\"shape\":[9]}],"
                           "\"edges\":[[0,1],[1,2],[2,3],[3,4],[4,5],[5,6]]}";

struct fixture {
    struct ghn_model *model;
    struct ghn_graph *graph;
    struct ghn_prediction *prediction;
};

/* A prediction in which some tensors are initialised (gamma by a constant, t.weight at random) and
 * one, b.bias, is off the path. */
static struct fixture make_fixture(void) {
    static const struct ghn_config config = {.hid = 8,
                                             .max_shape = {8, 8, 5, 5},
                                             .num_classes = 4,
                                             .weight_norm = true,
                                             .ve = true,
                                             .layernorm = true};
    struct fixture f;
    json_t *json = json_loads(form, 0, NULL);
    assert_int_equal(ghn_graph_from_json(json, "", &ghn_limits_default, &f.graph, NULL), GHN_OK);
    json_decref(json);
    for (int i = 0; i < f.graph->n_slots; i++) {
        struct ghn_slot *slot = (struct ghn_slot *)&f.graph->slots[i];
        bool gamma = strcmp(slot->name, "gamma") == 0, t = strcmp(slot->name, "t.weight") == 0;
        if (gamma || t) {
            slot->kind = GHN_SLOT_INIT;
            slot->node = -1;
            slot->init = (struct ghn_init){gamma ? GHN_INIT_CONSTANT : GHN_INIT_NORMAL, 0.25};
            slot->why = "for the test";
        } else if (strcmp(slot->name, "b.bias") == 0) {
            slot->kind = GHN_SLOT_OFF_PATH;
            slot->node = -1;
            slot->why = "nobody needs it";
        }
    }
    struct ghn_predict_options options = {.seed = 11};
    assert_int_equal(ghn_model_new(&config, 5, &f.model, NULL), GHN_OK);
    assert_int_equal(ghn_predict(f.model, f.graph, &options, NULL, &f.prediction, NULL), GHN_OK);
    return f;
}

static void free_fixture(struct fixture *f) {
    ghn_prediction_free(f->prediction);
    ghn_graph_free(f->graph);
    ghn_model_unref(f->model);
}

static char *read_all(struct ghn_encoder *encoder) {
    size_t size = (size_t)ghn_encoder_size(encoder);
    char *all = malloc(size);
    assert_int_equal(ghn_encoder_read(encoder, 0, all, size), size);
    assert_int_equal(ghn_encoder_read(encoder, size, all, 1), 0);
    return all;
}

static struct ghn_encoder *new_encoder(const struct fixture *f, enum ghn_form answer,
                                       enum ghn_dtype dtype) {
    json_t *metadata = json_pack("{s:s}", "network", "test");
    struct ghn_encoder *encoder = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_encoder_new(f->prediction, answer, dtype, metadata, &encoder, &err) != GHN_OK)
        fail_msg("%s", err.message);
    json_decref(metadata);
    return encoder;
}

/* The answer read back as a file: every tensor's type, shape and values. */
static void answers_are_safetensors(void **state) {
    (void)state;
    static const enum ghn_dtype dtypes[] = {GHN_F32, GHN_F16, GHN_BF16};
    struct fixture f = make_fixture();
    for (int d = 0; d < 3; d++) {
        struct ghn_encoder *encoder = new_encoder(&f, GHN_FORM_SAFETENSORS, dtypes[d]);
        char *all = read_all(encoder);
        struct ghn_tensors *set = NULL;
        assert_int_equal(
            ghn_tensors_parse(all, (size_t)ghn_encoder_size(encoder), "answer", &set, NULL),
            GHN_OK);
        assert_int_equal(set->n, f.graph->n_slots - 1);
        for (int i = 0; i < f.graph->n_slots; i++) {
            const struct ghn_slot *slot = &f.graph->slots[i];
            const struct ghn_tensor *tensor = ghn_tensors_find(set, slot->name);
            if (f.prediction->outcomes[i] == GHN_OMITTED) {
                assert_null(tensor);
                continue;
            }
            assert_non_null(tensor);
            assert_int_equal(tensor->dtype, dtypes[d]);
            assert_true(ghn_shape_equal(&tensor->shape, &slot->shape));
            size_t n = (size_t)slot->numel, size = ghn_dtype_size(dtypes[d]);
            float *values = malloc(n * sizeof(float));
            char *expected = malloc(n * size);
            ghn_prediction_values(f.prediction, i, 0, slot->numel, values);
            ghn_dtype_from_f32(dtypes[d], expected, values, n);
            assert_memory_equal(tensor->data, expected, n * size);
            free(values);
            free(expected);
        }
        ghn_tensors_free(set);
        free(all);
        ghn_encoder_free(encoder);
    }
    free_fixture(&f);
}

static void metadata_names_what_was_not_predicted(void **state) {
    (void)state;
    struct fixture f = make_fixture();
    struct ghn_encoder *encoder = new_encoder(&f, GHN_FORM_SAFETENSORS, GHN_F32);
    char *all = read_all(encoder);
    struct ghn_tensors *set = NULL;
    assert_int_equal(
        ghn_tensors_parse(all, (size_t)ghn_encoder_size(encoder), "answer", &set, NULL), GHN_OK);
    assert_string_equal(json_string_value(json_object_get(set->metadata, "network")), "test");
    assert_null(json_object_get(set->metadata, "tiles"));
    json_t *missing =
        json_loads(json_string_value(json_object_get(set->metadata, "not_predicted")), 0, NULL);
    json_t *expected = json_pack("{s:s, s:s, s:s}", "gamma", "for the test", "t.weight",
                                 "for the test", "b.bias", "nobody needs it");
    assert_true(json_equal(missing, expected));
    json_decref(missing);
    json_decref(expected);
    ghn_tensors_free(set);
    free(all);
    ghn_encoder_free(encoder);
    free_fixture(&f);
}

/* A reader that tiles the blocks has the same values to the bit. */
static void blocks_tile_to_the_same_values(void **state) {
    (void)state;
    struct fixture f = make_fixture();
    struct ghn_encoder *encoder = new_encoder(&f, GHN_FORM_BLOCKS, GHN_F32);
    char *all = read_all(encoder);
    struct ghn_tensors *set = NULL;
    assert_int_equal(
        ghn_tensors_parse(all, (size_t)ghn_encoder_size(encoder), "answer", &set, NULL), GHN_OK);
    assert_string_equal(json_string_value(json_object_get(set->metadata, "format")),
                        "ghn-blocks/1");
    json_t *tiles = json_loads(json_string_value(json_object_get(set->metadata, "tiles")), 0, NULL);
    assert_int_equal(json_object_size(tiles), 5); /* all but the random one */
    for (int t = 0; t < set->n; t++) {
        const struct ghn_tensor *block = &set->items[t];
        struct ghn_shape shape = block->shape;
        const json_t *full = json_object_get(tiles, block->name);
        for (size_t k = 0; k < json_array_size(full); k++)
            shape.dim[k] = json_integer_value(json_array_get(full, k));
        int i = 0;
        while (strcmp(f.graph->slots[i].name, block->name) != 0)
            i++;
        const struct ghn_slot *slot = &f.graph->slots[i];
        assert_true(ghn_shape_equal(&shape, &slot->shape));
        float *tiled = malloc((size_t)slot->numel * sizeof(float));
        float *values = malloc((size_t)slot->numel * sizeof(float));
        ghn__tiling_read_ref(&shape, &block->shape, block->data, 0, slot->numel, tiled);
        ghn_prediction_values(f.prediction, i, 0, slot->numel, values);
        assert_memory_equal(tiled, values, (size_t)slot->numel * sizeof(float));
        free(tiled);
        free(values);
    }
    json_decref(tiles);
    ghn_tensors_free(set);
    free(all);
    ghn_encoder_free(encoder);
    free_fixture(&f);
}

/* Any piece, from any byte on, is that piece of the whole. */
static void any_offset_may_be_read(void **state) {
    (void)state;
    static const enum ghn_dtype dtypes[] = {GHN_F32, GHN_F16, GHN_BF16};
    struct fixture f = make_fixture();
    for (int k = 0; k < 6; k++) {
        struct ghn_encoder *encoder =
            new_encoder(&f, k < 3 ? GHN_FORM_SAFETENSORS : GHN_FORM_BLOCKS, dtypes[k % 3]);
        char *all = read_all(encoder);
        int size = (int)ghn_encoder_size(encoder);
        char *piece = malloc((size_t)size + 1);
        for (uint64_t i = 0; i < 3000; i++) {
            int at = random_int(50, i, 0, size), n = random_int(51, i, 0, i % 2 ? 9 : 5000);
            int expected = n < size - at ? n : size - at;
            memset(piece, 0x55, (size_t)size + 1);
            assert_int_equal(ghn_encoder_read(encoder, (uint64_t)at, piece, (size_t)n), expected);
            assert_memory_equal(piece, all + at, (size_t)expected);
            assert_int_equal(piece[expected], 0x55);
        }
        free(piece);
        free(all);
        ghn_encoder_free(encoder);
    }
    free_fixture(&f);
}

static void files_hold_the_same_bytes(void **state) {
    (void)state;
    struct fixture f = make_fixture();
    struct ghn_encoder *encoder = new_encoder(&f, GHN_FORM_SAFETENSORS, GHN_F32);
    char folder[] = "/tmp/ghn-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/answer", folder);
    assert_int_equal(ghn_encoder_write_file(encoder, path, NULL), GHN_OK);
    char *all = read_all(encoder);
    size_t size = (size_t)ghn_encoder_size(encoder);
    char *file = malloc(size + 1);
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    assert_int_equal(fread(file, 1, size + 1, stream), size);
    fclose(stream);
    assert_memory_equal(file, all, size);
    unlink(path);
    rmdir(folder);
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_encoder_write_file(encoder, path, &err), GHN_IO);
    assert_true(err.message[0] != '\0');
    free(file);
    free(all);
    ghn_encoder_free(encoder);
    free_fixture(&f);
}

static void other_types_are_refused(void **state) {
    (void)state;
    struct fixture f = make_fixture();
    struct ghn_encoder *encoder = NULL;
    assert_int_equal(
        ghn_encoder_new(f.prediction, GHN_FORM_SAFETENSORS, GHN_F64, NULL, &encoder, NULL),
        GHN_OUT_OF_RANGE);
    assert_null(encoder);
    free_fixture(&f);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct fixture f = make_fixture();
    int failures = 0;
    for (long n = 1;; n++, failures++) {
        struct ghn_encoder *encoder = NULL;
        ghn_mem_fail_at(n, 0);
        enum ghn_status status =
            ghn_encoder_new(f.prediction, GHN_FORM_BLOCKS, GHN_F16, NULL, &encoder, NULL);
        ghn_mem_fail_at(0, 0);
        ghn_encoder_free(encoder);
        if (status == GHN_OK)
            break;
        assert_int_equal(status, GHN_NO_MEMORY);
    }
    assert_true(failures >= 4);
    free_fixture(&f);
}

/* --- Initialisers --- */

static void initialisers_have_their_distributions(void **state) {
    (void)state;
    enum { N = 40000 };
    static const struct {
        struct ghn_init init;
        double mean, variance, bound;
    } cases[] = {
        {{GHN_INIT_CONSTANT, 0.5}, 0.5, 0.0, 0.5},
        {{GHN_INIT_UNIFORM, 3.0}, 0.0, 3.0, 3.0},
        {{GHN_INIT_NORMAL, 2.0}, 0.0, 4.0, 20.0},
        {{GHN_INIT_TRUNC_NORMAL, 0.02}, 0.0, 0.0004, 0.2},
        {{GHN_INIT_TRUNC_NORMAL, 1.0}, 0.0, 0.7737, 2.0}, /* of N(0, 1) cut at 2 */
        {{GHN_INIT_TRUNC_NORMAL, 1e9}, 0.0, 4.0 / 3.0, 2.0},
    };
    float *values = malloc(N * sizeof(float)), part[3];
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        struct ghn_slot slot = {.name = "x", .init = cases[k].init};
        double sum = 0.0, squares = 0.0;
        ghn_initialise(&slot.init, slot.name, 9, 0, N, values);
        for (int i = 0; i < N; i++) {
            double x = (double)values[i];
            assert_true(x <= cases[k].bound && x >= -cases[k].bound);
            sum += x;
            squares += x * x;
        }
        double mean = sum / N, variance = squares / N - mean * mean;
        double deviation = cases[k].variance > 0.0 ? cases[k].bound * 0.02 : 1e-9;
        assert_true(mean - cases[k].mean < deviation && cases[k].mean - mean < deviation);
        assert_true(variance <= 1.05 * cases[k].variance + 1e-9 &&
                    variance >= 0.95 * cases[k].variance - 1e-9);
        ghn_initialise(&slot.init, slot.name, 9, 1234, 3, part);
        assert_memory_equal(part, values + 1234, sizeof(part));
    }
    free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tilings_follow_the_formula),
        cmocka_unit_test(random_tilings_follow_the_formula),
        cmocka_unit_test(answers_are_safetensors),
        cmocka_unit_test(metadata_names_what_was_not_predicted),
        cmocka_unit_test(blocks_tile_to_the_same_values),
        cmocka_unit_test(any_offset_may_be_read),
        cmocka_unit_test(files_hold_the_same_bytes),
        cmocka_unit_test(other_types_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(initialisers_have_their_distributions),
    };
    return cmocka_run_group_tests_name("encode", tests, NULL, NULL);
}
