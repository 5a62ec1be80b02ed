/* window_attention: Swin's shifted windows (torchvision's shifted_window_attention), with the
 * projections before and behind.
 *
 * Both projections act on single tokens and so on the map as it is; padding, shift and windows are
 * only a way of fetching tokens. A padded token is zero before the first projection and its bias
 * behind it. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/attend.h"
#include "nn/dense.h"
#include "nn/kernels.h"
#include "nn/parallel.h"
#include "nn/window.h"

enum {
    PARTS = 64
}; /* of the tasks: what they add to gradients of parameters is summed apart and
      in order, so that it is the same for any number of threads */

struct window_attention {
    struct ghn__dense *qkv, *proj;
    struct ghn__windows windows;
    int64_t images, map, width, dim; /* map: tokens of an image; width: channels */
    bool training, cosine, qkv_bias, proj_bias;
    int proj_at,
        positions_at; /* indices of proj.weight, and of the first parameter of the positions */
    int64_t workers;  /* that share the tasks, each with work space of its own */
    size_t matrices_floats, head_floats, worker_floats, sums_floats;
    size_t dense_bytes, table_floats;
    size_t qkv_bytes, mixed_bytes; /* of values kept: (tokens, 3 width), (tokens, width) */
};

/* A worker's work space: the head's matrices, and the bias (T, T) behind them. */
struct worker {
    struct ghn__head head;
    float *bias;
};

/* What a part of the tasks adds to gradients: by the table (table, heads), by the padding's q | k |
 * v (3 width), by the scales (heads). One after another. */
struct sums {
    float *dtable, *dpadding, *dscale;
};

static size_t lines(size_t floats) {
    return (floats + 15) / 16 * 16;
}

static void done(struct ghn__site *site) {
    struct window_attention *a = site->state;
    if (!a)
        return;
    ghn__dense_free(a->qkv);
    ghn__dense_free(a->proj);
    ghn_free(a);
}

static enum ghn_status make_dense(const struct ghn__site *site, struct window_attention *a,
                                  struct ghn_err *err) {
    struct ghn__dense_spec spec = {.rows = a->images * a->map,
                                   .in = a->width,
                                   .out = 3 * a->width,
                                   .dtype = site->out.dtype,
                                   .bias = a->qkv_bias,
                                   .training = a->training,
                                   .input_gradient = site->input_gradient};
    enum ghn_status status = ghn__dense_new(&spec, &a->qkv, err);
    spec.out = a->width;
    spec.bias = a->proj_bias;
    spec.input_gradient = a->training;
    if (!status)
        status = ghn__dense_new(&spec, &a->proj, err);
    return status;
}

static void measure(struct ghn__site *site, struct window_attention *a) {
    const struct ghn__windows *w = &a->windows;
    size_t element = ghn_dtype_size(site->out.dtype), tokens = (size_t)(a->images * a->map),
           width = (size_t)a->width;
    a->workers = ghn__parallel_threads();
    a->matrices_floats = lines(ghn__head_matrices_floats(w->tokens, a->dim, a->training));
    a->head_floats = a->matrices_floats + lines(ghn__head_scores_floats(w->tokens, a->training));
    a->worker_floats = a->head_floats + lines((size_t)(w->tokens * w->tokens));
    a->sums_floats =
        lines((size_t)(w->table * w->heads)) + lines(3 * width) + lines((size_t)w->heads);
    size_t qkv = ghn__dense_scratch_bytes(a->qkv), proj = ghn__dense_scratch_bytes(a->proj);
    a->dense_bytes = ((qkv > proj ? qkv : proj) + 63) / 64 * 64;
    a->table_floats = lines((size_t)(w->table * w->heads)) + lines(3 * width);
    a->qkv_bytes = (tokens * 3 * width * element + 63) / 64 * 64;
    a->mixed_bytes = (tokens * width * element + 63) / 64 * 64;
    site->saved_bytes = a->qkv_bytes + a->mixed_bytes;
    site->scratch_bytes =
        a->dense_bytes + (a->table_floats + (size_t)a->workers * a->worker_floats) * sizeof(float);
    if (a->training)
        site->scratch_bytes +=
            PARTS * a->sums_floats * sizeof(float) + a->qkv_bytes + a->mixed_bytes;
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    const struct ghn_window_attention_attrs *attrs = &site->node->attrs.window_attention;
    struct window_attention *a = ghn_calloc(1, sizeof *a);
    if (!a)
        return ghn_fail_memory(err);
    a->windows = ghn__windows_of(site);
    a->images = site->out.dims[0];
    a->width = site->out.dims[3];
    a->map = a->windows.in[0] * a->windows.in[1];
    a->dim = a->width / a->windows.heads;
    a->training = site->mode == GHN_MODE_TRAIN;
    a->cosine = attrs->cosine;
    a->qkv_bias = attrs->qkv_bias;
    a->proj_bias = attrs->proj_bias;
    a->proj_at = a->qkv_bias ? 2 : 1;
    a->positions_at = a->proj_at + (a->proj_bias ? 2 : 1);
    site->state = a;
    enum ghn_status status = make_dense(site, a, err);
    if (status) {
        done(site);
        site->state = NULL;
        return status;
    }
    measure(site, a);
    return GHN_OK;
}

