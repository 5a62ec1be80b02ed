/* Walks the arch: values forward, gradients backward. */
#include "nn/reference.h"

#include <string.h>

#include "arch/op.h"
#include "base/checked.h"
#include "base/mem.h"
#include "nn/reference/op.h"

struct ghn_reference {
    const struct ghn_arch *arch;
    int64_t *offsets; /* (n_params + 1): of the parameters in values */
    struct ghn__reference_tensor *tensors;
    struct ghn__reference_site *sites;    /* (n_nodes) */
    const struct ghn__reference_op **ops; /* (n_nodes); NULL for the input and off the path */
    int64_t *statistics;                  /* (n_nodes): offset of the node's statistics, or -1 */
    bool differentiated;                  /* gradients are there */
    struct ghn_arena arena;               /* everything above, and what it points to */
};

static const struct ghn__reference_op *op_of(const struct ghn_op *op) {
    static const struct {
        const char *name;
        const struct ghn__reference_op *op;
    } ops[] = {
#define GHN_OP(symbol, name) {name, &ghn__reference_op_##symbol},
#include "arch/ops.def"
#undef GHN_OP
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].name, op->name) == 0)
            return ops[i].op;
    return NULL;
}

int ghn__reference_slot(const struct ghn__reference_site *site, const char *name) {
    for (int i = 0; i < site->node->n_params; i++)
        if (strcmp(site->node->slots[i], name) == 0)
            return i;
    return -1;
}

int ghn__reference_dim(int64_t dim, int ndim) {
    return (int)(dim < 0 ? dim + ndim : dim);
}

int64_t ghn__reference_extent(const struct ghn__reference_tensor *tensor, int begin, int end) {
    int64_t extent = 1;
    for (int i = begin; i < end; i++)
        extent *= tensor->dims[i];
    return extent;
}

/* --- Making one --- */

static enum ghn_status make_tensor(struct ghn_reference *r, const struct ghn_shape *shape,
                                   int batch, struct ghn__reference_tensor *tensor,
                                   struct ghn_err *err) {
    tensor->ndim = shape->ndim + 1;
    tensor->dims[0] = tensor->count = batch;
    for (int i = 0; i < shape->ndim; i++) {
        tensor->dims[i + 1] = shape->dim[i];
        if (!ghn_mul_i64(tensor->count, shape->dim[i], &tensor->count))
            return ghn_fail(err, GHN_TOO_LARGE, NULL, "activations beyond 2^63 elements");
    }
    tensor->data = ghn_arena_array(&r->arena, (size_t)tensor->count, sizeof(double));
    tensor->gradient = ghn_arena_array(&r->arena, (size_t)tensor->count, sizeof(double));
    return tensor->data && tensor->gradient ? GHN_OK : ghn_fail_memory(err);
}

static enum ghn_status make_site(struct ghn_reference *r, int index, int batch, enum ghn_mode mode,
                                 struct ghn_err *err) {
    const struct ghn_arch_node *node = &r->arch->nodes[index];
    struct ghn__reference_site *site = &r->sites[index];
    enum ghn_status status = make_tensor(r, &node->shape, batch, &r->tensors[index], err);
    if (status || !node->op)
        return status;
    struct ghn__reference_tensor **in =
        ghn_arena_array(&r->arena, (size_t)node->n_inputs, sizeof(struct ghn__reference_tensor *));
    site->params = ghn_arena_array(&r->arena, (size_t)node->n_params, sizeof(double *));
    site->dparams = ghn_arena_array(&r->arena, (size_t)node->n_params, sizeof(double *));
    if (!in || !site->params || !site->dparams)
        return ghn_fail_memory(err);
    for (int i = 0; i < node->n_inputs; i++)
        in[i] = &r->tensors[node->inputs[i]];
    site->node = node;
    site->index = index;
    site->mode = mode;
    site->n_inputs = node->n_inputs;
    site->in = in;
    site->out = &r->tensors[index];
    r->ops[index] = op_of(node->op);
    if (r->ops[index]->scratch) {
        int64_t count = r->ops[index]->scratch(site);
        site->scratch = ghn_arena_array(&r->arena, (size_t)count, sizeof(double));
        if (!site->scratch)
            return ghn_fail_memory(err);
    }
    return GHN_OK;
}

/* Where parameters and statistics lie, as in struct ghn_params. */
static enum ghn_status place(struct ghn_reference *r, struct ghn_err *err) {
    int64_t statistics = 0;
    for (int i = 0; i < r->arch->n_params; i++) {
        int64_t count = 0;
        if (!ghn_shape_numel(&r->arch->params[i].shape, &count))
            return ghn_fail(err, GHN_TOO_LARGE, r->arch->params[i].name,
                            "parameters beyond 2^63 elements");
        r->offsets[i + 1] = r->offsets[i] + count;
    }
    for (int i = 0; i < r->arch->n_nodes; i++) {
        const struct ghn_arch_node *node = &r->arch->nodes[i];
        bool tracked = node->op && strcmp(node->op->name, "batch_norm2d") == 0 &&
                       node->attrs.batch_norm2d.track_running_stats;
        r->statistics[i] = tracked ? statistics : -1;
        statistics += tracked ? 2 * node->shape.dim[0] : 0;
    }
    return GHN_OK;
}

