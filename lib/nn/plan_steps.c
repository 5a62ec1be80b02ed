/* What is computed, in which order: every step is a node of the architecture, or a group that is
 * fused with its batch norm, and the layer that computes it. Where a layer wants its input in
 * another order of elements than it has, a step that changes the order comes between. */
#include <string.h>

#include "arch/op.h"
#include "nn/run_impl.h"

struct planner {
    struct ghn_run *run;
    struct ghn__fusion fusion;
    int *value_of;                   /* (n_nodes) the value of each node */
    int (*reordered)[GHN__N_ORDERS]; /* for each value: itself in an order, or -1 */
    struct ghn_err *err;
};

int ghn__run_block(struct ghn_run *run, size_t bytes) {
    if (run->n_blocks == run->max_blocks)
        return -1;
    run->blocks[run->n_blocks] =
        (struct ghn__block){.bytes = (bytes + 63) / 64 * 64, .birth = 1, .death = 0};
    return run->n_blocks++;
}

int ghn__run_storage(struct ghn_run *run, size_t bytes) {
    int block = ghn__run_block(run, bytes);
    if (block < 0 || run->n_storages == run->max_storages)
        return -1;
    run->storages[run->n_storages] = (struct ghn__storage){.data = block, .gradient = -1};
    return run->n_storages++;
}

static int new_value(struct planner *p, const struct ghn__tensor *tensor, int storage) {
    struct ghn_run *run = p->run;
    if (storage < 0 || run->n_values == run->max_values)
        return -1;
    for (int i = 0; i < GHN__N_ORDERS; i++)
        p->reordered[run->n_values][i] = -1;
    run->values[run->n_values] = (struct ghn__value){*tensor, storage};
    return run->n_values++;
}

/* The tensor of a node's value for the run's batch; GHN_TOO_LARGE beyond 2^40 elements. */
static enum ghn_status node_tensor(const struct planner *p, const struct ghn_arch_node *node,
                                   struct ghn__tensor *ret) {
    struct ghn__tensor tensor = {
        .dtype = p->run->dtype, .ndim = node->shape.ndim + 1, .dims = {p->run->options.batch}};
    tensor.count = p->run->options.batch;
    for (int i = 0; i < node->shape.ndim; i++) {
        tensor.dims[i + 1] = node->shape.dim[i];
        if (__builtin_mul_overflow(tensor.count, node->shape.dim[i], &tensor.count) ||
            tensor.count > (INT64_C(1) << 40))
            return ghn_fail(p->err, GHN_TOO_LARGE, node->name,
                            "its values for a batch of %d images are too many",
                            p->run->options.batch);
    }
    ghn__strides(&tensor, GHN__CHANNELS_LAST);
    *ret = tensor;
    return GHN_OK;
}

static struct ghn__step *new_step(struct planner *p, const struct ghn_arch_node *node, int index,
                                  int n_inputs) {
    struct ghn_run *run = p->run;
    size_t n_params = (size_t)node->n_params, n = (size_t)n_inputs;
    if (run->n_steps == run->max_steps)
        return NULL;
    struct ghn__step *step = &run->steps[run->n_steps];
    *step = (struct ghn__step){.saved = -1, .scratch = {-1, -1}, .spare = -1};
    step->site = (struct ghn__site){
        .node = node, .index = index, .mode = run->options.mode, .n_inputs = n_inputs};
    step->inputs = ghn_arena_array(&run->arena, n, sizeof *step->inputs);
    step->site.in = ghn_arena_array(&run->arena, n, sizeof *step->site.in);
    step->site.din = ghn_arena_array(&run->arena, n, sizeof *step->site.din);
    step->site.add = ghn_arena_array(&run->arena, n, sizeof *step->site.add);
    step->params = ghn_arena_array(&run->arena, n_params, sizeof *step->params);
    step->site.params = ghn_arena_array(&run->arena, n_params, sizeof *step->site.params);
    step->site.dparams = ghn_arena_array(&run->arena, n_params, sizeof *step->site.dparams);
    step->site.add_param = ghn_arena_array(&run->arena, n_params, sizeof *step->site.add_param);
    if (!step->inputs || !step->site.in || !step->site.din || !step->site.add || !step->params ||
        !step->site.params || !step->site.dparams || !step->site.add_param)
        return NULL;
    if (n_params > 0)
        memcpy(step->params, node->params, n_params * sizeof *step->params);
    return step;
}

