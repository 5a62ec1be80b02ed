/* Optimisers against plain twins written after PyTorch's documentation, in every instruction set's
 * result; the norm; what is not trained. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "make_arch.h"
#include "nn/kernels.h"
#include "train/optimizer.h"

enum { STEPS = 20 };

/* A linear layer of 1,003 x 129, so that vectors and threads meet remainders, and two parameters
 * off the path before and after. */
static struct ghn_arch *make_arch(void) {
    static const char form[] =
        "{\"format\": \"ghn-arch/1\", \"input\": {\"name\": \"x\", \"shape\": [129]},"
        " \"nodes\": [{\"name\": \"idle\", \"op\": \"linear\", \"inputs\": [\"x\"],"
        " \"attrs\": {\"out_features\": 7}},"
        " {\"name\": \"fc\", \"op\": \"linear\", \"inputs\": [\"x\"],"
        " \"attrs\": {\"out_features\": 1003}}], \"output\": \"fc\"}";
    return arch_of(json_loads(form, 0, NULL));
}

static void draw(float *values, int64_t n, uint64_t stream, double scale) {
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)(scale * ghn_rng_normal(3, stream, (uint64_t)i));
}

/* torch.nn.utils.clip_grad_norm_ */
static double clip_coefficient(const float *gradient, int64_t n, double max_norm) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)gradient[i] * gradient[i];
    return max_norm > 0 ? fmin(1, max_norm / (sqrt(sum) + 1e-6)) : 1;
}

/* torch.optim.SGD, one element; *buf is its momentum buffer, absent before step 1. */
static double sgd_twin(const struct ghn_recipe *r, double p, double g, double *buf, int step,
                       double lr) {
    g += r->weight_decay * p;
    if (r->momentum > 0) {
        *buf = step == 0 ? g : r->momentum * *buf + g;
        g = r->nesterov ? g + r->momentum * *buf : *buf;
    }
    return p - lr * g;
}

/* torch.optim.AdamW, one element. */
static double adamw_twin(const struct ghn_recipe *r, double p, double g, double *m, double *v,
                         int step, double lr) {
    p *= 1 - lr * r->weight_decay;
    *m = r->beta1 * *m + (1 - r->beta1) * g;
    *v = r->beta2 * *v + (1 - r->beta2) * g * g;
    double m_hat = *m / (1 - pow(r->beta1, step + 1)), v_hat = *v / (1 - pow(r->beta2, step + 1));
    return p - lr * m_hat / (sqrt(v_hat) + r->eps);
}

static void compare(const struct ghn_recipe *recipe) {
    struct ghn_arch *arch = make_arch();
    struct ghn_params *params = NULL;
    struct ghn__optimizer *optimizer = NULL;
    assert_int_equal(ghn_params_new(arch, &params, NULL), GHN_OK);
    assert_int_equal(ghn__optimizer_new(recipe, params, &optimizer, NULL), GHN_OK);
    int64_t n = params->n, idle = 7 * 129 + 7;
    double *p = calloc((size_t)n, sizeof *p), *a = calloc((size_t)n, sizeof *a),
           *b = calloc((size_t)n, sizeof *b);
    float *gradient = calloc((size_t)n, sizeof *gradient);
    draw(params->values, n, 100, 1);
    for (int64_t i = 0; i < n; i++)
        p[i] = params->values[i];
    for (int step = 0; step < STEPS; step++) {
        double lr = ghn_recipe_lr(recipe, step, STEPS);
        draw(gradient + idle, n - idle, (uint64_t)step, step % 2 ? 0.1 : 0.001);
        double scale = clip_coefficient(gradient, n, recipe->clip_norm);
        for (int64_t i = idle; i < n; i++)
            p[i] = recipe->optimizer == GHN_SGD
                       ? sgd_twin(recipe, p[i], scale * gradient[i], &a[i], step, lr)
                       : adamw_twin(recipe, p[i], scale * gradient[i], &a[i], &b[i], step, lr);
        ghn__optimizer_step(optimizer, params->values, gradient, ghn__norm(gradient, n), lr);
    }
    double moved = 0;
    for (int64_t i = 0; i < n; i++) {
        /* A few roundings a step, of numbers about 1. */
        if (fabs(params->values[i] - p[i]) > 3e-6 * (1 + fabs(p[i])))
            fail_msg("element %lld: %.9g, expected %.9g", (long long)i, params->values[i], p[i]);
        moved += fabs(p[i] - (double)(float)ghn_rng_normal(3, 100, (uint64_t)i));
    }
    assert_true(moved > 1);
    free(p);
    free(a);
    free(b);
    free(gradient);
    ghn__optimizer_free(optimizer);
    ghn_params_free(params);
    ghn_arch_free(arch);
}

