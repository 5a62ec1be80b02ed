/* Loops over all threads of OpenMP's team, which oneDNN's primitives run on too: one team, so that
 * no thread of one spins while another works. Private to lib/nn and lib/train. */
#ifndef GHN_NN_PARALLEL_H
#define GHN_NN_PARALLEL_H

#include <stdint.h>

/* Calls body(context, begin, end) for consecutive ranges that cover [0, n), at most one for each
 * thread and none shorter than grain (but for the last), and returns when all are done. Ranges
 * depend on n, grain and the number of threads alone. Sums that must not depend on the number of
 * threads go over a fixed number of parts instead (ghn__parallel with n = parts). */
void ghn__parallel(int64_t n, int64_t grain,
                   void (*body)(void *context, int64_t begin, int64_t end), void *context);

/* Threads of the calling thread's team; and a team of so many from now on (without OpenMP there is
 * one thread, and that is all). */
int ghn__parallel_threads(void);
void ghn__parallel_set_threads(int threads);

#endif
