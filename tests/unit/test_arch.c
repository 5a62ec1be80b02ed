/* lib/arch: the arch form, shape inference, parameters, costs, and the errors of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "arch/op.h"
#include "base/json.h"
#include "base/mem.h"

#define HEAD "{\"format\":\"ghn-arch/1\",\"name\":\"t\",\"input\":{\"shape\":[3,32,32]},"

static const char tiny[] = HEAD
    "\"nodes\":["
    "{\"name\":\"conv1\",\"op\":\"conv2d\",\"inputs\":[\"input\"],\"attrs\":{\"out_channels\":64,"
    "\"kernel\":[3,3],\"padding\":1,\"bias\":false}},"
    "{\"name\":\"bn1\",\"op\":\"batch_norm2d\",\"inputs\":[\"conv1\"]},"
    "{\"name\":\"relu\",\"op\":\"relu\",\"inputs\":[\"bn1\"]},"
    "{\"name\":\"pool\",\"op\":\"adaptive_avg_pool2d\",\"inputs\":[\"relu\"],"
    "\"attrs\":{\"output_size\":[1,1]}},"
    "{\"name\":\"flat\",\"op\":\"flatten\",\"inputs\":[\"pool\"]},"
    "{\"name\":\"fc\",\"op\":\"linear\",\"inputs\":[\"flat\"],\"attrs\":{\"out_features\":10}}],"
    "\"output\":\"fc\"}";

/* Reads an arch from text that must be JSON. */
static enum ghn_status read_arch(const char *text, struct ghn_arch **ret, struct ghn_err *err) {
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root)
        fail_msg("%s: %s", error.text, text);
    enum ghn_status status = ghn_arch_from_json(root, "arch", &ghn_limits_default, ret, err);
    json_decref(root);
    return status;
}

