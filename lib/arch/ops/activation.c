/* Operations on each element alone, and softmax: the shape is kept, and the GHN graph has no node
 * for them. */
#include "arch/op.h"

static enum ghn_status keep_shape(struct ghn_infer *infer) {
    infer->shape = *infer->inputs[0];
    return GHN_OK;
}

#define PLAIN(symbol, role)                                                                        \
    const struct ghn_op ghn__op_##symbol = {#symbol, role, 1, 1, NULL, 0, NULL, keep_shape}

PLAIN(relu, GHN_ROLE_LAYER);
PLAIN(relu6, GHN_ROLE_LAYER);
PLAIN(silu, GHN_ROLE_LAYER);
PLAIN(tanh, GHN_ROLE_LAYER);
PLAIN(identity, GHN_ROLE_LAYER);
PLAIN(hardswish, GHN_ROLE_GATE);
PLAIN(hardsigmoid, GHN_ROLE_GATE);
PLAIN(sigmoid, GHN_ROLE_GATE);

/* --- leaky_relu, elu --- */

static const struct ghn_attr leaky_relu_attrs[] = {
    {"negative_slope", GHN_ATTR_DOUBLE, offsetof(struct ghn_slope_attrs, slope), false, -1e6, 1e6,
     NULL},
    GHN_A_END,
};
static const struct ghn_slope_attrs leaky_relu_defaults = {0.01};

const struct ghn_op ghn__op_leaky_relu = {
    "leaky_relu",         GHN_ROLE_LAYER, 1, 1, leaky_relu_attrs, sizeof(leaky_relu_defaults),
    &leaky_relu_defaults, keep_shape};

static const struct ghn_attr elu_attrs[] = {
    {"alpha", GHN_ATTR_DOUBLE, offsetof(struct ghn_slope_attrs, slope), false, -1e6, 1e6, NULL},
    GHN_A_END,
};
static const struct ghn_slope_attrs elu_defaults = {1.0};

const struct ghn_op ghn__op_elu = {
    "elu", GHN_ROLE_LAYER, 1, 1, elu_attrs, sizeof(elu_defaults), &elu_defaults, keep_shape};

/* --- prelu: a learned slope, for all channels together or for each --- */

static const struct ghn_attr prelu_attrs[] = {
    GHN_A_INT(ghn_prelu_attrs, num_parameters, 1, GHN_DIM_MAX),
    GHN_A_DOUBLE(ghn_prelu_attrs, init, -1e6, 1e6),
    GHN_A_END,
};
static const struct ghn_prelu_attrs prelu_defaults = {1, 0.25};

static enum ghn_status infer_prelu(struct ghn_infer *infer) {
    const struct ghn_prelu_attrs *a = &infer->attrs->prelu;
    const struct ghn_shape *in = infer->inputs[0];
    if (a->num_parameters != 1 && (in->ndim < 1 || in->dim[0] != a->num_parameters))
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "num_parameters is %lld, expected 1 or the number of channels",
                               (long long)a->num_parameters);
    struct ghn_init init = {GHN_INIT_CONSTANT, a->init};
    ghn__infer_other(infer, "weight", init, &GHN_SHAPE(a->num_parameters),
                     "PReLU has no primitive in DeepNets-1M");
    return keep_shape(infer);
}

const struct ghn_op ghn__op_prelu = {
    "prelu",         GHN_ROLE_LAYER, 1, 1, prelu_attrs, sizeof(prelu_defaults),
    &prelu_defaults, infer_prelu};

/* --- gelu --- */

static const char *const gelu_kinds[] = {"none", "tanh", NULL};
static const struct ghn_attr gelu_attrs[] = {
    {"approximate", GHN_ATTR_CHOICE, offsetof(struct ghn_gelu_attrs, approximate), false, 0, 1,
     gelu_kinds},
    GHN_A_END,
};
static const struct ghn_gelu_attrs gelu_defaults = {0};

const struct ghn_op ghn__op_gelu = {
    "gelu", GHN_ROLE_LAYER, 1, 1, gelu_attrs, sizeof(gelu_defaults), &gelu_defaults, keep_shape};

/* --- softmax --- */

static const struct ghn_attr softmax_attrs[] = {
    GHN_A_INT(ghn_softmax_attrs, dim, -GHN_MAX_DIMS, GHN_MAX_DIMS),
    GHN_A_END,
};
static const struct ghn_softmax_attrs softmax_defaults = {-1};

static enum ghn_status infer_softmax(struct ghn_infer *infer) {
    int dim;
    enum ghn_status status =
        ghn__infer_dim(infer, "dim", infer->attrs->softmax.dim, infer->inputs[0]->ndim, &dim);
    return status == GHN_OK ? keep_shape(infer) : status;
}

const struct ghn_op ghn__op_softmax = {
    "softmax",         GHN_ROLE_LAYER, 1, 1, softmax_attrs, sizeof(softmax_defaults),
    &softmax_defaults, infer_softmax};

/* --- dropout, stochastic_depth --- */

static const struct ghn_attr dropout_attrs[] = {
    GHN_A_DOUBLE(ghn_dropout_attrs, p, 0, 1),
    GHN_A_END,
};
static const struct ghn_dropout_attrs dropout_defaults = {.p = 0.5};

const struct ghn_op ghn__op_dropout = {
    "dropout",         GHN_ROLE_LAYER, 1, 1, dropout_attrs, sizeof(dropout_defaults),
    &dropout_defaults, keep_shape};

static const char *const depth_modes[] = {"batch", "row", NULL};
static const struct ghn_attr stochastic_depth_attrs[] = {
    GHN_A_DOUBLE(ghn_dropout_attrs, p, 0, 1),
    {"mode", GHN_ATTR_CHOICE, offsetof(struct ghn_dropout_attrs, mode), false, 0, 1, depth_modes},
    GHN_A_END,
};
static const struct ghn_dropout_attrs stochastic_depth_defaults = {.p = 0.5, .mode = 1};

const struct ghn_op ghn__op_stochastic_depth = {"stochastic_depth",
                                                GHN_ROLE_LAYER,
                                                1,
                                                1,
                                                stochastic_depth_attrs,
                                                sizeof(stochastic_depth_defaults),
                                                &stochastic_depth_defaults,
                                                keep_shape};
