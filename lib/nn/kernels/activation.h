/* Activations and their derivatives on vectors; with a constant kind only that one's code remains.
 * Private to lib/nn/kernels. */
#ifndef GHN_NN_KERNELS_ACTIVATION_H
#define GHN_NN_KERNELS_ACTIVATION_H

#include "nn/activation.h"
#include "nn/simd.h"

GHN__INLINE ghn__vf ghn__sigmoid(ghn__vf x) {
    return 1.0f / (1.0f + ghn__exp(-x));
}

/* tanh(x): an odd polynomial near 0 (a minimax fit of (tanh(x) / x - 1) / x^2 for |x| < 0.625),
 * where the difference from 1 would lose digits. To 4 parts in 2^24. */
GHN__INLINE ghn__vf ghn__tanh(ghn__vf x) {
    ghn__vf z = x * x, far = 2.0f * ghn__sigmoid(2.0f * x) - 1.0f;
    ghn__vf p = -5.70498872745e-3f * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return ghn__select(z < ghn__splat(0.625f * 0.625f), p * z * x + x, far);
}

/* The normal distribution's Phi(x): erf by Abramowitz and Stegun 7.1.26, absolute error below 1e-6.
 */
GHN__INLINE ghn__vf ghn__phi(ghn__vf x) {
    ghn__vf z = ghn__max(x, -x) * 0.70710678f;
    ghn__vf t = 1.0f / (1.0f + 0.3275911f * z);
    ghn__vf p = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t +
                 0.254829592f) *
                t;
    ghn__vf tail = 0.5f * p * ghn__exp(-z * z);
    return ghn__select(x < ghn__splat(0), tail, 1.0f - tail);
}

/* The argument of tanh in GELU's approximation. */
GHN__INLINE ghn__vf ghn__gelu_inner(ghn__vf x) {
    return 0.79788456f * (x + 0.044715f * x * x * x);
}

GHN__INLINE ghn__vf ghn__clamp(ghn__vf x, float low, float high) {
    return ghn__min(ghn__splat(high), ghn__max(ghn__splat(low), x));
}

/* f(x). NaN stays NaN. */
GHN__INLINE ghn__vf ghn__act(enum ghn__act kind, float parameter, ghn__vf x) {
    ghn__vf zero = ghn__splat(0);
    switch (kind) {
    case GHN__ACT_RELU:
        return ghn__select(x <= zero, zero, x);
    case GHN__ACT_RELU6:
        return ghn__select(x <= zero, zero, ghn__select(x >= ghn__splat(6), ghn__splat(6), x));
    case GHN__ACT_LEAKY_RELU:
        return ghn__select(x <= zero, x * parameter, x);
    case GHN__ACT_ELU:
        return ghn__select(x <= zero, parameter * (ghn__exp(ghn__min(x, zero)) - 1.0f), x);
    case GHN__ACT_SILU:
        return x * ghn__sigmoid(x);
    case GHN__ACT_GELU:
        return x * ghn__phi(x);
    case GHN__ACT_GELU_TANH:
        return 0.5f * x * (1.0f + ghn__tanh(ghn__gelu_inner(x)));
    case GHN__ACT_HARDSWISH:
        return x * ghn__clamp(x + 3.0f, 0, 6) * (1.0f / 6.0f);
    case GHN__ACT_HARDSIGMOID:
        return ghn__clamp(x + 3.0f, 0, 6) * (1.0f / 6.0f);
    case GHN__ACT_SIGMOID:
        return ghn__sigmoid(x);
    case GHN__ACT_TANH:
        return ghn__tanh(x);
    case GHN__ACT_NONE:
        break;
    }
    return x;
}

/* f'(x), with PyTorch's values at the kinks. */
GHN__INLINE ghn__vf ghn__act_gradient(enum ghn__act kind, float parameter, ghn__vf x) {
    ghn__vf zero = ghn__splat(0), one = ghn__splat(1), s;
    switch (kind) {
    case GHN__ACT_RELU:
        return ghn__select(x > zero, one, zero);
    case GHN__ACT_RELU6:
        return ghn__select((x > zero) & (x < ghn__splat(6)), one, zero);
    case GHN__ACT_LEAKY_RELU:
        return ghn__select(x > zero, one, ghn__splat(parameter));
    case GHN__ACT_ELU:
        return ghn__select(x > zero, one, parameter * ghn__exp(ghn__min(x, zero)));
    case GHN__ACT_SILU:
        s = ghn__sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    case GHN__ACT_GELU:
        return ghn__phi(x) + x * 0.39894228f * ghn__exp(-0.5f * x * x);
    case GHN__ACT_GELU_TANH:
        s = ghn__tanh(ghn__gelu_inner(x));
        return 0.5f * (1.0f + s) +
               0.5f * x * (1.0f - s * s) * 0.79788456f * (1.0f + 0.134145f * x * x);
    case GHN__ACT_HARDSWISH:
        return ghn__select(x < ghn__splat(-3), zero,
                           ghn__select(x > ghn__splat(3), one, x * (1.0f / 3.0f) + 0.5f));
    case GHN__ACT_HARDSIGMOID:
        return ghn__select((x > ghn__splat(-3)) & (x < ghn__splat(3)), ghn__splat(1.0f / 6.0f),
                           zero);
    case GHN__ACT_SIGMOID:
        s = ghn__sigmoid(x);
        return s * (1.0f - s);
    case GHN__ACT_TANH:
        s = ghn__tanh(x);
        return 1.0f - s * s;
    case GHN__ACT_NONE:
        break;
    }
    return one;
}

#endif