static struct ghn_arch *must_read(const char *text) {
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (read_arch(text, &arch, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return arch;
}

static void assert_shape(const struct ghn_shape *shape, const char *expected) {
    char text[GHN_SHAPE_TEXT];
    assert_string_equal(ghn_shape_text(shape, text, sizeof(text)), expected);
}

static void tiny_network_is_understood(void **state) {
    (void)state;
    struct ghn_arch *arch = must_read(tiny);
    assert_int_equal(arch->n_nodes, 7);
    assert_string_equal(arch->nodes[arch->output].name, "fc");
    assert_shape(&arch->nodes[1].shape, "[64, 32, 32]");
    assert_shape(&arch->nodes[arch->output].shape, "[10]");
    assert_int_equal(arch->n_params, 5);
    static const char *const names[] = {"conv1.weight", "bn1.weight", "bn1.bias", "fc.weight",
                                        "fc.bias"};
    static const char *const shapes[] = {"[64, 3, 3, 3]", "[64]", "[64]", "[10, 64]", "[10]"};
    for (int i = 0; i < 5; i++) {
        assert_string_equal(arch->params[i].name, names[i]);
        assert_shape(&arch->params[i].shape, shapes[i]);
    }
    assert_int_equal(arch->n_parameters, 64 * 27 + 128 + 650);
    /* conv 27 x 64 x 32 x 32, batch norm 2 x 64 x 32 x 32, pool 64 x 32 x 32, linear 640. */
    assert_int_equal(arch->flops, (27 + 2 + 1) * 65536 + 640);
    ghn_arch_free(arch);
}

/* A window larger than the map attends to all the padding. */
static void padding_costs(void **state) {
    (void)state;
    struct ghn_arch *arch = must_read(
        "{\"format\":\"ghn-arch/1\",\"name\":\"t\",\"input\":{\"shape\":[3,1,1]},\"nodes\":["
        "{\"name\":\"a\",\"op\":\"permute\",\"inputs\":[\"input\"],\"attrs\":{\"dims\":[0,2,3,1]}},"
        "{\"name\":\"b\",\"op\":\"window_attention\",\"inputs\":[\"a\"],"
        "\"attrs\":{\"window_size\":[4,8],\"num_heads\":1}}],\"output\":\"b\"}");
    assert_int_equal(arch->nodes[2].flops, 4 * 3 * 3 + 2 * 32 * 32 * 3);
    ghn_arch_free(arch);
}

static void nodes_come_in_any_order(void **state) {
    (void)state;
    struct ghn_arch *arch = must_read(
        HEAD "\"nodes\":[{\"name\":\"c\",\"op\":\"add\",\"inputs\":[\"b\",\"a\"]},"
             "{\"name\":\"b\",\"op\":\"relu\",\"inputs\":[\"a\"]},"
             "{\"name\":\"a\",\"op\":\"sigmoid\",\"inputs\":[\"input\"]}],\"output\":\"c\"}");
    for (int i = 0; i < arch->n_nodes; i++)
        for (int j = 0; j < arch->nodes[i].n_inputs; j++)
            assert_true(arch->nodes[i].inputs[j] < i);
    assert_string_equal(arch->nodes[arch->output].name, "c");
    ghn_arch_free(arch);
}

static void parameters_are_renamed_and_shared(void **state) {
    (void)state;
    struct ghn_arch *arch = must_read(
        HEAD
        "\"nodes\":["
        "{\"name\":\"a\",\"op\":\"linear\",\"inputs\":[\"input\"],\"attrs\":{\"out_features\":32}},"
        "{\"name\":\"b\",\"op\":\"linear\",\"inputs\":[\"a\"],\"attrs\":{\"out_features\":32},"
        "\"params\":{\"weight\":\"a.weight\",\"bias\":\"own\"}},"
        "{\"name\":\"dead\",\"op\":\"linear\",\"inputs\":[\"a\"],\"attrs\":{\"out_features\":5}}],"
        "\"output\":\"b\",\"unused_parameters\":{\"aux.weight\":[4,4]}}");
    assert_int_equal(arch->n_params, 6);
    assert_string_equal(arch->params[2].name, "own");
    assert_int_equal(arch->nodes[2].params[0], arch->nodes[1].params[0]);
    assert_false(arch->nodes[3].on_path);
    assert_int_equal(arch->params[5].node, -1);
    assert_int_equal(arch->n_parameters, 1024 + 32 + 32 + 160 + 5 + 16);
    ghn_arch_free(arch);
}

/* What is shared is on the path if any of its nodes is, not only the first. */
static void a_shared_parameter_on_the_path(void **state) {
    (void)state;
    struct ghn_arch *arch =
        must_read(HEAD "\"nodes\":["
                       "{\"name\":\"dead\",\"op\":\"linear\",\"inputs\":[\"input\"],"
                       "\"attrs\":{\"out_features\":32}},"
                       "{\"name\":\"b\",\"op\":\"linear\",\"inputs\":[\"input\"],"
                       "\"attrs\":{\"out_features\":32},\"params\":{\"weight\":\"dead.weight\"}}],"
                       "\"output\":\"b\"}");
    assert_int_equal(arch->n_params, 3);
    assert_string_equal(arch->params[0].name, "dead.weight");
    assert_true(arch->params[0].on_path);
    assert_false(arch->params[1].on_path);
    assert_true(arch->params[2].on_path);
    ghn_arch_free(arch);
}

static void writing_and_reading_agree(void **state) {
    (void)state;
    struct ghn_arch *arch = must_read(tiny);
    json_t *first = ghn_arch_to_json(arch);
    struct ghn_arch *again = NULL;
    assert_int_equal(ghn_arch_from_json(first, "", &ghn_limits_default, &again, NULL), GHN_OK);
    json_t *second = ghn_arch_to_json(again);
    assert_true(json_equal(first, second));
    json_decref(first);
    json_decref(second);
    ghn_arch_free(arch);
    ghn_arch_free(again);
}

/* --- Every operation: what it makes of an input of [C, H, W] = [12, 10, 8] --- */

struct op_case {
    const char *op, *attrs; /* attrs NULL: none given */
    const char *shape;      /* of the output; NULL: refused */
    const char *params;     /* names and shapes */
};

static const struct op_case op_cases[] = {
    {"conv2d", "{\"out_channels\":6,\"kernel\":3}", "[6, 8, 6]", "weight[6, 12, 3, 3] bias[6] "},
    {"conv2d",
     "{\"out_channels\":6,\"kernel\":[1,7],\"stride\":[1,2],\"padding\":[0,3],\"groups\":3}",
     "[6, 10, 4]", "weight[6, 4, 1, 7] bias[6] "},
    {"conv2d", "{\"out_channels\":6,\"kernel\":3,\"dilation\":5}", NULL, NULL},
    {"conv2d", "{\"out_channels\":6,\"kernel\":3,\"groups\":5}", NULL, NULL},
    {"conv2d", "{\"out_channels\":6,\"kernel\":3,\"in_channels\":13}", NULL, NULL},
    {"linear", "{\"out_features\":5,\"bias\":false}", "[12, 10, 5]", "weight[5, 8] "},
    {"batch_norm2d", NULL, "[12, 10, 8]", "weight[12] bias[12] "},
    {"batch_norm2d", "{\"affine\":false}", "[12, 10, 8]", ""},
    {"layer_norm", NULL, "[12, 10, 8]", "weight[8] bias[8] "},
    {"layer_norm", "{\"normalized_shape\":[10,8]}", "[12, 10, 8]", "weight[10, 8] bias[10, 8] "},
    {"layer_norm", "{\"normalized_shape\":[9]}", NULL, NULL},
    {"group_norm", "{\"num_groups\":4}", "[12, 10, 8]", "weight[12] bias[12] "},
    {"group_norm", "{\"num_groups\":5}", NULL, NULL},
    {"relu", NULL, "[12, 10, 8]", ""},
    {"relu6", NULL, "[12, 10, 8]", ""},
    {"leaky_relu", "{\"negative_slope\":0.2}", "[12, 10, 8]", ""},
    {"prelu", "{\"num_parameters\":12}", "[12, 10, 8]", "weight[12] "},
    {"prelu", "{\"num_parameters\":5}", NULL, NULL},
    {"elu", NULL, "[12, 10, 8]", ""},
    {"silu", NULL, "[12, 10, 8]", ""},
    {"gelu", "{\"approximate\":\"tanh\"}", "[12, 10, 8]", ""},
    {"gelu", "{\"approximate\":\"fast\"}", NULL, NULL},
    {"hardswish", NULL, "[12, 10, 8]", ""},
    {"hardsigmoid", NULL, "[12, 10, 8]", ""},
    {"sigmoid", NULL, "[12, 10, 8]", ""},
    {"tanh", NULL, "[12, 10, 8]", ""},
    {"softmax", "{\"dim\":3}", "[12, 10, 8]", ""},
    {"softmax", "{\"dim\":0}", NULL, NULL},
    {"identity", NULL, "[12, 10, 8]", ""},
    {"dropout", "{\"p\":0.1}", "[12, 10, 8]", ""},
    {"stochastic_depth", "{\"p\":0.1,\"mode\":\"row\"}", "[12, 10, 8]", ""},
    {"max_pool2d", "{\"kernel\":3,\"stride\":2,\"padding\":1}", "[12, 5, 4]", ""},
    {"max_pool2d", "{\"kernel_size\":[3,3],\"stride\":[2,2],\"ceil_mode\":true}", "[12, 5, 4]", ""},
    {"max_pool2d", "{\"kernel\":3,\"padding\":2}", NULL, NULL},
    {"avg_pool2d", "{\"kernel\":2}", "[12, 5, 4]", ""},
    {"adaptive_avg_pool2d", "{\"output_size\":[7,null]}", "[12, 7, 8]", ""},
    {"mean", "{\"dim\":[2,3]}", "[12]", ""},
    {"mean", "{\"dim\":[-1],\"keepdim\":true}", "[12, 10, 1]", ""},
    {"mean", "{\"dim\":[2,-2]}", NULL, NULL},
    {"flatten", NULL, "[960]", ""},
    {"flatten", "{\"start_dim\":2}", "[12, 80]", ""},
    {"reshape", "{\"shape\":[4,-1,8]}", "[4, 30, 8]", ""},
    {"reshape", "{\"shape\":[7,-1]}", NULL, NULL},
    {"reshape", "{\"shape\":[-1,-1]}", NULL, NULL},
    {"reshape", "{\"shape\":[0,960]}", NULL, NULL},
    {"permute", "{\"dims\":[0,2,3,1]}", "[10, 8, 12]", ""},
    {"permute", "{\"dims\":[1,0,2,3]}", NULL, NULL},
    {"permute", "{\"dims\":[0,2,2,1]}", NULL, NULL},
    {"slice", "{\"dim\":1,\"start\":2,\"end\":-1,\"step\":2}", "[5, 10, 8]", ""},
    {"slice", "{\"dim\":2,\"start\":10}", NULL, NULL},
    {"pad", "{\"pad\":[1,2,3,0]}", "[12, 13, 11]", ""},
    {"pad", "{\"pad\":[1,2,3]}", NULL, NULL},
    {"roll", "{\"shifts\":[-3,2],\"dims\":[2,3]}", "[12, 10, 8]", ""},
    {"roll", "{\"shifts\":[1],\"dims\":[1,2]}", NULL, NULL},
    {"channel_shuffle", "{\"groups\":3}", "[12, 10, 8]", ""},
    {"channel_shuffle", "{\"groups\":5}", NULL, NULL},
    {"zeros_like", NULL, "[12, 10, 8]", ""},
    {"concat", NULL, "[12, 10, 8]", ""},
    {"cat", "{\"dim\":-1}", "[12, 10, 8]", ""},
    {"add", "{\"value\":1.5}", "[12, 10, 8]", ""},
    {"mul", "{\"value\":2}", "[12, 10, 8]", ""},
    {"attention", "{\"num_heads\":2}", NULL, NULL},
    {"window_attention", "{\"window_size\":[5,4],\"num_heads\":2}", "[12, 10, 8]",
     "qkv.weight[24, 8] qkv.bias[24] proj.weight[8, 8] proj.bias[8] "
     "relative_position_bias_table[63, 2] "},
    {"window_attention", "{\"window_size\":4,\"num_heads\":4,\"cosine\":true,\"qkv_bias\":false}",
     "[12, 10, 8]",
     "qkv.weight[24, 8] proj.weight[8, 8] proj.bias[8] logit_scale[4, 1, 1] "
     "cpb_mlp.0.weight[512, 2] cpb_mlp.0.bias[512] cpb_mlp.2.weight[4, 512] "},
    {"window_attention", "{\"window_size\":4,\"num_heads\":3}", NULL, NULL},
    {"pos_enc", "{\"shape\":[1,12,10,8]}", "[12, 10, 8]", "weight[1, 12, 10, 8] "},
    {"pos_enc", "{\"shape\":[2,12,10,8]}", NULL, NULL},
    {"parameter", "{\"shape\":[1,12,10,8],\"batched\":true,\"init\":\"normal\",\"value\":0.02}",
     "[12, 10, 8]", "weight[1, 12, 10, 8] "},
    {"parameter", "{\"shape\":[12,1,1]}", "[12, 1, 1]", "weight[12, 1, 1] "},
};

/* The text of an arch with one node "x" of the case, added to the input so that the output depends
 * on it; a shape that cannot be added is looked at as the output itself. */
static void case_text(const struct op_case *c, char *text, size_t n) {
    const struct ghn_op *op = ghn_op_find(c->op);
    assert_non_null(op);
    bool source = op->max_inputs == 0;
    (void)snprintf(
        text, n,
        "{\"format\":\"ghn-arch/1\",\"input\":{\"shape\":[12,10,8]},\"nodes\":["
        "{\"name\":\"x\",\"op\":\"%s\",\"inputs\":[%s],\"attrs\":%s}%s],\"output\":\"%s\"}",
        c->op, source ? "" : "\"input\"", c->attrs ? c->attrs : "{}",
        source ? ",{\"name\":\"y\",\"op\":\"add\",\"inputs\":[\"input\",\"x\"]}" : "",
        source ? "y" : "x");
}

static void every_operation_infers_its_shape(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(op_cases) / sizeof(op_cases[0]); i++) {
        const struct op_case *c = &op_cases[i];
        char text[1024], found[512] = "";
        case_text(c, text, sizeof(text));
        struct ghn_arch *arch = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        enum ghn_status status = read_arch(text, &arch, &err);
        if ((status == GHN_OK) != (c->shape != NULL))
            fail_msg("%s %s: %s: %s", c->op, c->attrs, err.where, err.message);
        if (status != GHN_OK) {
            assert_true(status == GHN_SHAPE_MISMATCH || status == GHN_OUT_OF_RANGE);
            assert_true(strncmp(err.where, "arch.nodes[0]", 13) == 0);
            continue;
        }
        const struct ghn_arch_node *x = NULL;
        for (int k = 0; k < arch->n_nodes; k++)
            if (strcmp(arch->nodes[k].name, "x") == 0)
                x = &arch->nodes[k];
        assert_non_null(x);
        assert_shape(&x->shape, c->shape);
        for (int k = 0, used = 0; k < x->n_params; k++) {
            char shape[GHN_SHAPE_TEXT];
            used +=
                snprintf(found + used, sizeof(found) - (size_t)used, "%s%s ", x->slots[k],
                         ghn_shape_text(&arch->params[x->params[k]].shape, shape, sizeof(shape)));
        }
        assert_string_equal(found, c->params);
        ghn_arch_free(arch);
    }
}

static void every_operation_has_a_case(void **state) {
    (void)state;
    static const char *const all[] = {
#define GHN_OP(symbol, name) name,
#include "arch/ops.def"
#undef GHN_OP
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        bool found = false;
        for (size_t k = 0; k < sizeof(op_cases) / sizeof(op_cases[0]); k++)
            found = found || strcmp(op_cases[k].op, all[i]) == 0;
        if (!found)
            fail_msg("no case for the operation %s", all[i]);
    }
}

static void attention_takes_packed_tokens(void **state) {
    (void)state;
    struct ghn_arch *arch =
        must_read("{\"format\":\"ghn-arch/1\",\"input\":{\"shape\":[5,49,96]},\"nodes\":["
                  "{\"name\":\"a\",\"op\":\"attention\",\"inputs\":[\"input\"],"
                  "\"attrs\":{\"num_heads\":4,\"relative_position\":[7,7]}}],\"output\":\"a\"}");
    assert_shape(&arch->nodes[1].shape, "[5, 49, 32]");
    assert_shape(&arch->params[0].shape, "[169, 4]");
    ghn_arch_free(arch);
}

/* --- Errors --- */

struct bad {
    const char *text;
    enum ghn_status status;
    const char *where;
};

#define NODE(more) "\"nodes\":[{\"name\":\"a\",\"op\":\"relu\",\"inputs\":[\"input\"]" more "}]"

static const struct bad bad_cases[] = {
    {"[]", GHN_WRONG_TYPE, "arch"},
    {"{}", GHN_MISSING_FIELD, "arch.format"},
    {"{\"format\":\"ghn-arch/2\"}", GHN_OUT_OF_RANGE, "arch.format"},
    {"{\"format\":\"ghn-arch/1\",\"colour\":1}", GHN_UNKNOWN_FIELD, "arch.colour"},
    {"{\"format\":\"ghn-arch/1\"}", GHN_MISSING_FIELD, "arch.input"},
    {"{\"format\":\"ghn-arch/1\",\"input\":{\"shape\":[3,0,32]}}", GHN_OUT_OF_RANGE,
     "arch.input.shape[1]"},
    {"{\"format\":\"ghn-arch/1\",\"input\":{\"shape\":[3,2.5]}}", GHN_WRONG_TYPE,
     "arch.input.shape[1]"},
    {"{\"format\":\"ghn-arch/"
     "1\",\"input\":{\"shape\":[60000000,60000000,60000000]},\"nodes\":[],\"output\":\"input\"}",
     GHN_TOO_LARGE, "input"},
    {"{\"format\":\"ghn-arch/1\",\"input\":{\"shape\":[1,1,1,1,1,1,1,1,1]}}", GHN_OUT_OF_RANGE,
     "arch.input.shape"},
    {HEAD "\"output\":\"a\"}", GHN_MISSING_FIELD, "arch.nodes"},
    {HEAD "\"nodes\":{},\"output\":\"a\"}", GHN_WRONG_TYPE, "arch.nodes"},
    {HEAD "\"nodes\":[1],\"output\":\"a\"}", GHN_WRONG_TYPE, "arch.nodes[0]"},
    {HEAD NODE("") "}", GHN_MISSING_FIELD, "arch.output"},
    {HEAD NODE("") ",\"output\":\"b\"}", GHN_UNKNOWN_INPUT, "arch.output"},
    {HEAD NODE(",\"kind\":1") ",\"output\":\"a\"}", GHN_UNKNOWN_FIELD, "arch.nodes[0].kind"},
    {HEAD NODE(",\"attrs\":{\"p\":1}") ",\"output\":\"a\"}", GHN_UNKNOWN_FIELD,
     "arch.nodes[0].attrs.p"},
    {HEAD NODE(",\"attrs\":3") ",\"output\":\"a\"}", GHN_WRONG_TYPE, "arch.nodes[0].attrs"},
    {HEAD NODE(",\"params\":{\"weight\":\"w\"}") ",\"output\":\"a\"}", GHN_UNKNOWN_FIELD,
     "arch.nodes[0]"},
    {HEAD "\"nodes\":[{\"name\":\"\",\"op\":\"relu\",\"inputs\":[\"input\"]}],\"output\":\"a\"}",
     GHN_OUT_OF_RANGE, "arch.nodes[0]"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"fly\",\"inputs\":[\"input\"]}],\"output\":\"a\"}",
     GHN_UNKNOWN_OP, "arch.nodes[0].op"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"relu\",\"inputs\":[\"z\"]}],\"output\":\"a\"}",
     GHN_UNKNOWN_INPUT, "arch.nodes[0].inputs[0]"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"relu\",\"inputs\":[]}],\"output\":\"a\"}",
     GHN_OUT_OF_RANGE, "arch.nodes[0]"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"relu\",\"inputs\":[\"input\",\"input\"]}],"
          "\"output\":\"a\"}",
     GHN_OUT_OF_RANGE, "arch.nodes[0].inputs"},
    {HEAD "\"nodes\":[{\"name\":\"input\",\"op\":\"relu\",\"inputs\":[\"input\"]}],\"output\":"
          "\"input\"}",
     GHN_DUPLICATE_NAME, "arch.nodes[0]"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"relu\",\"inputs\":[\"b\"]},{\"name\":\"b\",\"op\":"
          "\"relu\",\"inputs\":[\"a\"]},{\"name\":\"c\",\"op\":\"relu\",\"inputs\":[\"b\"]}],"
          "\"output\":\"c\"}",
     GHN_CYCLE, NULL},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"relu\",\"inputs\":[\"a\"]}],\"output\":\"a\"}",
     GHN_CYCLE, "arch.nodes[0]"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"parameter\",\"attrs\":{\"shape\":[3]}}],\"output\":"
          "\"a\"}",
     GHN_DISCONNECTED, "arch"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"linear\",\"inputs\":[\"input\"]}],\"output\":\"a\"}",
     GHN_MISSING_FIELD, "arch.nodes[0].attrs.out_features"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"linear\",\"inputs\":[\"input\"],\"attrs\":{\"out_"
          "features\":0}}],\"output\":\"a\"}",
     GHN_OUT_OF_RANGE, "arch.nodes[0].attrs.out_features"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"linear\",\"inputs\":[\"input\"],\"attrs\":{\"out_"
          "features\":99999999999}}],\"output\":\"a\"}",
     GHN_OUT_OF_RANGE, "arch.nodes[0].attrs.out_features"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"linear\",\"inputs\":[\"input\"],\"attrs\":{\"out_"
          "features\":1000000}}],\"output\":\"a\"}",
     GHN_OK, NULL},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"linear\",\"inputs\":[\"input\"],\"attrs\":{\"out_"
          "features\":60000000}}],\"output\":\"a\"}",
     GHN_TOO_LARGE, "arch.nodes[0]"},
    {"{\"format\":\"ghn-arch/"
     "1\",\"input\":{\"shape\":[1048576]},\"nodes\":[{\"name\":\"a\",\"op\":\"linear\",\"inputs\":["
     "\"input\"],\"attrs\":{\"out_features\":1048576}}],\"output\":\"a\"}",
     GHN_TOO_LARGE, "arch.nodes[0]"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"linear\",\"inputs\":[\"input\"],\"attrs\":{\"out_"
          "features\":4}},{\"name\":\"b\",\"op\":\"linear\",\"inputs\":[\"a\"],\"attrs\":{\"out_"
          "features\":9},\"params\":{\"weight\":\"a.weight\"}}],\"output\":\"b\"}",
     GHN_SHAPE_MISMATCH, "arch.nodes[1]"},
    {HEAD "\"nodes\":[{\"name\":\"a.b\",\"op\":\"linear\",\"inputs\":[\"input\"],\"attrs\":{\"out_"
          "features\":4}}],\"output\":\"a.b\",\"unused_parameters\":{\"a.b.bias\":[4]}}",
     GHN_DUPLICATE_NAME, "arch"},
    {HEAD "\"nodes\":[{\"name\":\"a\",\"op\":\"add\",\"inputs\":[\"input\",\"f\"]},{\"name\":\"f\","
          "\"op\":\"flatten\",\"inputs\":[\"input\"]}],\"output\":\"a\"}",
     GHN_SHAPE_MISMATCH, "arch.nodes[0]"},
};

