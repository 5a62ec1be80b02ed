/* Shape inference over a draft, and the arch that comes of it. */
#include <stdio.h>
#include <string.h>

#include "arch/draft.h"
#include "base/checked.h"

/* --- Inference --- */

static enum ghn_status check_activation(struct ghn_arch_builder *builder,
                                        const struct ghn_draft_node *node) {
    int64_t numel;
    char text[GHN_SHAPE_TEXT];
    if (ghn_shape_numel(&node->shape, &numel) && numel <= builder->limits.max_activation)
        return GHN_OK;
    return ghn_fail(&builder->err, GHN_TOO_LARGE, node->where,
                    "the output of \"%s\" would be %s, more than %lld elements", node->name,
                    ghn_shape_text(&node->shape, text, sizeof(text)),
                    (long long)builder->limits.max_activation);
}

/* Keeps what an infer function found. */
static enum ghn_status keep(struct ghn_arch_builder *builder, struct ghn_draft_node *node,
                            const struct ghn_infer *infer) {
    struct ghn_arena *arena = &builder->arch->arena;
    node->shape = infer->shape;
    node->flops = infer->flops;
    node->n_params = infer->n_params;
    node->n_emits = infer->n_emits;
    node->params = ghn_arena_array(arena, (size_t)infer->n_params, sizeof(*node->params));
    node->emits = ghn_arena_array(arena, (size_t)infer->n_emits, sizeof(*node->emits));
    if (!node->params || !node->emits)
        return ghn_fail_memory(&builder->err);
    memcpy(node->params, infer->params, (size_t)infer->n_params * sizeof(*node->params));
    memcpy(node->emits, infer->emits, (size_t)infer->n_emits * sizeof(*node->emits));
    return check_activation(builder, node);
}

static enum ghn_status infer_node(struct ghn_arch_builder *builder, struct ghn_draft_node *node,
                                  const struct ghn_shape **inputs) {
    for (int i = 0; i < node->n_inputs; i++)
        inputs[i] = &builder->nodes[node->inputs[i]].shape;
    struct ghn_infer infer = {
        .attrs = &node->attrs,
        .n_inputs = node->n_inputs,
        .inputs = inputs,
        .op_name = node->op->name,
        .node_name = node->name,
        .where = node->where,
        .err = &builder->err,
    };
    enum ghn_status status = node->op->infer(&infer);
    return status == GHN_OK ? keep(builder, node, &infer) : status;
}

static enum ghn_status check_input(struct ghn_arch_builder *builder) {
    const struct ghn_draft_node *input = &builder->nodes[0];
    for (int i = 0; i < input->shape.ndim; i++)
        if (input->shape.dim[i] < 1)
            return ghn_fail(&builder->err, GHN_OUT_OF_RANGE, input->where,
                            "dimension %d of the input is %lld, expected 1 or more", i,
                            (long long)input->shape.dim[i]);
    return check_activation(builder, input);
}

enum ghn_status ghn__draft_infer(struct ghn_arch_builder *builder, const int *order) {
    const struct ghn_shape **inputs = ghn_calloc(GHN_MAX_INPUTS, sizeof(*inputs));
    if (!inputs)
        return ghn_fail_memory(&builder->err);
    enum ghn_status status = check_input(builder);
    for (int i = 0; i < builder->n_nodes && status == GHN_OK; i++) {
        struct ghn_draft_node *node = &builder->nodes[order[i]];
        if (node->op)
            status = infer_node(builder, node, inputs);
    }
    ghn_free(inputs);
    return status;
}

/* --- Parameters --- */

/* The work of collecting every node's parameters into the arch's list. */
struct collector {
    struct ghn_arch_builder *builder;
    struct ghn_param *params;
    bool *renamed; /* for each of them: whether its name was given explicitly */
    int n;
    struct ghn_names names;
    int64_t total;
};

static const char *param_name(struct ghn_arch_builder *builder, const struct ghn_draft_node *node,
                              const char *slot, bool *ret_renamed) {
    for (const struct ghn_rename *rename = node->renames; rename; rename = rename->next) {
        if (strcmp(rename->slot, slot) == 0) {
            *ret_renamed = true;
            return rename->name;
        }
    }
    *ret_renamed = false;
    const char *name = ghn_arena_printf(&builder->arch->arena, "%s.%s", node->name, slot);
    if (!name)
        (void)ghn_fail_memory(&builder->err);
    return name;
}

/* A rename whose slot the operation does not have is a mistake that would otherwise pass unnoticed.
 */