static void sgd(void **state) {
    (void)state;
    struct ghn_recipe recipe = ghn_recipe_default;
    recipe.weight_decay = 0.01;
    compare(&recipe);
    recipe.nesterov = true;
    recipe.clip_norm = 0;
    compare(&recipe);
    recipe.nesterov = false;
    recipe.momentum = 0;
    compare(&recipe);
}

static void adamw(void **state) {
    (void)state;
    struct ghn_recipe recipe = ghn_recipe_default;
    recipe.optimizer = GHN_ADAMW;
    recipe.lr = 0.01;
    recipe.weight_decay = 0.1;
    recipe.warmup_steps = 3;
    compare(&recipe);
    recipe.clip_norm = 0;
    recipe.beta1 = 0.5;
    recipe.beta2 = 0.9;
    compare(&recipe);
    recipe.beta1 = 0;
    recipe.beta2 = 0.9999999; /* 1 - beta2 is not 1 less the f32 next to it */
    compare(&recipe);
}

static void norms(void **state) {
    (void)state;
    enum { N = 200003 };
    float *values = calloc(N, sizeof *values);
    draw(values, N, 5, 3);
    static const int lengths[] = {0, 1, 3, 64, 1000, N};
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
        double expected = 0;
        for (int i = 0; i < lengths[k]; i++)
            expected += (double)values[i] * values[i];
        expected = sqrt(expected);
        assert_true(fabs(ghn__norm(values, lengths[k]) - expected) <= 1e-6 * expected);
    }
    values[N - 1] = NAN;
    assert_true(isnan(ghn__norm(values, N)));
    values[N - 1] = 0;
    values[7] = INFINITY;
    assert_false(isfinite(ghn__norm(values, N)));
    free(values);
}

/* Every table does the same step, up to rounding. */
static void instruction_sets_agree(void **state) {
    (void)state;
    enum { N = 1037 };
    const struct ghn__nn_kernels *all[3];
    int n = ghn__nn_kernels_all(all);
    static float g[N], first[3][N];
    const struct ghn__adamw a = {.take1 = 0.1f,
                                 .keep2 = 0.99f,
                                 .take2 = 0.01f,
                                 .eps = 1e-8f,
                                 .keep = 0.999f,
                                 .rate = 0.01f,
                                 .inverse_root = 1.5f};
    draw(g, N, 1, 1);
    for (int k = 0; k < n; k++) {
        static float values[3][N];
        for (uint64_t j = 0; j < 3; j++)
            draw(values[j], N, 10 + j, 1);
        for (int i = 0; i < N; i++)
            values[2][i] = fabsf(values[2][i]);
        all[k]->sgd(values[0], values[1], g, 3, N - 5, 0.5f, 0.1f, 0.9f, 0.01f, true);
        all[k]->adamw(values[0], values[1], values[2], g, 1, N - 2, 0.5f, &a);
        if (k == 0)
            memcpy(first, values, sizeof first);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < 3; j++)
                if (fabsf(values[j][i] - first[j][i]) > 2e-6f * (1 + fabsf(first[j][i])))
                    fail_msg("%s: element %d: %.9g, plain: %.9g", all[k]->name, i, values[j][i],
                             first[j][i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd),
        cmocka_unit_test(adamw),
        cmocka_unit_test(norms),
        cmocka_unit_test(instruction_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
