/* Copies between tensors of any strides, the kernels below them in every instruction set, and which
 * reshapes move nothing: against plain loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "nn/kernels.h"

enum { MOST = 1 << 14, CASES = 400 };

static const enum ghn_dtype dtypes[] = {GHN_F32, GHN_BF16};

static int64_t draw(uint64_t stream, uint64_t i, int64_t below) {
    return (int64_t)(ghn_rng_uniform(17, stream, i) * (double)below);
}

/* Multiples of 1/8 below 8: bf16 holds them, and the sum of two. */
static float value_at(uint64_t stream, int64_t i) {
    return (float)(draw(stream, (uint64_t)i, 127) - 63) / 8;
}

static void put(void *memory, enum ghn_dtype dtype, int64_t i, float value) {
    ghn_dtype_from_f32(dtype, (char *)memory + (size_t)i * ghn_dtype_size(dtype), &value, 1);
}

static float get(const void *memory, enum ghn_dtype dtype, int64_t i) {
    float value;
    ghn_dtype_to_f32(dtype, &value, (const char *)memory + (size_t)i * ghn_dtype_size(dtype), 1);
    return value;
}

static void fill_memory(void *memory, enum ghn_dtype dtype, uint64_t stream) {
    for (int64_t i = 0; i < MOST; i++)
        put(memory, dtype, i, value_at(stream, i));
}

/* The place in memory of logical element i. */
static int64_t place(const struct ghn__tensor *t, int64_t i) {
    int64_t at = 0;
    for (int k = t->ndim - 1; k >= 0; k--) {
        at += i % t->dims[k] * t->strides[k];
        i /= t->dims[k];
    }
    return at;
}

/* Strides of a random order, with gaps now and then. */
static void draw_strides(struct ghn__tensor *t, uint64_t stream) {
    int order[GHN__MAX_RANK];
    for (int k = 0; k < t->ndim; k++)
        order[k] = k;
    for (int k = t->ndim - 1; k > 0; k--) {
        int64_t j = draw(stream, (uint64_t)k, k + 1);
        int kept = order[k];
        order[k] = order[j];
        order[j] = kept;
    }
    int64_t stride = draw(stream, 20, 4) ? 1 : 2;
    for (int k = 0; k < t->ndim; k++) {
        t->strides[order[k]] = stride;
        stride *= t->dims[order[k]] + (draw(stream, 30 + (uint64_t)k, 4) ? 0 : 1);
    }
    assert_in_range(stride, 1, MOST);
}

/* Every element of the destination's memory is what it should be, those in its gaps included. */
static void check_copy(uint64_t stream, enum ghn_dtype y_type, enum ghn_dtype x_type, bool add) {
    static float x_memory[MOST], y_memory[MOST], expected[MOST];
    static const int64_t most[] = {0, 5000, 75, 17, 8, 4};
    struct ghn__tensor x = {.ndim = 1 + (int)draw(stream, 0, 5), .count = 1};
    for (int k = 0; k < x.ndim; k++)
        x.count *= x.dims[k] = 1 + draw(stream, 10 + (uint64_t)k, most[x.ndim]);
    struct ghn__tensor y = x;
    draw_strides(&x, stream + 10000);
    draw_strides(&y, stream + 20000);
    x.data = x_memory;
    y.data = y_memory;
    x.dtype = x_type;
    y.dtype = y_type;
    fill_memory(x_memory, x_type, 1);
    fill_memory(y_memory, y_type, 2);
    for (int64_t i = 0; i < MOST; i++)
        expected[i] = value_at(2, i);
    for (int64_t i = 0; i < x.count; i++)
        expected[place(&y, i)] = value_at(1, place(&x, i)) + (add ? expected[place(&y, i)] : 0.0f);
    ghn__copy(&y, &x, add);
    for (int64_t i = 0; i < MOST; i++)
        if (get(y_memory, y_type, i) != expected[i])
            fail_msg("case %d, types %d and %d, add %d: place %lld is %g, not %g", (int)stream,
                     y_type, x_type, add, (long long)i, (double)get(y_memory, y_type, i),
                     (double)expected[i]);
}

static void test_copy(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++)
        for (int types = 0; types < 4; types++)
            check_copy(i, dtypes[types / 2], dtypes[types % 2], draw(i, 90, 2) != 0);
}

/* Large enough for several threads, one of which begins in the middle of an image's planes. */
static void test_copy_in_parallel(void **state) {
    (void)state;
    enum { COUNT = 3 * 50 * 23 * 23 };
    static float from[COUNT], to[COUNT];
    struct ghn__tensor x = {.ndim = 4, .dims = {3, 50, 23, 23}, .count = COUNT, .data = from};
    x.dtype = GHN_F32;
    struct ghn__tensor y = x;
    y.data = to;
    for (int way = 0; way < 2; way++) {
        ghn__strides(&x, way ? GHN__ROW_MAJOR : GHN__CHANNELS_LAST);
        ghn__strides(&y, way ? GHN__CHANNELS_LAST : GHN__ROW_MAJOR);
        for (int64_t i = 0; i < COUNT; i++) {
            from[place(&x, i)] = value_at(7, i);
            to[place(&y, i)] = value_at(8, i);
        }
        ghn__copy(&y, &x, true);
        for (int64_t i = 0; i < COUNT; i++)
            assert_true(to[place(&y, i)] == value_at(7, i) + value_at(8, i));
    }
}

/* --- Kernels --- */

struct plane {
    int64_t n[2], y[2], x[2];
};

