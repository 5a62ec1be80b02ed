/* lib/deepnets: reading genotypes, and the networks made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "deepnets/deepnets.h"

#define CONV_CELL "\"normal\": [[\"conv_3x3\", 0], [\"skip_connect\", 1]], \"normal_concat\": [2]"
#define POOL_CELL                                                                                  \
    "\"reduce\": [[\"max_pool_3x3\", 0], [\"skip_connect\", 1]], \"reduce_concat\": [2]"
#define GENOTYPE(cells) "{\"genotype\": {" cells "}, \"net\": {\"C\": 32, \"n_cells\": 4}}"
#define NET(fields)                                                                                \
    "{\"genotype\": {" CONV_CELL ", " POOL_CELL "}, \"net\": {\"C\": 32, \"n_cells\": 4" fields "}}"
#define DATA(fields)                                                                               \
    "{\"genotype\": {" CONV_CELL ", " POOL_CELL "}, \"net\": {\"C\": 32, \"n_cells\": 4}, " fields \
    "}"
#define NORMAL(branches, concat)                                                                   \
    GENOTYPE("\"normal\": " branches ", \"normal_concat\": " concat ", " POOL_CELL)

static enum ghn_status read_net(const char *text, struct ghn_net *ret, struct ghn_err *err) {
    json_t *root = NULL;
    assert_int_equal(ghn_json_load(text, strlen(text), NULL, &root, err), GHN_OK);
    enum ghn_status status = ghn_net_from_json(root, "", ret, err);
    json_decref(root);
    return status;
}

static struct ghn_arch *build(const char *text) {
    struct ghn_net net;
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (read_net(text, &net, &err) != GHN_OK ||
        ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return arch;
}

/* --- Reading --- */

static void fields_are_read(void **state) {
    (void)state;
    struct ghn_net net;
    struct ghn_err err = GHN_ERR_INIT;
    static const char text[] =
        "{\"genotype\": {"
        "\"normal\": [[\"none\", 1], [\"cse\", 0], [\"conv_7x1_1x7\", 2], [\"msa\", 0]], "
        "\"normal_concat\": [2, 3], "
        "\"reduce\": [[\"dil_conv_5x5\", 1], [\"sep_conv_3x3\", 0]], \"reduce_concat\": [2, 0]}, "
        "\"net\": {\"C\": 48, \"n_cells\": 7, \"ks\": 5, \"norm\": \"bnorm\", \"preproc\": true, "
        "\"glob_avg\": false, \"stem_pool\": true, \"stem_type\": 0, \"C_mult\": 1, "
        "\"fc_layers\": 2, \"fc_dim\": 64}, \"input\": [1, 28, 28], \"num_classes\": 100}";
    assert_int_equal(read_net(text, &net, &err), GHN_OK);
    assert_int_equal(net.normal.n_steps, 2);
    assert_int_equal(net.normal.op[0], GHN_CELL_NONE);
    assert_int_equal(net.normal.op[3], GHN_CELL_MSA);
    assert_int_equal(net.normal.pred[2], 2);
    assert_int_equal(net.normal.n_concat, 2);
    assert_int_equal(net.reduce.n_steps, 1);
    assert_int_equal(net.reduce.op[0], GHN_CELL_DIL_CONV_5X5);
    assert_int_equal(net.reduce.concat[1], 0);
    assert_int_equal(net.C, 48);
    assert_int_equal(net.n_cells, 7);
    assert_int_equal(net.ks, 5);
    assert_int_equal(net.norm, GHN_NORM_BATCH);
    assert_false(net.glob_avg);
    assert_true(net.stem_pool);
    assert_int_equal(net.C_mult, 1);
    assert_int_equal(net.fc_layers, 2);
    assert_int_equal(net.fc_dim, 64);
    assert_int_equal(net.input[0], 1);
    assert_int_equal(net.input[2], 28);
    assert_int_equal(net.num_classes, 100);
}

