/* Because the coefficients repeat with a period that is a multiple of the vector's width, no vector
 * straddles two different sets of them and only the very end of an image has a remainder, whatever
 * the number of channels. */
#include "nn/kernels.h"
#include "nn/kernels/activation.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

GHN__INLINE void sums(const void *x, enum ghn_dtype dtype, int64_t begin, int64_t end,
                      int64_t period, const float *shift, float *sum, float *square) {
    for (int64_t k = 0; k < period; k += GHN__LANES) {
        ghn__vf s = ghn__splat(0), q = ghn__splat(0), around = ghn__load(shift, GHN_F32, k);
        int64_t i = begin + k;
        for (; i + GHN__LANES <= end; i += period) {
            ghn__vf v = ghn__load(x, dtype, i) - around;
            s += v;
            q += v * v;
        }
        if (i < end)
            for (int l = 0; l < end - i; l++) {
                float v = ghn__get(x, dtype, i + l) - around[l];
                s[l] += v;
                q[l] += v * v;
            }
        ghn__store(sum, GHN_F32, k, s);
        ghn__store(square, GHN_F32, k, q);
    }
}

void GHN__K(batch_norm_sums)(const void *x, enum ghn_dtype dtype, int64_t begin, int64_t end,
                             int64_t period, const float *shift, float *sum, float *square) {
    if (dtype == GHN_F32)
        sums(x, GHN_F32, begin, end, period, shift, sum, square);
    else
        sums(x, GHN_BF16, begin, end, period, shift, sum, square);
}

GHN__INLINE void apply(void *y, const void *x, const void *residual, enum ghn_dtype dtype,
                       int64_t begin, int64_t end, int64_t period, const float *scale,
                       const float *offset, enum ghn__act act, float parameter) {
    for (int64_t row = begin; row < end; row += period) {
        int64_t n = end - row < period ? end - row : period;
        for (int64_t k = 0; k < n; k += GHN__LANES) {
            int part = ghn__part_of(row + k, end);
            ghn__vf v = ghn__get_part(x, dtype, row + k, part) * ghn__load(scale, GHN_F32, k) +
                        ghn__load(offset, GHN_F32, k);
            if (residual)
                v += ghn__get_part(residual, dtype, row + k, part);
            ghn__put_part(y, dtype, row + k, part, ghn__act(act, parameter, v));
        }
    }
}

/* dz of the vector at element i. */
GHN__INLINE ghn__vf inner(const void *dy, ghn__vf x, const void *y, enum ghn_dtype dtype, int64_t i,
                          int part, ghn__vf scale, ghn__vf offset, enum ghn__act act,
                          float parameter) {
    ghn__vf dz = ghn__get_part(dy, dtype, i, part);
    if (y)
        return ghn__select(ghn__get_part(y, dtype, i, part) > ghn__splat(0), dz, ghn__splat(0));
    return act == GHN__ACT_NONE ? dz : dz * ghn__act_gradient(act, parameter, x * scale + offset);
}

GHN__INLINE void gradient_sums(const void *dy, const void *x, const void *y, enum ghn_dtype dtype,
                               int64_t begin, int64_t end, int64_t period, const float *scale,
                               const float *offset, const float *mean, enum ghn__act act,
                               float parameter, float *sum, float *product) {
    for (int64_t k = 0; k < period; k += GHN__LANES) {
        ghn__vf s = ghn__splat(0), p = ghn__splat(0), around = ghn__load(mean, GHN_F32, k);
        ghn__vf m = ghn__load(scale, GHN_F32, k), o = ghn__load(offset, GHN_F32, k);
        for (int64_t i = begin + k; i < end; i += period) {
            int part = ghn__part_of(i, end);
            ghn__vf v = ghn__get_part(x, dtype, i, part);
            ghn__vf dz = inner(dy, v, y, dtype, i, part, m, o, act, parameter);
            s += dz;
            p += dz * (v - around);
        }
        ghn__store(sum, GHN_F32, k, s);
        ghn__store(product, GHN_F32, k, p);
    }
}

