/* Convolutions by oneDNN. Images stay channels-last; weights are brought from PyTorch's order into
 * the kernel's own for every call, which costs little beside the convolution and lets optimisers
 * and files see one plain vector. */
#include "base/mem.h"
#include "nn/dnnl.h"
#include "nn/dnnl_impl.h"

struct ghn__conv {
    struct ghn__primitive forward, data, weights;
    /* Between (O, C / groups, kh, kw) in f32 and the kernels' layouts; empty where a kernel takes
     * that as it is. */
    struct ghn__primitive to_forward, to_data, from_weights;
    size_t forward_bytes, data_bytes, weights_bytes; /* of weights in those layouts */
    /* From bf16 images to the f32 ones that `weights` wants; empty where it takes those it gets. */
    struct ghn__primitive widen_src, widen_dst;
    size_t src_bytes, dst_bytes; /* of those f32 images */
};

/* The layouts of one convolution's arguments. */
struct layouts {
    dnnl_memory_desc_t src, dst, weights, plain, bias;
    dnnl_dims_t strides, dilates, padding;
};

static void describe(const struct ghn__conv_spec *spec, struct layouts *ret) {
    dnnl_data_type_t type = spec->dtype == GHN_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_dims_t src = {spec->batch, spec->in_channels, spec->in[0], spec->in[1]};
    dnnl_dims_t dst = {spec->batch, spec->out_channels, spec->out[0], spec->out[1]};
    int64_t g = spec->groups, o = spec->out_channels / g, i = spec->in_channels / g;
    dnnl_dims_t grouped = {g, o, i, spec->kernel[0], spec->kernel[1]}, bias = {spec->out_channels};
    const int64_t *weights = g > 1 ? grouped : grouped + 1;
    int ndim = g > 1 ? 5 : 4;
    *ret = (struct layouts){.strides = {spec->stride[0], spec->stride[1]},
                            .dilates = {spec->dilation[0] - 1, spec->dilation[1] - 1},
                            .padding = {spec->padding[0], spec->padding[1]}};
    dnnl_memory_desc_init_by_tag(&ret->src, 4, src, type, dnnl_nhwc);
    dnnl_memory_desc_init_by_tag(&ret->dst, 4, dst, type, dnnl_nhwc);
    dnnl_memory_desc_init_by_tag(&ret->weights, ndim, weights, type, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&ret->plain, ndim, weights, dnnl_f32,
                                 g > 1 ? dnnl_goihw : dnnl_oihw);
    dnnl_memory_desc_init_by_tag(&ret->bias, 1, bias, dnnl_f32, dnnl_a);
}

/* Where the kernel's weights are not as ours: a reorder between the two, and the bytes it fills. */
static enum ghn_status bridge(const dnnl_memory_desc_t *plain, const dnnl_memory_desc_t *kernel,
                              bool to_kernel, struct ghn__primitive *ret, size_t *ret_bytes,
                              struct ghn_err *err) {
    if (dnnl_memory_desc_equal(plain, kernel))
        return GHN_OK;
    *ret_bytes = ghn__lines(dnnl_memory_desc_get_size(kernel));
    return to_kernel ? ghn__reorder_new(plain, kernel, ret, err)
                     : ghn__reorder_new(kernel, plain, ret, err);
}

static enum ghn_status arguments(struct ghn__primitive *primitive, int tag_a,
                                 const dnnl_memory_desc_t *a, int tag_b,
                                 const dnnl_memory_desc_t *b, int tag_c,
                                 const dnnl_memory_desc_t *c, struct ghn_err *err) {
    enum ghn_status status = ghn__primitive_argument(primitive, tag_a, a, err);
    if (!status)
        status = ghn__primitive_argument(primitive, tag_b, b, err);
    if (!status)
        status = ghn__primitive_argument(primitive, tag_c, c, err);
    return status;
}

