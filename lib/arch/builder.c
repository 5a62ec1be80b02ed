/* Putting an architecture together, node by node. */
#include <stdio.h>
#include <string.h>

#include "arch/draft.h"
#include "base/utf8.h"

const struct ghn_limits ghn_limits_default = {
    .max_nodes = 16384,
    .max_graph_nodes = 4096,
    .max_edges = 65536,
    .max_params = (int64_t)1 << 30,
    .max_flops = 10000000000000,
    .max_activation = (int64_t)1 << 30,
};

enum ghn_status ghn__check_name(const char *text, size_t max, const char *where,
                                struct ghn_err *err) {
    size_t n = strlen(text);
    bool fit = n >= 1 && n <= max && ghn_utf8_valid(text, n);
    for (size_t i = 0; i < n && fit; i++)
        fit = (unsigned char)text[i] >= 0x20 && text[i] != 0x7F;
    if (fit)
        return GHN_OK;
    return ghn_fail(err, GHN_OUT_OF_RANGE, where,
                    "\"%.64s\" is no name: expected 1 to %zu bytes without control characters",
                    text, max);
}

/* Room for one more node. */
static bool reserve(struct ghn_arch_builder *builder) {
    if (builder->n_nodes < builder->capacity)
        return true;
    int capacity = builder->capacity ? builder->capacity * 2 : 64;
    struct ghn_draft_node *nodes =
        ghn_realloc(builder->nodes, (size_t)builder->capacity * sizeof(*nodes),
                    (size_t)capacity * sizeof(*nodes));
    if (!nodes)
        return false;
    builder->nodes = nodes;
    builder->capacity = capacity;
    return true;
}

static enum ghn_status check_node(struct ghn_arch_builder *builder, const char *name,
                                  const char *where, const struct ghn_op *op, int n_inputs) {
    struct ghn_err *err = &builder->err;
    if (builder->n_nodes >= builder->limits.max_nodes)
        return ghn_fail(err, GHN_TOO_LARGE, where, "more than %d nodes", builder->limits.max_nodes);
    builder->n_edges += n_inputs;
    if (builder->n_edges > builder->limits.max_edges)
        return ghn_fail(err, GHN_TOO_LARGE, where, "more than %d edges", builder->limits.max_edges);
    enum ghn_status status = ghn__check_name(name, GHN_NODE_NAME_MAX, where, err);
    if (status != GHN_OK || !op)
        return status;
    if (n_inputs < op->min_inputs || n_inputs > op->max_inputs) {
        char range[48];
        (void)snprintf(range, sizeof(range), op->min_inputs == op->max_inputs ? "%d" : "%d to %d",
                       op->min_inputs, op->max_inputs);
        return ghn_fail(err, GHN_OUT_OF_RANGE, where, "%s \"%s\" has %d inputs, expected %s",
                        op->name, name, n_inputs, range);
    }
    return GHN_OK;
}

int ghn__draft_node(struct ghn_arch_builder *builder, const char *name, const char *where,
                    const struct ghn_op *op, const union ghn_attrs *attrs, int *inputs,
                    int n_inputs) {
    if (check_node(builder, name, where, op, n_inputs) != GHN_OK)
        return -1;
    int i = builder->n_nodes;
    int mapped = reserve(builder) ? ghn_names_add(&builder->names, name, i) : GHN_NAMES_NO_MEMORY;
    if (mapped == GHN_NAMES_NO_MEMORY) {
        (void)ghn_fail_memory(&builder->err);
        return -1;
    }
    if (mapped != i) {
        (void)ghn_fail(&builder->err, GHN_DUPLICATE_NAME, where,
                       "the name \"%s\" is taken by another node", name);
        return -1;
    }
    struct ghn_draft_node *node = &builder->nodes[builder->n_nodes++];
    memset(node, 0, sizeof(*node));
    node->name = name;
    node->where = where;
    node->op = op;
    if (attrs)
        node->attrs = *attrs;
    node->inputs = inputs;
    node->n_inputs = n_inputs;
    return i;
}

static void free_builder(struct ghn_arch_builder *builder) {
    ghn_arch_free(builder->arch);
    ghn_free(builder->nodes);
    ghn_names_done(&builder->names);
    ghn_free(builder);
}

void ghn_arch_free(struct ghn_arch *arch) {
    if (!arch)
        return;
    ghn_arena_done(&arch->arena);
    ghn_free(arch);
}

struct ghn_arch_builder *ghn__builder_new(const char *title, const char *input_name,
                                          const struct ghn_shape *input,
                                          const struct ghn_limits *limits) {
    struct ghn_arch_builder *builder = ghn_calloc(1, sizeof(*builder));
    if (!builder)
        return NULL;
    builder->unused_end = &builder->unused;
    builder->limits = *limits;
    builder->where = "";
    builder->arch = ghn_calloc(1, sizeof(*builder->arch));
    struct ghn_arena *arena = builder->arch ? &builder->arch->arena : NULL;
    const char *name = arena ? ghn_arena_strdup(arena, input_name) : NULL;
    if (name)
        builder->arch->name = ghn_arena_strdup(arena, title);
    if (!name || !builder->arch->name ||
        ghn__draft_node(builder, name, "input", NULL, NULL, NULL, 0) != 0) {
        free_builder(builder);
        return NULL;
    }
    builder->nodes[0].shape = *input;
    return builder;
}

