/* Depthwise convolutions (nn/gather.h). With everything packed in f32, a product is one
 * multiply-add with an operand in the level 1 cache; a tile is several pixels, so that a weight is
 * loaded once for all of them and their sums do not wait for each other.
 *
 * Channels go by vectors. Where they are no multiple of the lanes, the last vector overlaps the one
 * before and its first `done` lanes are not counted again. */
#include "nn/gather.h"
#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

enum { TILE = 8, MOST_TAPS = 9 };

/* A vector of channels: the first, how many, and how many of them belong to the vector before. */
struct stripe {
    int64_t at;
    int lanes, done;
};

GHN__INLINE struct stripe stripe_of(int64_t k, int64_t channels) {
    if (k + GHN__LANES <= channels)
        return (struct stripe){k, GHN__LANES, 0};
    if (channels < GHN__LANES)
        return (struct stripe){k, (int)channels, 0};
    return (struct stripe){channels - GHN__LANES, GHN__LANES, (int)(k - (channels - GHN__LANES))};
}

/* x without the lanes that are done. */
GHN__INLINE ghn__vf fresh(ghn__vf x, struct stripe stripe) {
    if (stripe.done > 0)
        for (int l = 0; l < stripe.done; l++)
            x[l] = 0;
    return x;
}

GHN__INLINE void zero_pixels(float *packed, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        ghn__store(packed, GHN_F32, i * GHN__LANES, ghn__splat(0));
}

/* The first `lanes` channels of n pixels, from element `from` on. */
GHN__INLINE void pack_pixels(float *packed, const void *x, enum ghn_dtype dtype, int64_t from,
                             int64_t channels, int lanes, int64_t n) {
    if (lanes == GHN__LANES)
        for (int64_t i = 0; i < n; i++)
            ghn__store(packed, GHN_F32, i * GHN__LANES, ghn__load(x, dtype, from + i * channels));
    else
        for (int64_t i = 0; i < n; i++)
            ghn__store(packed, GHN_F32, i * GHN__LANES,
                       ghn__load_part(x, dtype, from + i * channels, lanes));
}

/* Places [t0, t1) of the first axis. */
struct band {
    int64_t t0, t1;
};

GHN__INLINE struct band band_of(const struct ghn__gather *g, int64_t band, int64_t count) {
    int64_t t0 = band * g->band, t1 = t0 + g->band;
    return (struct band){t0, t1 < count ? t1 : count};
}

/* What a band reads, with its border: packed (rows, g->width, lanes). */
GHN__INLINE void pack_band(float *packed, const void *x, enum ghn_dtype dtype,
                           const struct ghn__gather *g, struct band band, struct stripe stripe) {
    int64_t first = band.t0 * g->step[0] + g->low[0],
            rows = (band.t1 - band.t0 - 1) * g->step[0] + g->reach[0] + 1;
    /* map columns [left, right) of the width from low on */
    int64_t left = g->low[1] > 0 ? g->low[1] : 0, end = g->low[1] + g->width;
    int64_t right = end < g->in[1] ? end : g->in[1];
    for (int64_t r = 0; r < rows; r++, packed += g->width * GHN__LANES) {
        int64_t h = first + r;
        if (h < 0 || h >= g->in[0] || left >= right) {
            zero_pixels(packed, g->width);
            continue;
        }
        zero_pixels(packed, left - g->low[1]);
        pack_pixels(packed + (left - g->low[1]) * GHN__LANES, x, dtype,
                    (h * g->in[1] + left) * g->channels + stripe.at, g->channels, stripe.lanes,
                    right - left);
        zero_pixels(packed + (right - g->low[1]) * GHN__LANES, end - right);
    }
}

/* Adds the taps' products to TILE sums; at: what each reads at offset 0. */
GHN__INLINE void tile(ghn__vf sums[TILE], const float *const at[TILE],
                      const struct ghn__phase *phase, const float *weights, int64_t columns) {
    for (int64_t k = 0; k < phase->n_taps; k++) {
        int64_t offset = phase->taps[k].offset * GHN__LANES;
        ghn__vf w = ghn__load(weights, GHN_F32, phase->taps[k].weight * columns);
        for (int t = 0; t < TILE; t++)
            sums[t] += w * ghn__load(at[t], GHN_F32, offset);
    }
}

GHN__INLINE void write_pixel(void *y, bool add, enum ghn_dtype dtype, int64_t i, ghn__vf sum,
                             struct stripe stripe) {
    if (stripe.lanes == GHN__LANES) {
        if (add)
            sum = fresh(sum, stripe) + ghn__load(y, dtype, i);
        ghn__store(y, dtype, i, sum);
        return;
    }
    if (add)
        sum += ghn__load_part(y, dtype, i, stripe.lanes);
    ghn__store_part(y, dtype, i, stripe.lanes, sum);
}

