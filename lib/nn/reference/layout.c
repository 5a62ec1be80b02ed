/* Operations that move elements about: every element of the output is one of the input, or the fill
 * of pad. */
#include <string.h>

#include "nn/reference/op.h"

/* Sets `from`, the place in input 0 of the output's element at `at` (both with the batch first);
 * false if it has none. */
typedef bool source_of(const struct ghn__reference_site *site, const int64_t *at, int64_t *from);

/* Splits element i of a tensor into its place. */
static void place_of(const struct ghn__reference_tensor *tensor, int64_t i, int64_t *at) {
    for (int k = tensor->ndim - 1; k >= 0; k--) {
        at[k] = i % tensor->dims[k];
        i /= tensor->dims[k];
    }
}

/* The element of input 0 that element i of the output is, or -1. */
static int64_t source(const struct ghn__reference_site *site, source_of *of, int64_t i) {
    const struct ghn__reference_tensor *x = site->in[0];
    int64_t at[GHN__REFERENCE_RANK], from[GHN__REFERENCE_RANK] = {0}, j = 0;
    place_of(site->out, i, at);
    if (!of(site, at, from))
        return -1;
    for (int k = 0; k < x->ndim; k++)
        j = j * x->dims[k] + from[k];
    return j;
}

static void move(const struct ghn__reference_site *site, source_of *of, double fill) {
    for (int64_t i = 0; i < site->out->count; i++) {
        int64_t j = source(site, of, i);
        site->out->data[i] = j < 0 ? fill : site->in[0]->data[j];
    }
}

static void move_back(const struct ghn__reference_site *site, source_of *of) {
    for (int64_t i = 0; i < site->out->count; i++) {
        int64_t j = source(site, of, i);
        if (j >= 0)
            site->in[0]->gradient[j] += site->out->gradient[i];
    }
}

/* The operation `symbol` by its function symbol_source. `fill` is an expression. */
#define MOVED(symbol, fill)                                                                        \
    static void symbol##_forward(const struct ghn__reference_site *site) {                         \
        move(site, symbol##_source, fill);                                                         \
    }                                                                                              \
    static void symbol##_backward(const struct ghn__reference_site *site) {                        \
        move_back(site, symbol##_source);                                                          \
    }                                                                                              \
    const struct ghn__reference_op ghn__reference_op_##symbol = {.forward = symbol##_forward,      \
                                                                 .backward = symbol##_backward}

/* --- flatten, reshape: the order of elements stays --- */

static bool reshape_source(const struct ghn__reference_site *site, const int64_t *at,
                           int64_t *from) {
    int64_t i = 0;
    for (int k = 0; k < site->out->ndim; k++)
        i = i * site->out->dims[k] + at[k];
    place_of(site->in[0], i, from);
    return true;
}

static bool flatten_source(const struct ghn__reference_site *site, const int64_t *at,
                           int64_t *from) {
    return reshape_source(site, at, from);
}

MOVED(reshape, 0);
MOVED(flatten, 0);

/* --- permute --- */

static bool permute_source(const struct ghn__reference_site *site, const int64_t *at,
                           int64_t *from) {
    const struct ghn_ints *dims = &site->node->attrs.dims.dims;
    for (int k = 0; k < dims->n; k++)
        from[ghn__reference_dim(dims->at[k], dims->n)] = at[k];
    return true;
}

MOVED(permute, 0);

/* --- slice --- */

static bool slice_source(const struct ghn__reference_site *site, const int64_t *at, int64_t *from) {
    const struct ghn_slice_attrs *a = &site->node->attrs.slice;
    const struct ghn__reference_tensor *x = site->in[0];
    int dim = ghn__reference_dim(a->dim, x->ndim);
    int64_t start = a->start < 0 ? a->start + x->dims[dim] : a->start;
    memcpy(from, at, (size_t)x->ndim * sizeof *at);
    from[dim] = (start < 0 ? 0 : start) + at[dim] * a->step;
    return true;
}

MOVED(slice, 0);

/* --- pad --- */

static bool pad_source(const struct ghn__reference_site *site, const int64_t *at, int64_t *from) {
    const struct ghn_ints *pad = &site->node->attrs.pad.pad;
    const struct ghn__reference_tensor *x = site->in[0];
    memcpy(from, at, (size_t)x->ndim * sizeof *at);
    for (int i = 0; i < pad->n; i += 2) {
        int dim = x->ndim - 1 - i / 2;
        from[dim] -= pad->at[i];
        if (from[dim] < 0 || from[dim] >= x->dims[dim])
            return false;
    }
    return true;
}

MOVED(pad, site->node->attrs.pad.value);

/* --- roll --- */

static bool roll_source(const struct ghn__reference_site *site, const int64_t *at, int64_t *from) {
    const struct ghn_roll_attrs *a = &site->node->attrs.roll;
    const struct ghn__reference_tensor *x = site->in[0];
    memcpy(from, at, (size_t)x->ndim * sizeof *at);
    for (int i = 0; i < a->dims.n; i++) {
        int dim = ghn__reference_dim(a->dims.at[i], x->ndim);
        int64_t n = x->dims[dim];
        from[dim] = ((from[dim] - a->shifts.at[i]) % n + n) % n;
    }
    return true;
}

MOVED(roll, 0);

/* --- channel_shuffle: channel j of C / groups in group i becomes channel i of groups in group j
 * ---
 */

static bool channel_shuffle_source(const struct ghn__reference_site *site, const int64_t *at,
                                   int64_t *from) {
    int64_t groups = site->node->attrs.groups.groups, each = site->in[0]->dims[1] / groups;
    memcpy(from, at, (size_t)site->in[0]->ndim * sizeof *at);
    from[1] = at[1] % groups * each + at[1] / groups;
    return true;
}

MOVED(channel_shuffle, 0);
