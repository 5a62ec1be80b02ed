#include "ghn/tiling.h"

#include <string.h>

/* What is copied in one go from bytes just written: it stays in the first-level cache. */
enum { COPY_MAX = 16384 };

void ghn__tiling_init(struct ghn__tiling *tiling, const struct ghn_shape *tensor,
                      const struct ghn_shape *block) {
    *tiling = (struct ghn__tiling){.row = 1, .period = 1};
    int d = tensor->ndim - 1;
    for (; d >= 0; d--) {
        tiling->row *= tensor->dim[d];
        tiling->period *= block->dim[d];
        if (tensor->dim[d] != block->dim[d])
            break; /* beyond this one, rows do not simply follow each other */
    }
    tiling->n_outer = d > 0 ? d : 0;
    int64_t stride = tiling->period;
    for (d = tiling->n_outer - 1; d >= 0; d--) {
        tiling->outer[d].size = tensor->dim[d];
        tiling->outer[d].block_size = block->dim[d];
        tiling->outer[d].stride = stride;
        stride *= block->dim[d];
    }
}

/* The element of the block at which row number `row` of the tensor begins. */
static int64_t row_begin(const struct ghn__tiling *tiling, int64_t row) {
    int64_t begin = 0;
    for (int d = tiling->n_outer - 1; d >= 0; d--) {
        begin +=
            row % tiling->outer[d].size % tiling->outer[d].block_size * tiling->outer[d].stride;
        row /= tiling->outer[d].size;
    }
    return begin;
}

/* n bytes of the endless repetition of src (period bytes), from byte `start` < period on. Once a
 * whole period is written, longer and longer pieces are copied from there. */
static void repeat(char *ret, const char *src, size_t period, size_t start, size_t n) {
    size_t head = period - start < n ? period - start : n;
    memcpy(ret, src + start, head);
    ret += head;
    n -= head;
    size_t most = period < COPY_MAX ? COPY_MAX - COPY_MAX % period : period;
    size_t done = period < n ? period : n;
    memcpy(ret, src, done);
    while (done < n) {
        /* A multiple of the period is there already, so that a copy of its beginning goes on. */
        size_t part = done < most ? done : most;
        part = n - done < part ? n - done : part;
        memcpy(ret + done, ret, part);
        done += part;
    }
}

void ghn__tiling_read(const struct ghn__tiling *tiling, const void *block, size_t size,
                      int64_t first, int64_t n, void *ret) {
    char *to = ret;
    int64_t row = first / tiling->row, at = first % tiling->row;
    while (n > 0) {
        int64_t part = tiling->row - at < n ? tiling->row - at : n;
        const char *src = (const char *)block + (size_t)row_begin(tiling, row) * size;
        repeat(to, src, (size_t)tiling->period * size, (size_t)(at % tiling->period) * size,
               (size_t)part * size);
        to += (size_t)part * size;
        n -= part;
        row++;
        at = 0;
    }
}

void ghn__tiling_fold(const struct ghn__tiling *tiling, const float *gradient, int64_t n,
                      float *block) {
    for (int64_t row = 0; row * tiling->row < n; row++) {
        const float *src = gradient + row * tiling->row;
        float *dst = block + row_begin(tiling, row);
        for (int64_t at = 0; at < tiling->row; at += tiling->period)
            for (int64_t j = 0; j < tiling->period && at + j < tiling->row; j++)
                dst[j] += src[at + j];
    }
}

void ghn__tiling_read_ref(const struct ghn_shape *tensor, const struct ghn_shape *block,
                          const float *values, int64_t first, int64_t n, float *ret) {
    for (int64_t i = first; i < first + n; i++) {
        int64_t rest = i, from = 0, stride = 1;
        for (int d = tensor->ndim - 1; d >= 0; d--) {
            from += rest % tensor->dim[d] % block->dim[d] * stride;
            rest /= tensor->dim[d];
            stride *= block->dim[d];
        }
        ret[i - first] = values[from];
    }
}
