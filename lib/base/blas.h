/* OpenBLAS, for the products that are no bottleneck. */
#ifndef GHN_BASE_BLAS_H
#define GHN_BASE_BLAS_H

#include <cblas.h>
/* It brings <complex.h>, whose I is also what the paper calls the number of inputs. */
#undef I

/* Makes OpenBLAS work in its caller's thread, once: the pool is the only source of parallelism, and
 * the order of its sums never depends on it. */
void ghn_blas_init(void);

#endif
