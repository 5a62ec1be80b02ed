/* lib/ghn: configurations, and hypernetworks made, saved and loaded. */
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
#include "ghn/config.h"
#include "ghn/model_impl.h"
#include "tensor/tensors.h"

static const struct ghn_config tiny = {.hid = 8,
                                       .max_shape = {6, 5, 3, 3},
                                       .num_classes = 4,
                                       .weight_norm = true,
                                       .ve = true,
                                       .layernorm = true};

static char folder[] = "/tmp/ghn-test-XXXXXX", path[64];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/model", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* --- Configurations --- */

static void configurations_are_read(void **state) {
    (void)state;
    json_t *json = json_loads("{\"max_shape\":[64,64,11,11],\"num_classes\":10}", 0, NULL);
    struct ghn_config config;
    assert_int_equal(ghn__config_from_json(json, "config", &config, NULL), GHN_OK);
    assert_int_equal(config.hid, 32);
    assert_int_equal(config.hypernet, GHN_GATED_GNN);
    assert_int_equal(config.decoder, GHN_DECODER_CONV);
    assert_false(config.ve || config.layernorm || config.weight_norm);
    assert_string_equal(ghn_config_kind(&config), "GHN-1");
    assert_string_equal(ghn_config_kind(&ghn_config_default), "GHN-2");
    config.hypernet = GHN_MLP;
    assert_string_equal(ghn_config_kind(&config), "MLP");
    config = ghn_config_default;
    config.ve = false;
    assert_string_equal(ghn_config_kind(&config), "GHN");
    json_decref(json);

    json = ghn__config_to_json(&tiny);
    assert_int_equal(ghn__config_from_json(json, "config", &config, NULL), GHN_OK);
    assert_memory_equal(&config, &tiny, sizeof(config));
    json_decref(json);
}

static void bad_configurations_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum ghn_status status;
        const char *where;
    } cases[] = {
        {"3", GHN_WRONG_TYPE, "config"},
        {"{}", GHN_MISSING_FIELD, "config.max_shape"},
        {"{\"max_shape\":[1,1,1],\"num_classes\":2}", GHN_OUT_OF_RANGE, "config.max_shape"},
        {"{\"max_shape\":[1,1,1,0],\"num_classes\":2}", GHN_OUT_OF_RANGE, "config.max_shape"},
        {"{\"max_shape\":[1,1,1,1.0],\"num_classes\":2}", GHN_WRONG_TYPE, "config.max_shape"},
        {"{\"max_shape\":[1,1,1,1]}", GHN_MISSING_FIELD, "config.num_classes"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":0}", GHN_OUT_OF_RANGE, "config.num_classes"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":2,\"depth\":2}", GHN_UNKNOWN_FIELD,
         "config.depth"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":2,\"hypernet\":\"gcn\"}", GHN_OUT_OF_RANGE,
         "config.hypernet"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":2,\"decoder\":7}", GHN_WRONG_TYPE,
         "config.decoder"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":2,\"ve\":1}", GHN_WRONG_TYPE, "config.ve"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":2,\"hid\":6}", GHN_OUT_OF_RANGE, "hid"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":2,\"hid\":2048}", GHN_OUT_OF_RANGE, "hid"},
        {"{\"max_shape\":[1,1,1,2],\"num_classes\":2}", GHN_OUT_OF_RANGE, "max_shape"},
        {"{\"max_shape\":[1,2,1,1],\"num_classes\":2,\"decoder\":\"mlp\"}", GHN_OUT_OF_RANGE,
         "max_shape"},
        {"{\"max_shape\":[1,1,1,1],\"num_classes\":70000}", GHN_OUT_OF_RANGE, "num_classes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *json = json_loads(cases[i].text, JSON_DECODE_ANY, NULL);
        struct ghn_config config = tiny;
        struct ghn_err err = GHN_ERR_INIT;
        enum ghn_status status = ghn__config_from_json(json, "config", &config, &err);
        if (status != cases[i].status || strcmp(err.where, cases[i].where) != 0)
            fail_msg("%s: %s at %s: %s", cases[i].text, ghn_status_code(status), err.where,
                     err.message);
        assert_memory_equal(&config, &tiny, sizeof(config));
        json_decref(json);
    }
}

