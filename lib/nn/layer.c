#include "nn/layer.h"

#include "nn/kernels.h"
#include "nn/parallel.h"

void ghn__strides(struct ghn__tensor *tensor, enum ghn__order order) {
    int64_t stride = 1;
    bool innermost = tensor->ndim > 2 && (order == GHN__CHANNELS_INNERMOST ||
                                          (order == GHN__CHANNELS_LAST && tensor->ndim == 4));
    if (innermost) {
        tensor->strides[1] = stride;
        stride *= tensor->dims[1];
    }
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        if (i == 1 && innermost)
            continue;
        tensor->strides[i] = stride;
        stride *= tensor->dims[i];
    }
}

bool ghn__same_order(const struct ghn__tensor *a, const struct ghn__tensor *b) {
    if (a->ndim != b->ndim)
        return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dims[i] != 1 && a->strides[i] != b->strides[i])
            return false;
    return true;
}

bool ghn__in_order(const struct ghn__tensor *tensor, enum ghn__order order) {
    struct ghn__tensor wanted = *tensor;
    ghn__strides(&wanted, order);
    return ghn__same_order(tensor, &wanted);
}

/* A copy as nested loops, outermost first, with dimensions that follow each other in both tensors
 * joined. */
struct loops {
    int n;
    int64_t count[GHN__MAX_RANK], y[GHN__MAX_RANK],
        x[GHN__MAX_RANK]; /* extents, and strides in elements */
    void *y_data;
    const void *x_data;
    enum ghn_dtype y_type, x_type;
    size_t y_size, x_size;
    bool add, planes; /* planes: the two innermost loops are copied at once */
};

static void sort_and_join(struct loops *loops, const struct ghn__tensor *dst,
                          const struct ghn__tensor *src) {
    int order[GHN__MAX_RANK], n = 0;
    for (int i = 0; i < dst->ndim; i++) {
        if (dst->dims[i] == 1)
            continue;
        int at = n++;
        for (; at > 0 && dst->strides[order[at - 1]] < dst->strides[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    loops->n = 0;
    for (int k = 0; k < n; k++) {
        int i = order[k], last = loops->n - 1;
        if (last >= 0 && loops->y[last] == dst->dims[i] * dst->strides[i] &&
            loops->x[last] == dst->dims[i] * src->strides[i]) {
            loops->count[last] *= dst->dims[i];
            loops->y[last] = dst->strides[i];
            loops->x[last] = src->strides[i];
        } else {
            loops->count[loops->n] = dst->dims[i];
            loops->y[loops->n] = dst->strides[i];
            loops->x[loops->n++] = src->strides[i];
        }
    }
    if (loops->n == 0) {
        loops->n = 1;
        loops->count[0] = loops->y[0] = loops->x[0] = 1;
    }
}

/* Where the innermost rows are not contiguous on both sides, two loops are left to the kernel: the
 * innermost, and of the others the one along which x is closest together. */
static void pair_loops(struct loops *loops) {
    int last = loops->n - 1, near = 0;
    loops->planes = loops->y[last] != 1 || loops->x[last] != 1;
    if (!loops->planes || last == 0)
        return;
    for (int k = 1; k < last; k++)
        if (loops->x[k] < loops->x[near])
            near = k;
    int64_t count = loops->count[near], y = loops->y[near], x = loops->x[near];
    for (int k = near; k < last - 1; k++) {
        loops->count[k] = loops->count[k + 1];
        loops->y[k] = loops->y[k + 1];
        loops->x[k] = loops->x[k + 1];
    }
    loops->count[last - 1] = count;
    loops->y[last - 1] = y;
    loops->x[last - 1] = x;
}

/* Rows [at, at + n) of the innermost loop's; all of them lie in one pass of the loop around it. */
static void copy_band(const struct loops *loops, int64_t at, int64_t n) {
    int last = loops->n - 1;
    int64_t rest = at, y = 0, x = 0;
    for (int k = last - 1; k >= 0; k--) {
        int64_t i = rest % loops->count[k];
        rest /= loops->count[k];
        y += i * loops->y[k];
        x += i * loops->x[k];
    }
    char *dst = (char *)loops->y_data + (size_t)y * loops->y_size;
    const char *src = (const char *)loops->x_data + (size_t)x * loops->x_size;
    if (!loops->planes) {
        ghn__nn_kernels()->copy(dst, loops->y_type, src, loops->x_type, loops->count[last],
                                loops->add);
        return;
    }
    int outer = last > 0 ? last - 1 : 0;
    const int64_t y_strides[] = {loops->y[outer], loops->y[last]},
                  x_strides[] = {loops->x[outer], loops->x[last]},
                  extents[] = {n, loops->count[last]};
    ghn__nn_kernels()->copy_plane(dst, loops->y_type, y_strides, src, loops->x_type, x_strides,
                                  extents, loops->add);
}

/* Rows [begin, end) of all innermost rows. */
static void copy_rows(void *context, int64_t begin, int64_t end) {
    const struct loops *loops = context;
    int64_t around = loops->planes && loops->n > 1 ? loops->count[loops->n - 2] : 1;
    for (int64_t row = begin; row < end;) {
        int64_t n = around - row % around;
        if (n > end - row)
            n = end - row;
        copy_band(loops, row, n);
        row += n;
    }
}

/* A single row is cut into pieces, so that threads can share it. */
static void split_single_row(struct loops *loops) {
    enum { PIECE = 4096 };
    if (loops->n > 1 || loops->count[0] < 2 * PIECE || loops->count[0] % PIECE != 0)
        return;
    loops->n = 2;
    loops->count[1] = PIECE;
    loops->y[1] = loops->y[0];
    loops->x[1] = loops->x[0];
    loops->count[0] /= PIECE;
    loops->y[0] *= PIECE;
    loops->x[0] *= PIECE;
}

void ghn__copy(const struct ghn__tensor *dst, const struct ghn__tensor *src, bool add) {
    struct loops loops = {.y_data = dst->data,
                          .x_data = src->data,
                          .y_type = dst->dtype,
                          .x_type = src->dtype,
                          .y_size = ghn_dtype_size(dst->dtype),
                          .x_size = ghn_dtype_size(src->dtype),
                          .add = add};
    sort_and_join(&loops, dst, src);
    split_single_row(&loops);
    pair_loops(&loops);
    int64_t rows = 1;
    for (int k = 0; k < loops.n - 1; k++)
        rows *= loops.count[k];
    ghn__parallel(rows, 1 + 16384 / loops.count[loops.n - 1], copy_rows, &loops);
}

struct fill {
    const struct ghn__tensor *tensor;
    float value;
};

static void fill_range(void *context, int64_t begin, int64_t end) {
    const struct fill *fill = context;
    ghn__nn_kernels()->fill(fill->tensor->data, fill->tensor->dtype, begin, end, fill->value);
}

void ghn__fill(const struct ghn__tensor *tensor, float value) {
    struct fill fill = {tensor, value};
    ghn__parallel(tensor->count, 16384, fill_range, &fill);
}

void ghn__zero(const struct ghn__tensor *tensor) {
    ghn__fill(tensor, 0.0f);
}
