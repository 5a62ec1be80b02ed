/* The body of a request, from bytes to the GHN graph: whatever comes, it is decoded within its
 * budgets or refused with a reason. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "graph/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small enough that a thousand inputs a second can be tried. */
static const struct ghn_limits limits = {.max_nodes = 512,
                                         .max_graph_nodes = 256,
                                         .max_edges = 2048,
                                         .max_params = 1 << 28,
                                         .max_flops = (int64_t)1 << 40,
                                         .max_activation = 1 << 26};

static void check(const struct ghn_graph *graph, const struct ghn_arch *arch) {
    assert(graph->n_nodes > 0 && graph->n_nodes <= limits.max_graph_nodes);
    assert(graph->n_edges <= limits.max_edges);
    int64_t parameters = 0;
    for (int i = 0; i < graph->n_slots; i++)
        parameters += graph->slots[i].numel;
    assert(parameters >= 0 && parameters <= limits.max_params);
    for (int v = 0; v < graph->n_nodes; v++)
        for (int i = 0; i < graph->nodes[v].n_preds; i++)
            assert(graph->nodes[v].preds[i] >= 0 && graph->nodes[v].preds[i] < v);
    if (arch)
        assert(arch->flops >= 0 && arch->flops <= limits.max_flops);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const also[] = {"model", "dtype", NULL};
    const struct ghn_request_options options = {
        .limits = &limits, .also = also, .allow_bare = true};
    struct ghn_err err = GHN_ERR_INIT;
    json_t *root = NULL;
    struct ghn_graph *graph = NULL;
    struct ghn_arch *arch = NULL;
    enum ghn_status status = ghn_json_load(data, size, NULL, &root, &err);
    if (status == GHN_OK)
        status = ghn_graph_from_request(root, &options, &graph, &arch, &err);
    if (status == GHN_OK)
        check(graph, arch);
    else
        assert(err.status == status && err.message[0]);
    ghn_graph_free(graph);
    ghn_arch_free(arch);
    json_decref(root);
    return 0;
}
