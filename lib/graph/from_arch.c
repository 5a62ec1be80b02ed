/* The GHN graph of an architecture, by the canonical rules of ghn2-spec B2.
 *
 * Every node of the arch has a *source set*: the graph nodes its output comes from once everything
 * without a node of its own is contracted away. A layer's first graph node has its inputs' sources
 * as predecessors, and the layer's last graph node is its own source set. An empty set is a
 * constant: something that does not depend on the input. */
#include <string.h>

#include "arch/op.h"
#include "graph/graph.h"

/* What is contracted away may gather ever more sources (a chain of products of different layers);
 * this many members of source sets, 16 MiB of them, are allowed. */
enum { GATHERED_MAX = 1 << 22 };

/* A set of graph nodes, ascending. */
struct sources {
    const int *at;
    int n;
};

struct builder {
    const struct ghn_arch *arch;
    const struct ghn_limits *limits;
    struct ghn_graph *graph; /* gets its arrays at the end */
    struct ghn_graph_node *nodes;
    int n_nodes, capacity;
    int64_t n_edges;
    struct sources *sources; /* of every arch node */
    int64_t n_gathered;      /* members of all the unions that were made */
    struct ghn_slot
        *slots;   /* of every parameter, with its name; the rest is filled in at the end */
    int *node_of; /* of every parameter: the graph node it is decoded from, or -1 */
    int *gate_of; /* of every arch node that is a squeeze-excite product: its gate's operand number
                     plus 1; else 0 */
    bool *is_squeeze; /* arch nodes that are a squeeze-excite's mean, which has no node */
    const char *at;   /* the arch node that is visited */
    struct ghn_err *err;
};

/* --- Squeeze-excite (rule 10) --- */

/* Goes back from arch node i over what leaves values as they are. */
static int skip_identities(const struct ghn_arch *arch, int i) {
    static const char *const transparent[] = {"identity", "dropout", "reshape", "flatten", NULL};
    while (arch->nodes[i].op && arch->nodes[i].n_inputs == 1) {
        int k = 0;
        while (transparent[k] && strcmp(transparent[k], arch->nodes[i].op->name) != 0)
            k++;
        if (!transparent[k])
            break;
        i = arch->nodes[i].inputs[0];
    }
    return i;
}

/* Whether a node averages over all of space: (C, H, W) to (C) or (C, 1, 1). */
static bool averages_space(const struct ghn_arch *arch, const struct ghn_arch_node *node) {
    if (!node->op || node->op->role != GHN_ROLE_MEAN)
        return false;
    const struct ghn_shape *in = &arch->nodes[node->inputs[0]].shape, *out = &node->shape;
    if (in->ndim != 3 || out->ndim < 1 || out->dim[0] != in->dim[0])
        return false;
    for (int i = 1; i < out->ndim; i++)
        if (out->dim[i] != 1)
            return false;
    return out->ndim == 1 || out->ndim == 3;
}

/* If operand `gate` of a product is a squeeze-excite gate for operand x (a gate function of
 * something computed, layer by layer, from x's spatial mean): the node of that mean; else -1. */
static int squeeze_of(const struct ghn_arch *arch, int gate, int x) {
    int i = skip_identities(arch, gate);
    if (!arch->nodes[i].op || arch->nodes[i].op->role != GHN_ROLE_GATE)
        return -1;
    x = skip_identities(arch, x);
    while (arch->nodes[i].op && arch->nodes[i].n_inputs == 1) {
        i = arch->nodes[i].inputs[0];
        if (averages_space(arch, &arch->nodes[i]))
            return skip_identities(arch, arch->nodes[i].inputs[0]) == x ? i : -1;
    }
    return -1;
}

static void find_squeezes(struct builder *b) {
    for (int i = 0; i < b->arch->n_nodes; i++) {
        const struct ghn_arch_node *node = &b->arch->nodes[i];
        if (!node->op || node->op->role != GHN_ROLE_PRODUCT || node->n_inputs != 2)
            continue;
        for (int gate = 1; gate >= 0 && !b->gate_of[i]; gate--) {
            int mean = squeeze_of(b->arch, node->inputs[gate], node->inputs[1 - gate]);
            if (mean < 0)
                continue;
            b->gate_of[i] = gate + 1;
            b->is_squeeze[mean] = true;
        }
    }
}

