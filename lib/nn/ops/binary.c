/* add and mul of two values of broadcastable shapes, of one value twice, or of one value and a
 * constant.
 *
 * Equal shapes are one loop over memory, and a map times a value per image and channel (a
 * squeeze-excite gate) one over rows of channels. Other broadcasts go element by element through
 * strides: they are rare and small. */
#include <string.h>

#include "arch/op.h"
#include "nn/kernels.h"
#include "nn/layer.h"

#include "nn/parallel.h"

enum { GRAIN = 16384 };

enum form { CONSTANT, EQUAL, GATE, BROADCAST };

/* in[one] in the shape of the output: stride 0 along what it is repeated over. */
static struct ghn__tensor broadcast(const struct ghn__tensor *in, const struct ghn__tensor *out) {
    struct ghn__tensor ret = *out;
    ret.data = in->data;
    for (int i = 0; i < out->ndim; i++) {
        /* shapes align at their ends, but for the batch, which is always first */
        int k = i == 0 ? 0 : i - (out->ndim - in->ndim);
        ret.strides[i] = i > 0 && k < 1                          ? 0
                         : in->dims[k] == 1 && out->dims[i] != 1 ? 0
                                                                 : in->strides[k];
    }
    return ret;
}

static bool same_dims(const struct ghn__tensor *a, const struct ghn__tensor *b) {
    return a->ndim == b->ndim && memcmp(a->dims, b->dims, (size_t)a->ndim * sizeof a->dims[0]) == 0;
}

/* (N, C, 1, 1) beside a channels-last (N, C, H, W). */
static bool is_gate(const struct ghn__tensor *gate, const struct ghn__tensor *out) {
    return out->ndim == 4 && gate->ndim == 4 && gate->dims[0] == out->dims[0] &&
           gate->dims[1] == out->dims[1] && gate->dims[2] == 1 && gate->dims[3] == 1 &&
           ghn__in_order(out, GHN__CHANNELS_LAST);
}

/* How the operands relate; *map is the one of the output's shape where only one is. */
static enum form form_of(const struct ghn__site *site, int *map) {
    *map = 0;
    if (site->n_inputs == 1)
        return CONSTANT;
    const struct ghn__tensor *a = &site->in[0], *b = &site->in[1], *out = &site->out;
    if (same_dims(a, out) && same_dims(b, out) && ghn__same_order(a, out) &&
        ghn__same_order(b, out))
        return EQUAL;
    for (int i = 0; i < 2; i++)
        if (same_dims(&site->in[i], out) && ghn__same_order(&site->in[i], out) &&
            is_gate(&site->in[1 - i], out)) {
            *map = i;
            return GATE;
        }
    return BROADCAST;
}

/* --- Any broadcast, element by element --- */

struct element_loop {
    const struct ghn__site *site;
    struct ghn__tensor a, b; /* in the output's shape */
    bool product;
};

static int64_t offset_of(const struct ghn__tensor *t, const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < t->ndim; i++)
        at += index[i] * t->strides[i];
    return at;
}

static void unravel(const struct ghn__tensor *t, int64_t i, int64_t *index) {
    for (int k = t->ndim - 1; k >= 0; k--) {
        index[k] = i % t->dims[k];
        i /= t->dims[k];
    }
}

static void forward_elements(void *context, int64_t begin, int64_t end) {
    const struct element_loop *loop = context;
    int64_t index[GHN__MAX_RANK];
    for (int64_t i = begin; i < end; i++) {
        unravel(&loop->site->out, i, index);
        float a = ghn__tensor_get(&loop->a, offset_of(&loop->a, index)),
              b = ghn__tensor_get(&loop->b, offset_of(&loop->b, index));
        ghn__tensor_put(&loop->site->out, offset_of(&loop->site->out, index),
                        loop->product ? a * b : a + b);
    }
}

/* Gradient by input k: sums in f32 over what it was repeated over. */
static void backward_elements(const struct ghn__site *site, int k, bool product) {
    struct ghn__tensor other = broadcast(&site->in[1 - k], &site->out),
                       din = broadcast(&site->din[k], &site->out);
    float *sums = site->scratch;
    memset(sums, 0, (size_t)site->din[k].count * sizeof *sums);
    for (int64_t i = 0; i < site->out.count; i++) {
        int64_t index[GHN__MAX_RANK];
        unravel(&site->out, i, index);
        float d = ghn__tensor_get(&site->dout, offset_of(&site->dout, index));
        sums[offset_of(&din, index)] +=
            product ? d * ghn__tensor_get(&other, offset_of(&other, index)) : d;
    }
    for (int64_t at = 0; at < site->din[k].count; at++)
        ghn__tensor_put(&site->din[k], at,
                        sums[at] + (site->add[k] ? ghn__tensor_get(&site->din[k], at) : 0.0f));
}

/* --- Loops over memory --- */

struct range {
    const struct ghn__site *site;
    bool product;
    int map, k; /* the operand of the output's shape; the operand whose gradient is made */
};

