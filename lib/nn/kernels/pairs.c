/* Pairs of bf16 values (nn/pairs.h). */
#include "nn/pairs.h"

#include <stddef.h>
#include <string.h>

#include "nn/kernels.h"
#include "nn/simd.h"

enum { ROWS = GHN__PAIR_ROWS, COLUMNS = GHN__PAIR_COLUMNS };

/* --- Packing --- */

static const uint16_t *pixel(const struct ghn__pixel_row *row, int64_t i) {
    return i >= 0 && i < row->width ? row->x + i * row->pitch : NULL;
}

GHN__INLINE void interleave_panel(uint32_t *out, const int panel, const uint16_t *first,
                                  const uint16_t *second) {
    for (int c = 0; c < panel; c++)
        out[c] = first[c] | (uint32_t)second[c] << 16;
}

/* The same for the last panel, that has fewer channels. */
GHN__INLINE void interleave_rest(uint32_t *out, const int panel, int64_t channels,
                                 const uint16_t *first, const uint16_t *second) {
    uint16_t rest[2][COLUMNS] = {{0}};
    memcpy(rest[0], first, (size_t)channels * sizeof **rest);
    memcpy(rest[1], second, (size_t)channels * sizeof **rest);
    interleave_panel(out, panel, rest[0], rest[1]);
}

/* Channels [c, c + panel) of all pairs. */
GHN__INLINE void interleave_column(uint32_t *out, const int panel, int64_t c,
                                   const struct ghn__pixel_row *row) {
    static const uint16_t none[COLUMNS];
    int64_t left = row->channels - c;
    for (int64_t p = 0; p < row->pairs; p++, out += panel) {
        int64_t i = row->start + 2 * p * row->step;
        const uint16_t *first = pixel(row, i), *second = pixel(row, i + row->step);
        first = first ? first + c : none;
        second = second ? second + c : none;
        if (left >= panel)
            interleave_panel(out, panel, first, second);
        else
            interleave_rest(out, panel, left, first, second);
    }
}

static void interleave(uint32_t *panels, int panel, int64_t step,
                       const struct ghn__pixel_row *row) {
    for (int64_t c = 0; c < row->channels; c += panel, panels += step) {
        if (panel == ROWS)
            interleave_column(panels, ROWS, c, row);
        else
            interleave_column(panels, COLUMNS, c, row);
    }
}

/* --- Products --- */

#ifdef __AVX512BF16__
enum { VECTORS = COLUMNS / GHN__LANES };

/* Pairs that lie one after another. */
GHN__INLINE void run_of_products(__m512 sums[ROWS][VECTORS], const uint32_t *a, const uint32_t *b,
                                 int64_t pairs) {
    for (int64_t p = 0; p < pairs; p++, a += ROWS, b += COLUMNS) {
        __m512bh columns[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            columns[v] = (__m512bh)_mm512_loadu_si512(b + v * GHN__LANES);
        for (int r = 0; r < ROWS; r++) {
            __m512bh both = (__m512bh)_mm512_set1_epi32((int)a[r]);
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] = _mm512_dpbf16_ps(sums[r][v], both, columns[v]);
        }
    }
}

static void products(float *sum, const uint32_t *a, const uint32_t *b,
                     const struct ghn__pair_walk *walk) {
    __m512 sums[ROWS][VECTORS];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++)
            sums[r][v] = _mm512_loadu_ps(sum + r * COLUMNS + v * GHN__LANES);
    for (int64_t i = 0; i < walk->images; i++)
        for (int64_t y = 0; y < walk->rows; y++)
            run_of_products(sums, a + (i * walk->a_image + y * walk->a_row) * ROWS,
                            b + (i * walk->b_image + y * walk->b_row) * COLUMNS, walk->pairs);
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++)
            _mm512_storeu_ps(sum + r * COLUMNS + v * GHN__LANES, sums[r][v]);
}

#else
static float low(uint32_t pair) {
    uint16_t half = (uint16_t)pair;
    return ghn__get(&half, GHN_BF16, 0);
}

static float high(uint32_t pair) {
    return low(pair >> 16);
}

static void products(float *sum, const uint32_t *a, const uint32_t *b,
                     const struct ghn__pair_walk *walk) {
    for (int64_t i = 0; i < walk->images; i++)
        for (int64_t y = 0; y < walk->rows; y++)
            for (int64_t p = 0; p < walk->pairs; p++) {
                const uint32_t *pa = a + (i * walk->a_image + y * walk->a_row + p) * ROWS,
                               *pb = b + (i * walk->b_image + y * walk->b_row + p) * COLUMNS;
                for (int r = 0; r < ROWS; r++)
                    for (int c = 0; c < COLUMNS; c++)
                        sum[r * COLUMNS + c] += low(pa[r]) * low(pb[c]) + high(pa[r]) * high(pb[c]);
            }
}
#endif

/* --- Unpacking --- */

GHN__INLINE void unpack_taps(float *to, const float *from, const int64_t taps, int64_t n) {
    for (int64_t c = 0; c < n; c++)
        for (int64_t t = 0; t < taps; t++)
            to[c * taps + t] = from[t * ROWS * COLUMNS + c];
}

static void unpack(float *to, const float *from, int64_t taps, int64_t n) {
    if (taps == 1)
        memcpy(to, from, (size_t)n * sizeof *to);
    else if (taps == 9)
        unpack_taps(to, from, 9, n);
    else
        unpack_taps(to, from, taps, n);
}

const struct ghn__pair_kernels GHN__K(ghn__pairs) = {interleave, products, unpack};
