/* attention: softmax(q k^T scale + position bias) v of packed q | k | v, a task for each row of the
 * batch and group of heads. The probabilities are computed again in the backward pass rather than
 * kept. */
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
    int64_t group;   /* heads whose matrices are moved together */
    size_t matrices_floats, scores_floats, worker_floats, table_floats;
    float scale;
    bool training;
};

static size_t lines(size_t floats) {
    return (floats + 15) / 16 * 16;
}

/* Transposing goes by squares of 16: as many heads as make their channels a multiple of that, or
 * one if none do. */
static int64_t group_of(int64_t heads, int64_t dim) {
    for (int64_t group = 1; group <= 16; group *= 2)
        if (heads % group == 0 && group * dim % 16 == 0)
            return group;
    return 1;
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
    g.group = group_of(g.heads, g.dim);
    g.matrices_floats = ghn__head_matrices_floats(g.tokens, g.group * g.dim, g.training);
    g.scores_floats = lines(ghn__head_scores_floats(g.tokens, g.training));
    g.worker_floats = lines(g.matrices_floats) + g.scores_floats +
                      (g.table ? lines((size_t)(g.tokens * g.tokens)) : 0);
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

/* One task: a row of the batch and a group of heads, in the work space of its worker. */
struct task {
    int64_t row, first;   /* head */
    struct ghn__head all; /* its matrices are those of the group's heads, one after another */
    float *bias;          /* (T, T), or NULL */
};

static int64_t n_tasks(const struct geometry *g) {
    return g->rows * g->heads / g->group;
}

static struct task begin_task(const struct ghn__site *site, const struct geometry *g,
                              int64_t worker, int64_t i) {
    float *memory = (float *)site->scratch + (size_t)worker * g->worker_floats,
          *scores = memory + lines(g->matrices_floats);
    int64_t groups = g->heads / g->group;
    struct task task = {.row = i / groups,
                        .first = i % groups * g->group,
                        .bias = g->table ? scores + g->scores_floats : NULL};
    ghn__head_lay_out(&task.all, g->tokens, g->group * g->dim, g->training, memory, scores);
    return task;
}

/* Head `first + k` of the task. */
static struct ghn__head head_of(const struct geometry *g, const struct task *task, int64_t k) {
    struct ghn__head head = task->all;
    head.dim = g->dim;
    for (int i = 0; i < GHN__HEAD_MATRICES; i++)
        if (head.matrices[i])
            head.matrices[i] += k * g->dim * head.ls;
    return head;
}

/* The gradient by the table, (table, heads), of one part of the tasks. */
static float *dtable_of(const struct ghn__site *site, const struct geometry *g, int64_t part) {
    return (float *)site->scratch + (size_t)g->workers * g->worker_floats +
           (size_t)part * g->table_floats;
}

/* Channels of the task's heads: where they begin in rows of `of` times the width, of which they are
 * in part number `part`. */
static char *channels_at(const struct ghn__tensor *tensor, const struct geometry *g,
                         const struct task *task, int of, int part) {
    int64_t at = (task->row * g->tokens * of + part) * g->width + task->first * g->dim;
    return (char *)tensor->data + (size_t)at * ghn_dtype_size(tensor->dtype);
}

static void fetch(const struct ghn__tensor *tensor, const struct geometry *g,
                  const struct task *task, int of, int part, enum ghn__head_matrix matrix) {
    const int64_t to[] = {task->all.ls, 1}, from[] = {1, of * g->width},
                  n[] = {task->all.dim, g->tokens};
    ghn__nn_kernels()->copy_plane(task->all.matrices[matrix], GHN_F32, to,
                                  channels_at(tensor, g, task, of, part), tensor->dtype, from, n,
                                  false);
}

static void store(const struct ghn__tensor *tensor, const struct geometry *g,
                  const struct task *task, int of, int part, enum ghn__head_matrix matrix,
                  bool add) {
    const int64_t to[] = {of * g->width, 1}, from[] = {1, task->all.ls},
                  n[] = {g->tokens, task->all.dim};
    ghn__nn_kernels()->copy_plane(channels_at(tensor, g, task, of, part), tensor->dtype, to,
                                  task->all.matrices[matrix], GHN_F32, from, n, add);
}

static void fetch_qkv(const struct ghn__site *site, const struct geometry *g,
                      const struct task *task) {
    for (int i = 0; i < 3; i++)
        fetch(&site->in[0], g, task, 3, i, (enum ghn__head_matrix)(GHN__HEAD_Q + i));
}

static void attend(const struct ghn__site *site, const struct geometry *g, const struct task *task,
                   int64_t number, struct ghn__head *head) {
    for (int64_t t = 0; g->table && t < g->tokens; t++)
        for (int64_t s = 0; s < g->tokens; s++)
            task->bias[t * g->tokens + s] = site->params[0][table_row(g, t, s) * g->heads + number];
    ghn__attend(head, g->scale, task->bias, false);
}

static void forward_workers(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct geometry *g = site->state;
    int64_t n = n_tasks(g);
    for (int64_t worker = first; worker < last; worker++)
        for (int64_t i = n * worker / g->workers; i < n * (worker + 1) / g->workers; i++) {
            struct task task = begin_task(site, g, worker, i);
            fetch_qkv(site, g, &task);
            for (int64_t k = 0; k < g->group; k++) {
                struct ghn__head head = head_of(g, &task, k);
                attend(site, g, &task, task.first + k, &head);
            }
            store(&site->out, g, &task, 1, 0, GHN__HEAD_OUT, false);
        }
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(((const struct geometry *)site->state)->workers, 1, forward_workers, site);
    return GHN_OK;
}

static void backward_head(const struct ghn__site *site, const struct geometry *g,
                          const struct task *task, int64_t number, struct ghn__head *head,
                          float *dtable) {
    double dscale;
    attend(site, g, task, number, head);
    ghn__attend_backward(head, g->scale, false, &dscale);
    for (int64_t t = 0; g->table && t < g->tokens; t++)
        for (int64_t s = 0; s < g->tokens; s++)
            dtable[table_row(g, t, s) * g->heads + number] += head->dscores[s * head->ls + t];
}

static void backward_task(const struct ghn__site *site, const struct geometry *g,
                          const struct task *task, float *dtable) {
    fetch_qkv(site, g, task);
    fetch(&site->dout, g, task, 1, 0, GHN__HEAD_DOUT);
    for (int64_t k = 0; k < g->group; k++) {
        struct ghn__head head = head_of(g, task, k);
        backward_head(site, g, task, task->first + k, &head, dtable);
    }
    for (int i = 0; site->din[0].data && i < 3; i++)
        store(&site->din[0], g, task, 3, i, (enum ghn__head_matrix)(GHN__HEAD_DQ + i),
              site->add[0]);
}

static void backward_part(const struct ghn__site *site, int64_t worker, int64_t part) {
    const struct geometry *g = site->state;
    int64_t n = n_tasks(g);
    float *dtable = dtable_of(site, g, part);
    memset(dtable, 0, g->table_floats * sizeof *dtable);
    for (int64_t i = n * part / PARTS; i < n * (part + 1) / PARTS; i++) {
        struct task task = begin_task(site, g, worker, i);
        backward_task(site, g, &task, dtable);
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
