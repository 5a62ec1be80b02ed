#include "nn/parallel.h"

#ifdef _OPENMP
#include <omp.h>

int ghn__parallel_threads(void) {
    return omp_get_max_threads();
}

void ghn__parallel_set_threads(int threads) {
    omp_set_num_threads(threads);
}

void ghn__parallel(int64_t n, int64_t grain,
                   void (*body)(void *context, int64_t begin, int64_t end), void *context) {
    int64_t parts = omp_get_max_threads();
    if (grain > 0 && n / grain < parts)
        parts = n / grain;
    if (parts <= 1) {
        if (n > 0)
            body(context, 0, n);
        return;
    }
#pragma omp parallel for schedule(static, 1) num_threads((int)parts)
    for (int64_t i = 0; i < parts; i++)
        body(context, n * i / parts, n * (i + 1) / parts);
}
#else
int ghn__parallel_threads(void) {
    return 1;
}

void ghn__parallel_set_threads(int threads) {
    (void)threads;
}

void ghn__parallel(int64_t n, int64_t grain,
                   void (*body)(void *context, int64_t begin, int64_t end), void *context) {
    (void)grain;
    if (n > 0)
        body(context, 0, n);
}
#endif
