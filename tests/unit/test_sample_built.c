/* lib/deepnets: what the sampler works out on genotypes, against networks and graphs that are
 * built.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deepnets/rules.h"
#include "deepnets/sample.h"
#include "graph/graph.h"
#include "sampling.h"

/* --- Counting and connectivity against what is built --- */

static struct ghn_arch *build(const struct ghn_net *net) {
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_net_to_arch(net, &ghn_limits_default, &arch, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return arch;
}

static void check_count(const struct ghn_net *net, const char *what) {
    struct ghn_arch *arch = build(net);
    if (arch->n_parameters != ghn_net_n_params(net))
        fail_msg("%s: %lld counted, %lld built", what, (long long)ghn_net_n_params(net),
                 (long long)arch->n_parameters);
    ghn_arch_free(arch);
}

static void parameters_are_counted_exactly(void **state) {
    (void)state;
    static const int64_t sides[] = {32, 224, 32, 64, 96};
    struct ghn_rng rng = {.seed = 3};
    for (int i = 0; i < GHN_DEEPNETS_PREDEFINED; i++) {
        enum ghn_deepnets_split split = (enum ghn_deepnets_split)i;
        int n = split == GHN_DEEPNETS_TRAIN ? 2500 : 40;
        for (int64_t index = 0; index < n; index++) {
            struct ghn_net net = sample(split, 12, index);
            net.input[1] = net.input[2] = sides[index % 5];
            if (split == GHN_DEEPNETS_TRAIN)
                ghn_draw_width(&net, &rng);
            if (index % 3 == 0)
                net.num_classes = 100;
            check_count(&net, ghn_deepnets_split_name(split));
        }
    }
}

/* Genotypes of the whole space, not only of the sampled part: few cells, other fields, odd maps. */
static void parameters_of_unusual_networks_are_counted(void **state) {
    (void)state;
    for (int n_cells = 1; n_cells <= 7; n_cells++)
        for (int64_t index = 0; index < 40; index++) {
            struct ghn_net net = sample(GHN_DEEPNETS_TRAIN, 13, index);
            net.n_cells = n_cells;
            net.C = has_op(&net, GHN_CELL_MSA) ? 9 : 10;
            net.C_mult = net.preproc ? 3 : 1;
            net.input[0] = 1;
            if (!ghn__net_has_output(&net))
                continue;
            check_count(&net, "few cells");
        }
}

/* Whether the network can be built and its graph is one whole. */
static bool builds(const struct ghn_net *net) {
    struct ghn_arch *arch = NULL;
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghn_net_to_arch(net, &ghn_limits_default, &arch, &err);
    if (status == GHN_OK)
        status = ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err);
    if (status != GHN_OK && status != GHN_INVALID_GENOTYPE && status != GHN_DISCONNECTED)
        fail_msg("%s: %s", err.where, err.message);
    ghn_arch_free(arch);
    ghn_graph_free(graph);
    return status == GHN_OK;
}

/* Networks with many a branch replaced by none. */
static void connectivity_is_that_of_the_graph(void **state) {
    (void)state;
    struct ghn_rng rng = {.seed = 4};
    int n_connected = 0, n = 2000;
    for (int64_t index = 0; index < n; index++) {
        struct ghn_net net = sample(GHN_DEEPNETS_TRAIN, 14, index);
        for (int i = 0; i < 2 * net.normal.n_steps; i++) {
            if (ghn_rng_chance(&rng, 0.4))
                net.normal.op[i] = GHN_CELL_NONE;
            if (ghn_rng_chance(&rng, 0.4))
                net.reduce.op[i] = GHN_CELL_NONE;
        }
        bool connected = ghn__net_has_output(&net);
        assert_int_equal(connected, builds(&net));
        n_connected += connected;
    }
    assert_in_range(n_connected, n / 10, n - n / 10);
}

/* --- The predefined split --- */

static void the_transformer_is_predefined(void **state) {
    (void)state;
    struct ghn_net net = sample(GHN_DEEPNETS_PREDEFINED, 7, 1);
    assert_int_equal(net.C, 128);
    assert_int_equal(net.n_cells, 12);
    check_count(&net, "ViT");
}

/* Node counts of A3; at 224 pixels B6 has one more for ResNet-50, the pool. */
static void predefined_networks_have_the_published_graphs(void **state) {
    (void)state;
    static const struct {
        int64_t index, side;
        int classes, nodes;
        int64_t params;
    } cases[] = {{0, 32, 10, 126, 23520842}, {0, 224, 1000, 127, 25557032}, {1, 32, 10, 129, -1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn_arch *arch = NULL;
        struct ghn_graph *graph = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        if (ghn_predefined_arch(cases[i].index, cases[i].side, cases[i].classes,
                                &ghn_limits_default, &arch, &err) != GHN_OK ||
            ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err) != GHN_OK)
            fail_msg("%s: %s", err.where, err.message);
        assert_int_equal(graph->n_nodes, cases[i].nodes);
        if (cases[i].params >= 0)
            assert_int_equal(arch->n_parameters, cases[i].params);
        ghn_graph_free(graph);
        ghn_arch_free(arch);
    }
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_predefined_arch(2, 32, 10, &ghn_limits_default, &arch, &err),
                     GHN_OUT_OF_RANGE);
    assert_null(arch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_counted_exactly),
        cmocka_unit_test(parameters_of_unusual_networks_are_counted),
        cmocka_unit_test(connectivity_is_that_of_the_graph),
        cmocka_unit_test(the_transformer_is_predefined),
        cmocka_unit_test(predefined_networks_have_the_published_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
