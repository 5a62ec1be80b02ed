/* The small matrix product below attention in every instruction set, and the layer of attention
 * itself, against plain loops in f64; and that the team may change between planning and a pass. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "base/mem.h"
#include "base/rng.h"
#include "nn/kernels.h"

static double uniform(uint64_t stream, int64_t i) {
    return 2 * ghn_rng_uniform(23, stream, (uint64_t)i) - 1;
}

/* --- small_gemm --- */

enum { SIDE = 40, COLUMNS = 48, ROOM = SIDE * (COLUMNS + 3) };

/* a transposed or not. */
static void check_gemm(const struct ghn__nn_kernels *kernels, int64_t m, int64_t n, int64_t k,
                       bool transposed, bool add) {
    static float a[SIDE * SIDE], b[ROOM], c[ROOM];
    int64_t a_row = transposed ? 1 : k, a_col = transposed ? m : 1, ldb = n + 3, ldc = n + 1;
    for (int64_t i = 0; i < SIDE * SIDE; i++)
        a[i] = (float)uniform(1, i);
    for (int64_t i = 0; i < ROOM; i++) {
        b[i] = (float)uniform(2, i);
        c[i] = (float)uniform(3, i);
    }
    kernels->small_gemm(c, ldc, add, a, a_row, a_col, b, ldb, m, n, k);
    for (int64_t at = 0; at < ROOM; at++) {
        double sum = (float)uniform(3, at);
        int64_t i = at / ldc, j = at % ldc;
        if (i < m && j < n) {
            sum = add ? sum : 0;
            for (int64_t l = 0; l < k; l++)
                sum += (double)a[i * a_row + l * a_col] * b[l * ldb + j];
        }
        if (!(fabs(c[at] - sum) <= 2e-5))
            fail_msg("%s, %lld x %lld x %lld: place %lld is %.9g, not %.9g", kernels->name,
                     (long long)m, (long long)n, (long long)k, (long long)at, (double)c[at], sum);
    }
}

static void test_gemm(void **state) {
    (void)state;
    static const int64_t sides[] = {1, 2, 3, 4, 7, 40};
    const struct ghn__nn_kernels *all[3];
    for (int t = ghn__nn_kernels_all(all) - 1; t >= 0; t--)
        for (int i = 0; i < 36; i++)
            for (int64_t n = 16; n <= COLUMNS; n += 16)
                for (int way = 0; way < 4; way++)
                    check_gemm(all[t], sides[i / 6], n, sides[i % 6], way & 1, way & 2);
}

/* --- The layer --- */

enum { ROWS = 3, HEIGHT = 2, WIDTH = 5, TOKENS = HEIGHT * WIDTH, HEADS = 2, DIM = 9 };
enum { CHANNELS = HEADS * DIM, TABLE = (2 * HEIGHT - 1) * (2 * WIDTH - 1) };
enum { N_IN = ROWS * TOKENS * 3 * CHANNELS, N_OUT = ROWS * TOKENS * CHANNELS };
enum { N_TABLE = TABLE * HEADS, GUARD = 1 << 16 };

/* What a pass starts from and should give. Inputs are as the element type holds them. */
struct expected {
    double qkv[N_IN], dout[N_OUT], before[N_IN], table[N_TABLE], table_before[N_TABLE];
    double out[N_OUT], dqkv[N_IN], dtable[N_TABLE];
};

static double rounded(double x, enum ghn_dtype dtype) {
    float f = (float)x;
    uint32_t memory = 0;
    ghn_dtype_from_f32(dtype, &memory, &f, 1);
    ghn_dtype_to_f32(dtype, &f, &memory, 1);
    return f;
}

static int table_index(int t, int s, int head) {
    int dy = t / WIDTH - s / WIDTH + HEIGHT - 1, dx = t % WIDTH - s % WIDTH + WIDTH - 1;
    return (dy * (2 * WIDTH - 1) + dx) * HEADS + head;
}