/* oneDNN 2.6's AVX2 kernels for strided 1x1 convolutions work on eight channels at a time also
 * where there are fewer, and write behind the end. */
static const struct ghn__avoid *avoid_overruns(const struct ghn__conv_spec *spec) {
    static const struct ghn__avoid avx2 = {"jit_1x1:avx2", true};
    bool strided = spec->kernel[0] * spec->kernel[1] == 1 && spec->stride[0] * spec->stride[1] > 1;
    return strided && spec->in_channels / spec->groups % 8 != 0 ? &avx2 : NULL;
}

static bool reaches_over(const struct ghn__conv_spec *spec) {
    for (int i = 0; i < 2; i++)
        if (spec->in[i] < (spec->kernel[i] - 1) * spec->dilation[i] + 1)
            return true;
    return false;
}

/* Measured: on maps of a few pixels the batch-reduce kernels take up to twice the time of the older
 * ones. And where a kernel reaches over the whole map, those of oneDNN 2.6 leave some of the output
 * as it was: some dilated kernels do, and a 5x9 one on 13x7. */
static const struct ghn__avoid *avoid_forward(const struct ghn__conv_spec *spec) {
    static const struct ghn__avoid brgemm = {"brgconv", false}, wrong = {"brgconv", true};
    if (spec->kernel[0] * spec->kernel[1] == 1)
        return avoid_overruns(spec);
    if (spec->dilation[0] * spec->dilation[1] > 1 || reaches_over(spec))
        return &wrong;
    return spec->out[0] * spec->out[1] <= 16 ? &brgemm : NULL;
}

static enum ghn_status make_forward(const struct ghn__conv_spec *spec, const struct layouts *l,
                                    struct ghn__conv *conv, struct ghn_err *err) {
    dnnl_convolution_desc_t desc;
    enum ghn_status status = ghn__dnnl_status(
        dnnl_dilated_convolution_forward_desc_init(
            &desc, spec->training ? dnnl_forward_training : dnnl_forward_inference,
            dnnl_convolution_direct, &l->src, &l->weights, spec->bias ? &l->bias : NULL, &l->dst,
            l->strides, l->dilates, l->padding, l->padding),
        "describe a convolution", err);
    if (!status)
        status = ghn__primitive_new(&desc, NULL, NULL, avoid_forward(spec), &conv->forward, err);
    if (status)
        return status;
    const dnnl_memory_desc_t *weights =
        dnnl_primitive_desc_query_md(conv->forward.desc, dnnl_query_weights_md, 0);
    status = bridge(&l->plain, weights, true, &conv->to_forward, &conv->forward_bytes, err);
    if (!status)
        status = arguments(&conv->forward, DNNL_ARG_SRC, &l->src, DNNL_ARG_WEIGHTS, weights,
                           DNNL_ARG_DST, &l->dst, err);
    if (!status && spec->bias)
        status = ghn__primitive_argument(&conv->forward, DNNL_ARG_BIAS, &l->bias, err);
    return status;
}

static enum ghn_status make_backward_data(const struct ghn__conv_spec *spec,
                                          const struct layouts *l, struct ghn__conv *conv,
                                          struct ghn_err *err) {
    dnnl_convolution_desc_t desc;
    enum ghn_status status =
        ghn__dnnl_status(dnnl_dilated_convolution_backward_data_desc_init(
                             &desc, dnnl_convolution_direct, &l->src, &l->weights, &l->dst,
                             l->strides, l->dilates, l->padding, l->padding),
                         "describe a convolution's backward pass", err);
    if (!status)
        status = ghn__primitive_new(&desc, conv->forward.desc, NULL, avoid_overruns(spec),
                                    &conv->data, err);
    if (status)
        return status;
    const dnnl_memory_desc_t *weights =
        dnnl_primitive_desc_query_md(conv->data.desc, dnnl_query_weights_md, 0);
    status = bridge(&l->plain, weights, true, &conv->to_data, &conv->data_bytes, err);
    if (!status)
        status = arguments(&conv->data, DNNL_ARG_DIFF_DST, &l->dst, DNNL_ARG_WEIGHTS, weights,
                           DNNL_ARG_DIFF_SRC, &l->src, err);
    return status;
}