static void defaults_are_the_references(void **state) {
    (void)state;
    struct ghn_net net;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(read_net(NET(""), &net, &err), GHN_OK);
    assert_int_equal(net.ks, 3);
    assert_int_equal(net.C_mult, 2);
    assert_true(net.preproc);
    assert_true(net.glob_avg);
    assert_false(net.stem_pool);
    assert_int_equal(net.stem_type, 0);
    assert_int_equal(net.norm, GHN_NORM_BATCH_TRACK);
    assert_int_equal(net.fc_layers, 1);
    assert_int_equal(net.fc_dim, 256);
    assert_int_equal(net.input[0], 3);
    assert_int_equal(net.input[1], 32);
    assert_int_equal(net.num_classes, 10);
    assert_int_equal(read_net(NET(", \"norm\": null"), &net, &err), GHN_OK);
    assert_int_equal(net.norm, GHN_NORM_NONE);
}

static void operations_have_the_order_of_the_space(void **state) {
    (void)state;
    assert_int_equal(GHN_N_CELL_OPS, 15);
    assert_string_equal(ghn_cell_op_name(GHN_CELL_NONE), "none");
    assert_string_equal(ghn_cell_op_name((enum ghn_cell_op)3), "skip_connect");
    assert_string_equal(ghn_cell_op_name((enum ghn_cell_op)9), "conv_7x1_1x7");
    assert_string_equal(ghn_cell_op_name((enum ghn_cell_op)14), "cse");
    assert_string_equal(ghn_cell_op_name(GHN_N_CELL_OPS), "?");
}

struct refusal {
    const char *text;
    enum ghn_status status;
    const char *where;
};

static const struct refusal refusals[] = {
    {"[]", GHN_WRONG_TYPE, ""},
    {"{}", GHN_MISSING_FIELD, "genotype"},
    {"{\"genotype\": []}", GHN_WRONG_TYPE, "genotype"},
    {"{\"genotype\": {" CONV_CELL ", " POOL_CELL "}}", GHN_MISSING_FIELD, "net"},
    {GENOTYPE(CONV_CELL), GHN_MISSING_FIELD, "genotype.reduce"},
    {GENOTYPE(CONV_CELL ", " POOL_CELL ", \"steps\": 1"), GHN_UNKNOWN_FIELD, "genotype.steps"},
    {NORMAL("{}", "[2]"), GHN_WRONG_TYPE, "genotype.normal"},
    {NORMAL("[]", "[2]"), GHN_OUT_OF_RANGE, "genotype.normal"},
    {NORMAL("[[\"none\", 0], [\"none\", 1], [\"none\", 0]]", "[2]"), GHN_INVALID_GENOTYPE,
     "genotype.normal"},
    {NORMAL("[[\"none\", 0], \"none\"]", "[2]"), GHN_WRONG_TYPE, "genotype.normal[1]"},
    {NORMAL("[[\"none\", 0], [\"none\"]]", "[2]"), GHN_OUT_OF_RANGE, "genotype.normal[1]"},
    {NORMAL("[[\"conv\", 0], [\"none\", 1]]", "[2]"), GHN_UNKNOWN_OP, "genotype.normal[0][0]"},
    {NORMAL("[[4, 0], [\"none\", 1]]", "[2]"), GHN_WRONG_TYPE, "genotype.normal[0][0]"},
    {NORMAL("[[\"none\", 0], [\"none\", \"1\"]]", "[2]"), GHN_WRONG_TYPE, "genotype.normal[1][1]"},
    {NORMAL("[[\"none\", 0], [\"none\", -1]]", "[2]"), GHN_OUT_OF_RANGE, "genotype.normal[1][1]"},
    {NORMAL("[[\"none\", 0], [\"none\", 9223372036854775807]]", "[2]"), GHN_OUT_OF_RANGE,
     "genotype.normal[1][1]"},
    {NORMAL("[[\"none\", 0], [\"none\", 2]]", "[2]"), GHN_INVALID_GENOTYPE,
     "genotype.normal[1][1]"},
    {NORMAL("[[\"none\", 0], [\"none\", 1], [\"msa\", 2], [\"cse\", 4]]", "[2]"),
     GHN_INVALID_GENOTYPE, "genotype.normal[3][1]"},
    {NORMAL("[[\"none\", 0], [\"none\", 1]]", "[]"), GHN_OUT_OF_RANGE, "genotype.normal_concat"},
    {NORMAL("[[\"none\", 0], [\"none\", 1]]", "2"), GHN_WRONG_TYPE, "genotype.normal_concat"},
    {NORMAL("[[\"none\", 0], [\"none\", 1]]", "[3]"), GHN_INVALID_GENOTYPE,
     "genotype.normal_concat[0]"},
    {NORMAL("[[\"none\", 0], [\"none\", 1]]", "[-2]"), GHN_OUT_OF_RANGE,
     "genotype.normal_concat[0]"},
    {NORMAL("[[\"none\", 0], [\"none\", 1]]", "[2, 2]"), GHN_INVALID_GENOTYPE,
     "genotype.normal_concat[1]"},
    {NET(", \"depth\": 3"), GHN_UNKNOWN_FIELD, "net.depth"},
    {"{\"genotype\": {" CONV_CELL ", " POOL_CELL "}, \"net\": {\"n_cells\": 3}}", GHN_MISSING_FIELD,
     "net.C"},
    {"{\"genotype\": {" CONV_CELL ", " POOL_CELL "}, \"net\": {\"C\": 32}}", GHN_MISSING_FIELD,
     "net.n_cells"},
    {"{\"genotype\": {" CONV_CELL ", " POOL_CELL "}, \"net\": {\"C\": 31, \"n_cells\": 3}}",
     GHN_OUT_OF_RANGE, "net.C"},
    {"{\"genotype\": {" CONV_CELL ", \"reduce\": [[\"msa\", 0], [\"none\", 1]], "
     "\"reduce_concat\": [2]}, \"net\": {\"C\": 7, \"n_cells\": 3}}",
     GHN_OUT_OF_RANGE, "net.C"},
    {NET(", \"ks\": 4"), GHN_OUT_OF_RANGE, "net.ks"},
    {NET(", \"ks\": 3.0"), GHN_WRONG_TYPE, "net.ks"},
    {NET(", \"C_mult\": 0"), GHN_OUT_OF_RANGE, "net.C_mult"},
    {NET(", \"stem_type\": 2"), GHN_OUT_OF_RANGE, "net.stem_type"},
    {NET(", \"fc_layers\": 3"), GHN_OUT_OF_RANGE, "net.fc_layers"},
    {NET(", \"fc_dim\": null"), GHN_WRONG_TYPE, "net.fc_dim"},
    {NET(", \"preproc\": 1"), GHN_WRONG_TYPE, "net.preproc"},
    {NET(", \"preproc\": false"), GHN_INVALID_GENOTYPE, "net.preproc"},
    {NET(", \"norm\": \"bn\""), GHN_OUT_OF_RANGE, "net.norm"},
    {NET(", \"norm\": false"), GHN_WRONG_TYPE, "net.norm"},
    {DATA("\"input\": 32"), GHN_WRONG_TYPE, "input"},
    {DATA("\"input\": [3, 32]"), GHN_OUT_OF_RANGE, "input"},
    {DATA("\"input\": [3, 32, 0]"), GHN_OUT_OF_RANGE, "input[2]"},
    {DATA("\"input\": [3, 32, 33]"), GHN_OUT_OF_RANGE, "input"},
    {DATA("\"num_classes\": 0"), GHN_OUT_OF_RANGE, "num_classes"},
    {DATA("\"num_classes\": \"10\""), GHN_WRONG_TYPE, "num_classes"},
};