static void bad_input_is_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
        const struct bad *bad = &bad_cases[i];
        struct ghn_arch *arch = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        enum ghn_status status = read_arch(bad->text, &arch, &err);
        if (status != bad->status || (bad->where && strcmp(bad->where, err.where) != 0))
            fail_msg("%s\ngave %s at \"%s\": %s", bad->text, ghn_status_code(status), err.where,
                     err.message);
        assert_true((arch != NULL) == (status == GHN_OK));
        assert_true((err.message[0] != 0) == (status != GHN_OK));
        ghn_arch_free(arch);
    }
}

static void too_many_nodes_are_refused(void **state) {
    (void)state;
    struct ghn_limits limits = ghn_limits_default;
    limits.max_nodes = 4;
    json_t *root = json_loads(tiny, 0, NULL);
    struct ghn_arch *arch = NULL;
    assert_int_equal(ghn_arch_from_json(root, "arch", &limits, &arch, NULL), GHN_TOO_LARGE);
    assert_null(arch);
    json_decref(root);
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    json_t *root = json_loads(tiny, 0, NULL);
    for (long n = 1;; n++) {
        struct ghn_arch *arch = NULL;
        ghn_mem_fail_at(n, 1);
        enum ghn_status status = ghn_arch_from_json(root, "", &ghn_limits_default, &arch, NULL);
        ghn_mem_fail_at(0, 0);
        assert_true((arch != NULL) == (status == GHN_OK));
        ghn_arch_free(arch);
        if (status == GHN_OK)
            break;
        assert_int_equal(status, GHN_NO_MEMORY);
        assert_true(n < 1000);
    }
    json_decref(root);
}

