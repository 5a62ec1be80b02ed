/* Loss and metrics of classification. */
#ifndef GHN_NN_LOSS_H
#define GHN_NN_LOSS_H

#include <stdint.h>

/* Softmax cross-entropy, averaged over the batch, of logits (n, classes) against labels (n) in [0,
 * classes), with label smoothing in [0, 1) (PyTorch's: the target is (1 - s) one-hot + s /
 * classes). dlogits: (n, classes), the gradient by the logits, or NULL. */
double ghn_cross_entropy(const float *logits, const int32_t *labels, int n, int classes,
                         double smoothing, float *dlogits);

/* How many of the n images have their label among the k largest logits. Ties are counted against: a
 * logit equal to the label's counts as larger, and so does a NaN. */
int ghn_count_correct(const float *logits, const int32_t *labels, int n, int classes, int k);

#endif
