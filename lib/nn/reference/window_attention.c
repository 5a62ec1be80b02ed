/* window_attention: torchvision's shifted_window_attention, in windows of h x w tokens; with
 * `cosine` that of Swin v2. */
#include <math.h>
#include <string.h>

#include "nn/reference/op.h"

enum { HIDDEN = 512 }; /* of the network that makes Swin v2's position bias */

/* Sizes of a node, and its scratch. */
struct work {
    const struct ghn_window_attention_attrs *a;
    int64_t tokens, c, heads, d, rows; /* of a window; features; of the table of positions */
    int64_t size[2], padded[2], shift[2];
    double *table, *dtable;            /* (rows, heads): the position bias */
    double *hidden, *dhidden;          /* (rows, HIDDEN), cosine only; */
    double *positions;                 /* (rows, 2), cosine only */
    double *qkv_bias, *dqkv_bias;      /* (3C), as it is used */
    double *x, *dx, *o, *d_o, *y, *dy; /* (tokens, C), of one window */
    double *qkv, *dqkv;                /* (tokens, 3C): the projection */
    double *unit, *dunit;              /* the same, with cosine q and k of length 1 */
    double *bias, *p, *ds;             /* (tokens, tokens), of one head */
    double *base;                      /* where all that lies; NULL while counting */
    int64_t used;
};

static double *take(struct work *w, int64_t n) {
    double *at = w->base ? w->base + w->used : NULL;
    w->used += n;
    return at;
}

static struct work work_of(const struct ghn__reference_site *site) {
    const struct ghn_window_attention_attrs *a = &site->node->attrs.window_attention;
    const int64_t *window = a->window_size, *dims = site->in[0]->dims;
    struct work w = {.a = a, .base = site->scratch, .c = dims[3], .heads = a->num_heads};
    w.tokens = window[0] * window[1];
    w.d = w.c / w.heads;
    w.rows = (2 * window[0] - 1) * (2 * window[1] - 1);
    for (int k = 0; k < 2; k++) {
        w.size[k] = dims[1 + k];
        w.padded[k] = (w.size[k] + window[k] - 1) / window[k] * window[k];
        w.shift[k] = window[k] >= w.padded[k] ? 0 : a->shift_size[k];
    }
    w.table = take(&w, w.rows * w.heads);
    w.dtable = take(&w, w.rows * w.heads);
    w.hidden = take(&w, a->cosine ? w.rows * HIDDEN : 0);
    w.dhidden = take(&w, a->cosine ? w.rows * HIDDEN : 0);
    w.positions = take(&w, a->cosine ? w.rows * 2 : 0);
    w.qkv_bias = take(&w, 3 * w.c);
    w.dqkv_bias = take(&w, 3 * w.c);
    double **of_window[] = {&w.x, &w.dx, &w.o, &w.d_o, &w.y, &w.dy};
    for (size_t i = 0; i < sizeof of_window / sizeof *of_window; i++)
        *of_window[i] = take(&w, w.tokens * w.c);
    w.qkv = take(&w, w.tokens * 3 * w.c);
    w.dqkv = take(&w, w.tokens * 3 * w.c);
    w.unit = a->cosine ? take(&w, w.tokens * 3 * w.c) : w.qkv;
    w.dunit = a->cosine ? take(&w, w.tokens * 3 * w.c) : w.dqkv;
    w.bias = take(&w, w.tokens * w.tokens);
    w.p = take(&w, w.tokens * w.tokens);
    w.ds = take(&w, w.tokens * w.tokens);
    return w;
}

static int64_t window_attention_scratch(const struct ghn__reference_site *site) {
    return work_of(site).used;
}

static const double *param(const struct ghn__reference_site *site, const char *slot) {
    int i = ghn__reference_slot(site, slot);
    return i < 0 ? NULL : site->params[i];
}

static double *dparam(const struct ghn__reference_site *site, const char *slot) {
    int i = ghn__reference_slot(site, slot);
    return i < 0 ? NULL : site->dparams[i];
}

/* --- The position bias --- */

/* Swin v2's coordinate of a distance in a window of n tokens, sign(u) log2(|u| + 1) / 3 with u = 8
 * distance / (n - 1). A window of one token has the distance 0 alone. */
