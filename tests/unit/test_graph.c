/* lib/graph: the graph form, what a graph must be, shortest paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "graph/distances.h"
#include "graph/graph.h"

#define NODE(op, rest) "{\"op\":\"" op "\"" rest "}"
#define CONV ",\"name\":\"c.weight\",\"shape\":[8,3,3,3]"
#define CHAIN "{\"nodes\":[" NODE("input", "") "," NODE("conv", CONV) "],\"edges\":[[0,1]]}"

static enum ghn_status read(const char *text, const struct ghn_limits *limits,
                            struct ghn_graph **ret, struct ghn_err *err) {
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    enum ghn_status status = ghn_graph_from_json(json, "graph", limits, ret, err);
    json_decref(json);
    return status;
}

static struct ghn_graph *must_read(const char *text) {
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (read(text, &ghn_limits_default, &graph, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return graph;
}

static void slots_follow_the_nodes(void **state) {
    (void)state;
    struct ghn_graph *graph =
        must_read("{\"nodes\":[{\"op\":\"input\"},"
                  "{\"op\":\"conv\",\"name\":\"c.weight\",\"shape\":[8,3,3,3]},"
                  "{\"op\":\"bias\",\"name\":\"c.bias\",\"shape\":[8,1,1,1]},"
                  "{\"op\":\"bn\",\"name\":\"b.weight\",\"shape\":[8]},"
                  "{\"op\":\"max_pool\",\"name\":\"max_pool\",\"shape\":[1,1,3,3]},"
                  "{\"op\":\"ln\",\"name\":\"weight\",\"shape\":[8,4]}],"
                  "\"edges\":[[3,4],[0,1],[2,3],[1,2],[4,5],[1,3]]}");
    static const struct {
        const char *name;
        enum ghn_slot_kind kind;
        int node, ndim;
        int64_t numel;
    } expected[] = {
        {"c.weight", GHN_SLOT_WEIGHT, 1, 4, 216},    {"c.bias", GHN_SLOT_BIAS, 2, 1, 8},
        {"b.weight", GHN_SLOT_NORM_WEIGHT, 3, 1, 8}, {"b.bias", GHN_SLOT_BIAS, 3, 1, 8},
        {"weight", GHN_SLOT_NORM_WEIGHT, 5, 2, 32},  {"bias", GHN_SLOT_BIAS, 5, 2, 32},
    };
    assert_int_equal(graph->n_slots, 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(graph->slots[i].name, expected[i].name);
        assert_int_equal(graph->slots[i].kind, expected[i].kind);
        assert_int_equal(graph->slots[i].node, expected[i].node);
        assert_int_equal(graph->slots[i].shape.ndim, expected[i].ndim);
        assert_int_equal(graph->slots[i].numel, expected[i].numel);
    }
    assert_int_equal(graph->n_edges, 6);
    assert_int_equal(graph->nodes[3].n_preds, 2);
    assert_int_equal(graph->nodes[3].preds[0], 1);
    assert_int_equal(graph->nodes[3].preds[1], 2);
    assert_int_equal(graph->nodes[1].n_succs, 2);
    assert_int_equal(graph->nodes[1].succs[1], 3);
    assert_int_equal(graph->dist[0 * 6 + 3], 2);
    assert_int_equal(graph->dist_in[3 * 6 + 0], 2);
    assert_int_equal(graph->dist[3 * 6 + 0], GHN_NO_EDGE);
    assert_int_equal(graph->dist[3 * 6 + 3], GHN_NO_EDGE);
    ghn_graph_free(graph);
}

static void form_survives_a_round_trip(void **state) {
    (void)state;
    struct ghn_graph *graph = must_read(CHAIN);
    json_t *json = ghn_graph_to_json(graph);
    char *text = json_dumps(json, JSON_COMPACT);
    assert_string_equal(text, "{\"nodes\":[{\"op\":\"input\",\"name\":null,\"shape\":null},{\"op\":"
                              "\"conv\",\"name\":\"c.weight\",\"shape\":[8,3,3,3]}],\"edges\":[[0,"
                              "1]]}");
    struct ghn_graph *again = must_read(text);
    assert_int_equal(again->n_edges, 1);
    free(text);
    json_decref(json);
    ghn_graph_free(again);
    ghn_graph_free(graph);
}

/* Forms that are refused: with what status, and where. */
static const struct {
    const char *text;
    enum ghn_status status;
    const char *where;
} refused[] = {
    {"[]", GHN_WRONG_TYPE, "graph"},
    {"{}", GHN_MISSING_FIELD, "graph.nodes"},
    {"{\"nodes\":[],\"edges\":[]}", GHN_OUT_OF_RANGE, "graph.nodes"},
    {"{\"nodes\":{},\"edges\":[]}", GHN_WRONG_TYPE, "graph.nodes"},
    {"{\"nodes\":[" NODE("input", "") "]}", GHN_MISSING_FIELD, "graph.edges"},
    {"{\"nodes\":[],\"edges\":[],\"extra\":1}", GHN_UNKNOWN_FIELD, "graph.extra"},
    {"{\"nodes\":[1],\"edges\":[]}", GHN_WRONG_TYPE, "graph.nodes[0]"},
    {"{\"nodes\":[{}],\"edges\":[]}", GHN_MISSING_FIELD, "graph.nodes[0].op"},
    {"{\"nodes\":[" NODE("input", ",\"kind\":1") "],\"edges\":[]}", GHN_UNKNOWN_FIELD,
     "graph.nodes[0].kind"},
    {"{\"nodes\":[" NODE("relu", "") "],\"edges\":[]}", GHN_UNKNOWN_OP, "graph.nodes[0].op"},
    {"{\"nodes\":[" NODE("input", ",\"shape\":[1]") "],\"edges\":[]}", GHN_OUT_OF_RANGE,
     "graph.nodes[0].shape"},
    {"{\"nodes\":[" NODE("input", ",\"name\":\"\"") "],\"edges\":[]}", GHN_OUT_OF_RANGE,
     "graph.nodes[0].name"},
    {"{\"nodes\":[" NODE("conv", ",\"name\":\"w\"") "],\"edges\":[]}", GHN_MISSING_FIELD,
     "graph.nodes[0].shape"},
    {"{\"nodes\":[" NODE("conv", ",\"shape\":[1,1]") "],\"edges\":[]}", GHN_MISSING_FIELD,
     "graph.nodes[0].name"},
    {"{\"nodes\":[" NODE("conv", ",\"name\":\"w\",\"shape\":[4]") "],\"edges\":[]}",
     GHN_OUT_OF_RANGE, "graph.nodes[0].shape"},
    {"{\"nodes\":[" NODE("conv", ",\"name\":\"w\",\"shape\":[4,0]") "],\"edges\":[]}",
     GHN_OUT_OF_RANGE, "graph.nodes[0].shape[1]"},
    {"{\"nodes\":[" NODE("conv", ",\"name\":\"w\",\"shape\":[4,2.0]") "],\"edges\":[]}",
     GHN_WRONG_TYPE, "graph.nodes[0].shape[1]"},
    {"{\"nodes\":[" NODE("conv", ",\"name\":\"w\",\"shape\":[4,9999999999]") "],\"edges\":[]}",
     GHN_OUT_OF_RANGE, "graph.nodes[0].shape[1]"},
    {"{\"nodes\":[" NODE(
         "conv", ",\"name\":\"w\",\"shape\":[2147483647,2147483647,2147483647]") "],"
                                                                                 "\"edges\":[]}",
     GHN_TOO_LARGE, "graph.nodes[0]"},
    {"{\"nodes\":[" NODE("bias", ",\"name\":\"b\",\"shape\":[4,2]") "],\"edges\":[]}",
     GHN_OUT_OF_RANGE, "graph.nodes[0].shape"},
    {"{\"nodes\":[" NODE("bn", ",\"name\":\"gamma\",\"shape\":[4]") "],\"edges\":[]}",
     GHN_OUT_OF_RANGE, "graph.nodes[0].name"},
    {"{\"nodes\":[" NODE("max_pool", "") "],\"edges\":[]}", GHN_MISSING_FIELD,
     "graph.nodes[0].shape"},
    {"{\"nodes\":[" NODE("max_pool", ",\"shape\":[3,3]") "],\"edges\":[]}", GHN_OUT_OF_RANGE,
     "graph.nodes[0].shape"},
    {"{\"nodes\":[" NODE("bn", ",\"name\":\"a.weight\",\"shape\":[4]") "," NODE(
         "bias", ",\"name\":\"a.bias\",\"shape\":[4]") "],\"edges\":[]}",
     GHN_DUPLICATE_NAME, "graph.nodes[1]"},
    {"{\"nodes\":[" NODE("input", "") "],\"edges\":[3]}", GHN_WRONG_TYPE, "graph.edges[0]"},
    {"{\"nodes\":[" NODE("input", "") "],\"edges\":[[0]]}", GHN_OUT_OF_RANGE, "graph.edges[0]"},
    {"{\"nodes\":[" NODE("input", "") "],\"edges\":[[0,1]]}", GHN_OUT_OF_RANGE,
     "graph.edges[0][1]"},
    {"{\"nodes\":[" NODE("input", "") "],\"edges\":[[-1,0]]}", GHN_OUT_OF_RANGE,
     "graph.edges[0][0]"},
    {"{\"nodes\":[" NODE("input", "") "," NODE("conv", CONV) "],\"edges\":[[1,0]]}",
     GHN_OUT_OF_RANGE, "graph.edges[0]"},
    {"{\"nodes\":[" NODE("input", "") "," NODE("conv", CONV) "],\"edges\":[[0,1],[0,1]]}",
     GHN_OUT_OF_RANGE, "graph.edges"},
    {"{\"nodes\":[" NODE("input", "") "," NODE("conv", CONV) "],\"edges\":[]}", GHN_DISCONNECTED,
     "graph"},
    {"{\"nodes\":[" NODE("input", "") "," NODE("conv", CONV) "," NODE("sum", "") "],\"edges\":[[0,"
                                                                                 "1],[0,2]]}",
     GHN_DISCONNECTED, "graph"},
    {"{\"nodes\":[" NODE("input", "") "," NODE("input", "") "],\"edges\":[[0,1]]}",
     GHN_DISCONNECTED, "graph"},
    {"{\"nodes\":[" NODE("pos_enc", ",\"name\":\"p\",\"shape\":[1,4,2,2]") "],\"edges\":[]}",
     GHN_DISCONNECTED, "graph"},
};

