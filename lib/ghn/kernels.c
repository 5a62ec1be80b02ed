#include "ghn/kernels.h"

#if defined(__x86_64__)
static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("bmi2");
}
#endif

int ghn__kernels_all(const struct ghn__kernels *ret[4]) {
    int n = 0;
    ret[n++] = &ghn__kernels_ref;
    ret[n++] = &ghn__kernels_plain;
#if defined(__x86_64__)
    if (has_avx2())
        ret[n++] = &ghn__kernels_avx2;
    if (has_avx512())
        ret[n++] = &ghn__kernels_avx512;
#endif
    return n;
}

const struct ghn__kernels *ghn__kernels_best(void) {
    const struct ghn__kernels *all[4];
    return all[ghn__kernels_all(all) - 1];
}
