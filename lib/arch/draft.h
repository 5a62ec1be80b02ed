/* An architecture while it is being put together: nodes in the order they were given, inputs that
 * may point forward, nothing inferred yet. */
#ifndef GHN_ARCH_DRAFT_H
#define GHN_ARCH_DRAFT_H

#include "arch/op.h"
#include "base/names.h"

/* A parameter called otherwise than NODE.slot. */
struct ghn_rename {
    const char *slot, *name;
    struct ghn_rename *next;
};

struct ghn_draft_node {
    const char *name, *where; /* where: what errors call it, a JSON path or its name */
    const struct ghn_op *op;  /* NULL for the input */
    union ghn_attrs attrs;
    int *inputs; /* node numbers, in any order */
    int n_inputs;
    struct ghn_rename *renames;
    /* Filled in by inference. */
    struct ghn_shape shape;
    double flops;
    int n_params;
    struct ghn_op_param *params;
    int n_emits;
    struct ghn_emit *emits;
};

struct ghn_unused_param {
    const char *name;
    struct ghn_shape shape;
    struct ghn_unused_param *next;
};

struct ghn_arch_builder {
    struct ghn_arch *arch; /* its arena holds everything here */
    struct ghn_limits limits;
    const char *where; /* path of the arch, for errors about the whole */
    int n_nodes, capacity;
    struct ghn_draft_node *nodes; /* node 0 is the input */
    struct ghn_names names;
    int64_t n_edges;
    struct ghn_unused_param *unused, **unused_end;
    int n_unused;
    struct ghn_err err;
};

/* A builder whose network has the given title, and an input of that name. */
struct ghn_arch_builder *ghn__builder_new(const char *title, const char *input_name,
                                          const struct ghn_shape *input,
                                          const struct ghn_limits *limits);

/* Appends a node and returns its number, or -1 with the builder's err set. inputs are taken as they
 * are, not copied. */
int ghn__draft_node(struct ghn_arch_builder *builder, const char *name, const char *where,
                    const struct ghn_op *op, const union ghn_attrs *attrs, int *inputs,
                    int n_inputs);

/* Checks that text is fit to name a node or tensor: 1 to max bytes of UTF-8 without control
 * characters. */
enum ghn_status ghn__check_name(const char *text, size_t max, const char *where,
                                struct ghn_err *err) GHN_MUST_CHECK;

enum { GHN_NODE_NAME_MAX = 256, GHN_PARAM_NAME_MAX = 512 };

/* Orders the nodes topologically: ret_order[i] is the number of the node that comes i-th. Those
 * given in a valid order keep it. CYCLE names a node of a cycle. */
enum ghn_status ghn__draft_sort(struct ghn_arch_builder *builder, int *ret_order) GHN_MUST_CHECK;

/* Infers shapes, parameters and costs of all nodes, in that order. */
enum ghn_status ghn__draft_infer(struct ghn_arch_builder *builder, const int *order) GHN_MUST_CHECK;

/* Fills in builder->arch from nodes that are sorted and inferred. */
enum ghn_status ghn__draft_finish(struct ghn_arch_builder *builder, const int *order,
                                  int output) GHN_MUST_CHECK;

#endif
