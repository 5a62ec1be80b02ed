/* The shape encoder's tables (ghn2-spec C2): sizes of a parameter's dimensions are mapped to rows
 * of two embeddings. Private to this folder and its tests. */
#ifndef GHN_GHN_SHAPE_TABLE_H
#define GHN_GHN_SHAPE_TABLE_H

#include <stdint.h>

#include "tensor/shape.h"

enum { GHN__CHANNEL_ENTRIES = 400, GHN__SPATIAL_ENTRIES = 40 };

/* Ascending entries. Entry i has row i of its embedding; the row after the last stands for "no
 * shape". */
struct ghn__shape_table {
    int n_channels, n_spatial;
    int channels[GHN__CHANNEL_ENTRIES];
    int spatial[GHN__SPATIAL_ENTRIES];
};

/* The tables of a hypernetwork for num_classes classes that decodes side x side kernels. */
void ghn__shape_table_init(struct ghn__shape_table *table, int num_classes, int side);

/* The row of a number of channels, and of a kernel's side; size >= 1. */
int ghn__channel_row(const struct ghn__shape_table *table, int64_t size);
int ghn__spatial_row(const struct ghn__shape_table *table, int64_t size);

/* The rows (output channels, input channels, height, width) of a weight's shape (ghn2-spec B5);
 * ndim 0 stands for no shape. */
void ghn__shape_rows(const struct ghn__shape_table *table, const struct ghn_shape *shape,
                     int ret[4]);

#endif
