/* lib/graph/from_arch: the canonical rules of ghn2-spec B2, one test a rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "base/mem.h"
#include "graph/graph.h"

/* A network under construction, from an input (8, 16, 16). */
struct net {
    struct ghn_arch_builder *builder;
    int last; /* number of the node that was added last */
};

static struct net start(void) {
    struct ghn_shape input = {3, {8, 16, 16}};
    return (struct net){ghn_arch_builder_new("n", &input, &ghn_limits_default), 0};
}

static int add(struct net *net, const char *op, const char *name, const void *attrs, int a, int b) {
    int inputs[2] = {a, b};
    net->last = ghn_arch_builder_add(net->builder, op, name, attrs, inputs,
                                     a < 0   ? 0
                                     : b < 0 ? 1
                                             : 2);
    return net->last;
}

/* A 1x1 convolution 8 -> 8 without bias. */
static int conv(struct net *net, const char *name, int from) {
    struct ghn_conv2d_attrs attrs = {
        .out_channels = 8, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    return add(net, "conv2d", name, &attrs, from, -1);
}

static struct ghn_graph *finish(struct net *net) {
    struct ghn_arch *arch = NULL;
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_arch_builder_finish(net->builder, net->last, &arch, &err) != GHN_OK ||
        ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    ghn_arch_free(arch);
    return graph;
}

/* The graph as text, "0 input; 1 conv a.weight <-0; ..." */
static void assert_graph(struct net *net, const char *expected) {
    struct ghn_graph *graph = finish(net);
    char text[2048] = "";
    size_t n = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        const struct ghn_graph_node *node = &graph->nodes[i];
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d %s", i ? "; " : "", i,
                              ghn_primitive_name(node->op));
        if (node->name)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " %s", node->name);
        for (int j = 0; j < node->n_preds; j++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d", j ? "," : " <-",
                                  node->preds[j]);
    }
    assert_string_equal(text, expected);
    ghn_graph_free(graph);
}

static void layers_follow_each_other(void **state) {
    (void)state;
    struct net net = start();
    struct ghn_conv2d_attrs attrs = {.out_channels = 8,
                                     .kernel = {3, 3},
                                     .stride = {1, 1},
                                     .padding = {2, 2},
                                     .dilation = {2, 2},
                                     .groups = 8,
                                     .bias = true};
    int a = add(&net, "conv2d", "a", &attrs, 0, -1);
    int bn = add(&net, "batch_norm2d", "b", NULL, a, -1);
    int relu = add(&net, "relu", "r", NULL, bn, -1);
    struct ghn_pool2d_attrs pool = {.kernel = {3, 3}, .dilation = {1, 1}};
    int p = add(&net, "max_pool2d", "p", &pool, relu, -1);
    attrs.dilation[1] = 1;
    (void)add(&net, "conv2d", "c", &attrs, p, -1);
    assert_graph(&net, "0 input; 1 dil_conv a.weight <-0; 2 bias a.bias <-1; 3 bn b.weight <-2; "
                       "4 max_pool <-3; 5 sep_conv c.weight <-4; 6 bias c.bias <-5");
}

static void sums_join_distinct_nodes_only(void **state) {
    (void)state;
    struct net net = start();
    int a = conv(&net, "a", 0), r = add(&net, "relu", "r", NULL, a, -1);
    int twice = add(&net, "add", "twice", NULL, a, r); /* both from a: no node */
    struct ghn_binary_attrs half = {0.5};
    int shifted = add(&net, "add", "shifted", &half, twice, -1); /* a constant: no node */
    int b = conv(&net, "b", shifted);
    int s = add(&net, "add", "s", NULL, b, a);
    (void)add(&net, "add", "t", NULL, s, 0);
    assert_graph(&net,
                 "0 input; 1 conv a.weight <-0; 2 conv b.weight <-1; 3 sum <-1,2; 4 sum <-0,3");
}

static void concats_join_distinct_nodes_only(void **state) {
    (void)state;
    struct net net = start();
    int a = conv(&net, "a", 0), z = add(&net, "zeros_like", "z", NULL, a, -1);
    int padded = add(&net, "concat", "padded", NULL, z, a);
    int b = conv(&net, "b", padded);
    (void)add(&net, "concat", "c", NULL, b, a);
    assert_graph(&net, "0 input; 1 conv a.weight <-0; 2 conv b.weight <-1; 3 concat <-1,2");
}

