/* Arithmetic on sizes that came from outside: every function reports overflow instead of wrapping.
 */
#ifndef GHN_BASE_CHECKED_H
#define GHN_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* *ret = a op b, and true; or false, with *ret untouched, if the result does not fit. */
static inline bool ghn_add_i64(int64_t a, int64_t b, int64_t *ret) {
    int64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

static inline bool ghn_mul_i64(int64_t a, int64_t b, int64_t *ret) {
    int64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

static inline bool ghn_add_u64(uint64_t a, uint64_t b, uint64_t *ret) {
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

static inline bool ghn_mul_u64(uint64_t a, uint64_t b, uint64_t *ret) {
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

static inline int64_t ghn_min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t ghn_max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

#endif