/* Where a phase has got to: rows are walked one after another, tile by tile. */
struct walk {
    const float *from; /* of the row, in the packed band */
    int64_t to;        /* of the row, in y */
    int64_t column, width;
    int64_t down, right, to_down, to_right; /* from a place to the next, reading and writing */
};

GHN__INLINE struct walk start_walk(const struct ghn__gather *g, const struct ghn__phase *phase,
                                   struct band band, const float *packed, struct stripe stripe) {
    int64_t row = phase->start[0] + band.t0 * g->spread[0];
    return (struct walk){.from = packed,
                         .to = (row * g->out[1] + phase->start[1]) * g->channels + stripe.at,
                         .width = phase->count[1],
                         .down = g->step[0] * g->width * GHN__LANES,
                         .right = g->step[1] * GHN__LANES,
                         .to_down = g->spread[0] * g->out[1] * g->channels,
                         .to_right = g->spread[1] * g->channels};
}

GHN__INLINE void advance(struct walk *w, int64_t n) {
    w->column += n;
    if (w->column == w->width) {
        w->column = 0;
        w->from += w->down;
        w->to += w->to_down;
    }
}

/* A tile within a row, its places `step` pixels apart. */
GHN__INLINE void row_tile(void *y, bool add, enum ghn_dtype dtype, struct walk *w, int step,
                          const struct ghn__phase *phase, const float *weights, int64_t columns,
                          ghn__vf bias, struct stripe stripe) {
    const float *at[TILE];
    ghn__vf sums[TILE];
    for (int t = 0; t < TILE; t++) {
        at[t] = w->from + w->column * w->right + t * step * GHN__LANES;
        sums[t] = bias;
    }
    tile(sums, at, phase, weights, columns);
    for (int t = 0; t < TILE; t++)
        write_pixel(y, add, dtype, w->to + (w->column + t) * w->to_right, sums[t], stripe);
    advance(w, TILE);
}

/* A tile over the ends of rows, of `left` places or more; the last place is repeated, but not
 * written again. */
GHN__INLINE void any_tile(void *y, bool add, enum ghn_dtype dtype, struct walk *w, int64_t left,
                          const struct ghn__phase *phase, const float *weights, int64_t columns,
                          ghn__vf bias, struct stripe stripe) {
    const float *at[TILE];
    int64_t into[TILE];
    ghn__vf sums[TILE];
    for (int t = 0; t < TILE; t++) {
        at[t] = w->from + w->column * w->right;
        into[t] = w->to + w->column * w->to_right;
        sums[t] = bias;
        if (t + 1 < left)
            advance(w, 1);
    }
    tile(sums, at, phase, weights, columns);
    for (int t = 0; t < TILE && t < left; t++)
        write_pixel(y, add, dtype, into[t], sums[t], stripe);
}

/* One phase of a band, one stripe. */
GHN__INLINE void gather_phase(void *y, bool add, enum ghn_dtype dtype, const struct ghn__gather *g,
                              const struct ghn__phase *phase, struct band band,
                              const float *weights, ghn__vf bias, const float *packed,
                              struct stripe stripe) {
    struct walk w = start_walk(g, phase, band, packed, stripe);
    for (int64_t left = (band.t1 - band.t0) * w.width; left > 0; left -= TILE)
        if (w.column + TILE > w.width || g->step[1] > 2)
            any_tile(y, add, dtype, &w, left, phase, weights, g->columns, bias, stripe);
        else if (g->step[1] == 1)
            row_tile(y, add, dtype, &w, 1, phase, weights, g->columns, bias, stripe);
        else
            row_tile(y, add, dtype, &w, 2, phase, weights, g->columns, bias, stripe);
}

GHN__INLINE void gather_band(void *y, bool add, const void *x, enum ghn_dtype dtype,
                             const struct ghn__gather *g, int64_t band, const float *weights,
                             const float *bias, float *packed) {
    int64_t places = 0;
    for (int i = 0; i < g->n_phases; i++)
        places = g->phases[i].count[0] > places ? g->phases[i].count[0] : places;
    for (int64_t k = 0; k < g->channels; k += GHN__LANES) {
        struct stripe stripe = stripe_of(k, g->channels);
        pack_band(packed, x, dtype, g, band_of(g, band, places), stripe);
        for (int i = 0; i < g->n_phases; i++) {
            const struct ghn__phase *phase = &g->phases[i];
            if (phase->n_taps > 0 || !add)
                gather_phase(
                    y, add, dtype, g, phase, band_of(g, band, phase->count[0]), weights + stripe.at,
                    bias ? ghn__load(bias, GHN_F32, stripe.at) : ghn__splat(0), packed, stripe);
        }
    }
}

void GHN__K(depthwise)(void *y, bool add, const void *x, enum ghn_dtype dtype,
                       const struct ghn__gather *gather, int64_t band, const float *weights,
                       const float *bias, float *packed) {
    if (dtype == GHN_F32)
        gather_band(y, add, x, GHN_F32, gather, band, weights, bias, packed);
    else
        gather_band(y, add, x, GHN_BF16, gather, band, weights, bias, packed);
}