/* Whether the step takes part in the backward pass; tells its site whether beyond its own
 * parameters. */
static bool find_wanted(const struct ghn_run *run, struct ghn__step *step) {
    if (run->options.mode != GHN_MODE_TRAIN || !step->layer->backward)
        return false;
    for (int i = 0; i < step->site.n_inputs; i++)
        if (run->storages[run->values[step->inputs[i]].storage].wanted)
            step->site.input_gradient = true;
    return step->site.input_gradient || step->site.node->n_params > 0;
}

/* The value in another order: a step that copies it, made once. */
static enum ghn_status reorder(struct planner *p, int value, const struct ghn__tensor *order,
                               int *ret) {
    struct ghn_run *run = p->run;
    const struct ghn__value *from = &run->values[value];
    struct ghn__tensor tensor = from->tensor;
    memcpy(tensor.strides, order->strides, sizeof tensor.strides);
    static const struct ghn_arch_node no_params = {.name = ""};
    struct ghn__step *step = new_step(p, &no_params, -1, 1);
    int storage = ghn__run_storage(run, (size_t)tensor.count * ghn_dtype_size(tensor.dtype));
    int made = new_value(p, &tensor, storage);
    if (!step || made < 0)
        return ghn_fail_memory(p->err);
    step->layer = &ghn__layer_reorder;
    step->inputs[0] = value;
    step->site.in[0] = from->tensor;
    step->site.out = tensor;
    step->output = made;
    step->backward = run->storages[storage].wanted = find_wanted(run, step);
    run->n_steps++;
    *ret = made;
    return GHN_OK;
}

/* Dense strides in the order of `like`, a tensor of the same rank and perhaps other extents. The
 * batch stays outermost, and where an extent of 1 leaves it open, the later dimension is inner. */
static void order_as(struct ghn__tensor *tensor, const struct ghn__tensor *like) {
    int by_stride[GHN__MAX_RANK], n = 0;
    for (int i = tensor->ndim - 1; i > 0; i--) {
        int at = n++;
        for (; at > 0 && like->strides[by_stride[at - 1]] > like->strides[i]; at--)
            by_stride[at] = by_stride[at - 1];
        by_stride[at] = i;
    }
    by_stride[n] = 0;
    int64_t stride = 1;
    for (int i = 0; i < tensor->ndim; i++) {
        tensor->strides[by_stride[i]] = stride;
        stride *= tensor->dims[by_stride[i]];
    }
}

/* `value` in the order that a layer wants; for SAME, that of `like`, which may be NULL. */
static enum ghn_status in_order(struct planner *p, int value, enum ghn__order order,
                                const struct ghn__tensor *like, int *ret) {
    struct ghn__tensor wanted = p->run->values[value].tensor;
    *ret = value;
    if (order == GHN__SAME) {
        if (!like || like->ndim != wanted.ndim)
            return GHN_OK;
        order_as(&wanted, like);
    } else {
        ghn__strides(&wanted, order);
    }
    if (ghn__same_order(&wanted, &p->run->values[value].tensor))
        return GHN_OK;
    if (order == GHN__SAME)
        return reorder(p, value, &wanted, ret);
    int *memo = &p->reordered[value][order];
    if (*memo < 0) {
        int made = -1;
        enum ghn_status status = reorder(p, value, &wanted, &made);
        if (status)
            return status;
        *memo = made;
    }
    *ret = *memo;
    return GHN_OK;
}

/* The input whose order the others and the output take where a layer wants the SAME: the first of
 * the output's extents, so that it is not the larger one of two that has to move; else input 0. */
static int leading_input(const struct ghn_run *run, const int *inputs, int n,
                         const struct ghn__tensor *out) {
    for (int i = 0; i < n; i++) {
        const struct ghn__tensor *in = &run->values[inputs[i]].tensor;
        if (in->ndim == out->ndim &&
            memcmp(in->dims, out->dims, (size_t)out->ndim * sizeof out->dims[0]) == 0)
            return i;
    }
    return 0;
}

/* Brings all inputs of a step into the order that its layer wants. The step is not counted yet:
 * changes of order go before it. */