static const struct plane planes[] = {
    {{1, 1}, {1, 1}, {1, 1}},      {{3, 5}, {5, 1}, {1, 3}},   {{33, 70}, {70, 1}, {1, 33}},
    {{64, 32}, {33, 1}, {2, 130}}, {{31, 2}, {2, 1}, {1, 31}}, {{5, 40}, {1, 6}, {41, 1}},
    {{7, 9}, {2, 16}, {20, 2}},
};

static void check_plane(const struct ghn__nn_kernels *kernels, const struct plane *p,
                        enum ghn_dtype y_type, enum ghn_dtype x_type, bool add) {
    static float x[MOST], y[MOST], expected[MOST];
    fill_memory(x, x_type, 3);
    fill_memory(y, y_type, 4);
    for (int64_t i = 0; i < MOST; i++)
        expected[i] = value_at(4, i);
    for (int64_t i = 0; i < p->n[0]; i++)
        for (int64_t j = 0; j < p->n[1]; j++) {
            float *to = &expected[i * p->y[0] + j * p->y[1]];
            *to = value_at(3, i * p->x[0] + j * p->x[1]) + (add ? *to : 0.0f);
        }
    kernels->copy_plane(y, y_type, p->y, x, x_type, p->x, p->n, add);
    for (int64_t i = 0; i < MOST; i++)
        if (get(y, y_type, i) != expected[i])
            fail_msg("%s, %lld x %lld: place %lld is %g, not %g", kernels->name, (long long)p->n[0],
                     (long long)p->n[1], (long long)i, (double)get(y, y_type, i),
                     (double)expected[i]);
}

static void check_row(const struct ghn__nn_kernels *kernels, int64_t n, enum ghn_dtype y_type,
                      enum ghn_dtype x_type, bool add) {
    static float x[MOST], y[MOST];
    fill_memory(x, x_type, 5);
    fill_memory(y, y_type, 6);
    kernels->copy(y, y_type, x, x_type, n, add);
    for (int64_t i = 0; i < MOST; i++) {
        float before = value_at(6, i), sum = value_at(5, i) + (add ? before : 0.0f);
        assert_true(get(y, y_type, i) == (i < n ? sum : before));
    }
    kernels->fill(y, y_type, 2, n, -1.5f);
    kernels->copy(x, y_type, y, y_type, MOST / 2, false);
    for (int64_t i = 2; i < n; i++)
        assert_true(get(x, y_type, i) == -1.5f);
    assert_true(get(x, y_type, n) == (n < 2 ? get(y, y_type, n) : value_at(6, n)));
}

static void test_kernels(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 1, 7, 16, 33, 100};
    const struct ghn__nn_kernels *all[3];
    for (int t = ghn__nn_kernels_all(all) - 1; t >= 0; t--)
        for (int types = 0; types < 4; types++)
            for (int add = 0; add < 2; add++) {
                for (size_t i = 0; i < sizeof planes / sizeof *planes; i++)
                    check_plane(all[t], &planes[i], dtypes[types / 2], dtypes[types % 2], add);
                for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
                    check_row(all[t], lengths[i], dtypes[types / 2], dtypes[types % 2], add);
            }
}

/* The table is found once; it is the best there is. */
static void test_best_table(void **state) {
    (void)state;
    const struct ghn__nn_kernels *all[3];
    assert_ptr_equal(ghn__nn_kernels(), all[ghn__nn_kernels_all(all) - 1]);
}

/* --- Views --- */

struct view {
    int in_rank, out_rank;
    int64_t in[5], out[5];
    enum ghn__order order;
    bool possible;
};

/* Of images, the batch first: (C, H, W) in channels-last order, and row-major tensors. */
static const struct view views[] = {
    {4, 3, {2, 6, 4, 5}, {2, 6, 20}, GHN__CHANNELS_LAST, true},
    {4, 2, {2, 6, 4, 5}, {2, 120}, GHN__CHANNELS_LAST, false},
    {4, 2, {2, 6, 1, 1}, {2, 6}, GHN__CHANNELS_LAST, true},
    {4, 2, {2, 1, 4, 5}, {2, 20}, GHN__CHANNELS_LAST, true},
    {4, 3, {2, 6, 4, 5}, {2, 24, 5}, GHN__CHANNELS_LAST, false},
    {4, 5, {2, 6, 4, 5}, {2, 3, 2, 4, 5}, GHN__CHANNELS_LAST, true},
    {4, 5, {2, 6, 4, 5}, {2, 6, 2, 2, 5}, GHN__CHANNELS_LAST, true},
    {4, 2, {2, 6, 4, 5}, {2, 120}, GHN__ROW_MAJOR, true},
    {4, 3, {2, 6, 4, 5}, {2, 8, 15}, GHN__ROW_MAJOR, true},
    {4, 3, {2, 6, 4, 5}, {2, 8, 15}, GHN__CHANNELS_LAST, false},
};

static void check_view(const struct view *v) {
    struct ghn__tensor in = {.ndim = v->in_rank, .count = 1};
    struct ghn__site site = {.n_inputs = 1, .in = &in, .out = {.ndim = v->out_rank, .count = 1}};
    for (int k = 0; k < v->in_rank; k++)
        in.count *= in.dims[k] = v->in[k];
    for (int k = 0; k < v->out_rank; k++)
        site.out.count *= site.out.dims[k] = v->out[k];
    ghn__strides(&in, v->order);
    assert_int_equal(ghn__layer_reshape.view(&site), v->possible);
    for (int64_t i = 0; v->possible && i < in.count; i++)
        assert_int_equal(place(&site.out, i), place(&in, i));
}

static void test_views(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        check_view(&views[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy),    cmocka_unit_test(test_copy_in_parallel),
        cmocka_unit_test(test_kernels), cmocka_unit_test(test_best_table),
        cmocka_unit_test(test_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
