/* The hypernetwork's inner loops, in variants for several instruction sets (private to this folder,
 * its tests and benchmarks).
 *
 * Shapes are row-major. "Padded" sizes are multiples of GHN__PAD, and what is added is zero. Every
 * variant gives the same values up to rounding; which one runs depends on the processor alone. */
#ifndef GHN_GHN_KERNELS_H
#define GHN_GHN_KERNELS_H

#include <stddef.h>

enum {
    GHN__PAD = 16,   /* lanes of the widest vector */
    GHN__PANEL = 8,  /* rows of a panel of packed weights */
    GHN__LANES = 48, /* columns of a full tile: 8 rows x 48 columns fill AVX-512's registers */
};

/* n rounded up to a multiple of GHN__PAD. */
static inline int ghn__padded(int n) {
    return (n + GHN__PAD - 1) / GHN__PAD * GHN__PAD;
}

/* Where columns of a tile go: n columns from `lane` on are positions of one block (O, I, P), whose
 * first of them, of row (0, 0), is at dst. */
struct ghn__segment {
    float *dst;
    int lane, n;
    int O, I, P;
};

struct ghn__kernels {
    const char *name; /* "avx512", "avx2", "plain", "ref" */

    /* y (n) = bias (n) + x (k) * w (k, n). n is padded; bias may be NULL for zeros. */
    void (*dense)(float *y, const float *x, const float *w, const float *bias, int k, int n);

    /* c (8, width) = a (k, 8) transposed * b (k, width); width is 16, 32 or 48. */
    void (*panel)(float *c, const float *a, const float *b, int k, int width);

    /* Copies a tile c (8, width), whose row r is row (o + r, i) of every block, to where the
     * segments say; rows beyond a block's O and I are dropped. */
    void (*store)(const struct ghn__segment *segments, int n_segments, const float *c, int width,
                  int o, int i);

    /* x (rows, n) = ReLU(x) * scale (n), row by row; scale may be NULL for ones. n is padded. */
    void (*relu)(float *x, const float *scale, int rows, int n);

    /* h (n) = GRU update of state h: gi (3, n) and gh (3, n) are the input's and the state's parts
     * of the gates reset, update, new. n is padded. */
    void (*gru)(float *h, const float *gi, const float *gh, int n);

    /* gates (3, n) = reset, update and new of the same. n is padded. */
    void (*gates)(float *gates, const float *gi, const float *gh, int n);

    /* x (n) = 2 sigmoid(x / 2), and tanh(x / 5) (ghn2-spec C6). n is padded. */
    void (*squash_norm)(float *x, int n);
    void (*squash_bias)(float *x, int n);
};

/* The best variant for this processor. */
const struct ghn__kernels *ghn__kernels_best(void);

/* Every variant that this processor can run, `ref` first, into ret (room for 4); returns how many.
 */
int ghn__kernels_all(const struct ghn__kernels *ret[4]);

extern const struct ghn__kernels ghn__kernels_ref, ghn__kernels_plain, ghn__kernels_avx2,
    ghn__kernels_avx512;

#endif