static void bad_genotypes_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct ghn_net net = {.C = -5};
        struct ghn_err err = GHN_ERR_INIT;
        enum ghn_status status = read_net(refusals[i].text, &net, &err);
        if (status != refusals[i].status || strcmp(err.where, refusals[i].where) != 0 ||
            !*err.message)
            fail_msg("%s: %s at \"%s\" (%s), expected %s at \"%s\"", refusals[i].text,
                     ghn_status_code(status), err.where, err.message,
                     ghn_status_code(refusals[i].status), refusals[i].where);
        assert_int_equal(net.C, -5);
    }
}

static void steps_are_limited(void **state) {
    (void)state;
    for (int steps = GHN_MAX_STEPS; steps <= GHN_MAX_STEPS + 1; steps++) {
        struct ghn_net net;
        struct ghn_err err = GHN_ERR_INIT;
        json_t *branches = json_array();
        for (int i = 0; i < 2 * steps; i++)
            json_array_append_new(branches, json_pack("[s, i]", "skip_connect", i / 2 + i % 2));
        json_t *root = json_pack("{s: {s: O, s: [i], s: O, s: [i]}, s: {s: i, s: i}}", "genotype",
                                 "normal", branches, "normal_concat", steps + 1, "reduce", branches,
                                 "reduce_concat", steps + 1, "net", "C", 16, "n_cells", 3);
        enum ghn_status status = ghn_net_from_json(root, "nets[0]", &net, &err);
        if (steps == GHN_MAX_STEPS) {
            assert_int_equal(status, GHN_OK);
            assert_int_equal(net.reduce.pred[2 * steps - 1], steps);
        } else {
            assert_int_equal(status, GHN_OUT_OF_RANGE);
            assert_string_equal(err.where, "nets[0].genotype.normal");
        }
        json_decref(root);
        json_decref(branches);
    }
}

