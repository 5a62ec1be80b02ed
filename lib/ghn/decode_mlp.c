/* The mlp decoder of the original GHN: two layers from an embedding to the whole block, of which
 * only the positions that are asked for are computed. Weights that need a position are multiplied
 * together.
 *
 * Lock rule: a task decodes NODES jobs and writes their blocks alone. */
#include <stdlib.h>
#include <string.h>

#include "base/blas.h"
#include "ghn/decode.h"

enum { NODES = 8 }; /* of a task */

struct work {
    const struct ghn_model *model;
    const struct ghn__weight_job *jobs;
    int n_jobs;
    float *scratch; /* of every task: hidden (NODES, 2 hid), out (NODES, O * I) */
    size_t scratch_size;
};

/* dst[.][.][p] of a job from out (O, I), its block at that position. */
static void store_position(const struct ghn__weight_job *job, const float *out, const float *bias,
                           int I, int p) {
    size_t n = (size_t)job->height * (size_t)job->width;
    float *dst = job->dst + p;
    for (int o = 0; o < job->O; o++)
        for (int i = 0; i < job->I; i++, dst += n)
            *dst = (out[o * I + i] + bias[o * I + i]) * job->scale;
}

/* Position (y, x) of those of the jobs that have it. hidden (n, in), out (n, O * I). */
static void decode_position(const struct ghn_model *model, const struct ghn__weight_job *jobs,
                            int n, int y, int x, const float *hidden, float *out) {
    const int *max = model->config.max_shape;
    int in = model->packed.mlp0.n, n_in = 2 * model->config.hid;
    size_t position = (size_t)(y * max[3] + x), rows = (size_t)max[0] * (size_t)max[1];
    int O = 0;
    for (int j = 0; j < n; j++)
        if (y < jobs[j].height && x < jobs[j].width && jobs[j].O > O)
            O = jobs[j].O;
    if (O == 0)
        return;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, O * max[1], n_in, 1.0f, hidden, in,
                model->packed.mlp2_w + position * rows * (size_t)n_in, n_in, 0.0f, out, (int)rows);
    for (int j = 0; j < n; j++)
        if (y < jobs[j].height && x < jobs[j].width)
            store_position(&jobs[j], out + (size_t)j * rows,
                           model->packed.mlp2_bias + position * rows, max[1],
                           y * jobs[j].width + x);
}

static void decode_task(void *context, int task) {
    const struct work *work = context;
    const struct ghn_model *model = work->model;
    const struct ghn__dense *mlp0 = &model->packed.mlp0;
    const struct ghn__weight_job *jobs = work->jobs + task * NODES;
    int n = work->n_jobs - task * NODES < NODES ? work->n_jobs - task * NODES : NODES;
    float *hidden = work->scratch + (size_t)task * work->scratch_size;
    float *out = hidden + (size_t)NODES * (size_t)mlp0->n;
    int height = 0, width = 0;
    for (int j = 0; j < n; j++) {
        float *row = hidden + (size_t)j * (size_t)mlp0->n;
        model->kernels->dense(row, jobs[j].embedding, mlp0->w, mlp0->bias, mlp0->in, mlp0->n);
        model->kernels->relu(row, NULL, 1, mlp0->n);
        height = jobs[j].height > height ? jobs[j].height : height;
        width = jobs[j].width > width ? jobs[j].width : width;
    }
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            decode_position(model, jobs, n, y, x, hidden, out);
}

enum ghn_status ghn__decode_mlp(const struct ghn_model *model, const struct ghn__weight_job *jobs,
                                int n_jobs, struct ghn_pool *pool, struct ghn_err *err) {
    if (n_jobs == 0)
        return GHN_OK;
    const int *max = model->config.max_shape;
    int n_tasks = (n_jobs + NODES - 1) / NODES;
    struct work work = {.model = model, .jobs = jobs, .n_jobs = n_jobs};
    work.scratch_size =
        (size_t)NODES * ((size_t)model->packed.mlp0.n + (size_t)max[0] * (size_t)max[1]);
    work.scratch = ghn_calloc((size_t)n_tasks, work.scratch_size * sizeof(float));
    if (!work.scratch)
        return ghn_fail_memory(err);
    ghn_blas_init();
    ghn_pool_run(pool, n_tasks, decode_task, &work);
    ghn_free(work.scratch);
    return GHN_OK;
}

enum ghn_status ghn__decode_weights(const struct ghn_model *model,
                                    const struct ghn__weight_job *jobs, int n_jobs,
                                    struct ghn_pool *pool, struct ghn_err *err) {
    return model->config.decoder == GHN_DECODER_CONV
               ? ghn__decode_conv(model, jobs, n_jobs, pool, err)
               : ghn__decode_mlp(model, jobs, n_jobs, pool, err);
}
