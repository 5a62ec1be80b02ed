#include "golden_graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"

json_t *golden_graph_form(const json_t *golden) {
    static const char *const keys[] = {"op", "name", "shape"};
    json_t *nodes = json_array(), *node;
    size_t i;
    json_array_foreach(json_object_get(golden, "nodes"), i, node) {
        json_t *copy = json_object();
        for (int k = 0; k < 3; k++)
            json_object_set(copy, keys[k], json_object_get(node, keys[k]));
        json_array_append_new(nodes, copy);
    }
    return json_pack("{s:o, s:O}", "nodes", nodes, "edges", json_object_get(golden, "edges_1hop"));
}

struct ghn_graph *golden_graph(const json_t *golden) {
    json_t *form = golden_graph_form(golden);
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_graph_from_json(form, "graph", &ghn_limits_default, &graph, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    json_decref(form);
    return graph;
}

static struct {
    char *path;
    struct ghn_model *model;
} models[16];
static int n_models;

struct ghn_model *golden_model(const json_t *golden) {
    char *path = golden_checkpoint(golden);
    for (int i = 0; i < n_models; i++) {
        if (strcmp(models[i].path, path) == 0) {
            free(path);
            return models[i].model;
        }
    }
    struct ghn_err err = GHN_ERR_INIT;
    assert_true(n_models < 16);
    if (ghn_model_load(path, &models[n_models].model, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    models[n_models].path = path;
    return models[n_models++].model;
}

void golden_models_free(void) {
    while (n_models > 0) {
        ghn_model_unref(models[--n_models].model);
        free(models[n_models].path);
    }
}
