/* The elementwise activations, as kernels know them. Private to lib/nn. */
#ifndef GHN_NN_ACTIVATION_H
#define GHN_NN_ACTIVATION_H

#include <stdbool.h>

#include "arch/arch.h"
#include "arch/op.h"

enum ghn__act {
    GHN__ACT_NONE,
    GHN__ACT_RELU,
    GHN__ACT_RELU6,
    GHN__ACT_LEAKY_RELU, /* parameter: negative_slope */
    GHN__ACT_ELU,        /* parameter: alpha */
    GHN__ACT_SILU,
    GHN__ACT_GELU,
    GHN__ACT_GELU_TANH,
    GHN__ACT_HARDSWISH,
    GHN__ACT_HARDSIGMOID,
    GHN__ACT_SIGMOID,
    GHN__ACT_TANH,
};

/* The activation of a node and its parameter (0 where it has none); NONE for any other operation,
 * and for NULL. */
enum ghn__act ghn__act_of(const struct ghn_arch_node *node, float *ret_parameter);

/* Whether batch norm's kernels do the operation along. */
bool ghn__activation_is_fusable(const struct ghn_op *op);

#endif