static enum ghn_status check_renames(struct ghn_arch_builder *builder,
                                     const struct ghn_draft_node *node) {
    for (const struct ghn_rename *rename = node->renames; rename; rename = rename->next) {
        bool found = false;
        for (int i = 0; i < node->n_params && !found; i++)
            found = strcmp(rename->slot, node->params[i].slot) == 0;
        if (!found)
            return ghn_fail(&builder->err, GHN_UNKNOWN_FIELD, node->where,
                            "params: %s \"%s\" has no parameter \"%s\"", node->op->name, node->name,
                            rename->slot);
        enum ghn_status status =
            ghn__check_name(rename->name, GHN_PARAM_NAME_MAX, node->where, &builder->err);
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

/* A name met again is a shared tensor if one of the two places asked for it by name, and the
 * tensors agree. */
static enum ghn_status check_shared(struct collector *all, const struct ghn_draft_node *node,
                                    const struct ghn_op_param *param, int old, bool renamed) {
    const struct ghn_param *first = &all->params[old];
    struct ghn_err *err = &all->builder->err;
    if (!renamed && !all->renamed[old])
        return ghn_fail(err, GHN_DUPLICATE_NAME, node->where,
                        "the parameter name \"%s\" is taken by another node", first->name);
    if (ghn_shape_equal(&first->shape, &param->shape) && first->kind == param->kind)
        return GHN_OK;
    char a[GHN_SHAPE_TEXT], b[GHN_SHAPE_TEXT];
    return ghn_fail(err, GHN_SHAPE_MISMATCH, node->where,
                    "\"%s\" needs the shared parameter \"%s\" as %s, but it is %s", node->name,
                    first->name, ghn_shape_text(&param->shape, a, sizeof(a)),
                    ghn_shape_text(&first->shape, b, sizeof(b)));
}

static enum ghn_status count_param(struct collector *all, const struct ghn_shape *shape,
                                   const char *where, const char *name) {
    int64_t numel;
    struct ghn_arch_builder *builder = all->builder;
    if (ghn_shape_numel(shape, &numel) && ghn_add_i64(all->total, numel, &all->total) &&
        all->total <= builder->limits.max_params)
        return GHN_OK;
    char text[GHN_SHAPE_TEXT];
    return ghn_fail(&builder->err, GHN_TOO_LARGE, where,
                    "with \"%s\" %s the network has more than %lld parameters", name,
                    ghn_shape_text(shape, text, sizeof(text)),
                    (long long)builder->limits.max_params);
}

/* Adds a parameter of a node, or finds it among those there are. */
static enum ghn_status add_param(struct collector *all, int node_index,
                                 const struct ghn_op_param *param, int *ret) {
    const struct ghn_draft_node *node = &all->builder->nodes[node_index];
    bool renamed;
    const char *name = param_name(all->builder, node, param->slot, &renamed);
    int at = name ? ghn_names_add(&all->names, name, all->n) : GHN_NAMES_NO_MEMORY;
    if (at == GHN_NAMES_NO_MEMORY)
        return ghn_fail_memory(&all->builder->err);
    *ret = at;
    if (at != all->n)
        return check_shared(all, node, param, at, renamed);
    all->params[at] = (struct ghn_param){.name = name,
                                         .shape = param->shape,
                                         .kind = param->kind,
                                         .node = node_index,
                                         .init = param->init,
                                         .why_other = param->why_other};
    all->renamed[at] = renamed;
    all->n++;
    return count_param(all, &param->shape, node->where, name);
}

static enum ghn_status add_unused(struct collector *all) {
    struct ghn_arch_builder *builder = all->builder;
    for (const struct ghn_unused_param *u = builder->unused; u; u = u->next) {
        enum ghn_status status =
            ghn__check_name(u->name, GHN_PARAM_NAME_MAX, builder->where, &builder->err);
        if (status != GHN_OK)
            return status;
        int at = ghn_names_add(&all->names, u->name, all->n);
        if (at == GHN_NAMES_NO_MEMORY)
            return ghn_fail_memory(&builder->err);
        if (at != all->n)
            return ghn_fail(&builder->err, GHN_DUPLICATE_NAME, builder->where,
                            "the unused parameter \"%s\" is also a node's", u->name);
        all->params[all->n++] = (struct ghn_param){
            .name = u->name, .shape = u->shape, .kind = GHN_PARAM_OTHER, .node = -1};
        status = count_param(all, &u->shape, builder->where, u->name);
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

/* --- The arch --- */

/* Gives node `to`, the arch's copy of draft node `index`, its parameters and emits. */
static enum ghn_status collect_node(struct collector *all, int index, struct ghn_arch_node *to) {
    struct ghn_arch_builder *builder = all->builder;
    struct ghn_draft_node *node = &builder->nodes[index];
    enum ghn_status status = check_renames(builder, node);
    int *params = ghn_arena_array(&builder->arch->arena, (size_t)node->n_params, sizeof(*params));
    const char **slots =
        ghn_arena_array(&builder->arch->arena, (size_t)node->n_params, sizeof(*slots));
    if (status == GHN_OK && (!params || !slots))
        status = ghn_fail_memory(&builder->err);
    for (int i = 0; i < node->n_params && status == GHN_OK; i++) {
        slots[i] = node->params[i].slot;
        status = add_param(all, index, &node->params[i], &params[i]);
    }
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < node->n_emits; i++)
        if (node->emits[i].param >= 0)
            node->emits[i].param = params[node->emits[i].param];
    to->params = params;
    to->slots = slots;
    to->n_params = node->n_params;
    to->emits = node->emits;
    to->n_emits = node->n_emits;
    return GHN_OK;
}

/* Copies the nodes in topological order; place[i] becomes the new number of draft node i. */
static void copy_nodes(struct ghn_arch_builder *builder, const int *order, int *place,
                       struct ghn_arch_node *nodes) {
    for (int i = 0; i < builder->n_nodes; i++)
        place[order[i]] = i;
    for (int i = 0; i < builder->n_nodes; i++) {
        struct ghn_draft_node *from = &builder->nodes[order[i]];
        for (int j = 0; j < from->n_inputs; j++)
            from->inputs[j] = place[from->inputs[j]];
        nodes[i] = (struct ghn_arch_node){
            .name = from->name,
            .op = from->op,
            .attrs = from->attrs,
            .n_inputs = from->n_inputs,
            .inputs = from->inputs,
            .shape = from->shape,
            .flops = from->flops < 9e18 ? (int64_t)from->flops : INT64_MAX,
        };
    }
}

/* Marks what the output depends on, and adds up its cost. */
static enum ghn_status mark_path(struct ghn_arch_builder *builder, struct ghn_arch_node *nodes,
                                 struct ghn_param *params, int output) {
    nodes[output].on_path = true;
    double flops = 0;
    for (int i = output; i >= 0; i--) {
        if (!nodes[i].on_path)
            continue;
        flops += (double)nodes[i].flops;
        for (int j = 0; j < nodes[i].n_inputs; j++)
            nodes[nodes[i].inputs[j]].on_path = true;
        for (int j = 0; j < nodes[i].n_params; j++)
            params[nodes[i].params[j]].on_path = true;
    }
    if (!nodes[0].on_path)
        return ghn_fail(&builder->err, GHN_DISCONNECTED, builder->where,
                        "the output \"%s\" does not depend on the input", nodes[output].name);
    if (flops > (double)builder->limits.max_flops)
        return ghn_fail(&builder->err, GHN_TOO_LARGE, builder->where,
                        "one image would take %.3g multiply-adds, more than %lld", flops,
                        (long long)builder->limits.max_flops);
    builder->arch->flops = (int64_t)flops;
    return GHN_OK;
}

static enum ghn_status collect(struct collector *all, const int *place,
                               struct ghn_arch_node *nodes) {
    enum ghn_status status = GHN_OK;
    for (int i = 0; i < all->builder->n_nodes && status == GHN_OK; i++)
        status = collect_node(all, i, &nodes[place[i]]);
    if (status == GHN_OK)
        status = add_unused(all);
    for (int i = 0; i < all->n && status == GHN_OK; i++)
        if (all->params[i].node >= 0)
            all->params[i].node = place[all->params[i].node];
    return status;
}

enum ghn_status ghn__draft_finish(struct ghn_arch_builder *builder, const int *order, int output) {
    struct ghn_arch *arch = builder->arch;
    size_t n = (size_t)builder->n_nodes, n_params = 0;
    for (size_t i = 0; i < n; i++)
        n_params += (size_t)builder->nodes[i].n_params;
    for (const struct ghn_unused_param *u = builder->unused; u; u = u->next)
        n_params++;

    struct ghn_arch_node *nodes = ghn_arena_array(&arch->arena, n, sizeof(*nodes));
    struct collector all = {.builder = builder};
    all.params = ghn_arena_array(&arch->arena, n_params, sizeof(*all.params));
    all.renamed = ghn_calloc(n_params, sizeof(*all.renamed));
    int *place = ghn_calloc(n, sizeof(*place));
    enum ghn_status status = GHN_OK;
    if (!nodes || !all.params || !all.renamed || !place)
        status = ghn_fail_memory(&builder->err);
    if (status == GHN_OK) {
        copy_nodes(builder, order, place, nodes);
        status = collect(&all, place, nodes);
    }
    if (status == GHN_OK)
        status = mark_path(builder, nodes, all.params, place[output]);
    if (status == GHN_OK) {
        arch->nodes = nodes;
        arch->n_nodes = (int)n;
        arch->output = place[output];
        arch->params = all.params;
        arch->n_params = all.n;
        arch->n_parameters = all.total;
    }
    ghn_names_done(&all.names);
    ghn_free(all.renamed);
    ghn_free(place);
    return status;
}
