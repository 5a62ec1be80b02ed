#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

/* Loops are scalar and left to the compiler: nothing but additions, products, a root and a division
 * over contiguous arrays. */

void GHN__K(square_sum)(const float *x, int64_t begin, int64_t end, double *sum) {
    double total = 0;
    for (int64_t i = begin; i < end;) {
        /* Short runs in f32, so that what is lost in them stays below f32's own precision. */
        int64_t stop = end - i < 64 * GHN__LANES ? end : i + 64 * GHN__LANES;
        ghn__vf squares = ghn__splat(0);
        for (; i + GHN__LANES <= stop; i += GHN__LANES) {
            ghn__vf v = ghn__load(x, GHN_F32, i);
            squares += v * v;
        }
        for (int k = 0; k < GHN__LANES; k++)
            total += squares[k];
        for (; i < stop; i++)
            total += (double)x[i] * x[i];
    }
    *sum = total;
}

void GHN__K(sgd)(float *restrict p, float *restrict m, const float *restrict g, int64_t begin,
                 int64_t end, float scale, float lr, float momentum, float decay, bool nesterov) {
    if (!m) {
        for (int64_t i = begin; i < end; i++)
            p[i] -= lr * (scale * g[i] + decay * p[i]);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        float d = scale * g[i] + decay * p[i];
        float velocity = momentum * m[i] + d;
        m[i] = velocity;
        p[i] -= lr * (nesterov ? d + momentum * velocity : velocity);
    }
}

void GHN__K(adamw)(float *restrict p, float *restrict m, float *restrict v, const float *restrict g,
                   int64_t begin, int64_t end, float scale, const struct ghn__adamw *a) {
    float keep = a->keep, take1 = a->take1, keep2 = a->keep2, take2 = a->take2, rate = a->rate,
          inverse_root = a->inverse_root, eps = a->eps;
    for (int64_t i = begin; i < end; i++) {
        float d = scale * g[i];
        float first = m[i] + take1 * (d - m[i]);
        float second = keep2 * v[i] + take2 * d * d;
        m[i] = first;
        v[i] = second;
        p[i] = keep * p[i] - rate * first / (__builtin_sqrtf(second) * inverse_root + eps);
    }
}
