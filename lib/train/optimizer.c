#include "train/optimizer.h"

#include <math.h>

#include "base/mem.h"
#include "nn/kernels.h"
#include "nn/parallel.h"

/* --- Life --- */

/* The runs of neighbouring parameters that are trained. */
static enum ghn_status find_spans(struct ghn__optimizer *optimizer, const struct ghn_params *params,
                                  struct ghn_err *err) {
    const struct ghn_arch *arch = params->arch;
    optimizer->spans = ghn_calloc((size_t)arch->n_params + 1, sizeof *optimizer->spans);
    if (!optimizer->spans)
        return ghn_fail_memory(err);
    bool open = false;
    for (int i = 0; i < arch->n_params; i++) {
        bool trained = arch->params[i].on_path;
        if (trained && !open)
            optimizer->spans[optimizer->n_spans++].first = params->offsets[i];
        if (trained)
            optimizer->spans[optimizer->n_spans - 1].n +=
                params->offsets[i + 1] - params->offsets[i];
        open = trained;
    }
    return GHN_OK;
}

int ghn__optimizer_slots(const struct ghn_recipe *recipe) {
    return recipe->optimizer == GHN_ADAMW ? 2 : recipe->momentum > 0;
}

enum ghn_status ghn__optimizer_new(const struct ghn_recipe *recipe, const struct ghn_params *params,
                                   struct ghn__optimizer **ret, struct ghn_err *err) {
    struct ghn__optimizer *optimizer = ghn_calloc(1, sizeof *optimizer);
    if (!optimizer)
        return ghn_fail_memory(err);
    optimizer->recipe = recipe;
    optimizer->n = params->n;
    optimizer->n_slots = ghn__optimizer_slots(recipe);
    enum ghn_status status = find_spans(optimizer, params, err);
    for (int i = 0; i < optimizer->n_slots && status == GHN_OK; i++) {
        optimizer->slots[i] = ghn_calloc((size_t)params->n, sizeof *optimizer->slots[i]);
        if (!optimizer->slots[i])
            status = ghn_fail_memory(err);
    }
    if (status != GHN_OK) {
        ghn__optimizer_free(optimizer);
        return status;
    }
    *ret = optimizer;
    return GHN_OK;
}

void ghn__optimizer_free(struct ghn__optimizer *optimizer) {
    if (!optimizer)
        return;
    for (int i = 0; i < 2; i++)
        ghn_free(optimizer->slots[i]);
    ghn_free(optimizer->spans);
    ghn_free(optimizer);
}

/* --- Norm --- */

/* A fixed number of parts, so that the sum is the same for any number of threads. */
enum { PARTS = 64 };

struct norm_job {
    const struct ghn__nn_kernels *kernels;
    const float *values;
    int64_t n;
    double sums[PARTS];
};

static void norm_parts(void *context, int64_t begin, int64_t end) {
    struct norm_job *job = context;
    for (int64_t part = begin; part < end; part++)
        job->kernels->square_sum(job->values, job->n * part / PARTS, job->n * (part + 1) / PARTS,
                                 &job->sums[part]);
}

double ghn__norm(const float *values, int64_t n) {
    struct norm_job job = {.kernels = ghn__nn_kernels(), .values = values, .n = n};
    ghn__parallel(PARTS, n < 65536 ? PARTS : 1, norm_parts, &job);
    double sum = 0;
    for (int i = 0; i < PARTS; i++)
        sum += job.sums[i];
    return sqrt(sum);
}

/* --- Steps --- */

struct step_job {
    const struct ghn__nn_kernels *kernels;
    const struct ghn__optimizer *optimizer;
    int64_t first;
    float *values;
    const float *gradient;
    float scale, lr;
    struct ghn__adamw adamw;
};

/* Elements a thread takes at least. */
enum { GRAIN = 16384 };

static void sgd_part(void *context, int64_t begin, int64_t end) {
    const struct step_job *job = context;
    const struct ghn_recipe *recipe = job->optimizer->recipe;
    job->kernels->sgd(job->values, job->optimizer->slots[0], job->gradient, job->first + begin,
                      job->first + end, job->scale, job->lr, (float)recipe->momentum,
                      (float)recipe->weight_decay, recipe->nesterov);
}

static void adamw_part(void *context, int64_t begin, int64_t end) {
    const struct step_job *job = context;
    job->kernels->adamw(job->values, job->optimizer->slots[0], job->optimizer->slots[1],
                        job->gradient, job->first + begin, job->first + end, job->scale,
                        &job->adamw);
}

float ghn__clip_scale(double norm, double most) {
    return most > 0 ? (float)fmin(1, most / (norm + 1e-6)) : 1.0f; /* 1e-6 as PyTorch has it */
}

struct ghn__adamw ghn__adamw_coefficients(double beta1, double beta2, double eps,
                                          double weight_decay, double lr, double t) {
    return (struct ghn__adamw){
        .take1 = (float)(1 - beta1),
        .keep2 = (float)beta2,
        .take2 = (float)(1 - beta2),
        .eps = (float)eps,
        .keep = (float)(1 - lr * weight_decay),
        .rate = (float)(lr / (1 - pow(beta1, t))),
        .inverse_root = (float)(1 / sqrt(1 - pow(beta2, t))),
    };
}

void ghn__optimizer_step(struct ghn__optimizer *optimizer, float *values, const float *gradient,
                         double norm, double lr) {
    const struct ghn_recipe *recipe = optimizer->recipe;
    optimizer->steps++;
    struct step_job job = {
        .kernels = ghn__nn_kernels(),
        .optimizer = optimizer,
        .values = values,
        .gradient = gradient,
        .scale = ghn__clip_scale(norm, recipe->clip_norm),
        .lr = (float)lr,
    };
    if (recipe->optimizer == GHN_ADAMW)
        job.adamw = ghn__adamw_coefficients(recipe->beta1, recipe->beta2, recipe->eps,
                                            recipe->weight_decay, lr, (double)optimizer->steps);
    for (int i = 0; i < optimizer->n_spans; i++) {
        job.first = optimizer->spans[i].first;
        ghn__parallel(optimizer->spans[i].n, GRAIN,
                      recipe->optimizer == GHN_ADAMW ? adamw_part : sgd_part, &job);
    }
}