static void building_in_c_gives_the_same(void **state) {
    (void)state;
    struct ghn_shape input = {3, {3, 32, 32}};
    struct ghn_arch_builder *b = ghn_arch_builder_new("t", &input, &ghn_limits_default);
    struct ghn_conv2d_attrs conv = {.out_channels = 64,
                                    .kernel = {3, 3},
                                    .stride = {1, 1},
                                    .padding = {1, 1},
                                    .dilation = {1, 1},
                                    .groups = 1};
    struct ghn_adaptive_pool2d_attrs pool = {{1, 1}};
    struct ghn_linear_attrs fc = {.out_features = 10, .bias = true};
    int at = ghn_arch_builder_add(b, "conv2d", "conv1", &conv, (int[]){0}, 1);
    at = ghn_arch_builder_add(b, "batch_norm2d", "bn1", NULL, &at, 1);
    at = ghn_arch_builder_add(b, "relu", "relu", NULL, &at, 1);
    at = ghn_arch_builder_add(b, "adaptive_avg_pool2d", "pool", &pool, &at, 1);
    at = ghn_arch_builder_add(b, "flatten", "flat", NULL, &at, 1);
    at = ghn_arch_builder_add(b, "linear", "fc", &fc, &at, 1);
    struct ghn_arch *built = NULL, *read = must_read(tiny);
    assert_int_equal(ghn_arch_builder_finish(b, at, &built, NULL), GHN_OK);
    json_t *x = ghn_arch_to_json(built), *y = ghn_arch_to_json(read);
    assert_true(json_equal(x, y));
    json_decref(x);
    json_decref(y);
    ghn_arch_free(built);
    ghn_arch_free(read);
}

