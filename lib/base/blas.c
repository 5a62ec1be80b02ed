#include "base/blas.h"

#include <pthread.h>

static void set_one_thread(void) {
    openblas_set_num_threads(1);
}

void ghn_blas_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, set_one_thread);
}