/* --- Gradient by the weights --- */

/* += for the lanes that are not done. */
GHN__INLINE void accumulate(float *sum, ghn__vf x, struct stripe stripe) {
    ghn__store(sum, GHN_F32, 0, ghn__load(sum, GHN_F32, 0) + fresh(x, stripe));
}

/* The gradient by n taps from the packed x and dy of a band: their sums stay in registers. */
GHN__INLINE void weigh_taps(float *dweights, const struct ghn__tap *taps, int n, const float *x,
                            const float *dy, const struct ghn__gather *g, int64_t rows,
                            struct stripe stripe) {
    ghn__vf sums[MOST_TAPS];
    const float *at[MOST_TAPS];
    int64_t step = g->step[1] * GHN__LANES, width = g->out[1];
    for (int k = 0; k < n; k++)
        sums[k] = ghn__splat(0);
    for (int64_t r = 0; r < rows; r++, x += g->step[0] * g->width * GHN__LANES) {
        for (int k = 0; k < n; k++)
            at[k] = x + taps[k].offset * GHN__LANES;
        for (int64_t i = 0; i < width; i++, dy += GHN__LANES) {
            ghn__vf d = ghn__load(dy, GHN_F32, 0);
            for (int k = 0; k < n; k++)
                sums[k] += d * ghn__load(at[k], GHN_F32, i * step);
        }
    }
    for (int k = 0; k < n; k++)
        accumulate(dweights + taps[k].weight * g->columns, sums[k], stripe);
}

/* All taps of a stripe, in groups of nearly equal sizes. */
GHN__INLINE void weigh_stripe(float *dweights, const float *x, const float *dy,
                              const struct ghn__gather *g, int64_t rows, struct stripe stripe) {
    const struct ghn__phase *phase = &g->phases[0];
    int64_t groups = (phase->n_taps + MOST_TAPS - 1) / MOST_TAPS;
    for (int64_t i = 0; i < groups; i++) {
        int64_t from = phase->n_taps * i / groups;
        const struct ghn__tap *taps = phase->taps + from;
        switch (phase->n_taps * (i + 1) / groups - from) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        weigh_taps(dweights, taps, n, x, dy, g, rows, stripe);                                     \
        break;
            CASE(1)
            CASE(2)
            CASE(3)
            CASE(4)
            CASE(5)
            CASE(6)
            CASE(7)
            CASE(8)
            CASE(9)
#undef CASE
        }
    }
}

/* The band's rows of dy, (pixels, lanes), and their sum. */
GHN__INLINE ghn__vf pack_gradient(float *packed, const void *dy, enum ghn_dtype dtype,
                                  const struct ghn__gather *g, struct band band,
                                  struct stripe stripe) {
    int64_t n = (band.t1 - band.t0) * g->out[1];
    pack_pixels(packed, dy, dtype, band.t0 * g->out[1] * g->channels + stripe.at, g->channels,
                stripe.lanes, n);
    ghn__vf sums[2] = {ghn__splat(0), ghn__splat(0)};
    for (int64_t i = 0; i + 1 < n; i += 2)
        for (int k = 0; k < 2; k++)
            sums[k] += ghn__load(packed, GHN_F32, (i + k) * GHN__LANES);
    if (n % 2 == 1)
        sums[0] += ghn__load(packed, GHN_F32, (n - 1) * GHN__LANES);
    return sums[0] + sums[1];
}

GHN__INLINE void weigh_band(float *dweights, float *dbias, const void *x, const void *dy,
                            enum ghn_dtype dtype, const struct ghn__gather *g, int64_t band,
                            float *packed) {
    struct band rows = band_of(g, band, g->out[0]);
    float *packed_x = packed + (rows.t1 - rows.t0) * g->out[1] * GHN__LANES;
    for (int64_t k = 0; k < g->channels; k += GHN__LANES) {
        struct stripe stripe = stripe_of(k, g->channels);
        pack_band(packed_x, x, dtype, g, rows, stripe);
        ghn__vf sum = pack_gradient(packed, dy, dtype, g, rows, stripe);
        if (dbias)
            accumulate(dbias + stripe.at, sum, stripe);
        weigh_stripe(dweights + stripe.at, packed_x, packed, g, rows.t1 - rows.t0, stripe);
    }
}

void GHN__K(depthwise_weights)(float *dweights, float *dbias, const void *x, const void *dy,
                               enum ghn_dtype dtype, const struct ghn__gather *gather, int64_t band,
                               float *packed) {
    if (dtype == GHN_F32)
        weigh_band(dweights, dbias, x, dy, GHN_F32, gather, band, packed);
    else
        weigh_band(dweights, dbias, x, dy, GHN_BF16, gather, band, packed);
}
