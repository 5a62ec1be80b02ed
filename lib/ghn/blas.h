/* OpenBLAS, for the products that are no bottleneck. Private to this folder. */
#ifndef GHN_GHN_BLAS_H
#define GHN_GHN_BLAS_H

#include <cblas.h>
/* It brings <complex.h>, whose I is also what the paper calls the number of inputs. */
#undef I

/* Makes OpenBLAS work in its caller's thread, once: the pool is the only source of parallelism. */
void ghn__blas_init(void);

#endif