/* oneDNN 2.6's bf16 gradient by weights is wrong where the map is smaller than the kernel or the
 * stride: it reads borders in its work space, and with many channels memory elsewhere, that nobody
 * has written, and leaves taps out that reach nothing. Such a gradient is had in f32; few maps are
 * so small along an axis. */
static bool wants_f32(const struct ghn__conv_spec *spec) {
    bool strides_over = spec->in[0] < spec->stride[0] || spec->in[1] < spec->stride[1];
    return spec->dtype == GHN_BF16 && (strides_over || reaches_over(spec));
}

/* The same images in f32. */
static dnnl_memory_desc_t widened(const dnnl_memory_desc_t *images) {
    dnnl_memory_desc_t ret;
    dnnl_memory_desc_init_by_tag(&ret, 4, images->dims, dnnl_f32, dnnl_nhwc);
    return ret;
}

static enum ghn_status make_backward_weights(const struct ghn__conv_spec *spec,
                                             const struct layouts *l, struct ghn__conv *conv,
                                             struct ghn_err *err) {
    dnnl_memory_desc_t any, src = l->src, dst = l->dst;
    dnnl_memory_desc_init_by_tag(&any, l->weights.ndims, l->weights.dims, dnnl_f32,
                                 dnnl_format_tag_any);
    if (wants_f32(spec)) {
        src = widened(&src);
        dst = widened(&dst);
    }
    dnnl_convolution_desc_t desc;
    enum ghn_status status = ghn__dnnl_status(dnnl_dilated_convolution_backward_weights_desc_init(
                                                  &desc, dnnl_convolution_direct, &src, &any,
                                                  spec->bias ? &l->bias : NULL, &dst, l->strides,
                                                  l->dilates, l->padding, l->padding),
                                              "describe a convolution's backward pass", err);
    if (!status)
        status = ghn__primitive_new(&desc, conv->forward.desc, NULL, avoid_overruns(spec),
                                    &conv->weights, err);
    if (status)
        return status;
    const dnnl_memory_desc_t *weights =
        dnnl_primitive_desc_query_md(conv->weights.desc, dnnl_query_diff_weights_md, 0);
    status = bridge(&l->plain, weights, false, &conv->from_weights, &conv->weights_bytes, err);
    if (!status)
        status = bridge(&l->src, &src, true, &conv->widen_src, &conv->src_bytes, err);
    if (!status)
        status = bridge(&l->dst, &dst, true, &conv->widen_dst, &conv->dst_bytes, err);
    if (!status)
        status = arguments(&conv->weights, DNNL_ARG_SRC, &src, DNNL_ARG_DIFF_DST, &dst,
                           DNNL_ARG_DIFF_WEIGHTS, weights, err);
    if (!status && spec->bias)
        status = ghn__primitive_argument(&conv->weights, DNNL_ARG_DIFF_BIAS, &l->bias, err);
    return status;
}

enum ghn_status ghn__conv_new(const struct ghn__conv_spec *spec, struct ghn__conv **ret,
                              struct ghn_err *err) {
    struct ghn__conv *conv = ghn_calloc(1, sizeof *conv);
    if (!conv)
        return ghn_fail_memory(err);
    struct layouts layouts;
    describe(spec, &layouts);
    enum ghn_status status = make_forward(spec, &layouts, conv, err);
    if (!status && spec->training && spec->data_gradient)
        status = make_backward_data(spec, &layouts, conv, err);
    if (!status && spec->training && !spec->no_weights)
        status = make_backward_weights(spec, &layouts, conv, err);
    if (status) {
        ghn__conv_free(conv);
        return status;
    }
    *ret = conv;
    return GHN_OK;
}