static void a_failed_build_reports_its_first_error(void **state) {
    (void)state;
    struct ghn_shape input = {1, {8}};
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_arch *arch = NULL;
    struct ghn_arch_builder *b = ghn_arch_builder_new("t", &input, &ghn_limits_default);
    int bad = ghn_arch_builder_add(b, "fly", "a", NULL, (int[]){0}, 1);
    assert_int_equal(bad, -1);
    assert_int_equal(ghn_arch_builder_add(b, "relu", "b", NULL, &bad, 1), -1);
    assert_int_equal(ghn_arch_builder_finish(b, 0, &arch, &err), GHN_UNKNOWN_OP);
    assert_string_equal(err.where, "a");
    assert_int_equal(ghn_arch_builder_finish(NULL, 0, &arch, NULL), GHN_NO_MEMORY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_network_is_understood),
        cmocka_unit_test(padding_costs),
        cmocka_unit_test(nodes_come_in_any_order),
        cmocka_unit_test(parameters_are_renamed_and_shared),
        cmocka_unit_test(a_shared_parameter_on_the_path),
        cmocka_unit_test(writing_and_reading_agree),
        cmocka_unit_test(every_operation_infers_its_shape),
        cmocka_unit_test(every_operation_has_a_case),
        cmocka_unit_test(attention_takes_packed_tokens),
        cmocka_unit_test(bad_input_is_named),
        cmocka_unit_test(too_many_nodes_are_refused),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(building_in_c_gives_the_same),
        cmocka_unit_test(a_failed_build_reports_its_first_error),
    };
    return cmocka_run_group_tests_name("arch", tests, NULL, NULL);
}
