/* The kernels as their definitions have them, for tests to compare with: plain loops, sums in
 * double, the C library's functions. */
#include <math.h>

#include "ghn/kernels.h"

static void dense(float *y, const float *x, const float *w, const float *bias, int k, int n) {
    for (int j = 0; j < n; j++) {
        double sum = bias ? (double)bias[j] : 0.0;
        for (int i = 0; i < k; i++)
            sum += (double)x[i] * (double)w[(size_t)i * (size_t)n + (size_t)j];
        y[j] = (float)sum;
    }
}

static void panel(float *c, const float *a, const float *b, int k, int width) {
    for (int r = 0; r < GHN__PANEL; r++) {
        for (int j = 0; j < width; j++) {
            double sum = 0.0;
            for (int i = 0; i < k; i++)
                sum += (double)a[i * GHN__PANEL + r] *
                       (double)b[(size_t)i * (size_t)width + (size_t)j];
            c[r * width + j] = (float)sum;
        }
    }
}

static void store(const struct ghn__segment *segments, int n_segments, const float *c, int width,
                  int o, int i) {
    for (int s = 0; s < n_segments; s++) {
        const struct ghn__segment *seg = &segments[s];
        for (int r = 0; r < GHN__PANEL; r++)
            for (int p = 0; p < seg->n && o + r < seg->O && i < seg->I; p++)
                seg->dst[((size_t)(o + r) * (size_t)seg->I + (size_t)i) * (size_t)seg->P +
                         (size_t)p] = c[r * width + seg->lane + p];
    }
}

static void relu(float *x, const float *scale, int rows, int n) {
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) {
            float *at = &x[(size_t)r * (size_t)n + (size_t)j];
            *at = (*at <= 0.0f ? 0.0f : *at) * (scale ? scale[j] : 1.0f);
        }
}

static double sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

static void gru(float *h, const float *gi, const float *gh, int n) {
    for (int j = 0; j < n; j++) {
        double reset = sigmoid((double)gi[j] + (double)gh[j]);
        double update = sigmoid((double)gi[n + j] + (double)gh[n + j]);
        double next = tanh((double)gi[2 * n + j] + reset * (double)gh[2 * n + j]);
        h[j] = (float)((1.0 - update) * next + update * (double)h[j]);
    }
}

static void gates(float *ret, const float *gi, const float *gh, int n) {
    for (int j = 0; j < n; j++) {
        double reset = sigmoid((double)gi[j] + (double)gh[j]);
        ret[j] = (float)reset;
        ret[n + j] = (float)sigmoid((double)gi[n + j] + (double)gh[n + j]);
        ret[2 * n + j] = (float)tanh((double)gi[2 * n + j] + reset * (double)gh[2 * n + j]);
    }
}

static void squash_norm(float *x, int n) {
    for (int j = 0; j < n; j++)
        x[j] = (float)(2.0 * sigmoid(0.5 * (double)x[j]));
}

static void squash_bias(float *x, int n) {
    for (int j = 0; j < n; j++)
        x[j] = (float)tanh(0.2 * (double)x[j]);
}

const struct ghn__kernels ghn__kernels_ref = {
    .name = "ref",
    .dense = dense,
    .panel = panel,
    .store = store,
    .relu = relu,
    .gru = gru,
    .gates = gates,
    .squash_norm = squash_norm,
    .squash_bias = squash_bias,
};