/* --- Networks --- */

static const struct ghn_param *find_param(const struct ghn_arch *arch, const char *name) {
    for (int i = 0; i < arch->n_params; i++)
        if (strcmp(arch->params[i].name, name) == 0)
            return &arch->params[i];
    fail_msg("there is no parameter %s", name);
    return NULL;
}

static void assert_shape(const struct ghn_arch *arch, const char *name, const char *expected) {
    char text[GHN_SHAPE_TEXT];
    assert_string_equal(ghn_shape_text(&find_param(arch, name)->shape, text, sizeof(text)),
                        expected);
}

static const struct ghn_arch_node *find_node(const struct ghn_arch *arch, const char *name) {
    for (int i = 0; i < arch->n_nodes; i++)
        if (strcmp(arch->nodes[i].name, name) == 0)
            return &arch->nodes[i];
    fail_msg("there is no node %s", name);
    return NULL;
}

/* Every operation in both cells at all sizes of image: the shapes must fit. */
static void every_operation_builds(void **state) {
    (void)state;
    static const int sizes[] = {32, 64, 96, 224};
    for (int op = 0; op < GHN_N_CELL_OPS; op++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            char text[512];
            const char *name = ghn_cell_op_name((enum ghn_cell_op)op);
            (void)snprintf(
                text, sizeof(text),
                "{\"genotype\": {\"normal\": [[\"%s\", 0], [\"skip_connect\", 1]], "
                "\"normal_concat\": [2], \"reduce\": [[\"%s\", 1], [\"skip_connect\", 0]], "
                "\"reduce_concat\": [2]}, \"net\": {\"C\": 16, \"n_cells\": 5, \"stem_type\": %d, "
                "\"norm\": \"bnorm\"}, \"input\": [3, %d, %d], \"num_classes\": 7}",
                name, name, op % 2, sizes[i], sizes[i]);
            struct ghn_arch *arch = build(text);
            const struct ghn_shape *out = &arch->nodes[arch->output].shape;
            assert_int_equal(out->ndim, 1);
            assert_int_equal(out->dim[0], 7);
            for (int j = 0; j < arch->n_params; j++)
                assert_true(arch->params[j].node >= 0);
            ghn_arch_free(arch);
        }
}

static void stems_depend_on_the_image(void **state) {
    (void)state;
    static const char *const format =
        "{\"genotype\": {" CONV_CELL ", \"reduce\": [[\"%s\", 0], [\"skip_connect\", 1]], "
        "\"reduce_concat\": [2]}, \"net\": {\"C\": 16, \"n_cells\": 3, \"stem_type\": %d}, "
        "\"input\": [3, %d, %d]}";
    static const struct {
        const char *op;
        int stem_type, side;
        const char *node;
        int64_t shape[3];
    } cases[] = {
        {"none", 0, 32, "stem.0", {48, 32, 32}},   {"none", 0, 224, "stem.0", {16, 56, 56}},
        {"none", 1, 32, "stem0.4", {16, 32, 32}},  {"none", 1, 224, "stem0.4", {16, 56, 56}},
        {"none", 1, 224, "stem1.2", {16, 28, 28}}, {"msa", 1, 32, "pos_enc", {16, 11, 11}},
        {"msa", 0, 224, "pos_enc", {16, 14, 14}},  {"msa", 0, 64, "stem0", {16, 22, 22}},
        {"msa", 0, 96, "stem0", {16, 6, 6}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), format, cases[i].op, cases[i].stem_type, cases[i].side,
                       cases[i].side);
        struct ghn_arch *arch = build(text);
        const struct ghn_shape *shape = &find_node(arch, cases[i].node)->shape;
        assert_int_equal(shape->ndim, 3);
        for (int j = 0; j < 3; j++)
            assert_int_equal(shape->dim[j], cases[i].shape[j]);
        ghn_arch_free(arch);
    }
}

