/* Operations on each element alone. */
#include <math.h>

#include "nn/reference/op.h"

/* y = f(x, a), where a is the slope of leaky_relu and the alpha of elu. */
struct function {
    double (*f)(double x, double a), (*derivative)(double x, double a);
};

static void map(const struct ghn__reference_site *site, struct function function, double a) {
    for (int64_t i = 0; i < site->out->count; i++)
        site->out->data[i] = function.f(site->in[0]->data[i], a);
}

static void map_backward(const struct ghn__reference_site *site, struct function function,
                         double a) {
    for (int64_t i = 0; i < site->out->count; i++)
        site->in[0]->gradient[i] +=
            site->out->gradient[i] * function.derivative(site->in[0]->data[i], a);
}

/* The operation `symbol` by its functions symbol_f and symbol_d. `a` is an expression. */
#define MAPPED(symbol, a)                                                                          \
    static void symbol##_forward(const struct ghn__reference_site *site) {                         \
        map(site, (struct function){symbol##_f, symbol##_d}, a);                                   \
    }                                                                                              \
    static void symbol##_backward(const struct ghn__reference_site *site) {                        \
        map_backward(site, (struct function){symbol##_f, symbol##_d}, a);                          \
    }                                                                                              \
    const struct ghn__reference_op ghn__reference_op_##symbol = {.forward = symbol##_forward,      \
                                                                 .backward = symbol##_backward}

/* A function of x and a. A NaN goes through every one of them. */
#define FUNCTION(name, expression)                                                                 \
    static double name(double x, double a) {                                                       \
        (void)a;                                                                                   \
        return expression;                                                                         \
    }

FUNCTION(identity_f, x)
FUNCTION(identity_d, ((void)x, 1.0))
MAPPED(identity, 0);

FUNCTION(relu_f, x <= 0 ? 0 : x)
FUNCTION(relu_d, x <= 0 ? 0 : 1)
MAPPED(relu, 0);

FUNCTION(relu6_f, x <= 0 ? 0 : x >= 6 ? 6 : x)
FUNCTION(relu6_d, x <= 0 || x >= 6 ? 0 : 1)
MAPPED(relu6, 0);

FUNCTION(leaky_relu_f, x > 0 ? x : a * x)
FUNCTION(leaky_relu_d, x > 0 ? 1 : a)
MAPPED(leaky_relu, site->node->attrs.slope.slope);

FUNCTION(elu_f, x > 0 ? x : a * expm1(x))
FUNCTION(elu_d, x > 0 ? 1 : a * exp(x))
MAPPED(elu, site->node->attrs.slope.slope);

static double logistic(double x) {
    return 1 / (1 + exp(-x));
}

FUNCTION(sigmoid_f, logistic(x))
FUNCTION(sigmoid_d, logistic(x) * (1 - logistic(x)))
MAPPED(sigmoid, 0);

FUNCTION(silu_f, x *logistic(x))
FUNCTION(silu_d, logistic(x) * (1 + x * (1 - logistic(x))))
MAPPED(silu, 0);

FUNCTION(tanh_f, tanh(x))
FUNCTION(tanh_d, 1 - tanh(x) * tanh(x))
MAPPED(tanh, 0);

FUNCTION(hardsigmoid_f, x <= -3 ? 0 : x >= 3 ? 1 : (x + 3) / 6)
FUNCTION(hardsigmoid_d, x <= -3 || x >= 3 ? 0 : 1.0 / 6)
MAPPED(hardsigmoid, 0);

FUNCTION(hardswish_f, x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6)
FUNCTION(hardswish_d, x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6)
MAPPED(hardswish, 0);

/* --- gelu: x times the normal distribution function; a != 0: its approximation by tanh --- */

static const double gelu_cubic = 0.044715;

static double gelu_f(double x, double a) {
    if (a != 0)
        return 0.5 * x * (1 + tanh(M_2_SQRTPI * M_SQRT1_2 * (x + gelu_cubic * x * x * x)));
    return 0.5 * x * (1 + erf(x * M_SQRT1_2));
}

static double gelu_d(double x, double a) {
    if (a != 0) {
        double t = tanh(M_2_SQRTPI * M_SQRT1_2 * (x + gelu_cubic * x * x * x));
        double slope = M_2_SQRTPI * M_SQRT1_2 * (1 + 3 * gelu_cubic * x * x);
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope;
    }
    double density = 0.5 * M_2_SQRTPI * M_SQRT1_2 * exp(-0.5 * x * x);
    return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * density;
}

MAPPED(gelu, (double)site->node->attrs.gelu.approximate);

/* --- prelu: a slope for all channels or for each --- */

static int64_t slope_of(const struct ghn__reference_site *site, int64_t i) {
    int64_t n = site->node->attrs.prelu.num_parameters;
    if (n == 1)
        return 0;
    const struct ghn__reference_tensor *x = site->in[0];
    return i / ghn__reference_extent(x, 2, x->ndim) % n;
}

static void prelu_forward(const struct ghn__reference_site *site) {
    for (int64_t i = 0; i < site->out->count; i++)
        site->out->data[i] = leaky_relu_f(site->in[0]->data[i], site->params[0][slope_of(site, i)]);
}

static void prelu_backward(const struct ghn__reference_site *site) {
    for (int64_t i = 0; i < site->out->count; i++) {
        double x = site->in[0]->data[i], dy = site->out->gradient[i];
        int64_t slope = slope_of(site, i);
        site->in[0]->gradient[i] += dy * leaky_relu_d(x, site->params[0][slope]);
        site->dparams[0][slope] += x > 0 ? 0 : dy * x;
    }
}

const struct ghn__reference_op ghn__reference_op_prelu = {.forward = prelu_forward,
                                                          .backward = prelu_backward};
