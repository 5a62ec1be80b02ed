/* Time that has passed. */
#ifndef GHN_BASE_CLOCK_H
#define GHN_BASE_CLOCK_H

#include <time.h>

/* Seconds of a clock that only goes forward, since some moment. */
static inline double ghn_seconds(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#endif