static void forward_equal(void *context, int64_t begin, int64_t end) {
    const struct range *range = context;
    const struct ghn__site *site = range->site;
    const void *b = site->n_inputs == 2 ? site->in[1].data : NULL;
    float value = (float)site->node->attrs.binary.value;
    if (range->product)
        ghn__nn_kernels()->multiply(site->out.data, false, site->in[0].data, b, value,
                                    site->out.dtype, begin, end);
    else
        ghn__nn_kernels()->sum_of(site->out.data, site->in[0].data, b, value, site->out.dtype,
                                  begin, end);
}

static void backward_product(void *context, int64_t begin, int64_t end) {
    const struct range *range = context;
    const struct ghn__site *site = range->site;
    const void *b = site->n_inputs == 2 ? site->in[1 - range->k].data : NULL;
    ghn__nn_kernels()->multiply(site->din[range->k].data, site->add[range->k], site->dout.data, b,
                                (float)site->node->attrs.binary.value, site->out.dtype, begin, end);
}

static void forward_gate(void *context, int64_t begin, int64_t end) {
    const struct range *range = context;
    const struct ghn__site *site = range->site;
    int64_t channels = site->out.dims[1], rows = site->out.dims[2] * site->out.dims[3];
    for (int64_t n = begin; n < end; n++)
        ghn__nn_kernels()->scale_rows(
            ghn__image(&site->out, n), false, ghn__image(&site->in[range->map], n),
            ghn__image(&site->in[1 - range->map], n), site->out.dtype, rows, channels);
}

static void backward_gate(void *context, int64_t begin, int64_t end) {
    const struct range *range = context;
    const struct ghn__site *site = range->site;
    int map = range->map, gate = 1 - map;
    int64_t channels = site->out.dims[1], rows = site->out.dims[2] * site->out.dims[3];
    const struct ghn__nn_kernels *kernels = ghn__nn_kernels();
    for (int64_t n = begin; n < end; n++) {
        if (site->din[map].data)
            kernels->scale_rows(ghn__image(&site->din[map], n), site->add[map],
                                ghn__image(&site->dout, n), ghn__image(&site->in[gate], n),
                                site->out.dtype, rows, channels);
        if (site->din[gate].data) {
            float *sum = (float *)site->scratch + n * channels;
            kernels->sum_rows(sum, ghn__image(&site->dout, n), ghn__image(&site->in[map], n),
                              site->out.dtype, rows, channels);
            kernels->copy(ghn__image(&site->din[gate], n), site->out.dtype, sum, GHN_F32, channels,
                          site->add[gate]);
        }
    }
}

/* --- The layers --- */

static bool is_product(const struct ghn__site *site) {
    return strcmp(site->node->op->name, "mul") == 0;
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    int map;
    int64_t largest = site->in[0].count;
    if (site->n_inputs == 2) {
        largest = site->in[1].count > largest ? site->in[1].count : largest;
        /* the larger operand has the output's order */
        const struct ghn__tensor *like =
            same_dims(&site->in[0], &site->out) ? &site->in[0] : &site->in[1];
        if (same_dims(like, &site->out))
            memcpy(site->out.strides, like->strides, sizeof site->out.strides);
    }
    enum form form = form_of(site, &map);
    if (form == GATE && is_product(site))
        site->scratch_bytes = (size_t)(site->out.dims[0] * site->out.dims[1]) * sizeof(float);
    else if (form == GATE || form == BROADCAST)
        site->scratch_bytes = (size_t)largest * sizeof(float);
    site->keeps_input = is_product(site) && form != CONSTANT;
    return GHN_OK;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct range range = {.site = site, .product = is_product(site)};
    enum form form = form_of(site, &range.map);
    if (form == CONSTANT || form == EQUAL) {
        ghn__parallel(site->out.count, GRAIN, forward_equal, &range);
    } else if (form == GATE && range.product) {
        ghn__parallel(site->out.dims[0], 1, forward_gate, &range);
    } else {
        struct element_loop loop = {site, broadcast(&site->in[0], &site->out),
                                    broadcast(&site->in[1], &site->out), range.product};
        ghn__parallel(site->out.count, GRAIN, forward_elements, &loop);
    }
    return GHN_OK;
}

static void backward_input(struct ghn__site *site, enum form form, struct range *range) {
    if (!site->din[range->k].data)
        return;
    if (form == BROADCAST || form == GATE)
        backward_elements(site, range->k, range->product);
    else if (range->product)
        ghn__parallel(site->out.count, GRAIN, backward_product, range);
    else
        ghn__copy(&site->din[range->k], &site->dout, site->add[range->k]);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct range range = {.site = site, .product = is_product(site)};
    enum form form = form_of(site, &range.map);
    if (form == GATE && range.product) {
        ghn__parallel(site->out.dims[0], 1, backward_gate, &range);
        return GHN_OK;
    }
    for (range.k = 0; range.k < site->n_inputs; range.k++)
        backward_input(site, form, &range);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_add = {.order = GHN__SAME,
                                          .passes_gradient = true,
                                          .plan = plan,
                                          .forward = forward,
                                          .backward = backward};
const struct ghn__layer ghn__layer_mul = {.order = GHN__SAME,
                                          .keeps_input = true,
                                          .plan = plan,
                                          .forward = forward,
                                          .backward = backward};
