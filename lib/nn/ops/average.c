/* avg_pool2d, adaptive_avg_pool2d and mean: averages over windows that a table per axis describes.
 */
#include <stdlib.h>

#include "arch/op.h"
#include "base/mem.h"
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"
#include "nn/pool.h"

/* Takes the tables of one axis out of memory for 3 * out + 2 * in numbers. */
static struct ghn__axis axis_at(int64_t *memory, int64_t in, int64_t out) {
    return (struct ghn__axis){
        in, out, memory, memory + out, memory + 2 * out, memory + 3 * out, memory + 3 * out + in};
}

/* From start and end of every output: first and last output of every input. */
static void invert(struct ghn__axis *axis) {
    for (int64_t i = 0; i < axis->in; i++)
        axis->first[i] = axis->last[i] = 0;
    for (int64_t o = axis->out - 1; o >= 0; o--)
        for (int64_t i = axis->start[o]; i < axis->end[o]; i++) {
            if (axis->last[i] == 0)
                axis->last[i] = o + 1;
            axis->first[i] = o;
        }
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void fill_pool(struct ghn__axis *axis, const struct ghn_pool2d_attrs *attrs, int which) {
    int64_t kernel = attrs->kernel[which],
            stride = attrs->stride[which] ? attrs->stride[which] : kernel,
            padding = attrs->padding[which];
    for (int64_t o = 0; o < axis->out; o++) {
        int64_t start = o * stride - padding,
                padded_end = least(start + kernel, axis->in + padding);
        axis->start[o] = start > 0 ? start : 0;
        axis->end[o] = least(padded_end, axis->in);
        axis->size[o] =
            attrs->count_include_pad ? padded_end - start : axis->end[o] - axis->start[o];
    }
    invert(axis);
}

static void fill_adaptive(struct ghn__axis *axis) {
    for (int64_t o = 0; o < axis->out; o++) {
        axis->start[o] = o * axis->in / axis->out;
        axis->end[o] = ((o + 1) * axis->in + axis->out - 1) / axis->out;
        axis->size[o] = axis->end[o] - axis->start[o];
    }
    invert(axis);
}

/* Two axes and their tables, as a site's state. */
struct state {
    struct ghn__axis axes[2];
    int64_t memory[];
};

static struct state *new_state(const struct ghn__site *site, const int64_t out[2]) {
    const int64_t *in = site->in[0].dims + 2;
    size_t n[2] = {(size_t)(3 * out[0] + 2 * in[0]), (size_t)(3 * out[1] + 2 * in[1])};
    struct state *state = ghn_malloc(sizeof *state + (n[0] + n[1]) * sizeof(int64_t));
    if (!state)
        return NULL;
    state->axes[0] = axis_at(state->memory, in[0], out[0]);
    state->axes[1] = axis_at(state->memory + n[0], in[1], out[1]);
    return state;
}

static void done(struct ghn__site *site) {
    ghn_free(site->state);
}

static enum ghn_status plan_pool(struct ghn__site *site, struct ghn_err *err) {
    struct state *state = new_state(site, site->out.dims + 2);
    if (!state)
        return ghn_fail_memory(err);
    for (int i = 0; i < 2; i++)
        fill_pool(&state->axes[i], &site->node->attrs.pool2d, i);
    site->state = state;
    return GHN_OK;
}

static enum ghn_status plan_adaptive(struct ghn__site *site, struct ghn_err *err) {
    struct state *state = new_state(site, site->out.dims + 2);
    if (!state)
        return ghn_fail_memory(err);
    for (int i = 0; i < 2; i++)
        fill_adaptive(&state->axes[i]);
    site->state = state;
    return GHN_OK;
}

static void forward_images(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    const struct state *state = site->state;
    for (int64_t n = begin; n < end; n++)
        ghn__nn_kernels()->average(ghn__image(&site->out, n), ghn__image(&site->in[0], n),
                                   site->out.dtype, state->axes, site->in[0].dims[1]);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(site->out.dims[0], 1, forward_images, site);
    return GHN_OK;
}

static void backward_images(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    const struct state *state = site->state;
    for (int64_t n = begin; n < end; n++)
        ghn__nn_kernels()->average_gradient(ghn__image(&site->din[0], n), site->add[0],
                                            ghn__image(&site->dout, n), site->out.dtype,
                                            state->axes, site->in[0].dims[1]);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (site->din[0].data)
        ghn__parallel(site->out.dims[0], 1, backward_images, site);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_avg_pool2d = {.order = GHN__CHANNELS_LAST,
                                                 .plan = plan_pool,
                                                 .forward = forward,
                                                 .backward = backward,
                                                 .done = done};
const struct ghn__layer ghn__layer_adaptive_avg_pool2d = {.order = GHN__CHANNELS_LAST,
                                                          .plan = plan_adaptive,
                                                          .forward = forward,
                                                          .backward = backward,
                                                          .done = done};

/* --- mean --- */

/* Which dimensions of the input are averaged over. */
static void reduced_dims(const struct ghn__site *site, bool reduced[GHN__MAX_RANK]) {
    const struct ghn_ints *dims = &site->node->attrs.mean.dims;
    for (int i = 0; i < GHN__MAX_RANK; i++)
        reduced[i] = false;
    for (int i = 0; i < dims->n; i++)
        reduced[dims->at[i] < 0 ? dims->at[i] + site->in[0].ndim : dims->at[i]] = true;
}

/* Strides of the output for the input's dimensions: 0 along what is averaged over. */
static void output_strides(const struct ghn__site *site, int64_t strides[GHN__MAX_RANK],
                           int64_t *averaged) {
    bool reduced[GHN__MAX_RANK];
    reduced_dims(site, reduced);
    *averaged = 1;
    for (int i = 0, k = 0; i < site->in[0].ndim; i++) {
        strides[i] = reduced[i] ? 0 : site->out.strides[k];
        *averaged *= reduced[i] ? site->in[0].dims[i] : 1;
        k += !reduced[i] || site->node->attrs.mean.keepdim;
    }
}

static enum ghn_status plan_mean(struct ghn__site *site, struct ghn_err *err) {
    bool reduced[GHN__MAX_RANK];
    reduced_dims(site, reduced);
    ghn__strides(&site->out, site->out.ndim == 4 ? GHN__CHANNELS_LAST : GHN__ROW_MAJOR);
    if (site->in[0].ndim == 4 && !reduced[1] && reduced[2] && reduced[3]) {
        const int64_t one[2] = {1, 1};
        struct state *state = new_state(site, one);
        if (!state)
            return ghn_fail_memory(err);
        for (int i = 0; i < 2; i++)
            fill_adaptive(&state->axes[i]);
        site->state = state;
    }
    site->scratch_bytes = (size_t)site->out.count * sizeof(float);
    return GHN_OK;
}

/* Where element i (counted row-major) of the input lies in the input and in the output. */
static void locate(const struct ghn__site *site, const int64_t *strides, int64_t i, int64_t *in,
                   int64_t *out) {
    *in = *out = 0;
    for (int k = site->in[0].ndim - 1; k >= 0; k--) {
        int64_t index = i % site->in[0].dims[k];
        i /= site->in[0].dims[k];
        *in += index * site->in[0].strides[k];
        *out += index * strides[k];
    }
}

static enum ghn_status mean_forward(struct ghn__site *site, struct ghn_err *err) {
    if (site->state)
        return forward(site, err);
    int64_t strides[GHN__MAX_RANK], averaged, in, out;
    float *sums = site->scratch;
    output_strides(site, strides, &averaged);
    for (int64_t i = 0; i < site->out.count; i++)
        sums[i] = 0.0f;
    for (int64_t i = 0; i < site->in[0].count; i++) {
        locate(site, strides, i, &in, &out);
        sums[out] += ghn__tensor_get(&site->in[0], in);
    }
    for (int64_t i = 0; i < site->out.count; i++)
        sums[i] /= (float)averaged;
    ghn_dtype_from_f32(site->out.dtype, site->out.data, sums, (size_t)site->out.count);
    return GHN_OK;
}

static enum ghn_status mean_backward(struct ghn__site *site, struct ghn_err *err) {
    if (site->state || !site->din[0].data)
        return site->state ? backward(site, err) : GHN_OK;
    int64_t strides[GHN__MAX_RANK], averaged, in, out;
    output_strides(site, strides, &averaged);
    for (int64_t i = 0; i < site->in[0].count; i++) {
        locate(site, strides, i, &in, &out);
        float before = site->add[0] ? ghn__tensor_get(&site->din[0], in) : 0.0f,
              d = ghn__tensor_get(&site->dout, out) / (float)averaged;
        ghn__tensor_put(&site->din[0], in, d + before);
    }
    return GHN_OK;
}

const struct ghn__layer ghn__layer_mean = {.order = GHN__CHANNELS_LAST,
                                           .plan = plan_mean,
                                           .forward = mean_forward,
                                           .backward = mean_backward,
                                           .done = done};
