#include "tensor/shape.h"

#include <stdio.h>

#include "base/checked.h"

bool ghn_shape_numel(const struct ghn_shape *shape, int64_t *ret) {
    /* The product of the dimensions that are not 0 is formed first: a 0 must not hide an overflow.
     */
    int64_t n = 1;
    bool empty = false;
    for (int i = 0; i < shape->ndim; i++) {
        if (shape->dim[i] < 0)
            return false;
        if (shape->dim[i] == 0)
            empty = true;
        else if (!ghn_mul_i64(n, shape->dim[i], &n))
            return false;
    }
    *ret = empty ? 0 : n;
    return true;
}

bool ghn_shape_equal(const struct ghn_shape *a, const struct ghn_shape *b) {
    if (a->ndim != b->ndim)
        return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

char *ghn_shape_text(const struct ghn_shape *shape, char *buf, size_t n) {
    size_t used = (size_t)snprintf(buf, n, "[");
    for (int i = 0; i < shape->ndim && used < n; i++)
        used +=
            (size_t)snprintf(buf + used, n - used, i ? ", %lld" : "%lld", (long long)shape->dim[i]);
    if (used < n)
        (void)snprintf(buf + used, n - used, "]");
    return buf;
}
