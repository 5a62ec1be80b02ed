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

struct window_attention {
    struct ghn__dense *qkv, *proj;
    struct ghn__windows windows;
    int64_t images, map, width, dim; /* map: tokens of an image; width: channels */
    bool training, cosine, qkv_bias, proj_bias;
    int proj_at,
        positions_at; /* indices of proj.weight, and of the first parameter of the positions */
    int64_t parts;
    size_t head_floats, part_floats; /* of a part's work space */
    size_t dense_bytes, table_floats;
    size_t qkv_bytes, mixed_bytes; /* of values kept: (tokens, 3 width), (tokens, width) */
};

/* A part's work space behind the head's matrices: bias (T, T), gradient of the table (table,
 * heads), of the padding's q | k | v (3 width), of the scales (heads). */
struct part {
    struct ghn__head head;
    float *bias, *dtable, *dpadding, *dscale;
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
    a->parts = ghn__parallel_threads();
    a->head_floats = lines(ghn__head_floats(w->tokens, a->dim, a->training));
    a->part_floats = a->head_floats + lines((size_t)(w->tokens * w->tokens)) +
                     lines((size_t)(w->table * w->heads)) + lines(3 * width) +
                     lines((size_t)w->heads);
    size_t qkv = ghn__dense_scratch_bytes(a->qkv), proj = ghn__dense_scratch_bytes(a->proj);
    a->dense_bytes = ((qkv > proj ? qkv : proj) + 63) / 64 * 64;
    a->table_floats = lines((size_t)(w->table * w->heads)) + lines(3 * width);
    a->qkv_bytes = (tokens * 3 * width * element + 63) / 64 * 64;
    a->mixed_bytes = (tokens * width * element + 63) / 64 * 64;
    site->saved_bytes = a->qkv_bytes + a->mixed_bytes;
    site->scratch_bytes = a->dense_bytes +
                          (a->table_floats + (size_t)a->parts * a->part_floats) * sizeof(float) +
                          (a->training ? a->qkv_bytes + a->mixed_bytes : 0);
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

static float *part_memory(const struct ghn__site *site, int64_t part) {
    const struct window_attention *a = site->state;
    return table_at(site) + a->table_floats + (size_t)part * a->part_floats;
}

static char *gradients_at(const struct ghn__site *site) {
    const struct window_attention *a = site->state;
    return (char *)part_memory(site, a->parts);
}

static void lay_out(const struct ghn__site *site, int64_t index, struct part *part) {
    const struct window_attention *a = site->state;
    const struct ghn__windows *w = &a->windows;
    float *memory = part_memory(site, index);
    ghn__head_lay_out(&part->head, w->tokens, a->dim, a->training, memory);
    part->bias = memory + a->head_floats;
    part->dtable = part->bias + lines((size_t)(w->tokens * w->tokens));
    part->dpadding = part->dtable + lines((size_t)(w->table * w->heads));
    part->dscale = part->dpadding + lines(3 * (size_t)a->width);
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

/* q | k | v of the task's tokens. */
static void fetch(const struct ghn__site *site, const struct task *task, struct ghn__head *head) {
    const struct window_attention *a = site->state;
    float *to[] = {head->q, head->k, head->v};
    size_t element = ghn_dtype_size(site->out.dtype);
    for (int64_t t = 0; t < a->windows.tokens; t++) {
        int region;
        int64_t token = ghn__window_token(&a->windows, task->window, t, &region);
        for (int i = 0; i < 3; i++) {
            int64_t channel = i * a->width + task->head * a->dim;
            const char *from =
                (const char *)site->saved +
                (size_t)((task->image * a->map + token) * 3 * a->width + channel) * element;
            if (token < 0)
                memcpy(to[i] + t * head->ld, qkv_bias_at(site) + channel,
                       (size_t)a->dim * sizeof(float));
            else
                ghn__nn_kernels()->copy(to[i] + t * head->ld, GHN_F32, from, site->out.dtype,
                                        a->dim, false);
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

static void attend(const struct ghn__site *site, const struct task *task, struct part *part) {
    const struct window_attention *a = site->state;
    fetch(site, task, &part->head);
    fill_bias(site, task, part->bias);
    ghn__attend(&part->head, scale_of(site, task->head), part->bias, a->cosine);
}

/* Moves the task's tokens of a (tokens, width) matrix from or to rows of a head. */
static void move(const struct ghn__site *site, const struct task *task, void *matrix, float *rows,
                 int64_t ld, bool store) {
    const struct window_attention *a = site->state;
    enum ghn_dtype dtype = site->out.dtype;
    for (int64_t t = 0; t < a->windows.tokens; t++) {
        int region;
        int64_t token = ghn__window_token(&a->windows, task->window, t, &region);
        if (token < 0)
            continue;
        char *at = (char *)matrix +
                   (size_t)((task->image * a->map + token) * a->width + task->head * a->dim) *
                       ghn_dtype_size(dtype);
        if (store)
            ghn__nn_kernels()->copy(at, dtype, rows + t * ld, GHN_F32, a->dim, false);
        else
            ghn__nn_kernels()->copy(rows + t * ld, GHN_F32, at, dtype, a->dim, false);
    }
}

static void forward_parts(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct window_attention *a = site->state;
    struct part part;
    for (int64_t p = first; p < last; p++)
        for (int64_t i = n_tasks(a) * p / a->parts; i < n_tasks(a) * (p + 1) / a->parts; i++) {
            struct task task = task_of(a, i);
            lay_out(site, p, &part);
            attend(site, &task, &part);
            move(site, &task, (char *)site->saved + a->qkv_bytes, part.head.out, part.head.ld,
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
    ghn__parallel(a->parts, 1, forward_parts, site);
    return ghn__dense_forward(a->proj, (char *)site->saved + a->qkv_bytes, site->params[a->proj_at],
                              a->proj_bias ? site->params[a->proj_at + 1] : NULL, site->out.data,
                              site->scratch, err);
}

/* --- Backward --- */

/* The gradients by q | k | v to the map, or, for padding, to the bias. */
static void store_gradients(const struct ghn__site *site, const struct task *task,
                            struct part *part) {
    const struct window_attention *a = site->state;
    const struct ghn__head *head = &part->head;
    const float *from[] = {head->dq, head->dk, head->dv};
    char *dqkv = gradients_at(site);
    for (int64_t t = 0; t < a->windows.tokens; t++) {
        int region;
        int64_t token = ghn__window_token(&a->windows, task->window, t, &region);
        for (int i = 0; i < 3; i++) {
            int64_t channel = i * a->width + task->head * a->dim;
            char *to = dqkv + (size_t)((task->image * a->map + token) * 3 * a->width + channel) *
                                  ghn_dtype_size(site->out.dtype);
            if (token < 0)
                ghn__nn_kernels()->copy(part->dpadding + channel, GHN_F32, from[i] + t * head->ld,
                                        GHN_F32, a->dim, true);
            else
                ghn__nn_kernels()->copy(to, site->out.dtype, from[i] + t * head->ld, GHN_F32,
                                        a->dim, false);
        }
    }
}

static void backward_task(const struct ghn__site *site, const struct task *task,
                          struct part *part) {
    const struct window_attention *a = site->state;
    const struct ghn__windows *w = &a->windows;
    struct ghn__head *head = &part->head;
    double dscale;
    attend(site, task, part);
    move(site, task, gradients_at(site) + a->qkv_bytes, head->dout, head->ld, false);
    ghn__attend_backward(head, scale_of(site, task->head), a->cosine, &dscale);
    part->dscale[task->head] += (float)dscale;
    for (int64_t t = 0; t < w->tokens; t++)
        for (int64_t s = 0; s < w->tokens; s++)
            part->dtable[ghn__window_row(w, t, s) * w->heads + task->head] +=
                head->dscores[t * head->ls + s];
    store_gradients(site, task, part);
}

static void backward_parts(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    const struct window_attention *a = site->state;
    struct part part;
    for (int64_t p = first; p < last; p++) {
        lay_out(site, p, &part);
        memset(part.dtable, 0,
               (size_t)((char *)(part.dscale + a->windows.heads) - (char *)part.dtable));
        for (int64_t i = n_tasks(a) * p / a->parts; i < n_tasks(a) * (p + 1) / a->parts; i++) {
            struct task task = task_of(a, i);
            lay_out(site, p, &part);
            backward_task(site, &task, &part);
        }
    }
}

/* Sums the parts into part 0. */
static void sum_parts(const struct ghn__site *site, struct part *total) {
    const struct window_attention *a = site->state;
    lay_out(site, 0, total);
    int64_t n = (total->dscale + a->windows.heads) - total->dtable;
    for (int64_t p = 1; p < a->parts; p++) {
        struct part part;
        lay_out(site, p, &part);
        for (int64_t k = 0; k < n; k++)
            total->dtable[k] += part.dtable[k];
    }
}

static void clear(float *x, int64_t n, bool keep) {
    if (!keep)
        memset(x, 0, (size_t)n * sizeof *x);
}

static void position_gradients(struct ghn__site *site, const struct part *total) {
    const struct window_attention *a = site->state;
    const struct ghn__windows *w = &a->windows;
    int at = a->positions_at;
    if (!a->cosine) {
        clear(site->dparams[at], w->table * w->heads, site->add_param[at]);
        for (int64_t k = 0; k < w->table * w->heads; k++)
            site->dparams[at][k] += total->dtable[k];
        return;
    }
    const int64_t sizes[] = {w->heads, 2 * 512, 512, 512 * w->heads};
    for (int i = 0; i < 4; i++)
        clear(site->dparams[at + i], sizes[i], site->add_param[at + i]);
    for (int64_t head = 0; head < w->heads; head++)
        if (site->params[at][head] <= log(100.0))
            site->dparams[at][head] += total->dscale[head] * scale_of(site, head);
    ghn__window_table_backward(w, site->params + at + 1, total->dtable, site->dparams + at + 1);
}

/* qkv's bias: what its own layer found, without k's for Swin v2, and what the padding adds. */
static void bias_gradient(struct ghn__site *site, const float *own, const struct part *total) {
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
    ghn__parallel(a->parts, 1, backward_parts, site);
    struct part total;
    sum_parts(site, &total);
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