enum ghn_status ghn_reference_new(const struct ghn_arch *arch, int batch, enum ghn_mode mode,
                                  struct ghn_reference **ret, struct ghn_err *err) {
    if (batch < 1)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "batch", "%d, expected 1 or more", batch);
    struct ghn_reference *r = ghn_calloc(1, sizeof *r);
    if (!r)
        return ghn_fail_memory(err);
    size_t n = (size_t)arch->n_nodes;
    r->arch = arch;
    r->offsets = ghn_arena_array(&r->arena, (size_t)arch->n_params + 1, sizeof *r->offsets);
    r->tensors = ghn_arena_array(&r->arena, n, sizeof *r->tensors);
    r->sites = ghn_arena_array(&r->arena, n, sizeof *r->sites);
    r->ops = ghn_arena_array(&r->arena, n, sizeof(const struct ghn__reference_op *));
    r->statistics = ghn_arena_array(&r->arena, n, sizeof *r->statistics);
    enum ghn_status status = GHN_OK;
    if (!r->offsets || !r->tensors || !r->sites || !r->ops || !r->statistics)
        status = ghn_fail_memory(err);
    if (!status)
        status = place(r, err);
    for (int i = 0; i < arch->n_nodes && !status; i++)
        if (i == 0 || arch->nodes[i].on_path)
            status = make_site(r, i, batch, mode, err);
    if (status) {
        ghn_reference_free(r);
        return status;
    }
    *ret = r;
    return GHN_OK;
}

void ghn_reference_free(struct ghn_reference *reference) {
    if (!reference)
        return;
    ghn_arena_done(&reference->arena);
    ghn_free(reference);
}

/* --- Running it --- */

enum ghn_status ghn_reference_forward(struct ghn_reference *r, const double *values,
                                      double *statistics, const double *images, uint64_t seed,
                                      uint64_t step, struct ghn_err *err) {
    for (int i = 0; i < r->arch->n_nodes; i++)
        if (r->ops[i] && r->statistics[i] >= 0 && !statistics)
            return ghn_fail(err, GHN_MISSING_FIELD, r->arch->nodes[i].name,
                            "the node needs running statistics, and none were given");
    memcpy(r->tensors[0].data, images, (size_t)r->tensors[0].count * sizeof *images);
    r->differentiated = false;
    for (int i = 0; i < r->arch->n_nodes; i++) {
        struct ghn__reference_site *site = &r->sites[i];
        if (!r->ops[i])
            continue;
        for (int k = 0; k < site->node->n_params; k++)
            site->params[k] = values + r->offsets[site->node->params[k]];
        site->statistics = r->statistics[i] >= 0 ? statistics + r->statistics[i] : NULL;
        site->seed = seed;
        site->step = step;
        r->ops[i]->forward(site);
    }
    return GHN_OK;
}

const double *ghn_reference_value(const struct ghn_reference *reference, int node) {
    return reference->tensors[node].data;
}

const double *ghn_reference_gradient(const struct ghn_reference *reference, int node) {
    return reference->differentiated ? reference->tensors[node].gradient : NULL;
}

enum ghn_status ghn_reference_backward(struct ghn_reference *r, const double *values,
                                       const double *doutput, double *dvalues,
                                       struct ghn_err *err) {
    (void)err;
    const struct ghn_arch *arch = r->arch;
    memset(dvalues, 0, (size_t)r->offsets[arch->n_params] * sizeof *dvalues);
    for (int i = 0; i < arch->n_nodes; i++)
        if (r->tensors[i].gradient)
            memset(r->tensors[i].gradient, 0, (size_t)r->tensors[i].count * sizeof(double));
    struct ghn__reference_tensor *output = &r->tensors[arch->output];
    memcpy(output->gradient, doutput, (size_t)output->count * sizeof *doutput);
    for (int i = arch->n_nodes - 1; i >= 0; i--) {
        struct ghn__reference_site *site = &r->sites[i];
        if (!r->ops[i] || !r->ops[i]->backward)
            continue;
        for (int k = 0; k < site->node->n_params; k++) {
            site->params[k] = values + r->offsets[site->node->params[k]];
            site->dparams[k] = dvalues + r->offsets[site->node->params[k]];
        }
        r->ops[i]->backward(site);
    }
    r->differentiated = true;
    return GHN_OK;
}
