/* Cross-entropy against its definition and by finite differences, and the count of what is right.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nn/loss.h"

enum { N = 3, CLASSES = 4 };

/* Multiples of 1/128, to which a step of 1/128 can be added without rounding. */
static const float logits[N * CLASSES] = {
    0.5f, -1.25f, 2.0f, 0.0078125f, -3.5f, 4.0f, 0.25f, 4.0f, 1.0f, 1.0f, 1.0f, 1.0f,
};
static const int32_t labels[N] = {2, 0, 3};
static const double smoothings[] = {0, 0.1, 0.75};

static void assert_near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("%.17g is not within %g of %.17g", found, tolerance, expected);
}

/* The definition, -sum of target times log of softmax. */
static double loss_of(const float *x, double smoothing) {
    double loss = 0;
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int k = 0; k < CLASSES; k++)
            sum += exp(x[i * CLASSES + k]);
        for (int k = 0; k < CLASSES; k++) {
            double target = smoothing / CLASSES + (k == labels[i] ? 1 - smoothing : 0);
            loss -= target * log(exp(x[i * CLASSES + k]) / sum);
        }
    }
    return loss / N;
}

static void the_loss_is_its_definition(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof(smoothings) / sizeof(smoothings[0]); s++)
        assert_near(ghn_cross_entropy(logits, labels, N, CLASSES, smoothings[s], NULL),
                    loss_of(logits, smoothings[s]), 1e-12);
    const float alike[5] = {7, 7, 7, 7, 7};
    const int32_t label = 4;
    assert_near(ghn_cross_entropy(alike, &label, 1, 5, 0, NULL), log(5), 1e-12);
}

static void the_gradient_is_its_difference(void **state) {
    (void)state;
    const float step = 1.0f / 128;
    for (size_t s = 0; s < sizeof(smoothings) / sizeof(smoothings[0]); s++) {
        float gradient[N * CLASSES], moved[N * CLASSES];
        (void)ghn_cross_entropy(logits, labels, N, CLASSES, smoothings[s], gradient);
        for (int i = 0; i < N * CLASSES; i++) {
            double side[2];
            for (int j = 0; j < 2; j++) {
                for (int k = 0; k < N * CLASSES; k++)
                    moved[k] = logits[k] + (k == i ? (j ? step : -step) : 0);
                side[j] = ghn_cross_entropy(moved, labels, N, CLASSES, smoothings[s], NULL);
            }
            assert_near(gradient[i], (side[1] - side[0]) / (2 * step), 1e-5);
        }
    }
}

static void logits_may_be_of_any_size(void **state) {
    (void)state;
    const float large[3] = {1e30f, -1e30f, 0};
    const int32_t right = 0, wrong = 2;
    float gradient[3];
    assert_near(ghn_cross_entropy(large, &right, 1, 3, 0, gradient), 0, 1e-12);
    for (int k = 0; k < 3; k++)
        assert_near(gradient[k], 0, 1e-12);
    assert_near(ghn_cross_entropy(large, &wrong, 1, 3, 0, gradient), 1e30, 1e24);
    assert_near(gradient[0], 1, 1e-12);
    assert_near(gradient[2], -1, 1e-12);
    const float none[3] = {0, NAN, 0};
    assert_true(isnan(ghn_cross_entropy(none, &right, 1, 3, 0, gradient)));
}

static void what_is_right_is_counted(void **state) {
    (void)state;
    /* Row 0: its label is first; row 1: last; row 2: one of four alike, which all count before it.
     */
    const int expected[CLASSES + 2] = {0, 1, 1, 1, 3, 3};
    for (int k = 0; k <= CLASSES + 1; k++)
        assert_int_equal(ghn_count_correct(logits, labels, N, CLASSES, k), expected[k]);
    const float broken[2 * 3] = {1, NAN, 0, NAN, 0, 1};
    const int32_t at[2] = {0, 0};
    assert_int_equal(ghn_count_correct(broken, at, 2, 3, 1), 0);
    assert_int_equal(ghn_count_correct(broken, at, 2, 3, 2), 1);
    assert_int_equal(ghn_count_correct(broken, at, 2, 3, 3), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_is_its_definition),
        cmocka_unit_test(the_gradient_is_its_difference),
        cmocka_unit_test(logits_may_be_of_any_size),
        cmocka_unit_test(what_is_right_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
