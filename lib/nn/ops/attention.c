/* attention: softmax(q k^T scale + position bias) v of packed q | k | v, a task for each row of the
 * batch and head. The probabilities are computed again in the backward pass rather than kept. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/attend.h"
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

struct geometry {
    int64_t rows, tokens, width, heads, dim; /* width: D */
    int64_t window[2];                       /* of the relative positions; 0: none */
    int64_t table;                           /* rows of the bias table */
    int64_t parts; /* stretches of the tasks, each with work space of its own */
    size_t head_floats, part_floats;
    float scale;
    bool training;
};

static struct geometry geometry_of(const struct ghn__site *site) {
    const struct ghn_attention_attrs *attrs = &site->node->attrs.attention;
    struct geometry g = {.heads = attrs->num_heads, .training = site->mode == GHN_MODE_TRAIN};
    g.width = site->out.dims[site->out.ndim - 1];
    g.tokens = site->out.dims[site->out.ndim - 2];
    g.rows = site->out.count / g.width / g.tokens;
    g.dim = g.width / g.heads;
    g.scale = attrs->scale != 0 ? (float)attrs->scale : (float)(1.0 / sqrt((double)g.dim));
    g.window[0] = attrs->relative_position[0];
    g.window[1] = attrs->relative_position[1];
    g.table = g.window[0] ? (2 * g.window[0] - 1) * (2 * g.window[1] - 1) : 0;
    g.parts = ghn__parallel_threads();
    g.head_floats = (ghn__head_floats(g.tokens, g.dim, g.training) + 15) / 16 * 16;
    size_t bias = g.table ? (size_t)(g.tokens * g.tokens + g.table * g.heads) : 0;
    g.part_floats = (g.head_floats + bias + 15) / 16 * 16;
    return g;
}

/* The geometry is kept: the team may have another size by the time of a pass, the work space has
 * not. */
static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    struct geometry *g = ghn_malloc(sizeof *g);
    if (!g)
        return ghn_fail_memory(err);
    *g = geometry_of(site);
    site->scratch_bytes = (size_t)g->parts * g->part_floats * sizeof(float);
    site->state = g;
    return GHN_OK;
}

static void done(struct ghn__site *site) {
    ghn_free(site->state);
}

/* The row of the bias table for tokens t and s. */
static int64_t table_row(const struct geometry *g, int64_t t, int64_t s) {
    int64_t dy = t / g->window[1] - s / g->window[1] + g->window[0] - 1,
            dx = t % g->window[1] - s % g->window[1] + g->window[1] - 1;
    return dy * (2 * g->window[1] - 1) + dx;
}

/* One task: row and head, in the work space of its part. */
struct task {
    struct ghn__head head;
    float *bias, *dtable; /* (T, T) and (table, heads), or NULL */
};

static void begin_task(const struct ghn__site *site, const struct geometry *g, int64_t part,
                       struct task *task) {
    float *memory = (float *)site->scratch + (size_t)part * g->part_floats;
    ghn__head_lay_out(&task->head, g->tokens, g->dim, g->training, memory);
    task->bias = g->table ? memory + g->head_floats : NULL;
    task->dtable = g->table ? task->bias + g->tokens * g->tokens : NULL;
}

/* `part` 0, 1, 2 of packed rows (q, k, v), or of plain ones with of = 1. */
static void move(const struct ghn__tensor *tensor, const struct geometry *g, int64_t row,
                 int64_t head, int of, int part, float *x, int64_t ld, bool store, bool add) {
    const struct ghn__nn_kernels *kernels = ghn__nn_kernels();
    size_t size = ghn_dtype_size(tensor->dtype);
    for (int64_t t = 0; t < g->tokens; t++) {
        char *at = (char *)tensor->data +
                   (size_t)(((row * g->tokens + t) * of + part) * g->width + head * g->dim) * size;
        if (store)
            kernels->copy(at, tensor->dtype, x + t * ld, GHN_F32, g->dim, add);
        else
            kernels->copy(x + t * ld, GHN_F32, at, tensor->dtype, g->dim, false);
    }
}

static void attend(const struct ghn__site *site, const struct geometry *g, int64_t row,
                   int64_t head, struct task *task) {
    struct ghn__head *h = &task->head;
    float *qkv[] = {h->q, h->k, h->v};
    for (int i = 0; i < 3; i++)
        move(&site->in[0], g, row, head, 3, i, qkv[i], h->ld, false, false);
    for (int64_t t = 0; g->table && t < g->tokens; t++)
        for (int64_t s = 0; s < g->tokens; s++)
            task->bias[t * g->tokens + s] = site->params[0][table_row(g, t, s) * g->heads + head];
    ghn__attend(h, g->scale, task->bias, false);
}

static void forward_parts(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct geometry *g = site->state;
    struct task task;
    for (int64_t part = first; part < last; part++) {
        int64_t tasks = g->rows * g->heads;
        for (int64_t i = tasks * part / g->parts; i < tasks * (part + 1) / g->parts; i++) {
            begin_task(site, g, part, &task);
            attend(site, g, i / g->heads, i % g->heads, &task);
            move(&site->out, g, i / g->heads, i % g->heads, 1, 0, task.head.out, task.head.ld, true,
                 false);
        }
    }
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(((const struct geometry *)site->state)->parts, 1, forward_parts, site);
    return GHN_OK;
}

static void backward_task(const struct ghn__site *site, const struct geometry *g, int64_t row,
                          int64_t head, struct task *task) {
    struct ghn__head *h = &task->head;
    attend(site, g, row, head, task);
    move(&site->dout, g, row, head, 1, 0, h->dout, h->ld, false, false);
    double dscale;
    ghn__attend_backward(h, g->scale, false, &dscale);
    float *dqkv[] = {h->dq, h->dk, h->dv};
    for (int i = 0; site->din[0].data && i < 3; i++)
        move(&site->din[0], g, row, head, 3, i, dqkv[i], h->ld, true, site->add[0]);
    for (int64_t t = 0; g->table && t < g->tokens; t++)
        for (int64_t s = 0; s < g->tokens; s++)
            task->dtable[table_row(g, t, s) * g->heads + head] += h->dscores[t * h->ls + s];
}

static void backward_parts(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct geometry *g = site->state;
    struct task task;
    for (int64_t part = first; part < last; part++) {
        int64_t tasks = g->rows * g->heads;
        begin_task(site, g, part, &task);
        if (g->table)
            memset(task.dtable, 0, (size_t)(g->table * g->heads) * sizeof(float));
        for (int64_t i = tasks * part / g->parts; i < tasks * (part + 1) / g->parts; i++) {
            begin_task(site, g, part, &task);
            backward_task(site, g, i / g->heads, i % g->heads, &task);
        }
    }
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    const struct geometry *g = site->state;
    ghn__parallel(g->parts, 1, backward_parts, site);
    for (int64_t k = 0; k < g->table * g->heads; k++) {
        float sum = site->add_param[0] ? site->dparams[0][k] : 0.0f;
        for (int64_t part = 0; part < g->parts; part++)
            sum += ((const float *)site->scratch)[(size_t)part * g->part_floats + g->head_floats +
                                                  (size_t)(g->tokens * g->tokens + k)];
        site->dparams[0][k] = sum;
    }
    return GHN_OK;
}

const struct ghn__layer ghn__layer_attention = {.order = GHN__ROW_MAJOR,
                                                .keeps_input = true,
                                                .plan = plan,
                                                .forward = forward,
                                                .backward = backward,
                                                .done = done};