/* The parameters of all layers of a transformer block and of squeeze-excite, by name and shape. */
static void parameters_are_named_as_in_pytorch(void **state) {
    (void)state;
    struct ghn_arch *arch =
        build("{\"genotype\": {\"normal\": [[\"msa\", 0], [\"cse\", 1]], \"normal_concat\": [2], "
              "\"reduce\": [[\"sep_conv_5x5\", 0], [\"conv_7x1_1x7\", 1]], \"reduce_concat\": [2]},"
              "\"net\": {\"C\": 16, \"n_cells\": 3, \"norm\": \"bnorm\", \"fc_layers\": 2, "
              "\"fc_dim\": 64}}");
    static const char *const expected[][2] = {
        {"stem0.weight", "[16, 3, 3, 3]"},
        {"pos_enc.weight", "[1, 16, 11, 11]"},
        {"cells.0.preprocess0.op.1.weight", "[16, 16, 1, 1]"},
        {"cells.0.preprocess1.op.2.bias", "[16]"},
        {"cells.0._ops.0.ln1.weight", "[16]"},
        {"cells.0._ops.0.to_qkv.weight", "[48, 16]"},
        {"cells.0._ops.0.to_out.0.bias", "[16]"},
        {"cells.0._ops.0.ff.net.0.weight", "[16, 16]"},
        {"cells.0._ops.0.ff.net.3.bias", "[16]"},
        {"cells.0._ops.1.fc1.weight", "[8, 16]"},
        {"cells.0._ops.1.fc2.bias", "[16]"},
        {"cells.1.preprocess0.op.1.weight", "[32, 16, 1, 1]"},
        {"cells.1._ops.0.op.1.weight", "[32, 1, 5, 5]"},
        {"cells.1._ops.0.op.7.weight", "[32]"},
        {"cells.1._ops.1.op.1.weight", "[32, 32, 1, 7]"},
        {"cells.1._ops.1.op.2.weight", "[32, 32, 7, 1]"},
        {"cells.1._ops.1.op.3.weight", "[32]"},
        {"classifier.0.weight", "[64, 64]"},
        {"classifier.3.weight", "[10, 64]"},
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_shape(arch, expected[i][0], expected[i][1]);
    ghn_arch_free(arch);
}

/* An operation on a state that nothing computes has parameters that no node uses. */
static void unavailable_operations_keep_their_parameters(void **state) {
    (void)state;
    struct ghn_arch *arch = build(
        "{\"genotype\": {\"normal\": [[\"none\", 1], [\"none\", 0], [\"msa\", 2], [\"msa\", 0]], "
        "\"normal_concat\": [3], \"reduce\": [[\"max_pool_3x3\", 0], [\"avg_pool_3x3\", 1], "
        "[\"skip_connect\", 1], [\"avg_pool_3x3\", 0]], \"reduce_concat\": [3]}, "
        "\"net\": {\"C\": 32, \"n_cells\": 3, \"C_mult\": 1, \"norm\": \"bnorm\"}}");
    static const char *const unused[][2] = {{"cells.0._ops.2.to_qkv.weight", "[96, 32]"},
                                            {"cells.0._ops.2.ln1.bias", "[32]"},
                                            {"cells.0._ops.2.ff.net.3.bias", "[32]"}};
    for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++) {
        assert_shape(arch, unused[i][0], unused[i][1]);
        assert_int_equal(find_param(arch, unused[i][0])->node, -1);
    }
    assert_true(find_param(arch, "cells.0._ops.3.to_qkv.weight")->node >= 0);
    /* Input 1 of cell 0 is preprocessed, but leads nowhere. */
    const struct ghn_param *idle = find_param(arch, "cells.0.preprocess1.op.1.weight");
    assert_false(arch->nodes[idle->node].on_path);
    ghn_arch_free(arch);
}

