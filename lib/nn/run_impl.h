/* A compiled run: what the planner makes and the executor follows. Private to lib/nn.
 *
 * Time is counted in calls: step s runs forward at time s and backward at time 2 S - 1 - s, with S
 * steps. Every buffer is a block that is needed from one time to another; blocks that are never
 * needed together share memory. */
#ifndef GHN_NN_RUN_IMPL_H
#define GHN_NN_RUN_IMPL_H

#include "base/mem.h"
#include "nn/layer.h"
#include "nn/profile.h"
#include "nn/run.h"

struct ghn__block {
    size_t bytes, offset; /* in the run's memory */
    int birth, death;     /* first and last time it is needed; birth > death: never */
};

/* Memory that one or more values lie in. */
struct ghn__storage {
    int data, gradient; /* blocks; gradient is -1 where none is wanted */
    bool wanted;        /* it depends on a parameter, so that its gradient is wanted */
    int consumers;      /* steps' inputs that lie in it */
    int contributors;   /* steps whose backward pass adds to the gradient */
};

/* A tensor between steps: a storage seen in some shape and order. */
struct ghn__value {
    struct ghn__tensor tensor;
    int storage;
};

struct ghn__step {
    const struct ghn__layer *layer;
    struct ghn__site site;
    int *inputs; /* (site.n_inputs) values */
    int output;  /* value */
    int saved, scratch[2],
        spare;     /* blocks, or -1; scratch for the forward pass and for the backward one */
    int *params;   /* (node->n_params) indices of arch->params */
    bool backward; /* takes part in the backward pass */
};

struct ghn_run {
    const struct ghn_arch *arch;
    struct ghn_run_options options;
    enum ghn_dtype dtype;
    struct ghn_arena arena; /* everything below but memory */

    int n_steps, n_values, n_storages, n_blocks;
    struct ghn__step *steps;
    struct ghn__value *values;
    struct ghn__storage *storages;
    struct ghn__block *blocks;
    int max_steps, max_values, max_storages, max_blocks;
    int input, output;   /* values */
    bool *param_written; /* (arch->n_params) the backward pass writes its gradient */

    struct ghn_workspace *own, *workspace; /* own is NULL where the caller gave one */
    void *memory;                          /* where everything is bound to */
    size_t bytes;
    bool planned, forward_done;
    struct ghn__step_time *times; /* (n_steps) if it measures, else NULL */
};

/* Steps and values of the nodes on the path, layers planned (plan_steps.c). */
enum ghn_status ghn__plan_steps(struct ghn_run *run, struct ghn_err *err) GHN_MUST_CHECK;

/* Which steps run backward, where gradients lie and who writes first (plan_gradient.c). */
enum ghn_status ghn__plan_gradient(struct ghn_run *run, struct ghn_err *err) GHN_MUST_CHECK;

/* Lifetimes and places of all blocks (plan_memory.c). */
enum ghn_status ghn__plan_memory(struct ghn_run *run, struct ghn_err *err) GHN_MUST_CHECK;

struct ghn_workspace {
    void *memory;
    size_t bytes;
    const struct ghn_run *user; /* whose forward pass was the last */
};

/* Takes the workspace for a forward pass: memory enough, every pointer into it (workspace.c). */
enum ghn_status ghn__run_bind(struct ghn_run *run, struct ghn_err *err) GHN_MUST_CHECK;

/* The blocks of a value's elements and of its gradient (-1: none is wanted). */
static inline int ghn__data_of(const struct ghn_run *run, int value) {
    return run->storages[run->values[value].storage].data;
}

static inline int ghn__gradient_of(const struct ghn_run *run, int value) {
    return run->storages[run->values[value].storage].gradient;
}

/* Where a block lies; NULL for -1. */
void *ghn__run_at(const struct ghn_run *run, int block);

/* New entries; -1 if the tables, sized beforehand, are full. */
int ghn__run_block(struct ghn_run *run, size_t bytes);
int ghn__run_storage(struct ghn_run *run, size_t bytes);

/* Which nodes one batch_norm2d step does along (fuse.c). */
struct ghn__fusion {
    int *same_as;    /* (n_nodes) an earlier node that computes the same, or the node itself */
    int *owner;      /* (n_nodes) for the last node of a fused group its batch_norm2d; else -1 */
    bool *absorbed;  /* (n_nodes) computed by a group's step, at its last node's place */
    int *residual;   /* (n_nodes) for a batch_norm2d: the node added to it; else -1 */
    int *activation; /* (n_nodes) for a batch_norm2d: the activation behind; else -1 */
};

enum ghn_status ghn__fuse(const struct ghn_arch *arch, struct ghn_arena *arena,
                          struct ghn__fusion *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Changes of order that the planner inserts. */
extern const struct ghn__layer ghn__layer_reorder;

#endif
