/* What a file of lib/nn/reference says of an operation. Private to lib/nn/reference.
 *
 * Every operation of arch/ops.def has a struct ghn__reference_op called
 * ghn__reference_op_<symbol>. All tensors are f64 and row-major in PyTorch's dimension order, with
 * the batch as dimension 0. */
#ifndef GHN_NN_REFERENCE_OP_H
#define GHN_NN_REFERENCE_OP_H

#include <stdint.h>

#include "arch/arch.h"
#include "nn/run.h"

enum { GHN__REFERENCE_RANK = GHN_MAX_DIMS + 1 };

struct ghn__reference_tensor {
    int ndim;                          /* the batch included */
    int64_t dims[GHN__REFERENCE_RANK]; /* dims[0] is the batch */
    int64_t count;                     /* elements */
    double *data, *gradient;           /* (count) each; gradients add up */
};

/* A node at work. */
struct ghn__reference_site {
    const struct ghn_arch_node *node;
    int index; /* of the node in its arch */
    enum ghn_mode mode;
    int n_inputs;
    struct ghn__reference_tensor *const *in; /* (n_inputs); one taken twice is there twice */
    struct ghn__reference_tensor *out;
    const double **params; /* (node->n_params), each row-major in PyTorch's shape */
    double **dparams;      /* likewise; what backward finds is added */
    double *statistics;    /* batch_norm2d that tracks them: C means, C variances; else NULL */
    uint64_t seed, step;   /* of the random draws (nn/random.h) */
    double *scratch;       /* what `scratch` asked for; undefined at every call */
};

struct ghn__reference_op {
    /* Sets out->data from in[i]->data. */
    void (*forward)(const struct ghn__reference_site *site);
    /* Adds to in[i]->gradient and dparams from out->gradient. NULL: no gradient passes. */
    void (*backward)(const struct ghn__reference_site *site);
    /* Elements of work space; NULL: none. */
    int64_t (*scratch)(const struct ghn__reference_site *site);
};

#define GHN_OP(symbol, name) extern const struct ghn__reference_op ghn__reference_op_##symbol;
#include "arch/ops.def"
#undef GHN_OP

/* The parameter of a node in slot `name` ("weight"), or -1: an index into site->params. */
int ghn__reference_slot(const struct ghn__reference_site *site, const char *name);

/* The index of a dimension that is numbered as PyTorch does, the batch being 0 and negative numbers
 * counting from the end, among ndim dimensions. */
int ghn__reference_dim(int64_t dim, int ndim);

/* The product of dims[begin] to dims[end - 1]. */
int64_t ghn__reference_extent(const struct ghn__reference_tensor *tensor, int begin, int end);

/* y (rows, n) = x (rows, m) weight^T + bias; weight (n, m); bias (n) or NULL. */
void ghn__reference_linear(double *y, const double *x, const double *weight, const double *bias,
                           int64_t rows, int64_t m, int64_t n);

/* dx (rows, m), dweight (n, m) and dbias (n) are added to; each may be NULL. */
void ghn__reference_linear_backward(double *dx, double *dweight, double *dbias, const double *dy,
                                    const double *x, const double *weight, int64_t rows, int64_t m,
                                    int64_t n);

/* One head of scaled dot-product attention: T tokens of d features. */
struct ghn__reference_head {
    int64_t tokens, d;
    const double *q, *k, *v; /* (tokens, d), rows `stride` apart */
    int64_t stride;
    double scale;
    const double *bias; /* (tokens, tokens) added to the scaled scores, or NULL */
    double *p;          /* (tokens, tokens): softmax(scale q k^T + bias) */
};

/* Sets head->p, and o (tokens, d), rows o_stride apart. */
void ghn__reference_attend(const struct ghn__reference_head *head, double *o, int64_t o_stride);

/* From d_o, laid out as o, and head->p: adds to dq, dk and dv, laid out as q, and sets ds (tokens,
 * tokens), the gradient by the scores with their bias. Returns the gradient by head->scale. */
double ghn__reference_attend_backward(const struct ghn__reference_head *head, const double *d_o,
                                      int64_t o_stride, double *dq, double *dk, double *dv,
                                      double *ds);

/* The row of a table of relative positions, (2h - 1)(2w - 1) rows for a window of h x w tokens,
 * that stands for the pair of tokens i, j (torchvision's relative_position_index). */
int64_t ghn__reference_relative(int64_t i, int64_t j, int64_t h, int64_t w);

#endif