/* --- Source sets --- */

/* The union of two ascending sets, in the graph's arena (or one of them, if it has all). */
static enum ghn_status unite(struct builder *b, struct sources x, struct sources y,
                             struct sources *ret) {
    if (y.n == 0 || (x.n == y.n && x.n && memcmp(x.at, y.at, (size_t)x.n * sizeof(int)) == 0)) {
        *ret = x;
        return GHN_OK;
    }
    if (x.n == 0) {
        *ret = y;
        return GHN_OK;
    }
    b->n_gathered += x.n + y.n;
    if (b->n_gathered > GATHERED_MAX)
        return ghn_fail(b->err, GHN_TOO_LARGE, b->at,
                        "too many values without a node of their own join one another");
    int *at = ghn_arena_array(&b->graph->arena, (size_t)x.n + (size_t)y.n, sizeof(int));
    if (!at)
        return ghn_fail_memory(b->err);
    int n = 0, i = 0, j = 0;
    while (i < x.n || j < y.n) {
        int next = j == y.n || (i < x.n && x.at[i] <= y.at[j]) ? x.at[i] : y.at[j];
        i += i < x.n && x.at[i] == next;
        j += j < y.n && y.at[j] == next;
        at[n++] = next;
    }
    *ret = (struct sources){at, n};
    return GHN_OK;
}

static enum ghn_status unite_inputs(struct builder *b, const struct ghn_arch_node *node,
                                    struct sources *ret) {
    struct sources all = {NULL, 0};
    for (int i = 0; i < node->n_inputs; i++) {
        enum ghn_status status = unite(b, all, b->sources[node->inputs[i]], &all);
        if (status != GHN_OK)
            return status;
    }
    *ret = all;
    return GHN_OK;
}

/* --- Nodes --- */

/* Appends a graph node with those predecessors and makes it the only member of *ret. */
static enum ghn_status add_node(struct builder *b, enum ghn_primitive op, const char *name,
                                const struct ghn_shape *shape, struct sources preds,
                                struct sources *ret) {
    int *self = ghn_arena_alloc(&b->graph->arena, sizeof(*self));
    if (!self)
        return ghn_fail_memory(b->err);
    if (b->n_nodes >= b->limits->max_graph_nodes)
        return ghn_fail(b->err, GHN_TOO_LARGE, b->at, "here the GHN graph gets more than %d nodes",
                        b->limits->max_graph_nodes);
    b->n_edges += preds.n;
    if (b->n_edges > b->limits->max_edges)
        return ghn_fail(b->err, GHN_TOO_LARGE, b->at, "here the GHN graph gets more than %d edges",
                        b->limits->max_edges);
    if (b->n_nodes == b->capacity) {
        int capacity = b->capacity ? 2 * b->capacity : 128;
        struct ghn_graph_node *nodes =
            ghn_arena_array(&b->graph->arena, (size_t)capacity, sizeof(*nodes));
        if (!nodes)
            return ghn_fail_memory(b->err);
        if (b->n_nodes)
            memcpy(nodes, b->nodes, (size_t)b->n_nodes * sizeof(*nodes));
        b->nodes = nodes;
        b->capacity = capacity;
    }
    struct ghn_graph_node *node = &b->nodes[b->n_nodes];
    *node = (struct ghn_graph_node){.op = op, .name = name, .n_preds = preds.n, .preds = preds.at};
    if (shape)
        node->shape = *shape;
    *self = b->n_nodes++;
    *ret = (struct sources){self, 1};
    return GHN_OK;
}

