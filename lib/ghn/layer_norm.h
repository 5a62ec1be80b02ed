/* Layer norm of a node's embedding (ghn2-spec C4), for predicting and for training. Private to this
 * folder. */
#ifndef GHN_GHN_LAYER_NORM_H
#define GHN_GHN_LAYER_NORM_H

#include <math.h>
#include <string.h>

#include "ghn/model_impl.h"

struct ghn__moments {
    double mean, scale; /* scale = 1 / sqrt(variance + eps) */
};

static inline struct ghn__moments ghn__moments_of(const float *x, int n) {
    double mean = 0.0, variance = 0.0;
    for (int j = 0; j < n; j++)
        mean += (double)x[j];
    mean /= n;
    for (int j = 0; j < n; j++)
        variance += ((double)x[j] - mean) * ((double)x[j] - mean);
    return (struct ghn__moments){mean, 1.0 / sqrt(variance / n + 1e-5)};
}

/* ret (hid) = the norm of x (hid) with the hypernetwork's tensors; x itself where the configuration
 * has no layer norm. */
static inline void ghn__layer_norm(const struct ghn_config *config, float *const *tensors,
                                   const float *x, float *ret) {
    int n = config->hid;
    if (!config->layernorm) {
        memcpy(ret, x, (size_t)n * sizeof(float));
        return;
    }
    const float *weight = tensors[GHN__LN_W], *bias = tensors[GHN__LN_B];
    struct ghn__moments of = ghn__moments_of(x, n);
    for (int j = 0; j < n; j++)
        ret[j] = (float)(((double)x[j] - of.mean) * of.scale) * weight[j] + bias[j];
}

#endif