/* --- Work space --- */

static float *table_at(const struct ghn__site *site) {
    const struct window_attention *a = site->state;
    return (float *)((char *)site->scratch + a->dense_bytes);
}

/* The bias of qkv as the padding and the projection see it: Swin v2 has none for k. */
static float *qkv_bias_at(const struct ghn__site *site) {
    const struct window_attention *a = site->state;
    return table_at(site) + lines((size_t)(a->windows.table * a->windows.heads));
}

static float *worker_memory(const struct ghn__site *site, int64_t worker) {
    const struct window_attention *a = site->state;
    return table_at(site) + a->table_floats + (size_t)worker * a->worker_floats;
}

static float *sums_memory(const struct ghn__site *site, int64_t part) {
    const struct window_attention *a = site->state;
    return worker_memory(site, a->workers) + (size_t)part * a->sums_floats;
}

/* q | k | v of the map, then what goes into the projection. */
static char *gradients_at(const struct ghn__site *site) {
    return (char *)sums_memory(site, PARTS);
}

static struct worker worker_at(const struct ghn__site *site, int64_t index) {
    const struct window_attention *a = site->state;
    float *memory = worker_memory(site, index);
    struct worker worker = {.bias = memory + a->head_floats};
    ghn__head_lay_out(&worker.head, a->windows.tokens, a->dim, a->training, memory,
                      memory + a->matrices_floats);
    return worker;
}

static struct sums sums_at(const struct ghn__site *site, int64_t part) {
    const struct window_attention *a = site->state;
    struct sums sums = {.dtable = sums_memory(site, part)};
    sums.dpadding = sums.dtable + lines((size_t)(a->windows.table * a->windows.heads));
    sums.dscale = sums.dpadding + lines(3 * (size_t)a->width);
    return sums;
}

static void prepare(const struct ghn__site *site) {
    const struct window_attention *a = site->state;
    const struct ghn__windows *w = &a->windows;
    float *bias = qkv_bias_at(site);
    for (int64_t k = 0; k < 3 * a->width; k++)
        bias[k] = a->qkv_bias && !(a->cosine && k / a->width == 1) ? site->params[1][k] : 0.0f;
    const float *const *positions = site->params + a->positions_at;
    if (a->cosine)
        ghn__window_table(w, positions + 1, table_at(site));
    else
        memcpy(table_at(site), positions[0], (size_t)(w->table * w->heads) * sizeof(float));
}

/* What scores are multiplied by. */
static float scale_of(const struct ghn__site *site, int64_t head) {
    const struct window_attention *a = site->state;
    if (!a->cosine)
        return (float)(1.0 / sqrt((double)a->dim));
    return (float)exp(fmin(site->params[a->positions_at][head], log(100.0)));
}

/* --- Tasks: image, window, head --- */

struct task {
    int64_t image, window, head;
};

static struct task task_of(const struct window_attention *a, int64_t i) {
    int64_t windows = a->windows.count[0] * a->windows.count[1];
    return (struct task){i / a->windows.heads / windows, i / a->windows.heads % windows,
                         i % a->windows.heads};
}

static int64_t n_tasks(const struct window_attention *a) {
    return a->images * a->windows.count[0] * a->windows.count[1] * a->windows.heads;
}

/* Where part i (q, k, v) of a token that is no padding begins in (tokens, 3 width) values. */
static char *part_of(const struct ghn__site *site, const struct task *task, const void *qkv,
                     int64_t token, int i) {
    const struct window_attention *a = site->state;
    int64_t at = (task->image * a->map + token) * 3 * a->width + i * a->width + task->head * a->dim;
    return (char *)(uintptr_t)qkv + (size_t)at * ghn_dtype_size(site->out.dtype);
}

/* q | k | v of the task's tokens. */
static void fetch(const struct ghn__site *site, const struct task *task, struct ghn__head *head) {
    const struct window_attention *a = site->state;
    for (int64_t t = 0; t < a->windows.tokens; t++) {
        int region;
        int64_t token = ghn__window_token(&a->windows, task->window, t, &region);
        for (int i = 0; i < 3; i++) {
            enum ghn__head_matrix to = (enum ghn__head_matrix)(GHN__HEAD_Q + i);
            if (token < 0)
                ghn__head_put(head, to, t, qkv_bias_at(site) + i * a->width + task->head * a->dim,
                              GHN_F32);
            else
                ghn__head_put(head, to, t, part_of(site, task, site->saved, token, i),
                              site->out.dtype);
        }
    }
}