static void bad_forms_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct ghn_graph *graph = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        enum ghn_status status = read(refused[i].text, &ghn_limits_default, &graph, &err);
        if (status != refused[i].status || strcmp(err.where, refused[i].where) != 0)
            fail_msg("%s: %s at \"%s\" (%s), not %s at \"%s\"", refused[i].text,
                     ghn_status_code(status), err.where, err.message,
                     ghn_status_code(refused[i].status), refused[i].where);
        assert_int_equal(err.status, status);
        assert_null(graph);
    }
}

static void budgets_are_kept(void **state) {
    (void)state;
    struct ghn_limits small[3] = {ghn_limits_default, ghn_limits_default, ghn_limits_default};
    small[0].max_graph_nodes = 1;
    small[1].max_edges = 0;
    small[2].max_params = 215;
    for (int i = 0; i < 3; i++) {
        struct ghn_graph *graph = NULL;
        assert_int_equal(read(CHAIN, &small[i], &graph, NULL), GHN_TOO_LARGE);
        assert_null(graph);
    }
    small[2].max_params = 216;
    struct ghn_graph *graph = NULL;
    assert_int_equal(read(CHAIN, &small[2], &graph, NULL), GHN_OK);
    ghn_graph_free(graph);
}

/* A random network: node i > 0 follows node i - 1 and sometimes others. */
static json_t *random_form(int n, uint64_t seed) {
    json_t *nodes = json_array(), *edges = json_array();
    for (int v = 0; v < n; v++) {
        json_array_append_new(nodes, json_pack("{s:s}", "op", v ? "sum" : "input"));
        for (int u = 0; u < v; u++)
            if (u == v - 1 || ghn_rng_uniform(seed, (uint64_t)v, (uint64_t)u) < 0.01)
                json_array_append_new(edges, json_pack("[i, i]", u, v));
    }
    return json_pack("{s:o, s:o}", "nodes", nodes, "edges", edges);
}