static double coordinate(int64_t distance, int64_t n) {
    if (n == 1)
        return 0;
    double u = 8 * (double)distance / (double)(n - 1);
    return copysign(log2(fabs(u) + 1) / 3, u);
}

static void make_table(const struct ghn__reference_site *site, struct work *w) {
    const int64_t *window = w->a->window_size;
    if (!w->a->cosine) {
        memcpy(w->table, param(site, "relative_position_bias_table"),
               (size_t)(w->rows * w->heads) * sizeof(double));
        return;
    }
    for (int64_t r = 0; r < w->rows; r++) {
        w->positions[2 * r] = coordinate(r / (2 * window[1] - 1) - (window[0] - 1), window[0]);
        w->positions[2 * r + 1] = coordinate(r % (2 * window[1] - 1) - (window[1] - 1), window[1]);
    }
    ghn__reference_linear(w->hidden, w->positions, param(site, "cpb_mlp.0.weight"),
                          param(site, "cpb_mlp.0.bias"), w->rows, 2, HIDDEN);
    for (int64_t i = 0; i < w->rows * HIDDEN; i++)
        w->hidden[i] = w->hidden[i] <= 0 ? 0 : w->hidden[i];
    ghn__reference_linear(w->table, w->hidden, param(site, "cpb_mlp.2.weight"), NULL, w->rows,
                          HIDDEN, w->heads);
    for (int64_t i = 0; i < w->rows * w->heads; i++)
        w->table[i] = 16 / (1 + exp(-w->table[i]));
}

static void table_backward(const struct ghn__reference_site *site, struct work *w) {
    if (!w->a->cosine) {
        double *dtable = dparam(site, "relative_position_bias_table");
        for (int64_t i = 0; i < w->rows * w->heads; i++)
            dtable[i] += w->dtable[i];
        return;
    }
    for (int64_t i = 0; i < w->rows * w->heads; i++)
        w->dtable[i] *= w->table[i] * (1 - w->table[i] / 16);
    memset(w->dhidden, 0, (size_t)(w->rows * HIDDEN) * sizeof(double));
    ghn__reference_linear_backward(w->dhidden, dparam(site, "cpb_mlp.2.weight"), NULL, w->dtable,
                                   w->hidden, param(site, "cpb_mlp.2.weight"), w->rows, HIDDEN,
                                   w->heads);
    for (int64_t i = 0; i < w->rows * HIDDEN; i++)
        w->dhidden[i] = w->hidden[i] <= 0 ? 0 : w->dhidden[i];
    ghn__reference_linear_backward(NULL, dparam(site, "cpb_mlp.0.weight"),
                                   dparam(site, "cpb_mlp.0.bias"), w->dhidden, w->positions,
                                   param(site, "cpb_mlp.0.weight"), w->rows, 2, HIDDEN);
}

/* --- Windows --- */

/* Where a token of a window lies: in the shifted image, and in the input as n (H, W) counts, -1 for
 * padding. */
struct spot {
    int64_t at[2], pixel;
};

/* Window number `window` of all images' windows. */
static struct spot spot_of(const struct work *w, int64_t window, int64_t token) {
    const int64_t *size = w->a->window_size;
    int64_t across = w->padded[1] / size[1], each = w->padded[0] / size[0] * across;
    int64_t image = window / each, y = window % each / across, x = window % across;
    struct spot spot = {{y * size[0] + token / size[1], x * size[1] + token % size[1]}, -1};
    int64_t h = (spot.at[0] + w->shift[0]) % w->padded[0];
    int64_t v = (spot.at[1] + w->shift[1]) % w->padded[1];
    if (h < w->size[0] && v < w->size[1])
        spot.pixel = (image * w->size[0] + h) * w->size[1] + v;
    return spot;
}

/* Part of the shifted image along axis k; tokens of different parts are no neighbours and do not
 * attend to each other. */
static int part_of(const struct work *w, int64_t at, int k) {
    if (w->shift[k] == 0)
        return 0;
    if (at >= w->padded[k] - w->shift[k])
        return 2;
    return at >= w->padded[k] - w->a->window_size[k] ? 1 : 0;
}

static int64_t n_windows(const struct ghn__reference_site *site, const struct work *w) {
    return site->in[0]->dims[0] * (w->padded[0] / w->a->window_size[0]) *
           (w->padded[1] / w->a->window_size[1]);
}

