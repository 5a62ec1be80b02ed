#include "nn/kernels.h"

#include <pthread.h>

#include "nn/dnnl.h"
#include "nn/pairs.h"

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

/* Inner loops ask for the table, and asking oneDNN for the instruction set takes longer than a
 * short row; the answer never changes within a process. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct ghn__nn_kernels *best;

static void find_best(void) {
    const struct ghn__nn_kernels *all[3];
    best = all[ghn__nn_kernels_all(all) - 1];
}

const struct ghn__nn_kernels *ghn__nn_kernels(void) {
    (void)pthread_once(&once, find_best);
    return best;
}

const struct ghn__pair_kernels *ghn__pair_kernels(void) {
#ifdef __x86_64__
    if (ghn__dnnl_has_bf16())
        return &ghn__pairs_avx512_bf16;
#endif
    return &ghn__pairs_plain;
}
