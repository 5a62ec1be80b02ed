/* lib/deepnets: the sampler's statistics, compared with those of the reference's generator, of
 * which ghn2-spec A3 has the marginals of 4,000 training networks, and A3 and A4 the quantiles of
 * the published data set.
 *
 * Ours are of a sample with a fixed seed, so that the test is deterministic. What is compared may
 * differ by three standard errors of the difference, that is sqrt(sd^2/n + sd^2/4000), and by half
 * a unit of the last digit that the reference's value was noted with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "deepnets/rules.h"
#include "deepnets/sample.h"
#include "graph/graph.h"
#include "sampling.h"
#include "sanitized.h"

enum { LESS = SANITIZED ? 5 : 1 };
enum { SAMPLE = 40000 / LESS, GRAPHS = 12000 / LESS, REFERENCE = 4000 };

static struct ghn_net *nets; /* SAMPLE training networks */

static int draw_sample(void **state) {
    (void)state;
    nets = calloc(SAMPLE, sizeof(*nets));
    assert_non_null(nets);
    for (int i = 0; i < SAMPLE; i++)
        nets[i] = sample(GHN_DEEPNETS_TRAIN, 2021, i);
    return 0;
}

static int drop_sample(void **state) {
    (void)state;
    free(nets);
    return 0;
}

static int n_failures;

/* Compares a mean with the reference's. `unit` is that of its last digit. */
static void compare(const char *what, double ours, double sd, double n, double theirs,
                    double n_theirs, double unit) {
    double error = sqrt(sd * sd / n + sd * sd / n_theirs);
    bool near = fabs(ours - theirs) <= 3 * error + unit / 2;
    print_message("%-24s %10.4f, reference %10.4f, %5.2f standard errors%s\n", what, ours, theirs,
                  (ours - theirs) / error, near ? "" : "  <-- too far");
    n_failures += !near;
}

static void compare_share(const char *what, double count, double percent, double unit) {
    double p = count / SAMPLE;
    compare(what, 100 * p, 100 * sqrt(p * (1 - p)), SAMPLE, percent, REFERENCE, unit);
}

static int forget_failures(void **state) {
    (void)state;
    n_failures = 0;
    return 0;
}

static void assert_all_near(void) {
    assert_int_equal(n_failures, 0);
}

/* --- Fields --- */

static void fields_have_the_references_marginals(void **state) {
    (void)state;
    double steps[5] = {0}, cells = 0, cells2 = 0, vit = 0, no_norm = 0, flat = 0, no_preproc = 0,
           stem1 = 0, pool = 0, mult2 = 0, fc2 = 0;
    for (int i = 0; i < SAMPLE; i++) {
        const struct ghn_net *net = &nets[i];
        steps[net->normal.n_steps]++;
        cells += net->n_cells;
        cells2 += net->n_cells * net->n_cells;
        vit += has_op(net, GHN_CELL_MSA);
        no_norm += net->norm == GHN_NORM_NONE;
        flat += !net->glob_avg;
        no_preproc += !net->preproc;
        stem1 += net->stem_type == 1;
        pool += net->stem_pool;
        mult2 += net->C_mult == 2;
        fc2 += net->fc_layers == 2;
    }
    double mean = cells / SAMPLE;
    compare("cells", mean, sqrt(cells2 / SAMPLE - mean * mean), SAMPLE, 11.2, REFERENCE, 0.1);
    compare_share("1 step, %", steps[1], 45.5, 0.1);
    compare_share("2 steps, %", steps[2], 41.3, 0.1);
    compare_share("3 steps, %", steps[3], 7.4, 0.1);
    compare_share("4 steps, %", steps[4], 5.9, 0.1);
    compare_share("ViT, %", vit, 29.9, 0.1);
    compare_share("no norm, %", no_norm, 3.6, 0.1);
    compare_share("no glob_avg, %", flat, 1.8, 0.1);
    compare_share("no preproc, %", no_preproc, 3.8, 0.1);
    compare_share("stem_type 1, %", stem1, 50.4, 0.1);
    compare_share("stem_pool, %", pool, 25, 1);
    compare_share("C_mult 2, %", mult2, 50.7, 0.1);
    compare_share("fc_layers 2, %", fc2, 49.5, 0.1);
    assert_all_near();
}

/* --- Operations --- */

static int count_op(const struct ghn_cell *cell, enum ghn_cell_op op) {
    int n = 0;
    for (int i = 0; i < 2 * cell->n_steps; i++)
        n += cell->op[i] == op;
    return n;
}

