#include "nn/depthwise.h"

#include <string.h>

#include "base/mem.h"
#include "nn/kernels.h"
#include "nn/parallel.h"

enum {
    PARTS = 16,              /* of a batch, whose gradients are summed in order */
    BAND_BYTES = 256 * 1024, /* of packed pixels: within the level 2 cache */
};

struct ghn__depthwise {
    const struct ghn__nn_kernels *kernels;
    int64_t batch, channels, columns, kernel;
    enum ghn_dtype dtype;
    struct ghn__gather forward, backward;
    int64_t parts, workers;
    size_t weights_floats; /* of weights and bias in rows of `columns` */
    size_t packed_floats;  /* a worker */
    struct ghn_arena arena;
};

bool ghn__is_depthwise(const struct ghn__conv_spec *spec) {
    return spec->groups == spec->in_channels && spec->groups == spec->out_channels;
}

/* --- Geometry --- */

/* What one axis of a phase reads: n pairs of a place in the kernel and an offset. */
struct line {
    int64_t n, *place, *offset;
};

/* The places of the kernel that outputs t spread + start read, and where from t step. */
static void fill_line(struct line *line, const struct ghn__conv_spec *spec, int axis, bool backward,
                      int64_t start) {
    int64_t stride = spec->stride[axis], padding = spec->padding[axis];
    line->n = 0;
    for (int64_t i = 0; i < spec->kernel[axis]; i++) {
        int64_t along = i * spec->dilation[axis];
        if (!backward) {
            line->place[line->n] = i;
            line->offset[line->n++] = along - padding;
        } else if ((start + padding - along) % stride == 0) {
            line->place[line->n] = i;
            line->offset[line->n++] = (start + padding - along) / stride;
        }
    }
}

static bool new_line(struct line *line, int64_t n, struct ghn_arena *arena) {
    line->place = ghn_arena_array(arena, (size_t)n, sizeof(int64_t));
    line->offset = ghn_arena_array(arena, (size_t)n, sizeof(int64_t));
    return line->place && line->offset;
}

