#include "nn/kernels.h"

#include "nn/dnnl.h"

extern const struct ghn__nn_kernels ghn__nn_table_plain;
#ifdef __x86_64__
extern const struct ghn__nn_kernels ghn__nn_table_avx2, ghn__nn_table_avx512;
#endif

int ghn__nn_kernels_all(const struct ghn__nn_kernels *ret[3]) {
    int n = 0;
    ret[n++] = &ghn__nn_table_plain;
#ifdef __x86_64__
    enum ghn__isa isa = ghn__dnnl_isa();
    if (isa >= GHN__ISA_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        ret[n++] = &ghn__nn_table_avx2;
    if (isa >= GHN__ISA_AVX512 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        ret[n++] = &ghn__nn_table_avx512;
#endif
    return n;
}

const struct ghn__nn_kernels *ghn__nn_kernels(void) {
    const struct ghn__nn_kernels *all[3];
    return all[ghn__nn_kernels_all(all) - 1];
}
