/* One-dimensional parameters, and the two heads of the classifier (ghn2-spec C5, C8).
 *
 * Lock rule: a task decodes VECTORS jobs and writes their blocks alone. */
#include <math.h>
#include <string.h>

#include "base/blas.h"
#include "ghn/decode.h"

enum { VECTORS = 16 }; /* of a task */

/* --- Vectors --- */

struct work {
    const struct ghn_model *model;
    const struct ghn__vector_job *jobs;
    int n_jobs;
    float *scratch; /* of every task: hidden, then both rows of the 1-D decoder */
    size_t scratch_size;
};

/* rows (2, width padded) of the 1-D decoder for an embedding. */
static void decode_rows(const struct ghn_model *model, const float *embedding, float *hidden,
                        float *rows) {
    const struct ghn__dense *first = &model->packed.vector0, *second = &model->packed.vector2;
    model->kernels->dense(hidden, embedding, first->w, first->bias, first->in, first->n);
    model->kernels->relu(hidden, NULL, 1, first->n);
    model->kernels->dense(rows, hidden, second->w, second->bias, second->in, second->n);
}

/* The classifier's bias of n values, padded, from row 1 of the 1-D decoder, which is destroyed. */
static void class_bias(const struct ghn_model *model, float *row, int n, float *dst) {
    const int *max = model->config.max_shape;
    int width = max[0] > max[1] ? max[0] : max[1];
    model->kernels->relu(row, NULL, 1, ghn__padded(width));
    memcpy(dst, model->tensors[GHN__CLASS_BIAS_B], (size_t)n * sizeof(float));
    cblas_sgemv(CblasRowMajor, CblasNoTrans, n, width, 1.0f, model->tensors[GHN__CLASS_BIAS_W],
                width, row, 1, 1.0f, dst, 1);
}

/* One job, from the two rows of its node's embedding; result (padded to whole vectors) is left in
 * `values`. */
static void decode_vector(const struct ghn_model *model, const struct ghn__vector_job *job,
                          const float *rows, float *values) {
    int width = model->packed.vector2.n / 2, n = job->n;
    const float *row = job->maker == GHN__MAKE_NORM_WEIGHT ? rows : rows + width;
    float *classes = values + width;
    memcpy(values, row, (size_t)width * sizeof(float));
    if (job->maker == GHN__MAKE_CLASS_BIAS) {
        class_bias(model, values, n, classes);
        values = classes;
        memset(values + n, 0, (size_t)(ghn__padded(n) - n) * sizeof(float));
    }
    if (model->config.weight_norm) {
        if (job->maker == GHN__MAKE_NORM_WEIGHT)
            model->kernels->squash_norm(values, ghn__padded(n));
        else
            model->kernels->squash_bias(values, ghn__padded(n));
    }
    memcpy(job->dst, values, (size_t)n * sizeof(float));
}

static void decode_task(void *context, int task) {
    const struct work *work = context;
    const struct ghn_model *model = work->model;
    int end = (task + 1) * VECTORS < work->n_jobs ? (task + 1) * VECTORS : work->n_jobs;
    float *hidden = work->scratch + (size_t)task * work->scratch_size;
    float *rows = hidden + model->packed.vector0.n, *values = rows + model->packed.vector2.n;
    const float *decoded = NULL; /* the embedding that rows belong to */
    for (int j = task * VECTORS; j < end; j++) {
        const struct ghn__vector_job *job = &work->jobs[j];
        if (job->embedding != decoded)
            decode_rows(model, job->embedding, hidden, rows);
        decoded = job->embedding;
        decode_vector(model, job, rows, values);
    }
}

enum ghn_status ghn__decode_vectors(const struct ghn_model *model,
                                    const struct ghn__vector_job *jobs, int n_jobs,
                                    struct ghn_pool *pool, struct ghn_err *err) {
    if (n_jobs == 0)
        return GHN_OK;
    const struct ghn__packed *packed = &model->packed;
    int n_tasks = (n_jobs + VECTORS - 1) / VECTORS;
    struct work work = {.model = model, .jobs = jobs, .n_jobs = n_jobs};
    work.scratch_size = (size_t)(packed->vector0.n + packed->vector2.n + packed->vector2.n / 2 +
                                 ghn__padded(model->config.num_classes));
    work.scratch = ghn_malloc((size_t)n_tasks * work.scratch_size * sizeof(float));
    if (!work.scratch)
        return ghn_fail_memory(err);
    ghn_blas_init();
    ghn_pool_run(pool, n_tasks, decode_task, &work);
    ghn_free(work.scratch);
    return GHN_OK;
}

/* --- The classifier's weight --- */

/* dst (rows, I) = CP (rows, O) * ReLU(block (O, I)) + cb: a contraction over the block's outputs.
 */
static void class_weight_conv(const struct ghn_model *model, float *block, int rows, int I,
                              float *dst) {
    int O = model->config.max_shape[0];
    const float *bias = model->tensors[GHN__CLASS_B];
    for (int j = 0; j < O * I; j++)
        block[j] = block[j] <= 0.0f ? 0.0f : block[j]; /* NaN passes */
    for (int k = 0; k < rows; k++)
        for (int i = 0; i < I; i++)
            dst[k * I + i] = bias[k];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, I, O, 1.0f,
                model->tensors[GHN__CLASS_W], O, block, I, 1.0f, dst, I);
}

/* dst (rows, I) of the head (K, max I) on the mlp decoder's hidden layer. */
static enum ghn_status class_weight_mlp(const struct ghn_model *model, const float *embedding,
                                        int rows, int I, float *dst, struct ghn_err *err) {
    const struct ghn__dense *mlp0 = &model->packed.mlp0;
    int max_I = model->config.max_shape[1], in = 2 * model->config.hid;
    float *hidden = ghn_malloc((size_t)mlp0->n * sizeof(float));
    if (!hidden)
        return ghn_fail_memory(err);
    model->kernels->dense(hidden, embedding, mlp0->w, mlp0->bias, mlp0->in, mlp0->n);
    model->kernels->relu(hidden, NULL, 1, mlp0->n);
    for (int k = 0; k < rows; k++) {
        size_t first = (size_t)k * (size_t)max_I;
        float *row = dst + (size_t)k * (size_t)I;
        memcpy(row, model->tensors[GHN__MLP_CLASS_B] + first, (size_t)I * sizeof(float));
        cblas_sgemv(CblasRowMajor, CblasNoTrans, I, in, 1.0f,
                    model->tensors[GHN__MLP_CLASS_W] + first * (size_t)in, in, hidden, 1, 1.0f, row,
                    1);
    }
    ghn_free(hidden);
    return GHN_OK;
}

enum ghn_status ghn__decode_class_weight(const struct ghn_model *model, const float *embedding,
                                         float *block, int rows, int I, float scale, float *dst,
                                         struct ghn_err *err) {
    ghn_blas_init();
    enum ghn_status status = GHN_OK;
    if (model->config.decoder == GHN_DECODER_CONV)
        class_weight_conv(model, block, rows, I, dst);
    else
        status = class_weight_mlp(model, embedding, rows, I, dst, err);
    for (size_t j = 0; j < (size_t)rows * (size_t)I && status == GHN_OK; j++)
        dst[j] *= scale;
    return status;
}