static enum ghn_status order_inputs(struct planner *p, int *inputs, int n,
                                    const struct ghn__tensor *out, enum ghn__order order) {
    int leading = leading_input(p->run, inputs, n, out);
    struct ghn__tensor like = n > 0 ? p->run->values[inputs[leading]].tensor : *out;
    for (int i = 0; i < n; i++) {
        enum ghn_status status =
            in_order(p, inputs[i], order, i == leading ? NULL : &like, &inputs[i]);
        if (status)
            return status;
    }
    return GHN_OK;
}

/* The default order of a step's output. */
static void order_output(const struct ghn_run *run, const struct ghn__step *step,
                         struct ghn__tensor *out) {
    enum ghn__order order = step->layer->order;
    int n = step->site.n_inputs;
    if (order == GHN__SAME && n > 0) {
        const struct ghn__tensor *like = &step->site.in[leading_input(run, step->inputs, n, out)];
        if (like->ndim == out->ndim) {
            order_as(out, like);
            return;
        }
    }
    ghn__strides(out, order == GHN__SAME ? GHN__ROW_MAJOR : order);
}

/* Whether the node's output is its input seen otherwise; if so, *ret is the value. */
static enum ghn_status try_view(struct planner *p, const struct ghn__layer *layer,
                                struct ghn__step *step, int *input, int *ret) {
    struct ghn__site *site = &step->site;
    if (!layer->view || site->n_inputs != 1)
        return GHN_OK;
    site->in[0] = p->run->values[*input].tensor;
    if (!layer->view(site)) {
        int row_major;
        enum ghn_status status = in_order(p, *input, GHN__ROW_MAJOR, NULL, &row_major);
        if (status)
            return status;
        struct ghn__tensor before = site->in[0];
        site->in[0] = p->run->values[row_major].tensor;
        if (ghn__same_order(&before, &site->in[0]) || !layer->view(site))
            return GHN_OK;
        *input = row_major;
    }
    *ret = new_value(p, &site->out, p->run->values[*input].storage);
    return *ret < 0 ? ghn_fail_memory(p->err) : GHN_OK;
}

/* Plans the layer of a step whose inputs are settled, and counts the step. */
static enum ghn_status settle(struct planner *p, struct ghn__step *step) {
    struct ghn_run *run = p->run;
    struct ghn__site *site = &step->site;
    for (int i = 0; i < site->n_inputs; i++)
        site->in[i] = run->values[step->inputs[i]].tensor;
    order_output(run, step, &site->out);
    bool wanted = find_wanted(run, step);
    site->keeps_input = step->layer->keeps_input;
    site->keeps_output = step->layer->keeps_output;
    site->cannot_add = step->layer->cannot_add;
    if (step->layer->plan) {
        enum ghn_status status = step->layer->plan(site, p->err);
        if (status) {
            if (p->err && !p->err->where[0])
                snprintf(p->err->where, sizeof p->err->where, "%.200s", site->node->name);
            return status;
        }
    }
    int storage = ghn__run_storage(run, (size_t)site->out.count * ghn_dtype_size(site->out.dtype));
    step->output = new_value(p, &site->out, storage);
    if (site->saved_bytes > 0)
        step->saved = ghn__run_block(run, site->saved_bytes);
    for (int i = 0; i < 2 && site->scratch_bytes > 0; i++)
        step->scratch[i] = ghn__run_block(run, site->scratch_bytes);
    run->n_steps++; /* from here on ghn_run_free frees the layer's state */
    step->backward = wanted;
    if (storage >= 0)
        run->storages[storage].wanted = wanted;
    if (step->output < 0 || (site->saved_bytes > 0 && step->saved < 0) ||
        (site->scratch_bytes > 0 && step->scratch[1] < 0))
        return ghn_fail_memory(p->err);
    return GHN_OK;
}

/* Moves a step that was begun behind the changes of order that have come before it since. */
static struct ghn__step *move_to_end(struct planner *p, const struct ghn__step *begun) {
    p->run->steps[p->run->n_steps] = *begun;
    return &p->run->steps[p->run->n_steps];
}

