#include "tensor/shape.h"

#include <stdio.h>

#include "base/checked.h"

bool ghn_shape_numel(const struct ghn_shape *shape, int64_t *ret) {
    int64_t product = 1;
    bool empty = false;
    for (int i = 0; i < shape->ndim; i++) {
        int64_t dim = shape->dim[i];
        if (dim < 0 || !ghn_mul_i64(product, dim ? dim : 1, &product))
            return false;
        empty = empty || dim == 0;
    }
    *ret = empty ? 0 : product;
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
    if (n == 0)
        return buf;
    char full[GHN_SHAPE_TEXT + 32];
    size_t used = 0;
    full[used++] = '[';
    for (int i = 0; i < shape->ndim && used < sizeof(full) - 32; i++)
        used += (size_t)snprintf(full + used, sizeof(full) - used, i ? ", %lld" : "%lld",
                                 (long long)shape->dim[i]);
    (void)snprintf(full + used, sizeof(full) - used, "]");
    (void)snprintf(buf, n, "%s", full);
    return buf;
}

json_t *ghn_shape_to_json(const struct ghn_shape *shape) {
    json_t *array = json_array();
    for (int i = 0; i < shape->ndim && array; i++) {
        if (json_array_append_new(array, json_integer(shape->dim[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