static void too_large_a_model_is_refused(void **state) {
    (void)state;
    struct ghn_config config = ghn_config_default;
    config.hid = 1024;
    config.max_shape[0] = config.max_shape[1] = 1024;
    struct ghn_model *model = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_model_new(&config, 1, &model, &err), GHN_OUT_OF_RANGE);
    assert_null(model);
    assert_string_equal(err.where, "max_shape");
}

/* --- Models --- */

static void published_models_have_their_sizes(void **state) {
    (void)state;
    static const struct {
        bool ve;
        enum ghn_hypernet_kind hypernet;
        int side, classes;
        int64_t n;
    } cases[] = {
        {true, GHN_GATED_GNN, 11, 10, 1620764},
        {true, GHN_GATED_GNN, 16, 1000, 2319720},
        {false, GHN_GATED_GNN, 11, 10, 1620668},
        {true, GHN_MLP, 11, 10, 1614396},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn_config config = ghn_config_default;
        config.ve = config.layernorm = config.weight_norm = cases[i].ve;
        config.hypernet = cases[i].hypernet;
        config.max_shape[2] = config.max_shape[3] = cases[i].side;
        config.num_classes = cases[i].classes;
        struct ghn_model *model;
        assert_int_equal(ghn_model_new(&config, 1, &model, NULL), GHN_OK);
        assert_int_equal(ghn_model_n_parameters(model), cases[i].n);
        ghn_model_unref(model);
    }
}

static void initialisation_is_pytorchs(void **state) {
    (void)state;
    struct ghn_model *a, *b, *c;
    assert_int_equal(ghn_model_new(&ghn_config_default, 1, &a, NULL), GHN_OK);
    assert_int_equal(ghn_model_new(&ghn_config_default, 1, &b, NULL), GHN_OK);
    assert_int_equal(ghn_model_new(&ghn_config_default, 2, &c, NULL), GHN_OK);
    size_t size = (size_t)ghn_model_n_parameters(a) * sizeof(float);
    assert_memory_equal(a->storage, b->storage, size);
    assert_memory_not_equal(a->storage, c->storage, size);
    /* conv.2: U(-1, 1) / sqrt(256); embeddings: N(0, 1); layer norm: 1 and 0. */
    double largest = 0.0, squares = 0.0;
    for (int i = 0; i < 4096 * 256; i++)
        largest = fmax(largest, fabs((double)a->tensors[GHN__CONV2_W][i]));
    assert_true(largest <= 1.0 / 16.0 && largest > 0.999 / 16.0);
    for (int i = 0; i < 392 * 8; i++)
        squares += (double)a->tensors[GHN__CHANNEL][i] * (double)a->tensors[GHN__CHANNEL][i];
    assert_true(fabs(squares / (392 * 8) - 1.0) < 0.1);
    for (int i = 0; i < 32; i++)
        assert_true(a->tensors[GHN__LN_W][i] == 1.0f && a->tensors[GHN__LN_B][i] == 0.0f);
    ghn_model_unref(a);
    ghn_model_unref(b);
    ghn_model_unref(c);
}

static void saved_models_come_back(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct ghn_config config = tiny;
        config.ve = kind != 1;
        config.hypernet = kind == 2 ? GHN_MLP : GHN_GATED_GNN;
        config.decoder = kind == 3 ? GHN_DECODER_MLP : GHN_DECODER_CONV;
        config.max_shape[0] = kind == 3 ? 5 : 6;
        struct ghn_model *model, *again;
        json_t *metadata = json_pack("{s:s}", "trained", "false");
        assert_int_equal(ghn_model_new(&config, 1, &model, NULL), GHN_OK);
        assert_string_equal(ghn_model_sha256(model), "");
        assert_int_equal(ghn_model_save(model, path, metadata, NULL), GHN_OK);
        assert_int_equal(ghn_model_load(path, &again, NULL), GHN_OK);
        assert_memory_equal(ghn_model_config(again), &config, sizeof(config));
        assert_int_equal(ghn_model_n_parameters(again), ghn_model_n_parameters(model));
        assert_memory_equal(again->storage, model->storage,
                            (size_t)ghn_model_n_parameters(model) * sizeof(float));
        assert_int_equal(strlen(ghn_model_sha256(again)), 64);
        assert_string_equal(
            json_string_value(json_object_get(ghn_model_metadata(again), "trained")), "false");
        json_decref(metadata);
        ghn_model_unref(model);
        ghn_model_unref(again);
    }
}