static void fill_bias(const struct ghn__site *site, const struct task *task, float *bias) {
    const struct window_attention *a = site->state;
    const struct ghn__windows *w = &a->windows;
    for (int64_t t = 0; t < w->tokens; t++) {
        int mine, other;
        ghn__window_token(w, task->window, t, &mine);
        for (int64_t s = 0; s < w->tokens; s++) {
            ghn__window_token(w, task->window, s, &other);
            bias[t * w->tokens + s] =
                table_at(site)[ghn__window_row(w, t, s) * w->heads + task->head] -
                (mine == other ? 0.0f : 100.0f);
        }
    }
}

static void attend(const struct ghn__site *site, const struct task *task, struct worker *worker) {
    const struct window_attention *a = site->state;
    fetch(site, task, &worker->head);
    fill_bias(site, task, worker->bias);
    ghn__attend(&worker->head, scale_of(site, task->head), worker->bias, a->cosine);
}

/* Moves the task's tokens between (tokens, width) values and a matrix of the head. */
static void move(const struct ghn__site *site, const struct task *task, void *values,
                 const struct ghn__head *head, enum ghn__head_matrix matrix, bool store) {
    const struct window_attention *a = site->state;
    enum ghn_dtype dtype = site->out.dtype;
    for (int64_t t = 0; t < a->windows.tokens; t++) {
        int region;
        int64_t token = ghn__window_token(&a->windows, task->window, t, &region);
        if (token < 0)
            continue;
        char *at = (char *)values +
                   (size_t)((task->image * a->map + token) * a->width + task->head * a->dim) *
                       ghn_dtype_size(dtype);
        if (store)
            ghn__head_get(head, matrix, t, at, dtype, false);
        else
            ghn__head_put(head, matrix, t, at, dtype);
    }
}

static void forward_workers(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct window_attention *a = site->state;
    int64_t n = n_tasks(a);
    for (int64_t k = first; k < last; k++)
        for (int64_t i = n * k / a->workers; i < n * (k + 1) / a->workers; i++) {
            struct task task = task_of(a, i);
            struct worker worker = worker_at(site, k);
            attend(site, &task, &worker);
            move(site, &task, (char *)site->saved + a->qkv_bytes, &worker.head, GHN__HEAD_OUT,
                 true);
        }
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    const struct window_attention *a = site->state;
    prepare(site);
    enum ghn_status status =
        ghn__dense_forward(a->qkv, site->in[0].data, site->params[0],
                           a->qkv_bias ? qkv_bias_at(site) : NULL, site->saved, site->scratch, err);
    if (status)
        return status;
    ghn__parallel(a->workers, 1, forward_workers, site);
    return ghn__dense_forward(a->proj, (char *)site->saved + a->qkv_bytes, site->params[a->proj_at],
                              a->proj_bias ? site->params[a->proj_at + 1] : NULL, site->out.data,
                              site->scratch, err);
}

/* --- Backward --- */

/* The gradients by q | k | v to the map, or, for padding, to the bias. */
static void store_gradients(const struct ghn__site *site, const struct task *task,
                            const struct ghn__head *head, const struct sums *sums) {
    const struct window_attention *a = site->state;
    char *dqkv = gradients_at(site);
    for (int64_t t = 0; t < a->windows.tokens; t++) {
        int region;
        int64_t token = ghn__window_token(&a->windows, task->window, t, &region);
        for (int i = 0; i < 3; i++) {
            enum ghn__head_matrix from = (enum ghn__head_matrix)(GHN__HEAD_DQ + i);
            if (token < 0)
                ghn__head_get(head, from, t, sums->dpadding + i * a->width + task->head * a->dim,
                              GHN_F32, true);
            else
                ghn__head_get(head, from, t, part_of(site, task, dqkv, token, i), site->out.dtype,
                              false);
        }
    }
}

static void backward_task(const struct ghn__site *site, const struct task *task,
                          struct worker *worker, const struct sums *sums) {
    const struct window_attention *a = site->state;
    const struct ghn__windows *w = &a->windows;
    struct ghn__head *head = &worker->head;
    double dscale;
    attend(site, task, worker);
    move(site, task, gradients_at(site) + a->qkv_bytes, head, GHN__HEAD_DOUT, false);
    ghn__attend_backward(head, scale_of(site, task->head), a->cosine, &dscale);
    sums->dscale[task->head] += (float)dscale;
    for (int64_t t = 0; t < w->tokens; t++)
        for (int64_t s = 0; s < w->tokens; s++)
            sums->dtable[ghn__window_row(w, t, s) * w->heads + task->head] +=
                head->dscores[s * head->ls + t];
    store_gradients(site, task, head, sums);
}

