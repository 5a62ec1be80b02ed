/* lib/tensor/stats: statistics against the two-pass formula. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tensor/stats.h"

enum { N = 10007 };

static void pieces_add_up(void **state) {
    (void)state;
    static float x[N];
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        x[i] = 1000 + (float)ghn_rng_normal(3, 1, (uint64_t)i);
        sum += (double)x[i];
    }
    for (int i = 0; i < N; i++)
        squares += ((double)x[i] - sum / N) * ((double)x[i] - sum / N);
    struct ghn_stats stats = {0};
    for (int i = 0; i < N; i += 5000)
        ghn_stats_add(&stats, x + i, (size_t)(N - i < 5000 ? N - i : 5000));
    assert_int_equal(stats.n, N);
    assert_int_equal(stats.n_not_finite, 0);
    assert_true(fabs(stats.mean - sum / N) < 1e-9);
    assert_true(fabs(ghn_stats_std(&stats) - sqrt(squares / (N - 1))) < 1e-9);
    for (int i = 0; i < N; i++)
        assert_true(x[i] >= stats.min && x[i] <= stats.max);
}

static void what_is_not_finite_is_counted_apart(void **state) {
    (void)state;
    const float x[] = {NAN, -2, INFINITY, 4, -INFINITY};
    struct ghn_stats stats = {0};
    ghn_stats_add(&stats, x, 1);
    assert_int_equal(stats.n, 0);
    assert_true(ghn_stats_std(&stats) == 0);
    ghn_stats_add(&stats, x, 5);
    assert_int_equal(stats.n, 2);
    assert_int_equal(stats.n_not_finite, 4);
    assert_true(stats.mean == 1 && stats.min == -2 && stats.max == 4);
    assert_true(fabs(ghn_stats_std(&stats) - sqrt(18)) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_add_up),
        cmocka_unit_test(what_is_not_finite_is_counted_apart),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
