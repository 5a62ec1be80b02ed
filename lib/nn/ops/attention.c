/* attention: softmax(q k^T scale + position bias) v of packed q | k | v, a task for each row of the
 * batch and head. The probabilities are computed again in the backward pass rather than kept. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/attend.h"
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

enum {
    PARTS = 64
}; /* of the tasks: what they add to the table's gradient is summed apart and in
      order, so that it is the same for any number of threads */

struct geometry {
    int64_t rows, tokens, width, heads, dim; /* width: D */
    int64_t window[2];                       /* of the relative positions; 0: none */
    int64_t table;                           /* rows of the bias table */
    int64_t workers; /* that share the tasks, each with work space of its own */
    size_t head_floats, worker_floats, table_floats;
    float scale;
    bool training;
};

static size_t lines(size_t floats) {
    return (floats + 15) / 16 * 16;
}

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
    g.workers = ghn__parallel_threads();
    g.head_floats = lines(ghn__head_floats(g.tokens, g.dim, g.training));
    g.worker_floats = g.head_floats + (g.table ? lines((size_t)(g.tokens * g.tokens)) : 0);
    g.table_floats = lines((size_t)(g.table * g.heads));
    return g;
}

/* The geometry is kept: the team may have another size by the time of a pass, the work space has
 * not. */
static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    struct geometry *g = ghn_malloc(sizeof *g);
    if (!g)
        return ghn_fail_memory(err);
    *g = geometry_of(site);
    size_t tables = g->training ? PARTS * g->table_floats : 0;
    site->scratch_bytes = ((size_t)g->workers * g->worker_floats + tables) * sizeof(float);
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

/* One task: row and head, in the work space of its worker. */
struct task {
    struct ghn__head head;
    float *bias; /* (T, T), or NULL */
};

static void begin_task(const struct ghn__site *site, const struct geometry *g, int64_t worker,
                       struct task *task) {
    float *memory = (float *)site->scratch + (size_t)worker * g->worker_floats;
    ghn__head_lay_out(&task->head, g->tokens, g->dim, g->training, memory);
    task->bias = g->table ? memory + g->head_floats : NULL;
}

/* The gradient by the table, (table, heads), of one part of the tasks. */
static float *dtable_of(const struct ghn__site *site, const struct geometry *g, int64_t part) {
    return (float *)site->scratch + (size_t)g->workers * g->worker_floats +
           (size_t)part * g->table_floats;
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

static void forward_workers(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct geometry *g = site->state;
    struct task task;
    for (int64_t worker = first; worker < last; worker++) {
        int64_t tasks = g->rows * g->heads;
        for (int64_t i = tasks * worker / g->workers; i < tasks * (worker + 1) / g->workers; i++) {
            begin_task(site, g, worker, &task);
            attend(site, g, i / g->heads, i % g->heads, &task);
            move(&site->out, g, i / g->heads, i % g->heads, 1, 0, task.head.out, task.head.ld, true,
                 false);
        }
    }
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(((const struct geometry *)site->state)->workers, 1, forward_workers, site);
    return GHN_OK;
}

static void backward_task(const struct ghn__site *site, const struct geometry *g, int64_t row,
                          int64_t head, struct task *task, float *dtable) {
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
            dtable[table_row(g, t, s) * g->heads + head] += h->dscores[t * h->ls + s];
}

static void backward_part(const struct ghn__site *site, int64_t worker, int64_t part) {
    const struct geometry *g = site->state;
    struct task task;
    int64_t tasks = g->rows * g->heads;
    float *dtable = dtable_of(site, g, part);
    memset(dtable, 0, g->table_floats * sizeof *dtable);
    for (int64_t i = tasks * part / PARTS; i < tasks * (part + 1) / PARTS; i++) {
        begin_task(site, g, worker, &task);
        backward_task(site, g, i / g->heads, i % g->heads, &task, dtable);
    }
}

static void backward_workers(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct geometry *g = site->state;
    for (int64_t worker = first; worker < last; worker++)
        for (int64_t part = PARTS * worker / g->workers; part < PARTS * (worker + 1) / g->workers;
             part++)
            backward_part(site, worker, part);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    const struct geometry *g = site->state;
    ghn__parallel(g->workers, 1, backward_workers, site);
    for (int64_t k = 0; k < g->table * g->heads; k++) {
        float sum = site->add_param[0] ? site->dparams[0][k] : 0.0f;
        for (int64_t part = 0; part < PARTS; part++)
            sum += dtable_of(site, g, part)[k];
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
