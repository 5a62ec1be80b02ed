#include "ghn/rows.h"

#include "base/blas.h"

void ghn__rows_linear(struct ghn__rows y, struct ghn__rows x, struct ghn__rows w, size_t n,
                      size_t out, size_t in) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)out, (int)in, 1.0f, x.data,
                (int)x.stride, w.data, (int)w.stride, 0.0f, y.data, (int)y.stride);
}

void ghn__rows_linear_back(struct ghn__rows dx, struct ghn__rows d, struct ghn__rows w, size_t n,
                           size_t out, size_t in, bool add) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)in, (int)out, 1.0f, d.data,
                (int)d.stride, w.data, (int)w.stride, add ? 1.0f : 0.0f, dx.data, (int)dx.stride);
}

void ghn__rows_linear_gradient(struct ghn__rows dw, struct ghn__rows d, struct ghn__rows x,
                               size_t n, size_t out, size_t in) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)out, (int)in, (int)n, 1.0f, d.data,
                (int)d.stride, x.data, (int)x.stride, 1.0f, dw.data, (int)dw.stride);
}

void ghn__rows_add_bias(struct ghn__rows y, const float *bias, size_t step, size_t n, size_t out,
                        bool relu) {
    for (size_t r = 0; r < n; r++) {
        float *row = y.data + r * y.stride;
        if (step == 1)
            for (size_t j = 0; j < out; j++)
                row[j] += bias[j];
        else
            for (size_t j = 0; j < out; j++)
                row[j] += bias[j * step];
        for (size_t j = 0; j < out && relu; j++)
            row[j] = row[j] <= 0.0f ? 0.0f : row[j]; /* NaN passes */
    }
}

void ghn__rows_bias_gradient(float *db, size_t step, struct ghn__rows d, size_t n, size_t out) {
    for (size_t r = 0; r < n; r++) {
        const float *row = d.data + r * d.stride;
        if (step == 1)
            for (size_t j = 0; j < out; j++)
                db[j] += row[j];
        else
            for (size_t j = 0; j < out; j++)
                db[j * step] += row[j];
    }
}

void ghn__rows_relu_back(struct ghn__rows d, struct ghn__rows y, size_t n, size_t out) {
    for (size_t r = 0; r < n; r++) {
        float *to = d.data + r * d.stride;
        const float *of = y.data + r * y.stride;
        for (size_t j = 0; j < out; j++)
            to[j] = of[j] > 0.0f ? to[j] : 0.0f;
    }
}