static void gather(const struct work *w, int64_t window, const double *image, double *tokens) {
    for (int64_t t = 0; t < w->tokens; t++) {
        int64_t pixel = spot_of(w, window, t).pixel;
        for (int64_t c = 0; c < w->c; c++)
            tokens[t * w->c + c] = pixel < 0 ? 0 : image[pixel * w->c + c];
    }
}

static void scatter_add(const struct work *w, int64_t window, const double *tokens, double *image) {
    for (int64_t t = 0; t < w->tokens; t++) {
        int64_t pixel = spot_of(w, window, t).pixel;
        for (int64_t c = 0; c < w->c && pixel >= 0; c++)
            image[pixel * w->c + c] += tokens[t * w->c + c];
    }
}

/* The bias of head h in a window: positions, and -100 between tokens that are no neighbours. */
static void make_bias(const struct work *w, int64_t window, int64_t h) {
    const int64_t *size = w->a->window_size;
    for (int64_t i = 0; i < w->tokens; i++)
        for (int64_t j = 0; j < w->tokens; j++) {
            struct spot a = spot_of(w, window, i), b = spot_of(w, window, j);
            bool apart = part_of(w, a.at[0], 0) != part_of(w, b.at[0], 0) ||
                         part_of(w, a.at[1], 1) != part_of(w, b.at[1], 1);
            int64_t row = ghn__reference_relative(i, j, size[0], size[1]);
            w->bias[i * w->tokens + j] = w->table[row * w->heads + h] + (apart ? -100 : 0);
        }
}

/* --- Cosine attention: q and k of length 1, and a learned scale that ends at 100 --- */

/* The length that divides the d features at x (torch.nn.functional.normalize). */
static double length_of(const double *x, int64_t d) {
    double squares = 0;
    for (int64_t i = 0; i < d; i++)
        squares += x[i] * x[i];
    return fmax(sqrt(squares), 1e-12);
}

static void make_unit(const struct work *w) {
    for (int64_t i = 0; i < w->tokens * 3 * w->heads; i++) {
        const double *x = w->qkv + i * w->d;
        double length = i % (3 * w->heads) < 2 * w->heads ? length_of(x, w->d) : 1;
        for (int64_t k = 0; k < w->d; k++)
            w->unit[i * w->d + k] = x[k] / length;
    }
}

static void unit_backward(const struct work *w) {
    for (int64_t i = 0; i < w->tokens * 3 * w->heads; i++) {
        const double *y = w->unit + i * w->d, *dy = w->dunit + i * w->d;
        bool scaled = i % (3 * w->heads) < 2 * w->heads;
        double length = scaled ? length_of(w->qkv + i * w->d, w->d) : 1, along = 0;
        for (int64_t k = 0; k < w->d && scaled && length > 1e-12; k++)
            along += y[k] * dy[k];
        for (int64_t k = 0; k < w->d; k++)
            w->dqkv[i * w->d + k] = (dy[k] - y[k] * along) / length;
    }
}

/* --- Both passes --- */

static struct ghn__reference_head head_of(const struct ghn__reference_site *site,
                                          const struct work *w, int64_t window, int64_t h) {
    make_bias(w, window, h);
    double scale = pow((double)w->d, -0.5);
    if (w->a->cosine)
        scale = exp(fmin(param(site, "logit_scale")[h], log(100)));
    const double *q = w->unit + h * w->d;
    return (struct ghn__reference_head){.tokens = w->tokens,
                                        .d = w->d,
                                        .q = q,
                                        .k = q + w->c,
                                        .v = q + 2 * w->c,
                                        .stride = 3 * w->c,
                                        .scale = scale,
                                        .bias = w->bias,
                                        .p = w->p};
}

/* What is the same for all windows. Swin v2 takes the bias of k as 0. */
static void prepare(const struct ghn__reference_site *site, struct work *w) {
    make_table(site, w);
    const double *bias = param(site, "qkv.bias");
    for (int64_t i = 0; i < 3 * w->c; i++)
        w->qkv_bias[i] = !bias || (w->a->cosine && i / w->c == 1) ? 0 : bias[i];
}

