/* Kernels on pairs: bf16 values of a channel at two pixels, one above the other in a word, as
 * AVX-512's dot product of bf16 takes them. lib/nn/kernels/pairs.c is compiled for processors that
 * have it and, as the plain twin, for any. Private to lib/nn. */
#ifndef GHN_NN_PAIRS_H
#define GHN_NN_PAIRS_H

#include <stdint.h>

/* Channels side by side in a panel: of the one operand, and of the other. */
enum { GHN__PAIR_ROWS = 8, GHN__PAIR_COLUMNS = 32 };

/* What is read of a row of pixels, channels-last: pair p holds pixels start + 2 p step and
 * start + (2 p + 1) step; those outside of [0, width) are zero. */
struct ghn__pixel_row {
    const uint16_t *x;
    int64_t pitch;    /* channels of a pixel in memory ... */
    int64_t channels; /* ... and those that are wanted, from x on */
    int64_t width, start, step, pairs;
};

/* Where two operands are multiplied: runs of pairs, and how far it is in pairs to the next of
 * `rows` runs and to the next image. */
struct ghn__pair_walk {
    int64_t images, rows, pairs;
    int64_t a_image, a_row, b_image, b_row;
};

struct ghn__pair_kernels {
    /* Panels of `panel` channels, GHN__PAIR_ROWS or GHN__PAIR_COLUMNS, each `step` words after the
     * one before: (pairs, panel) in each, channels past the last being zero. */
    void (*interleave)(uint32_t *panels, int panel, int64_t step, const struct ghn__pixel_row *row);
    /* sum (GHN__PAIR_ROWS, GHN__PAIR_COLUMNS) += over all pairs of the walk, and both pixels of
     * each, a (pairs, GHN__PAIR_ROWS) times b (pairs, GHN__PAIR_COLUMNS). */
    void (*products)(float *sum, const uint32_t *a, const uint32_t *b,
                     const struct ghn__pair_walk *walk);
    /* to (n, taps) = one row of the sums of every tap, (taps, GHN__PAIR_ROWS, GHN__PAIR_COLUMNS);
     * n is at most GHN__PAIR_COLUMNS. */
    void (*unpack)(float *to, const float *sums, int64_t taps, int64_t n);
};

extern const struct ghn__pair_kernels ghn__pairs_plain;
#ifdef __x86_64__
extern const struct ghn__pair_kernels ghn__pairs_avx512_bf16;
#endif

/* Those of this processor. */
const struct ghn__pair_kernels *ghn__pair_kernels(void);

#endif