static void means_are_glob_avg_if_they_keep_dimensions(void **state) {
    (void)state;
    struct net net = start();
    int a = conv(&net, "a", 0);
    struct ghn_mean_attrs keep = {{2, {2, 3}}, true}, drop = {{2, {2, 3}}, false};
    int m = add(&net, "mean", "m", &keep, a, -1);
    int b = conv(&net, "b", m);
    int n = add(&net, "mean", "n", &drop, b, -1);
    struct ghn_linear_attrs fc = {.out_features = 4, .bias = true};
    (void)add(&net, "linear", "fc", &fc, n, -1);
    assert_graph(&net, "0 input; 1 conv a.weight <-0; 2 glob_avg <-1; 3 conv b.weight <-2; "
                       "4 conv fc.weight <-3; 5 bias fc.bias <-4");
}

/* A squeeze-excite block around node x, with gate function `gate`; `swap` puts the gate first. */
static int squeeze_excite(struct net *net, int x, const char *gate, bool swap) {
    struct ghn_adaptive_pool2d_attrs one = {{1, 1}};
    int m = add(net, "adaptive_avg_pool2d", "squeeze", &one, x, -1);
    int f1 = conv(net, "fc1", m);
    int r = add(net, "relu", "act", NULL, f1, -1);
    int f2 = conv(net, "fc2", r);
    int g = add(net, gate, "gate", NULL, f2, -1);
    return add(net, "mul", "scale", NULL, swap ? g : x, swap ? x : g);
}

static void squeeze_excite_is_a_cse_node(void **state) {
    (void)state;
    static const char *const gates[] = {"sigmoid", "hardsigmoid", "hardswish"};
    for (int i = 0; i < 3; i++) {
        struct net net = start();
        int a = conv(&net, "a", 0), r = add(&net, "silu", "r", NULL, a, -1);
        int se = squeeze_excite(&net, r, gates[i], i == 1);
        (void)conv(&net, "b", se);
        assert_graph(&net, "0 input; 1 conv a.weight <-0; 2 conv fc1.weight <-1; "
                           "3 conv fc2.weight <-2; 4 cse <-1,3; 5 conv b.weight <-4");
    }
}

static void other_products_have_no_node(void **state) {
    (void)state;
    /* relu is no gate, so the pool is an ordinary glob_avg. */
    struct net net = start();
    int a = conv(&net, "a", 0);
    int se = squeeze_excite(&net, a, "relu", false);
    (void)conv(&net, "b", se);
    assert_graph(&net, "0 input; 1 conv a.weight <-0; 2 glob_avg <-1; 3 conv fc1.weight <-2; "
                       "4 conv fc2.weight <-3; 5 conv b.weight <-1,4");
    /* A gate of another map than the one it multiplies. */
    net = start();
    a = conv(&net, "a", 0);
    struct ghn_adaptive_pool2d_attrs one = {{1, 1}};
    int m = add(&net, "adaptive_avg_pool2d", "m", &one, 0, -1);
    int g = add(&net, "sigmoid", "g", NULL, m, -1);
    int p = add(&net, "mul", "p", NULL, a, g);
    (void)conv(&net, "b", p);
    assert_graph(&net, "0 input; 1 conv a.weight <-0; 2 glob_avg <-0; 3 conv b.weight <-1,2");
}

static void position_encodings_are_sources(void **state) {
    (void)state;
    struct net net = start();
    int a = conv(&net, "a", 0);
    struct ghn_parameter_attrs pos = {{4, {1, 8, 16, 16}}, true, 0, 0};
    int p = add(&net, "pos_enc", "pos", &pos, -1, -1);
    int s = add(&net, "add", "s", NULL, a, p);
    (void)conv(&net, "b", s);
    assert_graph(&net, "0 input; 1 conv a.weight <-0; 2 pos_enc pos.weight; 3 sum <-1,2; "
                       "4 conv b.weight <-3");
}

static const struct ghn_slot *slot_of(const struct ghn_graph *graph, const char *name) {
    for (int i = 0; i < graph->n_slots; i++)
        if (strcmp(graph->slots[i].name, name) == 0)
            return &graph->slots[i];
    fail_msg("no slot %s", name);
    return NULL;
}