/* From the input to o, the heads' outputs before the last projection. */
static void window_forward(const struct ghn__reference_site *site, struct work *w, int64_t window) {
    gather(w, window, site->in[0]->data, w->x);
    ghn__reference_linear(w->qkv, w->x, param(site, "qkv.weight"), w->qkv_bias, w->tokens, w->c,
                          3 * w->c);
    if (w->a->cosine)
        make_unit(w);
    for (int64_t h = 0; h < w->heads; h++) {
        struct ghn__reference_head head = head_of(site, w, window, h);
        ghn__reference_attend(&head, w->o + h * w->d, w->c);
    }
}

static void window_attention_forward(const struct ghn__reference_site *site) {
    struct work w = work_of(site);
    prepare(site, &w);
    memset(site->out->data, 0, (size_t)site->out->count * sizeof(double));
    for (int64_t window = 0; window < n_windows(site, &w); window++) {
        window_forward(site, &w, window);
        ghn__reference_linear(w.y, w.o, param(site, "proj.weight"), param(site, "proj.bias"),
                              w.tokens, w.c, w.c);
        scatter_add(&w, window, w.y, site->out->data);
    }
}

/* From d_o to dunit, and to the positions and scale of head h. */
static void head_backward(const struct ghn__reference_site *site, struct work *w, int64_t window,
                          int64_t h) {
    const int64_t *size = w->a->window_size;
    struct ghn__reference_head head = head_of(site, w, window, h);
    ghn__reference_attend(&head, w->o + h * w->d, w->c); /* p again */
    double *dq = w->dunit + h * w->d;
    double dscale = ghn__reference_attend_backward(&head, w->d_o + h * w->d, w->c, dq, dq + w->c,
                                                   dq + 2 * w->c, w->ds);
    for (int64_t i = 0; i < w->tokens; i++)
        for (int64_t j = 0; j < w->tokens; j++) {
            int64_t row = ghn__reference_relative(i, j, size[0], size[1]);
            w->dtable[row * w->heads + h] += w->ds[i * w->tokens + j];
        }
    if (w->a->cosine && param(site, "logit_scale")[h] <= log(100))
        dparam(site, "logit_scale")[h] += dscale * head.scale;
}

static void window_backward(const struct ghn__reference_site *site, struct work *w,
                            int64_t window) {
    size_t wide = (size_t)(w->tokens * 3 * w->c) * sizeof(double);
    window_forward(site, w, window);
    gather(w, window, site->out->gradient, w->dy);
    memset(w->d_o, 0, (size_t)(w->tokens * w->c) * sizeof(double));
    ghn__reference_linear_backward(w->d_o, dparam(site, "proj.weight"), dparam(site, "proj.bias"),
                                   w->dy, w->o, param(site, "proj.weight"), w->tokens, w->c, w->c);
    memset(w->dunit, 0, wide);
    for (int64_t h = 0; h < w->heads; h++)
        head_backward(site, w, window, h);
    if (w->a->cosine)
        unit_backward(w);
    memset(w->dx, 0, (size_t)(w->tokens * w->c) * sizeof(double));
    ghn__reference_linear_backward(w->dx, dparam(site, "qkv.weight"), w->dqkv_bias, w->dqkv, w->x,
                                   param(site, "qkv.weight"), w->tokens, w->c, 3 * w->c);
    scatter_add(w, window, w->dx, site->in[0]->gradient);
}

static void window_attention_backward(const struct ghn__reference_site *site) {
    struct work w = work_of(site);
    prepare(site, &w);
    memset(w.dtable, 0, (size_t)(w.rows * w.heads) * sizeof(double));
    memset(w.dqkv_bias, 0, (size_t)(3 * w.c) * sizeof(double));
    for (int64_t window = 0; window < n_windows(site, &w); window++)
        window_backward(site, &w, window);
    table_backward(site, &w);
    double *dbias = dparam(site, "qkv.bias");
    for (int64_t i = 0; i < 3 * w.c && dbias; i++)
        dbias[i] += w.a->cosine && i / w.c == 1 ? 0 : w.dqkv_bias[i];
}

const struct ghn__reference_op ghn__reference_op_window_attention = {
    .forward = window_attention_forward,
    .backward = window_attention_backward,
    .scratch = window_attention_scratch};