/* Breadth-first, as the definition has it. */
static void distances_ref(const struct ghn_graph *graph, int from, int *ret) {
    int queue[256], head = 0, tail = 0;
    for (int v = 0; v < graph->n_nodes; v++)
        ret[v] = -1;
    ret[from] = 0;
    queue[tail++] = from;
    while (head < tail) {
        const struct ghn_graph_node *node = &graph->nodes[queue[head++]];
        for (int j = 0; j < node->n_succs; j++) {
            int v = node->succs[j];
            if (ret[v] < 0) {
                ret[v] = ret[node - graph->nodes] + 1;
                queue[tail++] = v;
            }
        }
    }
}

static void distances_are_the_shortest(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        int n = seed == 0 ? 200 : 40 + 20 * (int)seed; /* seed 0: with paths beyond the cutoff */
        json_t *json = random_form(n, seed ? seed : 1234);
        struct ghn_graph *graph = NULL;
        assert_int_equal(ghn_graph_from_json(json, "", &ghn_limits_default, &graph, NULL), GHN_OK);
        int64_t n_pairs = 0, sum = 0;
        for (int u = 0; u < n; u++) {
            int ref[256];
            distances_ref(graph, u, ref);
            for (int v = 0; v < n; v++) {
                int expected = ref[v] < 1 || ref[v] > GHN_CUTOFF ? GHN_NO_EDGE : ref[v];
                assert_int_equal(graph->dist[u * n + v], expected);
                assert_int_equal(graph->dist_in[v * n + u], expected);
                n_pairs += expected != GHN_NO_EDGE;
                sum += expected != GHN_NO_EDGE ? expected : 0;
            }
        }
        assert_int_equal(graph->n_virtual_edges, n_pairs);
        assert_int_equal(graph->distance_sum, sum);
        json_decref(json);
        ghn_graph_free(graph);
    }
}

