#include "nn/activation.h"

#include <string.h>

static const struct {
    const char *op;
    enum ghn__act act;
    bool fusable; /* the derivative is cheap enough to be computed anew from the input */
} activations[] = {
    {"relu", GHN__ACT_RELU, true},
    {"relu6", GHN__ACT_RELU6, true},
    {"leaky_relu", GHN__ACT_LEAKY_RELU, true},
    {"elu", GHN__ACT_ELU, false},
    {"silu", GHN__ACT_SILU, true},
    {"gelu", GHN__ACT_GELU, false},
    {"hardswish", GHN__ACT_HARDSWISH, true},
    {"hardsigmoid", GHN__ACT_HARDSIGMOID, true},
    {"sigmoid", GHN__ACT_SIGMOID, false},
    {"tanh", GHN__ACT_TANH, false},
};

enum { N_ACTIVATIONS = sizeof activations / sizeof *activations };

static int find(const struct ghn_op *op) {
    for (int i = 0; op && i < N_ACTIVATIONS; i++)
        if (strcmp(activations[i].op, op->name) == 0)
            return i;
    return -1;
}

enum ghn__act ghn__act_of(const struct ghn_arch_node *node, float *ret_parameter) {
    int i = node ? find(node->op) : -1;
    *ret_parameter = 0.0f;
    if (i < 0)
        return GHN__ACT_NONE;
    enum ghn__act act = activations[i].act;
    if (act == GHN__ACT_LEAKY_RELU || act == GHN__ACT_ELU)
        *ret_parameter = (float)node->attrs.slope.slope;
    if (act == GHN__ACT_GELU && node->attrs.gelu.approximate)
        return GHN__ACT_GELU_TANH;
    return act;
}

bool ghn__activation_is_fusable(const struct ghn_op *op) {
    int i = find(op);
    return i >= 0 && activations[i].fusable;
}
