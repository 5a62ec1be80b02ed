/* For x86-64 with AVX-512: 8 rows x 3 vectors of sums, of 32 registers. */
#if defined(__x86_64__)
#include <immintrin.h>

#define KERNEL_NAME avx512
#define KERNEL_TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")))
#define KERNEL_LANES 16
#define KERNEL_ROWS 8
#define KERNEL_COLS 3
#define KERNEL_COPY_TAIL(dst, src, n)                                                              \
    do {                                                                                           \
        __mmask16 mask_ = (__mmask16)((1u << (n)) - 1u);                                           \
        _mm512_mask_storeu_ps((dst), mask_, _mm512_maskz_loadu_ps(mask_, (src)));                  \
    } while (0)
#include "ghn/kernels_impl.h"
#else
typedef int ghn__kernels_avx512_is_empty;
#endif