static void every_parameter_has_a_slot(void **state) {
    (void)state;
    struct net net = start();
    int a = conv(&net, "a", 0);
    int n = add(&net, "batch_norm2d", "n", NULL, a, -1);
    struct ghn_group_norm_attrs groups = {2, 1e-5, true};
    int g = add(&net, "group_norm", "g", &groups, n, -1);
    (void)conv(&net, "dead", g);
    struct ghn_parameter_attrs token = {{3, {8, 1, 1}}, false, GHN_INIT_CONSTANT, 0.5};
    int p = add(&net, "parameter", "p", &token, -1, -1);
    int q = conv(&net, "of_constant", p);
    int s = add(&net, "mul", "s", NULL, g, q);
    int b = conv(&net, "b", s);
    ghn_arch_builder_rename(net.builder, b, "weight", "a.weight");
    ghn_arch_builder_unused(net.builder, "aux.weight", &(struct ghn_shape){1, {3}});
    struct ghn_graph *graph = finish(&net);
    assert_int_equal(graph->n_nodes, 4);
    assert_int_equal(slot_of(graph, "a.weight")->kind, GHN_SLOT_WEIGHT);
    assert_int_equal(slot_of(graph, "a.weight")->node, 1);
    assert_int_equal(slot_of(graph, "n.weight")->kind, GHN_SLOT_NORM_WEIGHT);
    assert_int_equal(slot_of(graph, "n.bias")->kind, GHN_SLOT_BIAS);
    assert_int_equal(slot_of(graph, "n.bias")->node, slot_of(graph, "n.weight")->node);
    assert_int_equal(slot_of(graph, "g.weight")->kind, GHN_SLOT_INIT);
    assert_int_equal(slot_of(graph, "p.weight")->kind, GHN_SLOT_INIT);
    assert_non_null(slot_of(graph, "p.weight")->why);
    assert_int_equal(slot_of(graph, "of_constant.weight")->kind, GHN_SLOT_INIT);
    assert_int_equal(slot_of(graph, "dead.weight")->kind, GHN_SLOT_OFF_PATH);
    assert_int_equal(slot_of(graph, "aux.weight")->kind, GHN_SLOT_OFF_PATH);
    ghn_graph_free(graph);
}

static void several_ends_are_refused(void **state) {
    (void)state;
    struct net net = start();
    int a = conv(&net, "a", 0), b = conv(&net, "b", 0);
    int p = add(&net, "mul", "p", NULL, a, b);
    struct ghn_arch *arch = NULL;
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_arch_builder_finish(net.builder, p, &arch, &err), GHN_OK);
    assert_int_equal(ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err),
                     GHN_DISCONNECTED);
    assert_null(graph);
    assert_true(err.message[0] != 0);
    ghn_arch_free(arch);
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    struct net net = start();
    int a = conv(&net, "a", 0), b = conv(&net, "b", a);
    (void)add(&net, "add", "s", NULL, a, b);
    struct ghn_arch *arch = NULL;
    assert_int_equal(ghn_arch_builder_finish(net.builder, net.last, &arch, NULL), GHN_OK);
    for (long n = 1;; n++) {
        struct ghn_graph *graph = NULL;
        ghn_mem_fail_at(n, 1);
        enum ghn_status status = ghn_graph_from_arch(arch, &ghn_limits_default, &graph, NULL);
        ghn_mem_fail_at(0, 0);
        ghn_graph_free(graph);
        if (status == GHN_OK)
            break;
        assert_int_equal(status, GHN_NO_MEMORY);
        assert_true(n < 1000);
    }
    ghn_arch_free(arch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_follow_each_other),
        cmocka_unit_test(sums_join_distinct_nodes_only),
        cmocka_unit_test(concats_join_distinct_nodes_only),
        cmocka_unit_test(means_are_glob_avg_if_they_keep_dimensions),
        cmocka_unit_test(squeeze_excite_is_a_cse_node),
        cmocka_unit_test(other_products_have_no_node),
        cmocka_unit_test(position_encodings_are_sources),
        cmocka_unit_test(every_parameter_has_a_slot),
        cmocka_unit_test(several_ends_are_refused),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("from_arch", tests, NULL, NULL);
}