static void a_long_chain_is_cut(void **state) {
    (void)state;
    enum { N = 120 };
    struct ghn_graph_node nodes[N] = {0};
    int at[N];
    uint8_t dist[N * N], dist_in[N * N];
    for (int i = 0; i < N; i++) {
        at[i] = i;
        nodes[i].n_preds = i > 0;
        nodes[i].n_succs = i + 1 < N;
    }
    for (int i = 0; i < N; i++) {
        nodes[i].preds = i > 0 ? &at[i - 1] : NULL;
        nodes[i].succs = i + 1 < N ? &at[i + 1] : NULL;
    }
    ghn__distances(nodes, N, 50, dist, dist_in);
    assert_int_equal(dist[0 * N + 50], 50);
    assert_int_equal(dist[0 * N + 51], GHN_NO_EDGE);
    assert_int_equal(dist_in[119 * N + 69], 50);
    assert_int_equal(dist_in[119 * N + 68], GHN_NO_EDGE);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    json_t *json = random_form(30, 5);
    int failures = 0;
    for (long n = 1;; n++) {
        struct ghn_graph *graph = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        ghn_mem_fail_at(n, 0);
        enum ghn_status status = ghn_graph_from_json(json, "", &ghn_limits_default, &graph, &err);
        ghn_mem_fail_at(0, 0);
        ghn_graph_free(graph);
        if (status == GHN_OK)
            break;
        assert_int_equal(status, GHN_NO_MEMORY);
        failures++;
    }
    assert_true(failures > 3);
    json_decref(json);
}

static void primitives_have_names(void **state) {
    (void)state;
    assert_string_equal(ghn_primitive_name(GHN_PRIMITIVE_MAX_POOL), "max_pool");
    assert_string_equal(ghn_primitive_name(GHN_PRIMITIVE_GLOB_AVG), "glob_avg");
    assert_string_equal(ghn_primitive_name(GHN_N_PRIMITIVES), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_follow_the_nodes),     cmocka_unit_test(form_survives_a_round_trip),
        cmocka_unit_test(bad_forms_are_refused),      cmocka_unit_test(budgets_are_kept),
        cmocka_unit_test(distances_are_the_shortest), cmocka_unit_test(a_long_chain_is_cut),
        cmocka_unit_test(every_allocation_may_fail),  cmocka_unit_test(primitives_have_names),
    };
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