static int qkv_index(int row, int t, int part, int head) {
    return ((row * TOKENS + t) * 3 + part) * CHANNELS + head * DIM;
}

/* One query: its probabilities, its output, and what it adds to the gradients. */
static void expect_query(struct expected *e, int row, int head, int t, double scale, bool biased) {
    double p[TOKENS], dp[TOKENS], sum = 0, dot = 0;
    const double *q = e->qkv + qkv_index(row, t, 0, head);
    int o = (row * TOKENS + t) * CHANNELS + head * DIM;
    for (int s = 0; s < TOKENS; s++) {
        double score = biased ? e->table[table_index(t, s, head)] : 0;
        for (int i = 0; i < DIM; i++)
            score += scale * q[i] * e->qkv[qkv_index(row, s, 1, head) + i];
        sum += p[s] = exp(score);
    }
    for (int s = 0; s < TOKENS; s++) {
        p[s] /= sum;
        dp[s] = 0;
        for (int i = 0; i < DIM; i++) {
            int v = qkv_index(row, s, 2, head) + i;
            e->out[o + i] += p[s] * e->qkv[v];
            e->dqkv[v] += p[s] * e->dout[o + i];
            dp[s] += e->dout[o + i] * e->qkv[v];
        }
        dot += p[s] * dp[s];
    }
    for (int s = 0; s < TOKENS; s++) {
        double ds = p[s] * (dp[s] - dot);
        e->dtable[table_index(t, s, head)] += ds;
        for (int i = 0; i < DIM; i++) {
            int k = qkv_index(row, s, 1, head) + i;
            e->dqkv[qkv_index(row, t, 0, head) + i] += scale * ds * e->qkv[k];
            e->dqkv[k] += scale * ds * q[i];
        }
    }
}

static void expect(struct expected *e, enum ghn_dtype dtype, double scale, bool biased, bool add) {
    memset(e, 0, sizeof *e);
    for (int i = 0; i < N_IN; i++) {
        e->qkv[i] = rounded(2 * uniform(4, i), dtype);
        e->before[i] = rounded(uniform(5, i), dtype);
        e->dqkv[i] = add ? e->before[i] : 0;
    }
    for (int i = 0; i < N_OUT; i++)
        e->dout[i] = rounded(uniform(6, i), dtype);
    for (int i = 0; i < N_TABLE; i++) {
        e->table[i] = (float)uniform(7, i);
        e->table_before[i] = (float)uniform(8, i);
        e->dtable[i] = add ? e->table_before[i] : 0;
    }
    for (int i = 0; i < ROWS * HEADS * TOKENS; i++)
        expect_query(e, i / TOKENS / HEADS, i / TOKENS % HEADS, i % TOKENS, scale, biased);
}

static void *memory_of(const double *x, int n, enum ghn_dtype dtype) {
    char *memory = ghn_malloc((size_t)n * ghn_dtype_size(dtype));
    assert_non_null(memory);
    for (int i = 0; i < n; i++) {
        float f = (float)x[i];
        ghn_dtype_from_f32(dtype, memory + (size_t)i * ghn_dtype_size(dtype), &f, 1);
    }
    return memory;
}

static struct ghn__tensor tensor_of(const double *x, int channels, enum ghn_dtype dtype) {
    struct ghn__tensor t = {.dtype = dtype, .ndim = 3, .dims = {ROWS, TOKENS, channels}};
    t.count = (int64_t)ROWS * TOKENS * channels;
    t.data = memory_of(x, (int)t.count, dtype);
    ghn__strides(&t, GHN__ROW_MAJOR);
    return t;
}

static void compare(const char *what, const void *memory, enum ghn_dtype dtype, const double *x,
                    int n) {
    for (int i = 0; i < n; i++) {
        float f;
        ghn_dtype_to_f32(dtype, &f, (const char *)memory + (size_t)i * ghn_dtype_size(dtype), 1);
        double bound = 2e-5 * (1 + fabs(x[i])) + (dtype == GHN_BF16 ? fabs(x[i]) * 0x1p-8 : 0);
        if (!(fabs(f - x[i]) <= bound))
            fail_msg("%s, %s: element %d is %.9g, not %.9g", what,
                     dtype == GHN_F32 ? "f32" : "bf16", i, (double)f, x[i]);
    }
}