static void zeros_stand_in_for_unavailable_states(void **state) {
    (void)state;
    struct ghn_arch *arch = build(
        "{\"genotype\": {\"normal\": [[\"none\", 0], [\"none\", 1], [\"conv_1x1\", 0], "
        "[\"none\", 1]], \"normal_concat\": [2, 3], \"reduce\": [[\"max_pool_3x3\", 0], "
        "[\"avg_pool_3x3\", 1], [\"skip_connect\", 0], [\"none\", 1]], \"reduce_concat\": [2, 3]}, "
        "\"net\": {\"C\": 16, \"n_cells\": 4, \"C_mult\": 1}}");
    const struct ghn_arch_node *cat = find_node(arch, "cells.0.cat");
    assert_int_equal(cat->shape.dim[0], 32);
    assert_string_equal(arch->nodes[cat->inputs[0]].name, "cells.0.zeros");
    ghn_arch_free(arch);
}

static void a_network_without_output_is_refused(void **state) {
    (void)state;
    struct ghn_net net;
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    static const char text[] =
        NORMAL("[[\"none\", 0], [\"none\", 1], [\"msa\", 2], [\"conv_3x3\", 2]]", "[3]");
    assert_int_equal(read_net(text, &net, &err), GHN_OK);
    assert_int_equal(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err), GHN_INVALID_GENOTYPE);
    assert_string_equal(err.where, "genotype");
    assert_null(arch);
}

/* 28 pixels halve to 14 and 7; half of 7 is 4 for one convolution of a halving and 3 for the other.
 */
static void an_odd_map_cannot_be_halved(void **state) {
    (void)state;
    struct ghn_net net;
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(read_net(NET(", \"stem_type\": 1"), &net, &err), GHN_OK);
    net.input[1] = net.input[2] = 28;
    assert_int_equal(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err), GHN_SHAPE_MISMATCH);
    assert_string_equal(err.where, "cells.2._ops.1.cat");
    assert_null(arch);
}

static void budgets_hold(void **state) {
    (void)state;
    struct ghn_net net;
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_limits limits = ghn_limits_default;
    assert_int_equal(read_net(NET(""), &net, &err), GHN_OK);
    limits.max_nodes = 10;
    assert_int_equal(ghn_net_to_arch(&net, &limits, &arch, &err), GHN_TOO_LARGE);
    limits = ghn_limits_default;
    limits.max_params = 1000;
    err = (struct ghn_err)GHN_ERR_INIT;
    assert_int_equal(ghn_net_to_arch(&net, &limits, &arch, &err), GHN_TOO_LARGE);
    /* The deepest network of the widest cells, small but for parameters that no node uses. */
    net.n_cells = 1024;
    net.C = 8;
    net.C_mult = 1;
    net.normal.n_steps = net.reduce.n_steps = GHN_MAX_STEPS;
    for (int i = 0; i < 2 * GHN_MAX_STEPS; i++) {
        net.normal.op[i] = net.reduce.op[i] = i < 2 ? GHN_CELL_NONE : GHN_CELL_MSA;
        net.normal.pred[i] = net.reduce.pred[i] = i < 2 ? i : 2;
    }
    net.normal.concat[0] = net.reduce.concat[0] = 0;
    err = (struct ghn_err)GHN_ERR_INIT;
    assert_int_equal(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err), GHN_TOO_LARGE);
    assert_non_null(strstr(err.message, "unused parameters"));
    assert_null(arch);
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    struct ghn_net net;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(read_net(NET(""), &net, &err), GHN_OK);
    enum ghn_status status = GHN_NO_MEMORY;
    for (long n = 1; status != GHN_OK; n++) {
        struct ghn_arch *arch = NULL;
        err = (struct ghn_err)GHN_ERR_INIT;
        ghn_mem_fail_at(n, 0);
        status = ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err);
        ghn_mem_fail_at(0, 0);
        if (status != GHN_OK)
            assert_int_equal(status, GHN_NO_MEMORY);
        ghn_arch_free(arch);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(defaults_are_the_references),
        cmocka_unit_test(operations_have_the_order_of_the_space),
        cmocka_unit_test(bad_genotypes_are_refused),
        cmocka_unit_test(steps_are_limited),
        cmocka_unit_test(every_operation_builds),
        cmocka_unit_test(stems_depend_on_the_image),
        cmocka_unit_test(parameters_are_named_as_in_pytorch),
        cmocka_unit_test(unavailable_operations_keep_their_parameters),
        cmocka_unit_test(zeros_stand_in_for_unavailable_states),
        cmocka_unit_test(a_network_without_output_is_refused),
        cmocka_unit_test(an_odd_map_cannot_be_halved),
        cmocka_unit_test(budgets_hold),
        cmocka_unit_test(failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
