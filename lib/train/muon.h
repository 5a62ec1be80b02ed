/* Muon (Jordan et al. 2024): gradient descent with momentum of which every step of a matrix is made
 * orthogonal, so that all its singular directions are learned at one speed. It pays where gradients
 * cost far more than the matrices do, as a hypernetwork's do. Private to lib/train. */
#ifndef GHN_TRAIN_MUON_H
#define GHN_TRAIN_MUON_H

#include "base/status.h"
#include "ghn/hypernet.h"

/* Memory for the steps of some matrices. */
struct ghn__muon {
    int n_matrices;
    struct ghn_matrix matrices[GHN_HYPERNET_MATRICES];
    size_t side, size; /* the largest of the shorter sides; elements of the largest matrix */
    float *gram, *square, *factor, *product; /* (side, side) each */
    float *step;                             /* (2, size): a step, and room for its product */
};

/* For the matrices of a hypernetwork. To be given back with ghn__muon_done, also on failure. */
enum ghn_status ghn__muon_init(struct ghn__muon *muon, const struct ghn_hypernet *h,
                               struct ghn_err *err) GHN_MUST_CHECK;
void ghn__muon_done(struct ghn__muon *muon);

/* x (rows, cols), no larger than the matrices of muon and with no longer a shorter side, becomes
 * about the nearest matrix with orthonormal rows or columns: U V^T of its singular value
 * decomposition U S V^T, with singular values between 0.7 and 1.2 instead of 1, and less for those
 * below a thousandth of its norm. Zero stays zero. */
void ghn__muon_orthogonalise(struct ghn__muon *muon, float *x, int rows, int cols);

/* A step of matrix number i: values, momentum and gradient are the hypernetwork's vectors, of which
 * the first two change, the gradient to be taken `scale` times. The step has the size of one of
 * Adam's (0.2 an element in the mean square, times lr; Liu et al. 2025), so that learning rates can
 * be the same. */
void ghn__muon_step(struct ghn__muon *muon, int i, float *values, float *momentum,
                    const float *gradient, float scale, double beta, double lr,
                    double weight_decay);

#endif