static void backward_part(const struct ghn__site *site, int64_t index, int64_t part) {
    const struct window_attention *a = site->state;
    const struct sums sums = sums_at(site, part);
    int64_t n = n_tasks(a);
    memset(sums.dtable, 0, a->sums_floats * sizeof *sums.dtable);
    for (int64_t i = n * part / PARTS; i < n * (part + 1) / PARTS; i++) {
        struct task task = task_of(a, i);
        struct worker worker = worker_at(site, index);
        backward_task(site, &task, &worker, &sums);
    }
}

static void backward_workers(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct window_attention *a = site->state;
    for (int64_t k = first; k < last; k++)
        for (int64_t part = PARTS * k / a->workers; part < PARTS * (k + 1) / a->workers; part++)
            backward_part(site, k, part);
}

/* Sums the parts into part 0. */
static struct sums sum_parts(const struct ghn__site *site) {
    const struct window_attention *a = site->state;
    const struct sums total = sums_at(site, 0);
    for (int64_t part = 1; part < PARTS; part++)
        for (size_t k = 0; k < a->sums_floats; k++)
            total.dtable[k] += sums_memory(site, part)[k];
    return total;
}

static void clear(float *x, int64_t n, bool keep) {
    if (!keep)
        memset(x, 0, (size_t)n * sizeof *x);
}

static void position_gradients(struct ghn__site *site, const struct sums *total) {
    const struct window_attention *a = site->state;
    const struct ghn__windows *w = &a->windows;
    int at = a->positions_at;
    if (!a->cosine) {
        clear(site->dparams[at], w->table * w->heads, site->add_param[at]);
        for (int64_t k = 0; k < w->table * w->heads; k++)
            site->dparams[at][k] += total->dtable[k];
        return;
    }
    const int64_t sizes[] = {w->heads, 2 * GHN__WINDOW_HIDDEN, GHN__WINDOW_HIDDEN,
                             GHN__WINDOW_HIDDEN * w->heads};
    for (int i = 0; i < 4; i++)
        clear(site->dparams[at + i], sizes[i], site->add_param[at + i]);
    for (int64_t head = 0; head < w->heads; head++)
        if (site->params[at][head] <= log(100.0))
            site->dparams[at][head] += total->dscale[head] * scale_of(site, head);
    ghn__window_table_backward(w, site->params + at + 1, total->dtable, site->dparams + at + 1);
}

/* qkv's bias: what its own layer found, without k's for Swin v2, and what the padding adds. */
static void bias_gradient(struct ghn__site *site, const float *own, const struct sums *total) {
    const struct window_attention *a = site->state;
    for (int64_t k = 0; a->qkv_bias && k < 3 * a->width; k++) {
        float d = a->cosine && k / a->width == 1 ? 0.0f : own[k] + total->dpadding[k];
        site->dparams[1][k] = d + (site->add_param[1] ? site->dparams[1][k] : 0.0f);
    }
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    const struct window_attention *a = site->state;
    char *dqkv = gradients_at(site), *dmixed = dqkv + a->qkv_bytes;
    struct ghn__dense_gradient into = {.dx = dmixed,
                                       .dweight = site->dparams[a->proj_at],
                                       .dbias = a->proj_bias ? site->dparams[a->proj_at + 1] : NULL,
                                       .add_weight = site->add_param[a->proj_at],
                                       .add_bias = a->proj_bias && site->add_param[a->proj_at + 1]};
    enum ghn_status status =
        ghn__dense_backward(a->proj, (char *)site->saved + a->qkv_bytes, site->dout.data,
                            site->params[a->proj_at], &into, site->scratch, err);
    if (status)
        return status;
    prepare(site);
    ghn__parallel(a->workers, 1, backward_workers, site);
    const struct sums total = sum_parts(site);
    position_gradients(site, &total);
    float *own = qkv_bias_at(site); /* no longer needed as such */
    into = (struct ghn__dense_gradient){.dx = site->spare ? site->spare : site->din[0].data,
                                        .dweight = site->dparams[0],
                                        .dbias = a->qkv_bias ? own : NULL,
                                        .add_weight = site->add_param[0]};
    status = ghn__dense_backward(a->qkv, site->in[0].data, dqkv, site->params[0], &into,
                                 site->scratch, err);
    if (!status)
        bias_gradient(site, own, &total);
    return status;
}

const struct ghn__layer ghn__layer_window_attention = {.order = GHN__ROW_MAJOR,
                                                       .keeps_input = true,
                                                       .cannot_add = true,
                                                       .plan = plan,
                                                       .forward = forward,
                                                       .backward = backward,
                                                       .done = done};
