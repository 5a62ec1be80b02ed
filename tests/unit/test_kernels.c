/* lib/ghn: every variant of the kernels against the plain definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ghn/kernels.h"

static const struct ghn__kernels *variants[4];
static int n_variants;

static float *random_floats(size_t n, uint64_t stream, double scale) {
    float *values = ghn_malloc(n * sizeof(*values));
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(scale * (2.0 * ghn_rng_uniform(1, stream, i) - 1.0));
    return values;
}

static void close_to(const char *name, const float *found, const float *expected, size_t n,
                     double scale) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) <= 2e-6 * scale))
            fail_msg("%s: element %zu is %.9g, not %.9g", name, i, (double)found[i],
                     (double)expected[i]);
}

static void there_is_a_variant(void **state) {
    (void)state;
    assert_true(n_variants >= 2);
    assert_ptr_equal(variants[0], &ghn__kernels_ref);
    assert_ptr_equal(ghn__kernels_best(), variants[n_variants - 1]);
}

static void dense_agrees(void **state) {
    (void)state;
    static const int ks[] = {0, 1, 3, 4, 7, 32, 129}, ns[] = {16, 32, 48, 96, 128, 144};
    float *x = random_floats(129, 1, 1.0), *w = random_floats(129 * 144, 2, 1.0);
    float *bias = random_floats(144, 3, 1.0), found[144], expected[144];
    for (int v = 1; v < n_variants; v++)
        for (size_t i = 0; i < sizeof(ks) / sizeof(ks[0]); i++)
            for (size_t j = 0; j < sizeof(ns) / sizeof(ns[0]); j++)
                for (int with = 0; with < 2; with++) {
                    variants[0]->dense(expected, x, w, with ? bias : NULL, ks[i], ns[j]);
                    variants[v]->dense(found, x, w, with ? bias : NULL, ks[i], ns[j]);
                    close_to(variants[v]->name, found, expected, (size_t)ns[j], 8.0);
                }
    ghn_free(x);
    ghn_free(w);
    ghn_free(bias);
}

static void panel_agrees(void **state) {
    (void)state;
    static const int ks[] = {1, 2, 33, 257};
    float *a = random_floats(257 * GHN__PANEL, 4, 1.0);
    float *b = random_floats(257 * GHN__LANES, 5, 1.0);
    float found[GHN__PANEL * GHN__LANES], expected[GHN__PANEL * GHN__LANES];
    for (int v = 1; v < n_variants; v++)
        for (size_t i = 0; i < sizeof(ks) / sizeof(ks[0]); i++)
            for (int width = 16; width <= GHN__LANES; width += 16) {
                variants[0]->panel(expected, a, b, ks[i], width);
                variants[v]->panel(found, a, b, ks[i], width);
                close_to(variants[v]->name, found, expected, (size_t)(GHN__PANEL * width), 16.0);
            }
    ghn_free(a);
    ghn_free(b);
}

/* Segments of every length, rows cut at the block's end; nothing beyond may be touched. */
static void store_agrees(void **state) {
    (void)state;
    enum { SIZE = 12 * 3 * 60 };
    float *c = random_floats(GHN__PANEL * GHN__LANES, 6, 1.0);
    float *found = ghn_malloc(2 * SIZE * sizeof(float));
    float *expected = ghn_malloc(2 * SIZE * sizeof(float));
    for (int v = 1; v < n_variants; v++)
        for (int n = 1; n < GHN__LANES; n++)
            for (int o = 0; o < 16; o += GHN__PANEL)
                for (int i = 0; i < 4; i++) {
                    memset(found, 0, 2 * SIZE * sizeof(float));
                    memset(expected, 0, 2 * SIZE * sizeof(float));
                    for (int which = 0; which < 2; which++) {
                        float *to = which ? found : expected;
                        struct ghn__segment segments[2] = {
                            {.dst = to, .lane = 0, .n = n, .O = 12, .I = 3, .P = 60},
                            {.dst = to + SIZE, .lane = n, .n = 48 - n, .O = 9, .I = 2, .P = 50},
                        };
                        variants[which ? v : 0]->store(segments, 2, c, GHN__LANES, o, i);
                    }
                    assert_memory_equal(found, expected, 2 * SIZE * sizeof(float));
                }
    ghn_free(c);
    ghn_free(found);
    ghn_free(expected);
}

