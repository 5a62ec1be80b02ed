/* Sources: pos_enc and parameter, the same for every image; and zeros_like. */
#include <string.h>

#include "nn/reference/op.h"

static void parameter_forward(const struct ghn__reference_site *site) {
    int64_t size = site->out->count / site->out->dims[0];
    for (int64_t i = 0; i < site->out->count; i++)
        site->out->data[i] = site->params[0][i % size];
}

static void parameter_backward(const struct ghn__reference_site *site) {
    int64_t size = site->out->count / site->out->dims[0];
    for (int64_t i = 0; i < site->out->count; i++)
        site->dparams[0][i % size] += site->out->gradient[i];
}

const struct ghn__reference_op ghn__reference_op_parameter = {.forward = parameter_forward,
                                                              .backward = parameter_backward};
const struct ghn__reference_op ghn__reference_op_pos_enc = {.forward = parameter_forward,
                                                            .backward = parameter_backward};

static void zeros_like_forward(const struct ghn__reference_site *site) {
    memset(site->out->data, 0, (size_t)site->out->count * sizeof(double));
}

const struct ghn__reference_op ghn__reference_op_zeros_like = {.forward = zeros_like_forward};
