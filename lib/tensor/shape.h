/* Shapes of tensors. */
#ifndef GHN_TENSOR_SHAPE_H
#define GHN_TENSOR_SHAPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GHN_MAX_DIMS = 8 };

/* A shape; dim[0] varies slowest. ndim = 0 is a scalar of one element. */
struct ghn_shape {
    int ndim;
    int64_t dim[GHN_MAX_DIMS];
};

/* The number of elements; false, with *ret untouched, if a dimension is negative or the product
 * exceeds 2^63 - 1. Overflow counts even where another dimension is 0. */
bool ghn_shape_numel(const struct ghn_shape *shape, int64_t *ret);

bool ghn_shape_equal(const struct ghn_shape *a, const struct ghn_shape *b);

/* "[64, 3, 7, 7]" into buf, cut to n bytes with the final NUL; returns buf. 160 bytes hold any
 * shape. */
enum { GHN_SHAPE_TEXT = 176 };
char *ghn_shape_text(const struct ghn_shape *shape, char *buf, size_t n);

/* The dimensions as a JSON array, a new reference; NULL if there is no memory. */
json_t *ghn_shape_to_json(const struct ghn_shape *shape);

#endif
