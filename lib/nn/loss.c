#include "nn/loss.h"

#include <math.h>
#include <stddef.h>

/* The loss of one image with weight 1; dlogits as in ghn_cross_entropy, scaled by `scale`. */
static double image_loss(const float *logits, int label, int classes, double smoothing,
                         double scale, float *dlogits) {
    double max = logits[0];
    for (int k = 1; k < classes; k++)
        max = fmax(max, logits[k]);
    double sum = 0, mean = 0;
    for (int k = 0; k < classes; k++) {
        sum += exp(logits[k] - max);
        mean += logits[k] / (double)classes;
    }
    double log_sum = max + log(sum);
    for (int k = 0; dlogits && k < classes; k++) {
        double target = smoothing / classes + (k == label ? 1 - smoothing : 0);
        dlogits[k] = (float)(scale * (exp(logits[k] - log_sum) - target));
    }
    return (1 - smoothing) * (log_sum - logits[label]) + smoothing * (log_sum - mean);
}

double ghn_cross_entropy(const float *logits, const int32_t *labels, int n, int classes,
                         double smoothing, float *dlogits) {
    double loss = 0;
    for (int i = 0; i < n; i++) {
        ptrdiff_t row = (ptrdiff_t)i * classes;
        loss += image_loss(logits + row, labels[i], classes, smoothing, 1.0 / n,
                           dlogits ? dlogits + row : NULL);
    }
    return loss / n;
}

int ghn_count_correct(const float *logits, const int32_t *labels, int n, int classes, int k) {
    int correct = 0;
    for (int i = 0; i < n; i++) {
        const float *row = logits + (ptrdiff_t)i * classes;
        int before = 0;
        for (int j = 0; j < classes; j++)
            before += j != labels[i] && !(row[j] < row[labels[i]]);
        correct += before < k;
    }
    return correct;
}
