#include "arch/initialise.h"

#include <math.h>

#include "base/rng.h"

/* N(0, a^2) cut to [-2, 2]: draws until one lies inside. Where that takes many attempts, a is so
 * large that the distribution is all but uniform. */
static double truncated_normal(double a, uint64_t seed, uint64_t stream, uint64_t i) {
    for (uint64_t attempt = 0; attempt < 64; attempt++) {
        double x = a * ghn_rng_normal(seed, stream + attempt, i);
        if (fabs(x) <= 2.0)
            return x;
    }
    return 4.0 * ghn_rng_uniform(seed, stream, i) - 2.0;
}

static double value(const struct ghn_init *init, uint64_t seed, uint64_t stream, uint64_t i) {
    switch (init->kind) {
    case GHN_INIT_CONSTANT:
        return init->a;
    case GHN_INIT_UNIFORM:
        return init->a * (2.0 * ghn_rng_uniform(seed, stream, i) - 1.0);
    case GHN_INIT_NORMAL:
        return init->a * ghn_rng_normal(seed, stream, i);
    case GHN_INIT_TRUNC_NORMAL:
        return truncated_normal(init->a, seed, stream, i);
    }
    return 0.0;
}

void ghn_initialise(const struct ghn_init *init, const char *name, uint64_t seed, int64_t first,
                    int64_t n, float *ret) {
    uint64_t stream = ghn_rng_stream(name);
    for (int64_t i = 0; i < n; i++)
        ret[i] = (float)value(init, seed, stream, (uint64_t)(first + i));
}
