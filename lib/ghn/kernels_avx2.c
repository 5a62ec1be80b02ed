/* For x86-64 with AVX2 and FMA: 4 rows x 3 vectors of sums, of 16 registers. */
#if defined(__x86_64__)
#define KERNEL_NAME avx2
#define KERNEL_TARGET __attribute__((target("avx2,fma")))
#define KERNEL_LANES 8
#define KERNEL_ROWS 4
#define KERNEL_COLS 3
#include "ghn/kernels_impl.h"
#else
typedef int ghn__kernels_avx2_is_empty;
#endif
