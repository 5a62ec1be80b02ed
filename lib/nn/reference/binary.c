/* Operations that join tensors: add, mul, concat. */
#include "nn/reference/op.h"

/* The element of input k that goes into element i of the output. The ranks are equal; a dimension
 * of 1 is repeated. */
static int64_t operand(const struct ghn__reference_site *site, int k, int64_t i) {
    const struct ghn__reference_tensor *x = site->in[k], *y = site->out;
    int64_t j = 0, stride = 1;
    for (int d = y->ndim - 1; d >= 0; d--) {
        int64_t at = i % y->dims[d];
        i /= y->dims[d];
        j += (x->dims[d] == 1 ? 0 : at) * stride;
        stride *= x->dims[d];
    }
    return j;
}

/* The second operand for element i: the second input's, or the constant. */
static double second(const struct ghn__reference_site *site, int64_t i) {
    return site->n_inputs == 2 ? site->in[1]->data[operand(site, 1, i)]
                               : site->node->attrs.binary.value;
}

static void add_forward(const struct ghn__reference_site *site) {
    for (int64_t i = 0; i < site->out->count; i++)
        site->out->data[i] = site->in[0]->data[operand(site, 0, i)] + second(site, i);
}

static void add_backward(const struct ghn__reference_site *site) {
    for (int k = 0; k < site->n_inputs; k++)
        for (int64_t i = 0; i < site->out->count; i++)
            site->in[k]->gradient[operand(site, k, i)] += site->out->gradient[i];
}

const struct ghn__reference_op ghn__reference_op_add = {.forward = add_forward,
                                                        .backward = add_backward};

static void mul_forward(const struct ghn__reference_site *site) {
    for (int64_t i = 0; i < site->out->count; i++)
        site->out->data[i] = site->in[0]->data[operand(site, 0, i)] * second(site, i);
}

static void mul_backward(const struct ghn__reference_site *site) {
    for (int64_t i = 0; i < site->out->count; i++) {
        int64_t first = operand(site, 0, i);
        site->in[0]->gradient[first] += site->out->gradient[i] * second(site, i);
        if (site->n_inputs == 2)
            site->in[1]->gradient[operand(site, 1, i)] +=
                site->out->gradient[i] * site->in[0]->data[first];
    }
}

const struct ghn__reference_op ghn__reference_op_mul = {.forward = mul_forward,
                                                        .backward = mul_backward};

/* --- concat: each input is rows of its extents from dim on --- */

/* How one input lies in the output: where it begins in each row, and what a row has of it. */
struct part {
    int64_t start, n, row;
};

static int64_t place(const struct part *part, int64_t i) {
    return i / part->n * part->row + part->start + i % part->n;
}

/* Goes on to input k; part starts as zeros. */
static void next_part(const struct ghn__reference_site *site, int k, struct part *part) {
    const struct ghn__reference_tensor *x = site->in[k], *y = site->out;
    int dim = ghn__reference_dim(site->node->attrs.concat.dim, y->ndim);
    part->start += part->n;
    part->n = ghn__reference_extent(x, dim, x->ndim);
    part->row = ghn__reference_extent(y, dim, y->ndim);
}

static void concat_forward(const struct ghn__reference_site *site) {
    struct part part = {0};
    for (int k = 0; k < site->n_inputs; k++) {
        next_part(site, k, &part);
        for (int64_t i = 0; i < site->in[k]->count; i++)
            site->out->data[place(&part, i)] = site->in[k]->data[i];
    }
}

static void concat_backward(const struct ghn__reference_site *site) {
    struct part part = {0};
    for (int k = 0; k < site->n_inputs; k++) {
        next_part(site, k, &part);
        for (int64_t i = 0; i < site->in[k]->count; i++)
            site->in[k]->gradient[i] += site->out->gradient[place(&part, i)];
    }
}

const struct ghn__reference_op ghn__reference_op_concat = {.forward = concat_forward,
                                                           .backward = concat_backward};
