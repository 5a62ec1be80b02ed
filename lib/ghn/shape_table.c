#include "ghn/shape_table.h"

/* Inserts value in an ascending list unless it is there. */
static void insert(int *at, int *n, int value) {
    int i = *n;
    while (i > 0 && at[i - 1] > value)
        i--;
    if (i > 0 && at[i - 1] == value)
        return;
    for (int j = *n; j > i; j--)
        at[j] = at[j - 1];
    at[i] = value;
    (*n)++;
}

void ghn__shape_table_init(struct ghn__shape_table *table, int num_classes, int side) {
    *table = (struct ghn__shape_table){0};
    for (int c = 8; c < 64; c += 8)
        insert(table->channels, &table->n_channels, c);
    for (int c = 64; c < 4096; c += 16)
        insert(table->channels, &table->n_channels, c);
    for (int c = 4096; c <= 8192; c += 32)
        insert(table->channels, &table->n_channels, c);
    insert(table->channels, &table->n_channels, 1);
    insert(table->channels, &table->n_channels, 3);
    insert(table->channels, &table->n_channels, num_classes);
    for (int s = 1; s < side || s < 12; s += 2)
        insert(table->spatial, &table->n_spatial, s);
    insert(table->spatial, &table->n_spatial, 14);
    insert(table->spatial, &table->n_spatial, 16);
}

/* The entry nearest to size, the smaller of two. */
static int nearest(const int *at, int n, int64_t size) {
    int low = 0, high = n; /* at[low] <= size < at[high] */
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (at[middle] <= size)
            low = middle;
        else
            high = middle;
    }
    return high < n && at[high] - size < size - at[low] ? high : low;
}

int ghn__channel_row(const struct ghn__shape_table *table, int64_t size) {
    /* 4 to 7 count as 8 even where one of them is an entry, as the number of classes. */
    return nearest(table->channels, table->n_channels, size >= 4 && size <= 7 ? 8 : size);
}

int ghn__spatial_row(const struct ghn__shape_table *table, int64_t size) {
    return nearest(table->spatial, table->n_spatial, size == 2 ? 3 : size);
}

static int64_t square_root(int64_t n) {
    int64_t root = 1;
    while ((root + 1) * (root + 1) <= n)
        root++;
    return root;
}

/* A shape of 1 to 4 dimensions as (out, in, height, width). */
static void as_weight(const struct ghn_shape *shape, int64_t ret[4]) {
    const int64_t *dim = shape->dim;
    if (shape->ndim == 3 && dim[0] == 1 && dim[1] > 1 && dim[2] > 1) {
        /* (1, tokens, channels), as if the tokens filled a square. */
        int64_t side = square_root(dim[1]);
        ret[0] = 1, ret[1] = dim[2], ret[2] = ret[3] = side;
        return;
    }
    for (int i = 0; i < 4; i++)
        ret[i] = i < shape->ndim ? dim[i] : 1;
}

void ghn__shape_rows(const struct ghn__shape_table *table, const struct ghn_shape *shape,
                     int ret[4]) {
    if (shape->ndim == 0) {
        ret[0] = ret[1] = table->n_channels;
        ret[2] = ret[3] = table->n_spatial;
        return;
    }
    int64_t size[4];
    as_weight(shape, size);
    for (int i = 0; i < 4; i++)
        ret[i] = i < 2 ? ghn__channel_row(table, size[i]) : ghn__spatial_row(table, size[i]);
}