GHN__INLINE void gradient(void *dx, bool add, void *dresidual, bool add_residual, const void *dy,
                          const void *x, const void *y, enum ghn_dtype dtype, int64_t begin,
                          int64_t end, int64_t period, const float *scale, const float *offset,
                          const float *a, const float *b, const float *c, enum ghn__act act,
                          float parameter) {
    for (int64_t row = begin; row < end; row += period) {
        int64_t n = end - row < period ? end - row : period;
        for (int64_t k = 0; k < n; k += GHN__LANES) {
            int64_t i = row + k;
            int part = ghn__part_of(i, end);
            ghn__vf v = ghn__get_part(x, dtype, i, part);
            ghn__vf dz = inner(dy, v, y, dtype, i, part, ghn__load(scale, GHN_F32, k),
                               ghn__load(offset, GHN_F32, k), act, parameter);
            if (dx) {
                ghn__vf d = dz * ghn__load(a, GHN_F32, k) + v * ghn__load(b, GHN_F32, k) +
                            ghn__load(c, GHN_F32, k);
                ghn__put_part(dx, dtype, i, part, add ? d + ghn__get_part(dx, dtype, i, part) : d);
            }
            if (dresidual)
                ghn__put_part(dresidual, dtype, i, part,
                              add_residual ? dz + ghn__get_part(dresidual, dtype, i, part) : dz);
        }
    }
}

/* Runs `call` with the activation and the type as constants. */
#define WITH_DTYPE(call, act)                                                                      \
    if (dtype == GHN_F32)                                                                          \
        call(GHN_F32, act);                                                                        \
    else                                                                                           \
        call(GHN_BF16, act);                                                                       \
    break
#define WITH_ACT(call)                                                                             \
    switch ((enum ghn__act)act) {                                                                  \
    case GHN__ACT_RELU:                                                                            \
        WITH_DTYPE(call, GHN__ACT_RELU);                                                           \
    case GHN__ACT_RELU6:                                                                           \
        WITH_DTYPE(call, GHN__ACT_RELU6);                                                          \
    case GHN__ACT_LEAKY_RELU:                                                                      \
        WITH_DTYPE(call, GHN__ACT_LEAKY_RELU);                                                     \
    case GHN__ACT_SILU:                                                                            \
        WITH_DTYPE(call, GHN__ACT_SILU);                                                           \
    case GHN__ACT_HARDSWISH:                                                                       \
        WITH_DTYPE(call, GHN__ACT_HARDSWISH);                                                      \
    case GHN__ACT_HARDSIGMOID:                                                                     \
        WITH_DTYPE(call, GHN__ACT_HARDSIGMOID);                                                    \
    default:                                                                                       \
        WITH_DTYPE(call, GHN__ACT_NONE);                                                           \
    }

void GHN__K(batch_norm_apply)(void *y, const void *x, const void *residual, enum ghn_dtype dtype,
                              int64_t begin, int64_t end, int64_t period, const float *scale,
                              const float *offset, int act, float act_parameter) {
#define CALL(t, k) apply(y, x, residual, t, begin, end, period, scale, offset, k, act_parameter)
    WITH_ACT(CALL)
#undef CALL
}

void GHN__K(batch_norm_gradient_sums)(const void *dy, const void *x, const void *y,
                                      enum ghn_dtype dtype, int64_t begin, int64_t end,
                                      int64_t period, const float *scale, const float *offset,
                                      const float *mean, int act, float act_parameter, float *sum,
                                      float *product) {
#define CALL(t, k)                                                                                 \
    gradient_sums(dy, x, y, t, begin, end, period, scale, offset, mean, k, act_parameter, sum,     \
                  product)
    WITH_ACT(CALL)
#undef CALL
}

void GHN__K(batch_norm_gradient)(void *dx, bool add, void *dresidual, bool add_residual,
                                 const void *dy, const void *x, const void *y, enum ghn_dtype dtype,
                                 int64_t begin, int64_t end, int64_t period, const float *scale,
                                 const float *offset, const float *a, const float *b,
                                 const float *c, int act, float act_parameter) {
#define CALL(t, k)                                                                                 \
    gradient(dx, add, dresidual, add_residual, dy, x, y, t, begin, end, period, scale, offset, a,  \
             b, c, k, act_parameter)
    WITH_ACT(CALL)
#undef CALL
}
