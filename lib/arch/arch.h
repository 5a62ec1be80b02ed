/* The architecture: a validated, executable network, as a graph of operations with attributes.
 *
 * Shapes leave out the batch throughout, but attributes that count dimensions count as PyTorch
 * does, with the batch as dimension 0 (flatten's start_dim = 1, permute's dims = [0, 2, 3, 1]);
 * dimension 0 always stays first and whole.
 *
 * An arch is made by ghn_arch_from_json or by a ghn_arch_builder, is complete and consistent from
 * then on (acyclic, every shape inferred, budgets kept), and is immutable. */
#ifndef GHN_ARCH_ARCH_H
#define GHN_ARCH_ARCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/attrs.h"
#include "base/mem.h"
#include "base/status.h"
#include "tensor/shape.h"

/* Budgets; a network beyond one is refused with GHN_TOO_LARGE before anything of its size is
 * allocated. */
struct ghn_limits {
    int max_nodes;       /* nodes of an arch; also the parameters that none of them uses */
    int max_graph_nodes; /* nodes of a GHN graph (the virtual edges take the square of it in bytes,
                            twice) */
    int max_edges;       /* one-hop edges */
    int64_t max_params;  /* parameters of a network, all told */
    int64_t max_flops;   /* multiply-adds of one forward pass of one image */
    int64_t max_activation; /* elements of any one activation of one image */
};

/* 16,384 nodes, 4,096 graph nodes, 65,536 edges, 2^30 parameters, 10^13 multiply-adds, 2^30
 * elements. */
extern const struct ghn_limits ghn_limits_default;

/* What a parameter tensor is to the hypernetwork. */
enum ghn_param_kind {
    GHN_PARAM_WEIGHT,      /* of a convolution or linear layer: decoded as ghn2-spec C5 (paper: the
                              decoder's K) */
    GHN_PARAM_BIAS,        /* of a convolution or linear layer */
    GHN_PARAM_NORM_WEIGHT, /* of batch norm or layer norm; its node also yields the norm's bias */
    GHN_PARAM_NORM_BIAS,
    GHN_PARAM_POS_ENC, /* (1, C, h, w) */
    GHN_PARAM_OTHER,   /* the hypernetwork has no primitive for it: initialised as `init` says */
};

/* How a parameter is filled that is not predicted: PyTorch's initialiser of its layer. */
enum ghn_init_kind {
    GHN_INIT_CONSTANT,     /* a */
    GHN_INIT_UNIFORM,      /* U(-a, a) */
    GHN_INIT_NORMAL,       /* N(0, a^2) */
    GHN_INIT_TRUNC_NORMAL, /* N(0, a^2) cut to [-2, 2], as torch.nn.init.trunc_normal_ */
};

struct ghn_init {
    enum ghn_init_kind kind;
    double a;
};

/* A parameter tensor of the network. Tensors shared by several nodes appear once, with the first
 * node that has them. */
struct ghn_param {
    const char *name; /* the state_dict key */
    struct ghn_shape shape;
    enum ghn_param_kind kind;
    int node;     /* the first node that has it; -1 for one declared in "unused_parameters" */
    bool on_path; /* some node on the path to the output has it */
    struct ghn_init init;
    const char *why_other; /* kind OTHER: why it is not predicted, as a clause ("relative position
                              tables have no ... primitive") */
};

/* What an operation is to the hypernetwork: the primitives (ghn2-spec B1) it contributes, one after
 * the other. */
enum ghn_emit_kind {
    GHN_EMIT_CONV,
    GHN_EMIT_SEP_CONV,
    GHN_EMIT_DIL_CONV,
    GHN_EMIT_BIAS,
    GHN_EMIT_BN,
    GHN_EMIT_LN,
    GHN_EMIT_POS_ENC,
    GHN_EMIT_MAX_POOL,
    GHN_EMIT_AVG_POOL,
    GHN_EMIT_GLOB_AVG,
    GHN_EMIT_MSA,
};

struct ghn_emit {
    enum ghn_emit_kind kind;
    int param; /* index into ghn_arch.params of the tensor the primitive stands for; -1 for none */
    int64_t kernel[2]; /* of a pool */
};