/* How often an operation stands on a branch of a cell, in percent. The branches of one network are
 * not independent of each other: the standard deviation is that of the ratio of sums over networks.
 */
static void compare_op(bool reduce, enum ghn_cell_op op, double percent) {
    double hits = 0, branches = 0, residual2 = 0;
    char what[64];
    for (int i = 0; i < SAMPLE; i++) {
        hits += count_op(reduce ? &nets[i].reduce : &nets[i].normal, op);
        branches += 2 * nets[i].normal.n_steps;
    }
    double p = hits / branches;
    for (int i = 0; i < SAMPLE; i++) {
        const struct ghn_cell *cell = reduce ? &nets[i].reduce : &nets[i].normal;
        double residual = count_op(cell, op) - p * 2 * cell->n_steps;
        residual2 += residual * residual;
    }
    double sd = sqrt(residual2 / SAMPLE) / (branches / SAMPLE);
    (void)snprintf(what, sizeof(what), "%s %s, %%", reduce ? "reduce" : "normal",
                   ghn_cell_op_name(op));
    compare(what, 100 * p, 100 * sd, SAMPLE, percent, REFERENCE, 0.1);
}

static void operations_have_the_references_marginals(void **state) {
    (void)state;
    static const double normal[GHN_N_CELL_OPS] = {
        [GHN_CELL_NONE] = 5.3,         [GHN_CELL_MAX_POOL_3X3] = 6.7, [GHN_CELL_AVG_POOL_3X3] = 6.6,
        [GHN_CELL_SKIP_CONNECT] = 6.9, [GHN_CELL_SEP_CONV_3X3] = 7.3, [GHN_CELL_SEP_CONV_5X5] = 7.5,
        [GHN_CELL_DIL_CONV_3X3] = 7.2, [GHN_CELL_DIL_CONV_5X5] = 7.4, [GHN_CELL_CONV_1X1] = 7.4,
        [GHN_CELL_CONV_7X1_1X7] = 7.5, [GHN_CELL_CONV_3X3] = 7.2,     [GHN_CELL_CONV_5X5] = 5.3,
        [GHN_CELL_CONV_7X7] = 5.0,     [GHN_CELL_MSA] = 7.0,          [GHN_CELL_CSE] = 5.7,
    };
    for (int op = 0; op < GHN_N_CELL_OPS; op++)
        compare_op(false, (enum ghn_cell_op)op, normal[op]);
    compare_op(true, GHN_CELL_MAX_POOL_3X3, 17.9);
    compare_op(true, GHN_CELL_AVG_POOL_3X3, 17.8);
    compare_op(true, GHN_CELL_SKIP_CONNECT, 17.7);
    compare_op(true, GHN_CELL_NONE, 12.7);
    assert_all_near();
}

/* The reference's range of the learnable operations of reduction cells is 2.5 to 3.6 %; its
 * standard error is 0.2. */
static void learnable_operations_of_reduction_cells_are_rare(void **state) {
    (void)state;
    for (int op = GHN_CELL_SEP_CONV_3X3; op < GHN_N_CELL_OPS; op++) {
        double hits = 0, branches = 0;
        for (int i = 0; i < SAMPLE; i++) {
            hits += count_op(&nets[i].reduce, (enum ghn_cell_op)op);
            branches += 2 * nets[i].reduce.n_steps;
        }
        double percent = 100 * hits / branches;
        print_message("reduce %s: %.2f %%\n", ghn_cell_op_name((enum ghn_cell_op)op), percent);
        assert_true(percent > 2.5 - 0.3 && percent < 3.6 + 0.3);
    }
}

/* --- Sizes --- */

static void sizes_have_the_references_distribution(void **state) {
    (void)state;
    double sum = 0, sum2 = 0, below = 0, above = 0, least = INFINITY, most = 0;
    for (int i = 0; i < SAMPLE; i++) {
        double millions = 1e-6 * (double)ghn_net_n_params(&nets[i]);
        sum += millions;
        sum2 += millions * millions;
        below += millions < 0.505;
        above += millions > 0.515;
        least = fmin(least, millions);
        most = fmax(most, millions);
    }
    double mean = sum / SAMPLE, half = 0.5 + 3 * sqrt(0.25 / SAMPLE + 0.25 / REFERENCE);
    compare("million parameters", mean, sqrt(sum2 / SAMPLE - mean * mean), SAMPLE, 1.07, REFERENCE,
            0.01);
    print_message("median: %.2f %% below 0.505 million, %.2f %% above 0.515\n",
                  100 * below / SAMPLE, 100 * above / SAMPLE);
    assert_true(below / SAMPLE < half);
    assert_true(above / SAMPLE < half);
    print_message("%.4f to %.4f million parameters\n", least, most);
    assert_true(least < 0.025 && most > 9.5 && most <= 10);
    assert_all_near();
}