static void set_team(int threads) {
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    (void)threads;
#endif
}

static int team(void) {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/* A pass each way by a team of `running`, planned for one of `planned`; nothing behind the work
 * space is touched. */
static void run_site(struct ghn__site *site, int planned, int running) {
    struct ghn_err err = GHN_ERR_INIT;
    set_team(planned);
    assert_int_equal(ghn__layer_attention.plan(site, &err), GHN_OK);
    unsigned char *memory = ghn_malloc(site->scratch_bytes + GUARD);
    assert_non_null(memory);
    memset(memory, 0xa5, site->scratch_bytes + GUARD);
    site->scratch = memory;
    set_team(running);
    assert_int_equal(ghn__layer_attention.forward(site, &err), GHN_OK);
    assert_int_equal(ghn__layer_attention.backward(site, &err), GHN_OK);
    for (size_t i = 0; i < GUARD; i++)
        if (memory[site->scratch_bytes + i] != 0xa5)
            fail_msg("planned for %d, run by %d: byte %zu behind the work space was written",
                     planned, running, i);
    if (ghn__layer_attention.done)
        ghn__layer_attention.done(site);
    ghn_free(memory);
}

static void check_layer(enum ghn_dtype dtype, bool biased, bool add, int planned, int running) {
    static struct expected e;
    double scale = biased ? 0.4 : 0;
    expect(&e, dtype, biased ? scale : 1 / sqrt(DIM), biased, add);
    struct ghn_arch_node node = {.n_params = biased};
    node.attrs.attention.num_heads = HEADS;
    node.attrs.attention.scale = scale;
    node.attrs.attention.relative_position[0] = biased ? HEIGHT : 0;
    node.attrs.attention.relative_position[1] = biased ? WIDTH : 0;
    struct ghn__tensor in = tensor_of(e.qkv, 3 * CHANNELS, dtype),
                       din = tensor_of(e.before, 3 * CHANNELS, dtype);
    float *table = memory_of(e.table, N_TABLE, GHN_F32),
          *dtable = memory_of(e.table_before, N_TABLE, GHN_F32);
    const float *params[] = {table};
    struct ghn__site site = {.node = &node,
                             .mode = GHN_MODE_TRAIN,
                             .n_inputs = 1,
                             .in = &in,
                             .out = tensor_of(e.dout, CHANNELS, dtype),
                             .params = params,
                             .din = &din,
                             .dout = tensor_of(e.dout, CHANNELS, dtype),
                             .add = &add,
                             .dparams = &dtable,
                             .add_param = &add,
                             .input_gradient = true};
    run_site(&site, planned, running);
    compare("output", site.out.data, dtype, e.out, N_OUT);
    compare("gradient", din.data, dtype, e.dqkv, N_IN);
    if (biased)
        compare("gradient by the table", dtable, GHN_F32, e.dtable, N_TABLE);
    void *all[] = {in.data, din.data, site.out.data, site.dout.data, table, dtable};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ghn_free(all[i]);
}

static void every_way(int planned, int running) {
    int before = team();
    for (int way = 0; way < 8; way++)
        check_layer(way & 1 ? GHN_BF16 : GHN_F32, way & 2, way & 4, planned, running);
    set_team(before);
}

static void test_layer(void **state) {
    (void)state;
    every_way(2, 2);
}

/* The number of threads belongs to the thread that asks: a run may be planned by one and passed
 * through by another. */
static void test_team_grows(void **state) {
    (void)state;
    every_way(1, 4);
}

static void test_team_shrinks(void **state) {
    (void)state;
    every_way(4, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_layer),
        cmocka_unit_test(test_team_grows),
        cmocka_unit_test(test_team_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
