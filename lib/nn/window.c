#include "nn/window.h"

#include <math.h>

enum { HIDDEN = GHN__WINDOW_HIDDEN };

struct ghn__windows ghn__windows_of(const struct ghn__site *site) {
    const struct ghn_window_attention_attrs *attrs = &site->node->attrs.window_attention;
    struct ghn__windows w = {.tokens = 1, .table = 1, .heads = attrs->num_heads};
    for (int i = 0; i < 2; i++) {
        w.in[i] = site->out.dims[1 + i];
        w.size[i] = attrs->window_size[i];
        w.count[i] = (w.in[i] + w.size[i] - 1) / w.size[i];
        w.padded[i] = w.count[i] * w.size[i];
        w.shift[i] = w.size[i] >= w.padded[i] ? 0 : attrs->shift_size[i];
        w.tokens *= w.size[i];
        w.table *= 2 * w.size[i] - 1;
    }
    return w;
}

/* The stretch that a place along an axis of the shifted map lies in: tokens that the shift has
 * brought together from the two ends do not see each other. */
static int stretch(const struct ghn__windows *w, int axis, int64_t place) {
    if (w->shift[axis] == 0)
        return 0;
    if (place >= w->padded[axis] - w->shift[axis]) /* also where the shift is more than a window */
        return 2;
    return place >= w->padded[axis] - w->size[axis];
}

int64_t ghn__window_token(const struct ghn__windows *w, int64_t window, int64_t at, int *region) {
    int64_t place[2] = {window / w->count[1] * w->size[0] + at / w->size[1],
                        window % w->count[1] * w->size[1] + at % w->size[1]};
    int64_t from[2];
    *region = 3 * stretch(w, 0, place[0]) + stretch(w, 1, place[1]);
    for (int i = 0; i < 2; i++) {
        from[i] = (place[i] + w->shift[i]) % w->padded[i];
        if (from[i] >= w->in[i])
            return -1;
    }
    return from[0] * w->in[1] + from[1];
}

int64_t ghn__window_row(const struct ghn__windows *w, int64_t t, int64_t s) {
    int64_t dy = t / w->size[1] - s / w->size[1] + w->size[0] - 1,
            dx = t % w->size[1] - s % w->size[1] + w->size[1] - 1;
    return dy * (2 * w->size[1] - 1) + dx;
}

/* The logarithmic coordinates of a row of the table. */
static void coordinates(const struct ghn__windows *w, int64_t row, double ret[2]) {
    int64_t across = 2 * w->size[1] - 1,
            offset[2] = {row / across - (w->size[0] - 1), row % across - (w->size[1] - 1)};
    for (int i = 0; i < 2; i++) {
        double x = w->size[i] > 1 ? 8.0 * (double)offset[i] / (double)(w->size[i] - 1) : 0.0;
        ret[i] = copysign(log2(fabs(x) + 1.0) / 3.0, x);
    }
}

/* The hidden layer for one row, before its ReLU. */
static double hidden_unit(const float *const mlp[3], const double x[2], int k) {
    return mlp[0][2 * k] * x[0] + mlp[0][2 * k + 1] * x[1] + mlp[1][k];
}

/* What the network gives for one row and head, before the sigmoid. */
static double position_logit(const float *const mlp[3], const double x[2], int64_t head) {
    double sum = 0;
    for (int k = 0; k < HIDDEN; k++)
        sum += fmax(hidden_unit(mlp, x, k), 0) * mlp[2][head * HIDDEN + k];
    return sum;
}

void ghn__window_table(const struct ghn__windows *w, const float *const mlp[3], float *table) {
    for (int64_t row = 0; row < w->table; row++) {
        double x[2];
        coordinates(w, row, x);
        for (int64_t head = 0; head < w->heads; head++)
            table[row * w->heads + head] =
                (float)(16.0 / (1.0 + exp(-position_logit(mlp, x, head))));
    }
}

void ghn__window_table_backward(const struct ghn__windows *w, const float *const mlp[3],
                                const float *dtable, float *const dmlp[3]) {
    for (int64_t row = 0; row < w->table; row++) {
        double x[2];
        coordinates(w, row, x);
        for (int64_t head = 0; head < w->heads; head++) {
            double s = 1.0 / (1.0 + exp(-position_logit(mlp, x, head))),
                   d = 16.0 * s * (1.0 - s) * dtable[row * w->heads + head];
            for (int k = 0; k < HIDDEN; k++) {
                double hidden = hidden_unit(mlp, x, k);
                if (hidden <= 0)
                    continue;
                double dhidden = d * mlp[2][head * HIDDEN + k];
                dmlp[2][head * HIDDEN + k] += (float)(d * hidden);
                dmlp[0][2 * k] += (float)(dhidden * x[0]);
                dmlp[0][2 * k + 1] += (float)(dhidden * x[1]);
                dmlp[1][k] += (float)dhidden;
            }
        }
    }
}
