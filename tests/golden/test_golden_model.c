/* The golden checkpoints as hypernetworks: converted to safetensors they predict the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ghn/predict.h"
#include "golden.h"
#include "golden_graph.h"

static struct ghn_model *load(const char *path) {
    struct ghn_model *model = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_model_load(path, &model, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

static struct ghn_model *load_named(const char *name) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/checkpoints/%s.pt", golden_folder(), name);
    return load(path);
}

static void same_predictions(const struct ghn_model *a, const struct ghn_model *b,
                             const struct ghn_graph *graph) {
    struct ghn_prediction *p, *q;
    assert_int_equal(ghn_predict(a, graph, NULL, NULL, &p, NULL), GHN_OK);
    assert_int_equal(ghn_predict(b, graph, NULL, NULL, &q, NULL), GHN_OK);
    for (int i = 0; i < graph->n_slots; i++) {
        int64_t n;
        assert_true(ghn_shape_numel(&p->blocks[i].shape, &n));
        assert_true(ghn_shape_equal(&p->blocks[i].shape, &q->blocks[i].shape));
        assert_memory_equal(p->blocks[i].data, q->blocks[i].data, (size_t)n * sizeof(float));
    }
    ghn_prediction_free(p);
    ghn_prediction_free(q);
}

static struct ghn_graph *resnet18(void) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/torchvision/resnet18--ghn2_cifar10.json", golden_folder());
    json_t *json = golden_load(path);
    struct ghn_graph *graph = golden_graph(json);
    json_decref(json);
    return graph;
}

static void conversion_changes_nothing(void **state) {
    (void)state;
    static const char *const names[] = {"ghn2_cifar10", "ghn2_imagenet", "ghn1_cifar10",
                                        "mlp_cifar10",  "ghn2_small",    "ghn2_small_mlpdec"};
    static const char *const kinds[] = {"GHN-2", "GHN-2", "GHN-1", "MLP", "GHN-2", "GHN-2"};
    char folder[] = "/tmp/ghn-test-XXXXXX", path[64];
    struct ghn_graph *graph = resnet18();
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/model", folder);
    for (int i = 0; i < 6; i++) {
        struct ghn_model *model = load_named(names[i]);
        assert_string_equal(ghn_config_kind(ghn_model_config(model)), kinds[i]);
        assert_int_equal(ghn_model_save(model, path, NULL, NULL), GHN_OK);
        struct ghn_model *converted = load(path);
        same_predictions(model, converted, graph);
        ghn_model_unref(converted);
        ghn_model_unref(model);
    }
    unlink(path);
    rmdir(folder);
    ghn_graph_free(graph);
}

static void optimiser_state_is_left_out(void **state) {
    (void)state;
    struct ghn_graph *graph = resnet18();
    struct ghn_model *with = load_named("ghn2_small_with_optimizer");
    struct ghn_model *without = load_named("ghn2_small");
    assert_int_equal(ghn_model_n_parameters(with), ghn_model_n_parameters(without));
    same_predictions(with, without, graph);
    ghn_model_unref(with);
    ghn_model_unref(without);
    ghn_graph_free(graph);
}

static void the_old_serialisation_is_refused(void **state) {
    (void)state;
    char path[4096];
    struct ghn_model *model = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    snprintf(path, sizeof(path), "%s/checkpoints/ghn2_small_legacy.pt", golden_folder());
    assert_int_equal(ghn_model_load(path, &model, &err), GHN_UNSUPPORTED_FILE);
    assert_null(model);
    assert_non_null(strstr(err.message, "torch.save")); /* how to convert it */
}

int main(void) {
    if (!golden_folder())
        return GOLDEN_SKIPPED;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversion_changes_nothing),
        cmocka_unit_test(optimiser_state_is_left_out),
        cmocka_unit_test(the_old_serialisation_is_refused),
    };
    return cmocka_run_group_tests_name("golden models", tests, NULL, NULL);
}
