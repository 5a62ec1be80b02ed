/* The text of a variant of the kernels: included once by each kernels_<name>.c, which defines
 *
 *   KERNEL_NAME    its name, a token
 *   KERNEL_TARGET  the function attribute that allows its instructions (or nothing)
 *   KERNEL_LANES   floats in a vector
 *   KERNEL_ROWS    rows of a register tile: 4 or 8
 *   KERNEL_COLS    vectors in a row of a register tile, at most
 *
 * GCC's vector extensions stand for the instructions, so that one text serves all. */
#include <stdint.h>
#include <string.h>

#include "ghn/kernels.h"

#define KERNEL static KERNEL_TARGET
#define KERNEL_INLINE static inline __attribute__((always_inline)) KERNEL_TARGET
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

/* A loop over a register tile, unrolled in full: only then do its arrays become registers. */
#if defined(__clang__)
#define REPEAT(i, n) _Pragma("clang loop unroll(full)") for (int i = 0; i < (n); i++)
#else
#define REPEAT(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)
#endif

typedef float vec __attribute__((vector_size(4 * KERNEL_LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * KERNEL_LANES)));
typedef float vec_in_memory __attribute__((vector_size(4 * KERNEL_LANES), aligned(4), may_alias));

KERNEL_INLINE vec load(const float *p) {
    return *(const vec_in_memory *)p;
}

KERNEL_INLINE void store_vec(float *p, vec v) {
    *(vec_in_memory *)p = v;
}

/* --- Products --- */

/* y (cols vectors) = bias + x (k) * w (k, n). Four sums a column hide the latency of the adds. */
KERNEL_INLINE void dense_columns(float *y, const float *x, const float *w, const float *bias, int k,
                                 int n, const int cols) {
    vec sum[4][2];
    REPEAT (u, 4)
        REPEAT (c, cols)
            sum[u][c] = (vec){0};
    int i = 0;
    for (; i + 4 <= k; i += 4)
        REPEAT (u, 4)
            REPEAT (c, cols)
                sum[u][c] += x[i + u] * load(w + (size_t)(i + u) * (size_t)n + c * KERNEL_LANES);
    for (; i < k; i++)
        REPEAT (c, cols)
            sum[0][c] += x[i] * load(w + (size_t)i * (size_t)n + c * KERNEL_LANES);
    REPEAT (c, cols) {
        vec all = (sum[0][c] + sum[1][c]) + (sum[2][c] + sum[3][c]);
        store_vec(y + c * KERNEL_LANES, bias ? all + load(bias + c * KERNEL_LANES) : all);
    }
}

KERNEL void dense(float *y, const float *x, const float *w, const float *bias, int k, int n) {
    int j = 0;
    for (; j + 2 * KERNEL_LANES <= n; j += 2 * KERNEL_LANES)
        dense_columns(y + j, x, w + j, bias ? bias + j : NULL, k, n, 2);
    for (; j < n; j += KERNEL_LANES)
        dense_columns(y + j, x, w + j, bias ? bias + j : NULL, k, n, 1);
}

/* Floats from a weight to what is fetched meanwhile: about a panel of conv2 for hid = 32. */
enum { PREFETCH = 2048 };

/* A register tile: c (KERNEL_ROWS, cols vectors) of the panel's product. */
KERNEL_INLINE void tile(float *c, const float *a, const float *b, int k, int width,
                        const int cols) {
    vec sum[KERNEL_ROWS][KERNEL_COLS];
    REPEAT (r, KERNEL_ROWS)
        REPEAT (j, cols)
            sum[r][j] = (vec){0};
    for (int i = 0; i < k; i++) {
        vec column[KERNEL_COLS];
        REPEAT (j, cols)
            column[j] = load(b + j * KERNEL_LANES);
        REPEAT (r, KERNEL_ROWS)
            REPEAT (j, cols)
                sum[r][j] += a[r] * column[j];
        __builtin_prefetch(a + PREFETCH);
        a += GHN__PANEL;
        b += width;
    }
    REPEAT (r, KERNEL_ROWS)
        REPEAT (j, cols)
            store_vec(c + r * width + j * KERNEL_LANES, sum[r][j]);
}

KERNEL void panel(float *c, const float *a, const float *b, int k, int width) {
    for (int r = 0; r < GHN__PANEL; r += KERNEL_ROWS) {
        float *row = c + r * width;
        int j = 0;
        for (; j + KERNEL_COLS * KERNEL_LANES <= width; j += KERNEL_COLS * KERNEL_LANES)
            tile(row + j, a + r, b + j, k, width, KERNEL_COLS);
        if (j + 2 * KERNEL_LANES <= width) {
            tile(row + j, a + r, b + j, k, width, 2);
            j += 2 * KERNEL_LANES;
        }
        if (j + 1 * KERNEL_LANES <= width)
            tile(row + j, a + r, b + j, k, width, 1);
    }
}

/* --- Copying --- */

