/* Operations that move nothing where the order in memory allows: flatten, reshape, permute,
 * identity. */
#include "nn/layer.h"

/* Dimensions of extent 1 have strides that mean nothing; any will do. */
static bool permute_view(struct ghn__site *site) {
    const struct ghn_ints *dims = &site->node->attrs.dims.dims;
    for (int i = 0; i < site->out.ndim; i++)
        site->out.strides[i] =
            site->in[0].strides[dims->at[i] < 0 ? dims->at[i] + site->out.ndim : dims->at[i]];
    return true;
}

static bool identity_view(struct ghn__site *site) {
    for (int i = 0; i < site->out.ndim; i++)
        site->out.strides[i] = site->in[0].strides[i];
    return true;
}

/* One group of input dimensions [i, i_end) that holds as many elements as output dimensions [o,
 * o_end): the output's strides follow if the inputs' are nested row-major. */
static bool split_group(struct ghn__site *site, int i, int i_end, int o, int o_end) {
    int64_t inner = 0, expected = 0;
    for (int k = i_end - 1; k >= i; k--) {
        if (site->in[0].dims[k] == 1)
            continue;
        if (expected == 0)
            inner = site->in[0].strides[k];
        else if (site->in[0].strides[k] != expected)
            return false;
        expected = site->in[0].strides[k] * site->in[0].dims[k];
    }
    int64_t stride = expected == 0 ? 1 : inner;
    for (int k = o_end - 1; k >= o; k--) {
        site->out.strides[k] = stride;
        stride *= site->out.dims[k];
    }
    return true;
}

static bool reshape_view(struct ghn__site *site) {
    const struct ghn__tensor *in = &site->in[0], *out = &site->out;
    int i = 0, o = 0;
    while (i < in->ndim || o < out->ndim) {
        int i_end = i, o_end = o;
        int64_t a = 1, b = 1;
        do {
            if (a <= b && i_end < in->ndim)
                a *= in->dims[i_end++];
            else if (o_end < out->ndim)
                b *= out->dims[o_end++];
            else
                a *= in->dims[i_end++];
        } while (a != b || (a == 1 && (i_end < in->ndim || o_end < out->ndim)));
        if (!split_group(site, i, i_end, o, o_end))
            return false;
        i = i_end;
        o = o_end;
    }
    return true;
}

const struct ghn__layer ghn__layer_permute = {.order = GHN__SAME, .view = permute_view};
const struct ghn__layer ghn__layer_identity = {.order = GHN__SAME, .view = identity_view};
const struct ghn__layer ghn__layer_flatten = {.order = GHN__SAME, .view = reshape_view};
const struct ghn__layer ghn__layer_reshape = {.order = GHN__SAME, .view = reshape_view};