struct ghn_arch_builder *ghn_arch_builder_new(const char *name, const struct ghn_shape *input,
                                              const struct ghn_limits *limits) {
    return ghn__builder_new(name, "input", input, limits);
}

int ghn_arch_builder_add(struct ghn_arch_builder *builder, const char *op_name, const char *name,
                         const void *attrs, const int *inputs, int n_inputs) {
    if (!builder || builder->err.status != GHN_OK)
        return -1;
    struct ghn_arena *arena = &builder->arch->arena;
    const struct ghn_op *op = ghn_op_find(op_name);
    if (!op) {
        (void)ghn_fail(&builder->err, GHN_UNKNOWN_OP, name, "there is no operation \"%s\"",
                       op_name);
        return -1;
    }
    union ghn_attrs values;
    memset(&values, 0, sizeof(values));
    if (op->attrs_size)
        memcpy(&values, attrs ? attrs : op->defaults, op->attrs_size);
    if (ghn__attrs_check(op, &values, name, &builder->err) != GHN_OK)
        return -1;
    char *copy = ghn_arena_strdup(arena, name);
    int *list = ghn_arena_array(arena, (size_t)n_inputs, sizeof(*list));
    if (!copy || !list) {
        (void)ghn_fail_memory(&builder->err);
        return -1;
    }
    for (int i = 0; i < n_inputs; i++) {
        if (inputs[i] < 0 || inputs[i] >= builder->n_nodes) {
            (void)ghn_fail(&builder->err, GHN_UNKNOWN_INPUT, name, "there is no node %d",
                           inputs[i]);
            return -1;
        }
        list[i] = inputs[i];
    }
    return ghn__draft_node(builder, copy, copy, op, &values, list, n_inputs);
}

void ghn_arch_builder_rename(struct ghn_arch_builder *builder, int node, const char *slot,
                             const char *name) {
    if (!builder || builder->err.status != GHN_OK || node < 0)
        return;
    struct ghn_arena *arena = &builder->arch->arena;
    struct ghn_rename *rename = ghn_arena_alloc(arena, sizeof(*rename));
    if (rename) {
        rename->slot = ghn_arena_strdup(arena, slot);
        rename->name = ghn_arena_strdup(arena, name);
    }
    if (!rename || !rename->slot || !rename->name) {
        (void)ghn_fail_memory(&builder->err);
        return;
    }
    rename->next = builder->nodes[node].renames;
    builder->nodes[node].renames = rename;
}

void ghn_arch_builder_unused(struct ghn_arch_builder *builder, const char *name,
                             const struct ghn_shape *shape) {
    if (!builder || builder->err.status != GHN_OK)
        return;
    if (builder->n_unused++ >= builder->limits.max_nodes) {
        (void)ghn_fail(&builder->err, GHN_TOO_LARGE, name, "more than %d unused parameters",
                       builder->limits.max_nodes);
        return;
    }
    struct ghn_arena *arena = &builder->arch->arena;
    struct ghn_unused_param *param = ghn_arena_alloc(arena, sizeof(*param));
    if (param)
        param->name = ghn_arena_strdup(arena, name);
    if (!param || !param->name) {
        (void)ghn_fail_memory(&builder->err);
        return;
    }
    param->shape = *shape;
    *builder->unused_end = param;
    builder->unused_end = &param->next;
}

void ghn_arch_builder_fail(struct ghn_arch_builder *builder, enum ghn_status status,
                           const char *where, const char *message) {
    if (builder)
        (void)ghn_fail(&builder->err, status, where, "%s", message);
}

enum ghn_status ghn_arch_builder_finish(struct ghn_arch_builder *builder, int output,
                                        struct ghn_arch **ret, struct ghn_err *err) {
    if (!builder)
        return ghn_fail_memory(err);
    enum ghn_status status = builder->err.status;
    int *order = NULL;
    if (status == GHN_OK && (output < 0 || output >= builder->n_nodes))
        status =
            ghn_fail(&builder->err, GHN_UNKNOWN_INPUT, "output", "there is no node %d", output);
    if (status == GHN_OK) {
        order = ghn_calloc((size_t)builder->n_nodes, sizeof(*order));
        status = order ? ghn__draft_sort(builder, order) : ghn_fail_memory(&builder->err);
    }
    if (status == GHN_OK)
        status = ghn__draft_infer(builder, order);
    if (status == GHN_OK)
        status = ghn__draft_finish(builder, order, output);
    if (status == GHN_OK) {
        *ret = builder->arch;
        builder->arch = NULL;
    } else if (err && err->status == GHN_OK) {
        *err = builder->err;
    }
    ghn_free(order);
    free_builder(builder);
    return status;
}