/* A checkpoint with one thing wrong, and what the refusal must mention. */
enum damage { MISSING, UNKNOWN, SHAPE, TYPE, NOT_FINITE, NO_CONFIG, CONFIG_TEXT, CONFIG_ENTRY };
static const char *const mentions[] = {
    [MISSING] = "ln.bias",        [UNKNOWN] = "surplus",          [SHAPE] = "ln.bias",
    [TYPE] = "ln.bias",           [NOT_FINITE] = "ln.bias",       [NO_CONFIG] = "ghn.config",
    [CONFIG_TEXT] = "ghn.config", [CONFIG_ENTRY] = "num_classes",
};

static void write_damaged(const struct ghn_model *model, enum damage damage) {
    struct ghn_tensor items[GHN__N_TENSORS + 1];
    float values[16] = {0};
    int n = 0;
    for (int i = 0; i < GHN__N_TENSORS; i++) {
        if (!model->tensors[i] || (damage == MISSING && i == GHN__LN_B))
            continue;
        items[n] =
            (struct ghn_tensor){model->specs[i].name, GHN_F32, model->specs[i].shape,
                                model->tensors[i], (size_t)model->specs[i].numel * sizeof(float)};
        if (i == GHN__LN_B && damage == SHAPE)
            items[n].shape = (struct ghn_shape){2, {2, 4}};
        if (i == GHN__LN_B && damage == TYPE)
            items[n].dtype = GHN_I32;
        values[7] = damage == NOT_FINITE ? NAN : 0.0f;
        if (i == GHN__LN_B && damage == NOT_FINITE)
            items[n].data = values;
        n++;
    }
    if (damage == UNKNOWN)
        items[n++] = (struct ghn_tensor){"surplus", GHN_F32, {1, {1}}, values, sizeof(float)};
    json_t *config = ghn__config_to_json(&model->config);
    if (damage == CONFIG_ENTRY)
        json_object_set_new(config, "num_classes", json_string("ten"));
    char *text = json_dumps(config, JSON_COMPACT);
    json_t *metadata = json_object();
    if (damage != NO_CONFIG)
        json_object_set_new(metadata, "ghn.config",
                            json_string(damage == CONFIG_TEXT ? "{\"hid\":" : text));
    assert_int_equal(ghn_safetensors_write(path, items, n, metadata, NULL), GHN_OK);
    free(text);
    json_decref(config);
    json_decref(metadata);
}

static void damaged_checkpoints_are_refused(void **state) {
    (void)state;
    struct ghn_model *model;
    assert_int_equal(ghn_model_new(&tiny, 1, &model, NULL), GHN_OK);
    for (size_t d = 0; d < sizeof(mentions) / sizeof(mentions[0]); d++) {
        struct ghn_model *again = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        write_damaged(model, (enum damage)d);
        assert_int_equal(ghn_model_load(path, &again, &err), GHN_INVALID_CHECKPOINT);
        assert_null(again);
        assert_string_equal(err.where, path);
        if (!strstr(err.message, mentions[d]))
            fail_msg("\"%s\" does not mention %s", err.message, mentions[d]);
    }
    ghn_model_unref(model);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct ghn_model *model;
    assert_int_equal(ghn_model_new(&tiny, 1, &model, NULL), GHN_OK);
    assert_int_equal(ghn_model_save(model, path, NULL, NULL), GHN_OK);
    ghn_model_unref(model);
    for (int load = 0; load < 2; load++) {
        int failures = 0;
        for (long n = 1;; n++, failures++) {
            model = NULL;
            ghn_mem_fail_at(n, 0);
            enum ghn_status status =
                load ? ghn_model_load(path, &model, NULL) : ghn_model_new(&tiny, 1, &model, NULL);
            ghn_mem_fail_at(0, 0);
            ghn_model_unref(model);
            if (status == GHN_OK)
                break;
            assert_int_equal(status, GHN_NO_MEMORY);
            assert_null(model);
        }
        assert_true(failures >= 3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_are_read),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(too_large_a_model_is_refused),
        cmocka_unit_test(published_models_have_their_sizes),
        cmocka_unit_test(initialisation_is_pytorchs),
        cmocka_unit_test(saved_models_come_back),
        cmocka_unit_test(damaged_checkpoints_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("model", tests, make_folder, remove_folder);
}