static enum ghn_primitive primitive_of(enum ghn_emit_kind kind) {
    static const enum ghn_primitive primitives[] = {
        [GHN_EMIT_CONV] = GHN_PRIMITIVE_CONV,
        [GHN_EMIT_SEP_CONV] = GHN_PRIMITIVE_SEP_CONV,
        [GHN_EMIT_DIL_CONV] = GHN_PRIMITIVE_DIL_CONV,
        [GHN_EMIT_BIAS] = GHN_PRIMITIVE_BIAS,
        [GHN_EMIT_BN] = GHN_PRIMITIVE_BN,
        [GHN_EMIT_LN] = GHN_PRIMITIVE_LN,
        [GHN_EMIT_POS_ENC] = GHN_PRIMITIVE_POS_ENC,
        [GHN_EMIT_MAX_POOL] = GHN_PRIMITIVE_MAX_POOL,
        [GHN_EMIT_AVG_POOL] = GHN_PRIMITIVE_AVG_POOL,
        [GHN_EMIT_GLOB_AVG] = GHN_PRIMITIVE_GLOB_AVG,
        [GHN_EMIT_MSA] = GHN_PRIMITIVE_MSA,
    };
    return primitives[kind];
}

/* The nodes of a layer, one behind the other. A layer whose inputs are constants gets none (rule
 * 12: every node but pos_enc is reachable from the input), and its parameters are not predicted. */
static enum ghn_status add_layer(struct builder *b, int index, struct sources preds) {
    const struct ghn_arch_node *node = &b->arch->nodes[index];
    struct sources at = preds;
    for (int i = 0; i < node->n_emits; i++) {
        const struct ghn_emit *emit = &node->emits[i];
        if (at.n == 0 && emit->kind != GHN_EMIT_POS_ENC)
            break;
        if (emit->kind == GHN_EMIT_GLOB_AVG && b->is_squeeze[index])
            continue;
        const char *name = NULL;
        struct ghn_shape pool = {4, {1, 1, emit->kernel[0], emit->kernel[1]}};
        const struct ghn_shape *shape = emit->kernel[0] ? &pool : NULL;
        if (emit->param >= 0) {
            name = b->slots[emit->param].name;
            shape = &b->arch->params[emit->param].shape;
        }
        int number = b->n_nodes;
        enum ghn_status status = add_node(b, primitive_of(emit->kind), name, shape, at, &at);
        if (status != GHN_OK)
            return status;
        /* A shared tensor is decoded from the first node that has it. */
        if (emit->param >= 0 && b->node_of[emit->param] < 0)
            b->node_of[emit->param] = number;
    }
    b->sources[index] = at;
    return GHN_OK;
}

/* A sum, concat or cse: one node, or nothing where its operands come from one node or are constants
 * (rules 4, 5). */
static enum ghn_status add_join(struct builder *b, int index, struct sources all) {
    const struct ghn_arch_node *node = &b->arch->nodes[index];
    enum ghn_op_role role = node->op->role;
    enum ghn_primitive op = role == GHN_ROLE_SUM      ? GHN_PRIMITIVE_SUM
                            : role == GHN_ROLE_CONCAT ? GHN_PRIMITIVE_CONCAT
                                                      : GHN_PRIMITIVE_CSE;
    bool joins = all.n >= 2;
    if (role == GHN_ROLE_SUM)
        for (int i = 0; i < node->n_inputs; i++)
            joins = joins && node->n_inputs == 2 && b->sources[node->inputs[i]].n > 0;
    if (role == GHN_ROLE_PRODUCT)
        joins = b->gate_of[index] != 0 && all.n > 0;
    b->sources[index] = all;
    return joins ? add_node(b, op, NULL, NULL, all, &b->sources[index]) : GHN_OK;
}

static enum ghn_status visit(struct builder *b, int index) {
    const struct ghn_arch_node *node = &b->arch->nodes[index];
    if (!node->op)
        return add_node(b, GHN_PRIMITIVE_INPUT, NULL, NULL, (struct sources){NULL, 0},
                        &b->sources[index]);
    if (node->op->role == GHN_ROLE_ZERO)
        return GHN_OK;
    struct sources all;
    enum ghn_status status = unite_inputs(b, node, &all);
    if (status != GHN_OK)
        return status;
    switch (node->op->role) {
    case GHN_ROLE_SUM:
    case GHN_ROLE_CONCAT:
    case GHN_ROLE_PRODUCT:
        return add_join(b, index, all);
    default:
        return add_layer(b, index, all);
    }
}

/* --- Slots --- */

static const char why_constant[] = "it does not act on anything computed from the network's input";