/* The branches of A4, told apart by the widths that are drawn. */
static void width_branches_are_as_frequent_as_the_references(void **state) {
    (void)state;
    double n[9] = {0};
    for (int i = 0; i < SAMPLE; i++) {
        struct ghn_net net = nets[i];
        struct ghn_rng rng = {.seed = (uint64_t)i};
        int most = 0;
        for (int draw = 0; draw < 60; draw++) {
            ghn_draw_width(&net, &rng);
            most = net.C > most ? net.C : most;
        }
        n[most / 16]++;
    }
    compare_share("C 32, %", n[2], 76, 1);
    compare_share("C to 48, %", n[3], 10, 1);
    compare_share("C to 64, %", n[4], 7, 1);
    compare_share("C to 128, %", n[8], 7, 1);
    assert_all_near();
}

/* --- Graphs --- */

static void build_graph(const struct ghn_net *net, struct ghn_graph **ret) {
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_net_to_arch(net, &ghn_limits_default, &arch, &err) != GHN_OK ||
        ghn_graph_from_arch(arch, &ghn_limits_default, ret, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    ghn_arch_free(arch);
}

struct moments {
    double sum, sum2;
};

static void add(struct moments *m, double x) {
    m->sum += x;
    m->sum2 += x * x;
}

static double mean_of(const struct moments *m, double n) {
    return m->sum / n;
}

static double sd_of(const struct moments *m, double n) {
    double mean = mean_of(m, n);
    return sqrt(m->sum2 / n - mean * mean);
}

static int count_nodes(const struct ghn_graph *graph, enum ghn_primitive op) {
    int n = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        n += graph->nodes[i].op == op;
    return n;
}

/* Whether some shortest path is longer than the cutoff: one of that length can be extended to a
 * node that has no edge. */
static bool reaches_beyond_cutoff(const struct ghn_graph *graph) {
    int n = graph->n_nodes;
    for (int u = 0; u < n; u++)
        for (int v = 0; v < n; v++) {
            const struct ghn_graph_node *node = &graph->nodes[v];
            for (int i = 0; graph->dist[u * n + v] == GHN_CUTOFF && i < node->n_succs; i++)
                if (graph->dist[u * n + node->succs[i]] == GHN_NO_EDGE)
                    return true;
        }
    return false;
}

/* Edges of a graph, virtual ones included, at the nodes of one primitive. */
static double virtual_edges_at(const struct ghn_graph *graph, enum ghn_primitive op) {
    double n = 0;
    for (int u = 0; u < graph->n_nodes; u++)
        for (int v = 0; graph->nodes[u].op == op && v < graph->n_nodes; v++)
            n += (graph->dist[u * graph->n_nodes + v] != GHN_NO_EDGE) +
                 (graph->dist_in[u * graph->n_nodes + v] != GHN_NO_EDGE);
    return n;
}

/* In the run of the reference that A3 reports, with an einops that does not end in a reshape, no
 * msa node was found and 41 % of the cse nodes (B3). So that like is compared with like, ours are
 * counted without all msa nodes and without 59 % of the cse nodes. A node that is missed takes one
 * edge with it, its predecessors being joined to its successor, and all virtual edges that it is an
 * end of. (That the paths across it become shorter by one is not corrected.) */
static void graphs_are_as_large_as_the_references(void **state) {
    (void)state;
    struct moments nodes = {0}, edges = {0}, virtual = {0};
    double beyond = 0, n = GRAPHS;
    for (int i = 0; i < GRAPHS; i++) {
        struct ghn_graph *graph = NULL;
        build_graph(&nets[i], &graph);
        double missed =
            count_nodes(graph, GHN_PRIMITIVE_MSA) + 0.59 * count_nodes(graph, GHN_PRIMITIVE_CSE);
        add(&nodes, graph->n_nodes - missed);
        add(&edges, graph->n_edges - missed);
        add(&virtual, (double)graph->n_virtual_edges - virtual_edges_at(graph, GHN_PRIMITIVE_MSA) -
                          0.59 * virtual_edges_at(graph, GHN_PRIMITIVE_CSE));
        beyond += reaches_beyond_cutoff(graph);
        ghn_graph_free(graph);
    }
    double sd = sd_of(&nodes, n), p = beyond / n;
    compare("nodes", mean_of(&nodes, n), sd, n, 177.7, REFERENCE, 0.1);
    compare("edges", mean_of(&edges, n), sd_of(&edges, n), n, 207, REFERENCE, 1);
    compare("virtual edges", mean_of(&virtual, n), sd_of(&virtual, n), n, 17500, REFERENCE, 100);
    compare("some path beyond 50, %", 100 * p, 100 * sqrt(p * (1 - p)), n, 26, REFERENCE, 1);
    /* A standard deviation's error, were the distribution normal, and half as much again because it
     * has a longer tail. */
    compare("deviation of nodes", sd, 1.5 * sd / sqrt(2), n, 86.3, REFERENCE, 0.1);
    assert_all_near();
}

/* The published evaluation splits, whose graphs were found with an older einops: 60 % of the msa
 * nodes and 41 % of the cse nodes. (They are all a few percent larger than what the public
 * generator and this one make, within the error of each.) */
static void evaluation_graphs_are_as_large_as_the_published(void **state) {
    (void)state;
    static const struct {
        enum ghn_deepnets_split split;
        double mean;
    } published[] = {{GHN_DEEPNETS_VAL, 190.5},
                     {GHN_DEEPNETS_TEST, 185.5},
                     {GHN_DEEPNETS_DEEP, 391.2},
                     {GHN_DEEPNETS_DENSE, 355.1},
                     {GHN_DEEPNETS_BNFREE, 135.1}};
    for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
        enum ghn_deepnets_split split = published[i].split;
        struct moments nodes = {0};
        int n = (int)ghn_deepnets_split_size(split);
        for (int index = 0; index < n; index++) {
            struct ghn_graph *graph = NULL;
            struct ghn_net net = sample(split, 2021, index);
            build_graph(&net, &graph);
            add(&nodes, graph->n_nodes - 0.40 * count_nodes(graph, GHN_PRIMITIVE_MSA) -
                            0.59 * count_nodes(graph, GHN_PRIMITIVE_CSE));
            ghn_graph_free(graph);
        }
        compare(ghn_deepnets_split_name(split), mean_of(&nodes, n), sd_of(&nodes, n), n,
                published[i].mean, n, 0.1);
    }
    assert_all_near();
}