static void relu_agrees(void **state) {
    (void)state;
    float *scale = random_floats(48, 7, 3.0);
    for (int v = 1; v < n_variants; v++)
        for (int with = 0; with < 2; with++) {
            float *found = random_floats(5 * 48, 8, 1.0), *expected = random_floats(5 * 48, 8, 1.0);
            found[3] = expected[3] = -0.0f;
            variants[0]->relu(expected, with ? scale : NULL, 5, 48);
            variants[v]->relu(found, with ? scale : NULL, 5, 48);
            close_to(variants[v]->name, found, expected, 5 * 48, 0.0);
            ghn_free(found);
            ghn_free(expected);
        }
    ghn_free(scale);
}

static void gru_agrees(void **state) {
    (void)state;
    static const double scales[] = {0.01, 1.0, 10.0, 1000.0};
    for (int v = 1; v < n_variants; v++)
        for (size_t s = 0; s < sizeof(scales) / sizeof(scales[0]); s++) {
            float *gi = random_floats(3 * 64, 9, scales[s]);
            float *gh = random_floats(3 * 64, 10, scales[s]);
            float *found = random_floats(64, 11, 1.0), *expected = random_floats(64, 11, 1.0);
            float *found_gates = random_floats(3 * 64, 11, 1.0);
            float *expected_gates = random_floats(3 * 64, 12, 1.0);
            variants[0]->gru(expected, gi, gh, 64);
            variants[v]->gru(found, gi, gh, 64);
            close_to(variants[v]->name, found, expected, 64, 1.0);
            variants[0]->gates(expected_gates, gi, gh, 64);
            variants[v]->gates(found_gates, gi, gh, 64);
            close_to(variants[v]->name, found_gates, expected_gates, 3 * 64, 1.0);
            ghn_free(found_gates);
            ghn_free(expected_gates);
            ghn_free(gi);
            ghn_free(gh);
            ghn_free(found);
            ghn_free(expected);
        }
}

/* Also close to zero, where tanh must keep its relative precision. */
static void squashing_agrees(void **state) {
    (void)state;
    for (int v = 1; v < n_variants; v++)
        for (int e = -24; e < 8; e++) {
            float *norm[2], *bias[2];
            for (int which = 0; which < 2; which++) {
                norm[which] = random_floats(64, 12, exp2(e));
                bias[which] = random_floats(64, 12, exp2(e));
                variants[which ? v : 0]->squash_norm(norm[which], 64);
                variants[which ? v : 0]->squash_bias(bias[which], 64);
            }
            for (int i = 0; i < 64; i++) {
                assert_true(fabs((double)norm[1][i] - (double)norm[0][i]) <= 4e-7);
                assert_true(fabs((double)bias[1][i] - (double)bias[0][i]) <=
                            1e-6 * fabs((double)bias[0][i]));
            }
            for (int which = 0; which < 2; which++) {
                ghn_free(norm[which]);
                ghn_free(bias[which]);
            }
        }
}

/* In every lane, and in no other. */
static void nan_stays_nan(void **state) {
    (void)state;
    for (int v = 0; v < n_variants; v++)
        for (int lane = 0; lane < 16; lane++) {
            float norm[16] = {0}, bias[16] = {0}, rectified[16] = {0};
            norm[lane] = bias[lane] = rectified[lane] = NAN;
            variants[v]->relu(rectified, NULL, 1, 16);
            variants[v]->squash_norm(norm, 16);
            variants[v]->squash_bias(bias, 16);
            for (int i = 0; i < 16; i++) {
                assert_int_equal(isnan(norm[i]) != 0, i == lane);
                assert_int_equal(isnan(bias[i]) != 0, i == lane);
                assert_int_equal(isnan(rectified[i]) != 0, i == lane);
            }
        }
}

int main(void) {
    n_variants = ghn__kernels_all(variants);
    for (int v = 0; v < n_variants; v++)
        printf("variant: %s\n", variants[v]->name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_a_variant), cmocka_unit_test(dense_agrees),
        cmocka_unit_test(panel_agrees),       cmocka_unit_test(store_agrees),
        cmocka_unit_test(relu_agrees),        cmocka_unit_test(gru_agrees),
        cmocka_unit_test(squashing_agrees),   cmocka_unit_test(nan_stays_nan),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