/* The step of node `index`, or of the group that ends with it. */
static enum ghn_status plan_node(struct planner *p, int index) {
    const struct ghn_arch *arch = p->run->arch;
    int bn = p->fusion.owner[index], main = bn >= 0 ? bn : index;
    const struct ghn_arch_node *node = &arch->nodes[main];
    int residual = bn >= 0 ? p->fusion.residual[bn] : -1, n = node->n_inputs + (residual >= 0);
    const struct ghn__layer *layer = ghn__layer_of(node->op);
    if (!layer)
        return ghn_fail(p->err, GHN_INTERNAL, node->name, "operation %s cannot be run",
                        node->op->name);
    struct ghn__step *made = new_step(p, node, main, n);
    if (!made)
        return ghn_fail_memory(p->err);
    struct ghn__step begun = *made;
    begun.layer = layer;
    enum ghn_status status = node_tensor(p, &arch->nodes[index], &begun.site.out);
    if (status)
        return status;
    for (int i = 0; i < n; i++)
        begun.inputs[i] =
            p->value_of[p->fusion.same_as[i < node->n_inputs ? node->inputs[i] : residual]];
    int view = -1;
    status = try_view(p, layer, &begun, begun.inputs, &view);
    if (status || view >= 0) {
        p->value_of[index] = view;
        return status;
    }
    if (bn >= 0 && p->fusion.activation[bn] >= 0)
        begun.site.activation = &arch->nodes[p->fusion.activation[bn]];
    begun.site.residual = residual >= 0;
    status = order_inputs(p, begun.inputs, n, &begun.site.out, layer->order);
    if (status)
        return status;
    struct ghn__step *step = move_to_end(p, &begun);
    status = settle(p, step);
    if (!status)
        p->value_of[index] = step->output;
    return status;
}

static enum ghn_status allocate(struct planner *p) {
    struct ghn_run *run = p->run;
    size_t inputs = 0, nodes = (size_t)run->arch->n_nodes;
    for (int i = 0; i < run->arch->n_nodes; i++)
        inputs += (size_t)run->arch->nodes[i].n_inputs + 1;
    run->max_steps = (int)(nodes + 2 * inputs) + 2;
    run->max_values = run->max_storages = run->max_steps + 2;
    run->max_blocks = 6 * run->max_steps;
    run->steps = ghn_arena_array(&run->arena, (size_t)run->max_steps, sizeof *run->steps);
    run->values = ghn_arena_array(&run->arena, (size_t)run->max_values, sizeof *run->values);
    run->storages = ghn_arena_array(&run->arena, (size_t)run->max_storages, sizeof *run->storages);
    run->blocks = ghn_arena_array(&run->arena, (size_t)run->max_blocks, sizeof *run->blocks);
    run->param_written =
        ghn_arena_array(&run->arena, (size_t)run->arch->n_params + 1, sizeof *run->param_written);
    p->value_of = ghn_arena_array(&run->arena, nodes, sizeof *p->value_of);
    p->reordered = ghn_arena_array(&run->arena, (size_t)run->max_values, sizeof *p->reordered);
    if (!run->steps || !run->values || !run->storages || !run->blocks || !run->param_written ||
        !p->value_of || !p->reordered)
        return ghn_fail_memory(p->err);
    return GHN_OK;
}

enum ghn_status ghn__plan_steps(struct ghn_run *run, struct ghn_err *err) {
    struct planner planner = {.run = run, .err = err};
    struct ghn__tensor input;
    enum ghn_status status = allocate(&planner);
    if (!status)
        status = ghn__fuse(run->arch, &run->arena, &planner.fusion, err);
    if (!status)
        status = node_tensor(&planner, &run->arch->nodes[0], &input);
    if (status)
        return status;
    run->input = new_value(
        &planner, &input, ghn__run_storage(run, (size_t)input.count * ghn_dtype_size(input.dtype)));
    if (run->input < 0)
        return ghn_fail_memory(err);
    planner.value_of[0] = run->input;
    for (int i = 1; i < run->arch->n_nodes; i++) {
        if (!run->arch->nodes[i].on_path || planner.fusion.same_as[i] != i ||
            planner.fusion.absorbed[i])
            continue;
        status = plan_node(&planner, i);
        if (status)
            return status;
    }
    run->output = planner.value_of[planner.fusion.same_as[run->arch->output]];
    return GHN_OK;
}