/* The norm weight that a norm's bias is predicted together with. */
static int norm_weight_of(const struct ghn_arch *arch, int param) {
    const struct ghn_arch_node *node = &arch->nodes[arch->params[param].node];
    for (int i = 0; i < node->n_params; i++)
        if (arch->params[node->params[i]].kind == GHN_PARAM_NORM_WEIGHT)
            return node->params[i];
    return param;
}

static void fill_slot(const struct builder *b, int index) {
    const struct ghn_param *param = &b->arch->params[index];
    struct ghn_slot *slot = &b->slots[index];
    bool norm_bias = param->kind == GHN_PARAM_NORM_BIAS;
    slot->shape = param->shape;
    slot->init = param->init;
    slot->node = -1;
    if (param->on_path)
        slot->node = b->node_of[norm_bias ? norm_weight_of(b->arch, index) : index];
    (void)ghn_shape_numel(&param->shape, &slot->numel);
    if (!param->on_path) {
        slot->kind = GHN_SLOT_OFF_PATH;
        slot->why = "the network's output does not depend on it";
    } else if (slot->node < 0) {
        slot->kind = GHN_SLOT_INIT;
        slot->why = param->kind == GHN_PARAM_OTHER ? param->why_other : why_constant;
    } else if (norm_bias || param->kind == GHN_PARAM_BIAS) {
        slot->kind = GHN_SLOT_BIAS;
    } else {
        slot->kind = param->kind == GHN_PARAM_NORM_WEIGHT ? GHN_SLOT_NORM_WEIGHT : GHN_SLOT_WEIGHT;
    }
}

/* --- The whole --- */

/* Everything that is needed while building; names go into the graph, which outlives the arch. */
static enum ghn_status allocate(struct builder *b) {
    size_t n = (size_t)b->arch->n_nodes, n_params = (size_t)b->arch->n_params;
    b->sources = ghn_calloc(n, sizeof(*b->sources));
    b->gate_of = ghn_calloc(n, sizeof(*b->gate_of));
    b->is_squeeze = ghn_calloc(n, sizeof(*b->is_squeeze));
    b->node_of = ghn_calloc(n_params, sizeof(*b->node_of));
    b->slots = ghn_arena_array(&b->graph->arena, n_params, sizeof(*b->slots));
    if (!b->sources || !b->gate_of || !b->is_squeeze || !b->node_of || !b->slots)
        return ghn_fail_memory(b->err);
    for (size_t i = 0; i < n_params; i++) {
        b->node_of[i] = -1;
        b->slots[i].name = ghn_arena_strdup(&b->graph->arena, b->arch->params[i].name);
        if (!b->slots[i].name)
            return ghn_fail_memory(b->err);
    }
    return GHN_OK;
}

static enum ghn_status build(struct builder *b) {
    const struct ghn_arch *arch = b->arch;
    enum ghn_status status = GHN_OK;
    find_squeezes(b);
    for (int i = 0; i < arch->n_nodes && status == GHN_OK; i++) {
        if (!arch->nodes[i].on_path)
            continue;
        b->at = arch->nodes[i].name;
        status = visit(b, i);
    }
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < arch->n_params; i++)
        fill_slot(b, i);
    b->graph->nodes = b->nodes;
    b->graph->n_nodes = b->n_nodes;
    b->graph->slots = b->slots;
    b->graph->n_slots = arch->n_params;
    return ghn__graph_finish(b->graph, arch->name, b->limits, b->err);
}

enum ghn_status ghn_graph_from_arch(const struct ghn_arch *arch, const struct ghn_limits *limits,
                                    struct ghn_graph **ret, struct ghn_err *err) {
    struct builder b = {.arch = arch, .limits = limits, .err = err};
    b.graph = ghn_calloc(1, sizeof(*b.graph));
    enum ghn_status status = b.graph ? allocate(&b) : ghn_fail_memory(err);
    if (status == GHN_OK)
        status = build(&b);
    ghn_free(b.sources);
    ghn_free(b.gate_of);
    ghn_free(b.is_squeeze);
    ghn_free(b.node_of);
    if (status == GHN_OK)
        *ret = b.graph;
    else
        ghn_graph_free(b.graph);
    return status;
}