void ghn__conv_free(struct ghn__conv *conv) {
    if (!conv)
        return;
    struct ghn__primitive *all[] = {&conv->forward,    &conv->data,     &conv->weights,
                                    &conv->to_forward, &conv->to_data,  &conv->from_weights,
                                    &conv->widen_src,  &conv->widen_dst};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ghn__primitive_done(all[i]);
    ghn_free(conv);
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Work space of a kernel and its reorder, behind the weights. */
static size_t call_bytes(size_t weights, const struct ghn__primitive *kernel,
                         const struct ghn__primitive *reorder) {
    return weights + larger(kernel->scratch_bytes, reorder->scratch_bytes);
}

size_t ghn__conv_scratch_bytes(const struct ghn__conv *conv) {
    size_t n = call_bytes(conv->forward_bytes, &conv->forward, &conv->to_forward);
    n = larger(n, call_bytes(conv->data_bytes, &conv->data, &conv->to_data));
    size_t widen = larger(conv->widen_src.scratch_bytes, conv->widen_dst.scratch_bytes);
    size_t weights = conv->weights_bytes + conv->src_bytes + conv->dst_bytes;
    n = larger(n, weights + widen);
    return larger(n, call_bytes(weights, &conv->weights, &conv->from_weights));
}

/* An argument as a kernel wants it: where it is, or reordered in scratch. */
static enum ghn_status load(struct ghn__primitive *reorder, size_t bytes, const void *argument,
                            void *scratch, void **ret, struct ghn_err *err) {
    *ret = (void *)argument;
    if (bytes == 0)
        return GHN_OK;
    *ret = scratch;
    void *data[] = {(void *)argument, scratch};
    return ghn__primitive_run(reorder, data, (char *)scratch + bytes, err);
}

enum ghn_status ghn__conv_forward(struct ghn__conv *conv, const void *src, const float *weights,
                                  const float *bias, void *dst, void *scratch,
                                  struct ghn_err *err) {
    void *ours;
    enum ghn_status status =
        load(&conv->to_forward, conv->forward_bytes, weights, scratch, &ours, err);
    if (status)
        return status;
    void *data[] = {(void *)src, ours, dst, (void *)bias};
    return ghn__primitive_run(&conv->forward, data, (char *)scratch + conv->forward_bytes, err);
}

enum ghn_status ghn__conv_backward_data(struct ghn__conv *conv, const void *ddst,
                                        const float *weights, void *dsrc, void *scratch,
                                        struct ghn_err *err) {
    void *ours;
    enum ghn_status status = load(&conv->to_data, conv->data_bytes, weights, scratch, &ours, err);
    if (status)
        return status;
    void *data[] = {(void *)ddst, ours, dsrc};
    return ghn__primitive_run(&conv->data, data, (char *)scratch + conv->data_bytes, err);
}

enum ghn_status ghn__conv_backward_weights(struct ghn__conv *conv, const void *src,
                                           const void *ddst, float *dweights, float *dbias,
                                           void *scratch, struct ghn_err *err) {
    char *at_src = (char *)scratch + conv->weights_bytes, *at_dst = at_src + conv->src_bytes;
    char *rest = at_dst + conv->dst_bytes;
    void *data[] = {NULL, NULL, conv->weights_bytes ? scratch : dweights, dbias};
    enum ghn_status status = load(&conv->widen_src, conv->src_bytes, src, at_src, &data[0], err);
    if (!status)
        status = load(&conv->widen_dst, conv->dst_bytes, ddst, at_dst, &data[1], err);
    if (!status)
        status = ghn__primitive_run(&conv->weights, data, rest, err);
    if (status || conv->weights_bytes == 0)
        return status;
    void *reorder[] = {scratch, dweights};
    return ghn__primitive_run(&conv->from_weights, reorder, rest, err);
}