/* dst (n) = src (n), and nothing beyond. */
KERNEL_INLINE void copy_short(float *dst, const float *src, int n) {
    for (; n >= KERNEL_LANES; n -= KERNEL_LANES, dst += KERNEL_LANES, src += KERNEL_LANES)
        store_vec(dst, load(src));
#ifdef KERNEL_COPY_TAIL
    KERNEL_COPY_TAIL(dst, src, n);
#else
    for (int i = 0; i < n; i++)
        dst[i] = src[i];
#endif
}

KERNEL void store(const struct ghn__segment *segments, int n_segments, const float *c, int width,
                  int o, int i) {
    for (int s = 0; s < n_segments; s++) {
        const struct ghn__segment *seg = &segments[s];
        if (i >= seg->I || o >= seg->O)
            continue;
        int rows = seg->O - o < GHN__PANEL ? seg->O - o : GHN__PANEL;
        size_t stride = (size_t)seg->I * (size_t)seg->P;
        float *dst = seg->dst + (size_t)o * stride + (size_t)i * (size_t)seg->P;
        const float *src = c + seg->lane;
        if (seg->n == 1) {
            for (int r = 0; r < rows; r++, dst += stride, src += width)
                *dst = *src;
        } else {
            for (int r = 0; r < rows; r++, dst += stride, src += width)
                copy_short(dst, src, seg->n);
        }
    }
}

/* --- Functions --- */

/* Lanes of a where mask is set, of b elsewhere. */
KERNEL_INLINE vec choose(ivec mask, vec a, vec b) {
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* exp(x) to about an ulp, for x clamped to [-87, 88] (Cephes' polynomial). NaN stays NaN, or a
 * damaged hypernetwork would go unnoticed. */
KERNEL_INLINE vec vec_exp(vec x) {
    const vec given = x;
    x = choose(x < 88.0f, x, (vec){0} + 88.0f);
    x = choose(x > -87.0f, x, (vec){0} - 87.0f);
    /* Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits. */
    vec shifted = x * 1.44269504088896341f + 12582912.0f;
    vec n = shifted - 12582912.0f;
    vec r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return choose(given == given, (vec)((ivec)p + ((ivec)shifted << 23)), given);
}

KERNEL void relu(float *x, const float *scale, int rows, int n) {
    for (int r = 0; r < rows; r++, x += n) {
        for (int j = 0; j < n; j += KERNEL_LANES) {
            vec value = load(x + j);
            value = (vec)((ivec)value & ~(ivec)(value <= 0.0f)); /* NaN passes */
            store_vec(x + j, scale ? value * load(scale + j) : value);
        }
    }
}

KERNEL_INLINE vec vec_sigmoid(vec x) {
    return 1.0f / (1.0f + vec_exp(-x));
}

/* tanh(x): a polynomial near 0, where the quotient would lose digits. */
KERNEL_INLINE vec vec_tanh(vec x) {
    vec magnitude = (vec)((ivec)x & 0x7FFFFFFF);
    ivec sign = (ivec)x & (int32_t)0x80000000;
    vec far = 1.0f - 2.0f / (1.0f + vec_exp(2.0f * magnitude));
    far = (vec)((ivec)far | sign);
    vec z = x * x;
    vec p = -5.70498872745e-3f * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return choose(magnitude < 0.625f, p * z * x + x, far);
}

struct gates {
    vec reset, update, next;
};

KERNEL_INLINE struct gates vec_gates(const float *gi, const float *gh, int n) {
    struct gates g;
    g.reset = vec_sigmoid(load(gi) + load(gh));
    g.update = vec_sigmoid(load(gi + n) + load(gh + n));
    g.next = vec_tanh(load(gi + 2 * n) + g.reset * load(gh + 2 * n));
    return g;
}

KERNEL void gru(float *h, const float *gi, const float *gh, int n) {
    for (int j = 0; j < n; j += KERNEL_LANES) {
        struct gates g = vec_gates(gi + j, gh + j, n);
        store_vec(h + j, (1.0f - g.update) * g.next + g.update * load(h + j));
    }
}

KERNEL void gates(float *ret, const float *gi, const float *gh, int n) {
    for (int j = 0; j < n; j += KERNEL_LANES) {
        struct gates g = vec_gates(gi + j, gh + j, n);
        store_vec(ret + j, g.reset);
        store_vec(ret + n + j, g.update);
        store_vec(ret + 2 * n + j, g.next);
    }
}

KERNEL void squash_norm(float *x, int n) {
    for (int j = 0; j < n; j += KERNEL_LANES)
        store_vec(x + j, 2.0f * vec_sigmoid(0.5f * load(x + j)));
}

KERNEL void squash_bias(float *x, int n) {
    for (int j = 0; j < n; j += KERNEL_LANES)
        store_vec(x + j, vec_tanh(0.2f * load(x + j)));
}

const struct ghn__kernels JOIN(ghn__kernels_, KERNEL_NAME) = {
    .name = TEXT(KERNEL_NAME),
    .dense = dense,
    .panel = panel,
    .store = store,
    .relu = relu,
    .gru = gru,
    .gates = gates,
    .squash_norm = squash_norm,
    .squash_bias = squash_bias,
};