/* Least and greatest offset along an axis over all phases. */
static void fill_reach(struct ghn__gather *g, const struct ghn__conv_spec *spec, int axis,
                       bool backward, struct line *line) {
    int64_t low = 0, high = 0;
    bool any = false;
    for (int64_t start = 0; start < g->spread[axis] && start < g->out[axis]; start++) {
        fill_line(line, spec, axis, backward, start);
        for (int64_t i = 0; i < line->n; i++) {
            low = !any || line->offset[i] < low ? line->offset[i] : low;
            high = !any || line->offset[i] > high ? line->offset[i] : high;
            any = true;
        }
    }
    g->low[axis] = low;
    g->reach[axis] = high - low;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Places of t along an axis, of the phase that has most of them: the first. */
static int64_t places(const struct ghn__gather *g, int axis, int64_t start) {
    return start < g->out[axis] ? (g->out[axis] - start - 1) / g->spread[axis] + 1 : 0;
}

static int64_t packed_rows(const struct ghn__gather *g) {
    return (g->band - 1) * g->step[0] + g->reach[0] + 1;
}

static void cut_bands(struct ghn__gather *g) {
    int64_t count = places(g, 0, 0);
    g->width = (places(g, 1, 0) - 1) * g->step[1] + g->reach[1] + 1;
    int64_t rows = BAND_BYTES / (g->width * GHN__MAX_LANES * (int64_t)sizeof(float));
    int64_t most = (rows - g->reach[0] - 1) / g->step[0] + 1;
    /* never so few that packing the border outweighs the rest */
    most = most < g->reach[0] + 1 ? g->reach[0] + 1 : most;
    g->n_bands = (count + most - 1) / most;
    g->band = (count + g->n_bands - 1) / g->n_bands;
    g->n_bands = (count + g->band - 1) / g->band;
}

static bool fill_phase(struct ghn__phase *phase, const struct ghn__gather *g, int64_t kernel_width,
                       const struct line lines[2], struct ghn_arena *arena) {
    for (int i = 0; i < 2; i++)
        phase->count[i] = places(g, i, phase->start[i]);
    phase->taps =
        ghn_arena_array(arena, (size_t)(lines[0].n * lines[1].n) + 1, sizeof *phase->taps);
    if (!phase->taps)
        return false;
    for (int64_t i = 0; i < lines[0].n; i++)
        for (int64_t j = 0; j < lines[1].n; j++)
            phase->taps[phase->n_taps++] = (struct ghn__tap){
                (lines[0].offset[i] - g->low[0]) * g->width + lines[1].offset[j] - g->low[1],
                lines[0].place[i] * kernel_width + lines[1].place[j]};
    return true;
}

/* g, whose extents are set, for the forward pass or its gradient by the input. */
static bool fill_gather(struct ghn__gather *g, const struct ghn__conv_spec *spec, bool backward,
                        struct ghn_arena *arena) {
    struct line lines[2];
    for (int i = 0; i < 2; i++) {
        g->step[i] = backward ? 1 : spec->stride[i];
        g->spread[i] = backward ? spec->stride[i] : 1;
        if (!new_line(&lines[i], spec->kernel[i], arena))
            return false;
        fill_reach(g, spec, i, backward, &lines[i]);
    }
    cut_bands(g);
    int64_t across = least(g->spread[1], g->out[1]), down = least(g->spread[0], g->out[0]);
    g->phases = ghn_arena_array(arena, (size_t)(across * down), sizeof *g->phases);
    for (int64_t i = 0; g->phases && i < across * down; i++) {
        struct ghn__phase *phase = &g->phases[g->n_phases++];
        phase->start[0] = i / across;
        phase->start[1] = i % across;
        for (int k = 0; k < 2; k++)
            fill_line(&lines[k], spec, k, backward, phase->start[k]);
        if (!fill_phase(phase, g, spec->kernel[1], lines, arena))
            return false;
    }
    return g->phases;
}

/* --- Life --- */

static size_t packed_floats(const struct ghn__depthwise *d, bool training) {
    const struct ghn__gather *f = &d->forward, *b = &d->backward;
    int64_t pixels = packed_rows(f) * f->width;
    if (training)
        pixels += f->band * f->out[1];
    if (b->n_phases > 0 && packed_rows(b) * b->width > pixels)
        pixels = packed_rows(b) * b->width;
    return (size_t)pixels * GHN__MAX_LANES;
}

enum ghn_status ghn__depthwise_new(const struct ghn__conv_spec *spec,
                                   const struct ghn__nn_kernels *kernels,
                                   struct ghn__depthwise **ret, struct ghn_err *err) {
    struct ghn__depthwise *d = ghn_calloc(1, sizeof *d);
    if (!d)
        return ghn_fail_memory(err);
    d->kernels = kernels;
    d->batch = spec->batch;
    d->channels = spec->in_channels;
    d->columns = (d->channels + GHN__MAX_LANES - 1) / GHN__MAX_LANES * GHN__MAX_LANES;
    d->kernel = spec->kernel[0] * spec->kernel[1];
    d->dtype = spec->dtype;
    for (int i = 0; i < 2; i++) {
        d->forward.in[i] = d->backward.out[i] = spec->in[i];
        d->forward.out[i] = d->backward.in[i] = spec->out[i];
    }
    d->forward.channels = d->backward.channels = d->channels;
    d->forward.columns = d->backward.columns = d->columns;
    if (!fill_gather(&d->forward, spec, false, &d->arena) ||
        (spec->data_gradient && !fill_gather(&d->backward, spec, true, &d->arena))) {
        ghn__depthwise_free(d);
        return ghn_fail_memory(err);
    }
    d->parts = spec->training ? least(d->batch, PARTS) : 1;
    d->workers = ghn__parallel_threads();
    d->weights_floats = (size_t)((d->kernel + 1) * d->columns);
    d->packed_floats = packed_floats(d, spec->training);
    *ret = d;
    return GHN_OK;
}

void ghn__depthwise_free(struct ghn__depthwise *depthwise) {
    if (!depthwise)
        return;
    ghn_arena_done(&depthwise->arena);
    ghn_free(depthwise);
}

size_t ghn__depthwise_scratch_bytes(const struct ghn__depthwise *depthwise) {
    return ((size_t)depthwise->parts * depthwise->weights_floats +
            (size_t)depthwise->workers * depthwise->packed_floats) *
           sizeof(float);
}

/* --- Running --- */

/* One call, as its threads see it. */
struct call {
    const struct ghn__depthwise *d;
    const struct ghn__gather *gather;
    const void *x;
    void *y; /* backward by weights: dy */
    bool add;
    bool bias;
    float *weights, *packed; /* in scratch */
};

/* Image n of a map of these extents. */
static void *image(const struct call *call, const void *base, const int64_t extent[2], int64_t n) {
    const struct ghn__depthwise *d = call->d;
    return (char *)base +
           (size_t)(n * extent[0] * extent[1] * d->channels) * ghn_dtype_size(d->dtype);
}

/* Worker w of all workers takes its share of n pieces; a worker has its own work space, however
 * many threads there are by now. */
static void gather_share(const struct call *call, int64_t w) {
    const struct ghn__depthwise *d = call->d;
    const struct ghn__gather *g = call->gather;
    int64_t n = d->batch * g->n_bands;
    for (int64_t i = n * w / d->workers; i < n * (w + 1) / d->workers; i++) {
        int64_t at = i / g->n_bands;
        d->kernels->depthwise(image(call, call->y, g->out, at), call->add,
                              image(call, call->x, g->in, at), d->dtype, g, i % g->n_bands,
                              call->weights,
                              call->bias ? call->weights + d->kernel * d->columns : NULL,
                              call->packed + (size_t)w * d->packed_floats);
    }
}

static void gather_shares(void *context, int64_t begin, int64_t end) {
    for (int64_t w = begin; w < end; w++)
        gather_share(context, w);
}

/* weights (C, kernel) to (kernel, columns), and the bias behind them. */
static void load_weights(const struct ghn__depthwise *d, const float *weights, const float *bias,
                         float *into) {
    memset(into, 0, d->weights_floats * sizeof *into);
    for (int64_t k = 0; k < d->kernel; k++)
        for (int64_t c = 0; c < d->channels; c++)
            into[k * d->columns + c] = weights[c * d->kernel + k];
    if (bias)
        memcpy(into + d->kernel * d->columns, bias, (size_t)d->channels * sizeof *into);
}

void ghn__depthwise_forward(const struct ghn__depthwise *depthwise, const void *src,
                            const float *weights, const float *bias, void *dst, void *scratch) {
    struct call call = {.d = depthwise,
                        .gather = &depthwise->forward,
                        .x = src,
                        .y = dst,
                        .bias = bias,
                        .weights = scratch,
                        .packed = (float *)scratch + depthwise->weights_floats};
    load_weights(depthwise, weights, bias, call.weights);
    ghn__parallel(depthwise->workers, 1, gather_shares, &call);
}

void ghn__depthwise_backward_data(const struct ghn__depthwise *depthwise, const void *ddst,
                                  const float *weights, void *dsrc, bool add, void *scratch) {
    struct call call = {.d = depthwise,
                        .gather = &depthwise->backward,
                        .x = ddst,
                        .y = dsrc,
                        .add = add,
                        .weights = scratch,
                        .packed = (float *)scratch + depthwise->weights_floats};
    load_weights(depthwise, weights, NULL, call.weights);
    ghn__parallel(depthwise->workers, 1, gather_shares, &call);
}

/* The gradient of one part of the batch. */
static void weigh_part(const struct call *call, int64_t part, float *packed) {
    const struct ghn__depthwise *d = call->d;
    const struct ghn__gather *g = call->gather;
    float *into = call->weights + (size_t)part * d->weights_floats;
    memset(into, 0, d->weights_floats * sizeof *into);
    for (int64_t n = d->batch * part / d->parts; n < d->batch * (part + 1) / d->parts; n++)
        for (int64_t band = 0; band < g->n_bands; band++)
            d->kernels->depthwise_weights(into, call->bias ? into + d->kernel * d->columns : NULL,
                                          image(call, call->x, g->in, n),
                                          image(call, call->y, g->out, n), d->dtype, g, band,
                                          packed);
}

static void weigh_shares(void *context, int64_t begin, int64_t end) {
    const struct call *call = context;
    const struct ghn__depthwise *d = call->d;
    for (int64_t w = begin; w < end; w++)
        for (int64_t i = d->parts * w / d->workers; i < d->parts * (w + 1) / d->workers; i++)
            weigh_part(call, i, call->packed + (size_t)w * d->packed_floats);
}

/* n floats of a gradient: into[i * stride] from (parts), summed in their order. */
static void sum_parts(const struct ghn__depthwise *d, const float *parts, struct ghn__into into,
                      int64_t stride) {
    for (int64_t c = 0; into.at && c < d->channels; c++) {
        float sum = 0;
        for (int64_t i = 0; i < d->parts; i++)
            sum += parts[(size_t)i * d->weights_floats + (size_t)c];
        into.at[c * stride] = into.add ? into.at[c * stride] + sum : sum;
    }
}

void ghn__depthwise_backward_weights(const struct ghn__depthwise *depthwise, const void *src,
                                     const void *ddst, struct ghn__into dweights,
                                     struct ghn__into dbias, void *scratch) {
    const struct ghn__depthwise *d = depthwise;
    struct call call = {.d = d,
                        .gather = &d->forward,
                        .x = src,
                        .y = (void *)ddst,
                        .bias = dbias.at,
                        .weights = scratch,
                        .packed = (float *)scratch + (size_t)d->parts * d->weights_floats};
    ghn__parallel(d->workers, 1, weigh_shares, &call);
    for (int64_t k = 0; k < d->kernel; k++) {
        struct ghn__into tap = {dweights.at + k, dweights.add};
        sum_parts(d, call.weights + k * d->columns, tap, d->kernel);
    }
    sum_parts(d, call.weights + d->kernel * d->columns, dbias, 1);
}