/* A node of the network. */
struct ghn_arch_node {
    const char *name; /* unique */
    const struct ghn_op *op;
    union ghn_attrs attrs; /* the member that op says */
    int n_inputs;
    const int *inputs;      /* indices of earlier nodes; node 0 is the network's input */
    struct ghn_shape shape; /* of its output, without the batch */
    int n_params;
    const int *params; /* indices into ghn_arch.params, in the order of the op's parameter list;
                          shared ones repeat */
    const char *const
        *slots; /* what each is called within the node: "weight", "bias", "qkv.weight" ... */
    int n_emits;
    const struct ghn_emit *emits; /* its nodes of the GHN graph, as a chain */
    int64_t flops;                /* multiply-adds for one image */
    bool on_path;                 /* the output depends on it */
};

struct ghn_arch {
    const char *name; /* "" if it has none */
    int n_nodes;
    const struct ghn_arch_node
        *nodes; /* in topological order; node 0 is the input, whose op is NULL */
    int output; /* index of the output node */
    int n_params;
    const struct ghn_param *params; /* in the order of the form that was read */
    int64_t n_parameters;           /* elements of all params */
    int64_t flops;                  /* multiply-adds of the nodes on the path, for one image */
    struct ghn_arena arena;         /* everything above lives here */
};

/* Decodes and checks the arch form (`root` is the object with "format": "ghn-arch/1"). `where` is
 * the path of root in errors ("arch", or ""). Errors name the node or field at fault:
 * MISSING_FIELD, UNKNOWN_FIELD, WRONG_TYPE, OUT_OF_RANGE, UNKNOWN_OP, UNKNOWN_INPUT,
 * DUPLICATE_NAME, CYCLE, DISCONNECTED, SHAPE_MISMATCH, TOO_LARGE. Nodes may come in any order. The
 * caller frees with ghn_arch_free. */
enum ghn_status ghn_arch_from_json(const json_t *root, const char *where,
                                   const struct ghn_limits *limits, struct ghn_arch **ret,
                                   struct ghn_err *err) GHN_MUST_CHECK;

/* The arch form of an arch, a new reference (NULL if there is no memory); attributes at their
 * defaults are left out. */
json_t *ghn_arch_to_json(const struct ghn_arch *arch);

/* Frees an arch; NULL is allowed. */
void ghn_arch_free(struct ghn_arch *arch);

/* --- Building an arch in C --- */

struct ghn_arch_builder;

/* A builder with the network's input as node 0. Every call below takes the first failure as final:
 * later calls do nothing and ghn_arch_builder_finish reports it. */
struct ghn_arch_builder *ghn_arch_builder_new(const char *name, const struct ghn_shape *input,
                                              const struct ghn_limits *limits);

/* Adds a node of the operation called op. `name` is copied. attrs is the op's struct from
 * arch/attrs.h, copied (NULL for an op without attributes or for all defaults); inputs are node
 * numbers that earlier calls returned. Returns the new node's number, or -1 after a failure. */
int ghn_arch_builder_add(struct ghn_arch_builder *builder, const char *op, const char *name,
                         const void *attrs, const int *inputs, int n_inputs);

/* Renames parameter `slot` ("weight") of a node; the default is NODE.slot. Two nodes with one
 * parameter name share the tensor. */
void ghn_arch_builder_rename(struct ghn_arch_builder *builder, int node, const char *slot,
                             const char *name);

/* Declares a parameter that no node uses, so that it is reported as off the path to the output. */
void ghn_arch_builder_unused(struct ghn_arch_builder *builder, const char *name,
                             const struct ghn_shape *shape);

/* Records a failure from outside, for a caller that finds one halfway. */
void ghn_arch_builder_fail(struct ghn_arch_builder *builder, enum ghn_status status,
                           const char *where, const char *message);

/* Checks the network whose output is node `output`, hands it over and frees the builder, also on
 * failure. builder may be NULL (GHN_NO_MEMORY). */
enum ghn_status ghn_arch_builder_finish(struct ghn_arch_builder *builder, int output,
                                        struct ghn_arch **ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