/* --- Evaluation widths --- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The published val split's quantiles: what share of ours lies below each. */
static void evaluation_widths_give_the_published_sizes(void **state) {
    (void)state;
    enum { N = 500 };
    static const double published[][2] = {
        {0.05, 2.55}, {0.25, 2.74}, {0.5, 3.02}, {0.75, 3.59}, {0.95, 4.99}};
    double millions[N];
    for (int i = 0; i < N; i++) {
        struct ghn_net net = sample(GHN_DEEPNETS_VAL, 2021, i);
        millions[i] = 1e-6 * (double)ghn_net_n_params(&net);
        assert_true(millions[i] >= 2.5);
        assert_true(net.C >= 32 && net.C % 16 == 0);
        net.C -= 16;
        assert_true(net.C < 32 || 1e-6 * (double)ghn_net_n_params(&net) < 2.5);
    }
    qsort(millions, N, sizeof(millions[0]), compare_doubles);
    for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
        double p = published[i][0], below = 0;
        for (int j = 0; j < N; j++)
            below += millions[j] < published[i][1];
        print_message("quantile %.2f: %.2f million, published %.2f\n", p, millions[(int)(p * N)],
                      published[i][1]);
        compare("share below, %", 100 * below / N, 100 * sqrt(p * (1 - p)), N, 100 * p, N, 0);
    }
    print_message("%.2f to %.2f million, published 2.50 to 7.28\n", millions[0], millions[N - 1]);
    assert_true(millions[0] < 2.51);
    assert_all_near();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fields_have_the_references_marginals, forget_failures),
        cmocka_unit_test_setup(operations_have_the_references_marginals, forget_failures),
        cmocka_unit_test_setup(learnable_operations_of_reduction_cells_are_rare, forget_failures),
        cmocka_unit_test_setup(sizes_have_the_references_distribution, forget_failures),
        cmocka_unit_test_setup(width_branches_are_as_frequent_as_the_references, forget_failures),
        cmocka_unit_test_setup(graphs_are_as_large_as_the_references, forget_failures),
        cmocka_unit_test_setup(evaluation_graphs_are_as_large_as_the_published, forget_failures),
        cmocka_unit_test_setup(evaluation_widths_give_the_published_sizes, forget_failures),
    };
    return cmocka_run_group_tests(tests, draw_sample, drop_sample);
}
