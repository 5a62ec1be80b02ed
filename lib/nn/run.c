#include "nn/run.h"

#include <string.h>
#include <time.h>

#include "nn/dnnl.h"
#include "nn/parallel.h"
#include "nn/run_impl.h"

/* --- Precision --- */

static const char *const precision_names[] = {"auto", "f32", "bf16"};

bool ghn_precision_parse(const char *name, enum ghn_precision *ret) {
    for (int i = 0; i < 3; i++)
        if (strcmp(precision_names[i], name) == 0) {
            *ret = (enum ghn_precision)i;
            return true;
        }
    return false;
}

const char *ghn_precision_name(enum ghn_precision precision) {
    return precision_names[precision];
}

enum ghn_precision ghn_precision_best(void) {
    return ghn__dnnl_has_bf16() ? GHN_PRECISION_BF16 : GHN_PRECISION_F32;
}

enum ghn_status ghn_precision_check(enum ghn_precision precision, const char *where,
                                    struct ghn_err *err) {
    if (precision != GHN_PRECISION_BF16 || ghn__dnnl_isa() == GHN__ISA_AVX512)
        return GHN_OK;
    return ghn_fail(err, GHN_OUT_OF_RANGE, where,
                    "bf16 takes a processor with AVX-512, which this one is not; expected f32 or "
                    "auto");
}

/* --- A change of order, as a layer --- */

static enum ghn_status reorder_forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__copy(&site->out, &site->in[0], false);
    return GHN_OK;
}

static enum ghn_status reorder_backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (site->din[0].data)
        ghn__copy(&site->din[0], &site->dout, site->add[0]);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_reorder = {
    .order = GHN__SAME, .forward = reorder_forward, .backward = reorder_backward};

/* --- Life of a run --- */

enum ghn_status ghn_run_new(const struct ghn_arch *arch, const struct ghn_run_options *options,
                            struct ghn_run **ret, struct ghn_err *err) {
    if (options->batch < 1 || options->batch > 1 << 20)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "batch",
                        "%d images at a time; expected 1 to 1048576", options->batch);
    enum ghn_status status = ghn_precision_check(options->precision, "precision", err);
    if (status != GHN_OK)
        return status;
    struct ghn_run *run = ghn_calloc(1, sizeof *run);
    if (!run)
        return ghn_fail_memory(err);
    run->arch = arch;
    run->options = *options;
    if (options->precision == GHN_PRECISION_AUTO)
        run->options.precision = ghn_precision_best();
    run->dtype = run->options.precision == GHN_PRECISION_BF16 ? GHN_BF16 : GHN_F32;
    status = ghn__plan_steps(run, err);
    if (!status)
        status = ghn__plan_gradient(run, err);
    if (!status)
        status = ghn__plan_memory(run, err);
    if (!status && !options->workspace)
        status = ghn_workspace_new(&run->own, err);
    run->workspace = options->workspace ? options->workspace : run->own;
    if (!status)
        status = ghn__run_bind(run, err);
    if (status) {
        ghn_run_free(run);
        return status;
    }
    *ret = run;
    return GHN_OK;
}

void ghn_run_free(struct ghn_run *run) {
    if (!run)
        return;
    for (int s = 0; s < run->n_steps; s++)
        if (run->steps[s].layer->done)
            run->steps[s].layer->done(&run->steps[s].site);
    ghn_workspace_free(run->own);
    ghn_arena_done(&run->arena);
    ghn_free(run);
}

size_t ghn_run_bytes(const struct ghn_run *run) {
    return run->bytes;
}

enum ghn_precision ghn_run_precision(const struct ghn_run *run) {
    return run->options.precision;
}

/* --- Running --- */

static void bind_params(struct ghn__step *step, const struct ghn_params *params) {
    const float **pointers = (const float **)step->site.params;
    for (int k = 0; k < step->site.node->n_params; k++)
        pointers[k] = params->values + params->offsets[step->params[k]];
}

/* With a single thread the time that other processes take is not counted. */
static double seconds(void) {
    struct timespec t;
    (void)clock_gettime(ghn__parallel_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC,
                        &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef enum ghn_status pass(struct ghn__site *site, struct ghn_err *err);

/* One pass of a step; its time is added to *time unless that is NULL. */
static enum ghn_status run_pass(pass *of, struct ghn__site *site, double *time,
                                struct ghn_err *err) {
    if (!time)
        return of(site, err);
    double start = seconds();
    enum ghn_status status = of(site, err);
    *time += seconds() - start;
    return status;
}

/* Fills in whose failure it was. */
static enum ghn_status blame(const struct ghn__step *step, enum ghn_status status,
                             struct ghn_err *err) {
    if (status && err && !err->where[0])
        snprintf(err->where, sizeof err->where, "%.200s", step->site.node->name);
    return status;
}

enum ghn_status ghn_run_forward(struct ghn_run *run, struct ghn_params *params, const float *images,
                                uint64_t seed, uint64_t step, float *output, struct ghn_err *err) {
    enum ghn_status bound = ghn__run_bind(run, err);
    if (bound)
        return bound;
    struct ghn__tensor given = run->values[run->input].tensor;
    run->forward_done = false;
    given.dtype = GHN_F32;
    given.data = (void *)images;
    ghn__copy(&run->values[run->input].tensor, &given, false);
    double least_momentum =
        run->options.new_statistics ? 1.0 / (double)(params->batches_tracked + 1) : 0;
    for (int s = 0; s < run->n_steps; s++) {
        struct ghn__step *at = &run->steps[s];
        bind_params(at, params);
        at->site.least_momentum = least_momentum;
        int index = at->site.index;
        at->site.statistics = index >= 0 && params->statistics_offsets[index] >= 0
                                  ? params->statistics + params->statistics_offsets[index]
                                  : NULL;
        at->site.seed = seed;
        at->site.step = step;
        at->site.scratch = ghn__run_at(run, at->scratch[0]);
        enum ghn_status status = run_pass(at->layer->forward, &at->site,
                                          run->times ? &run->times[s].forward : NULL, err);
        if (status)
            return blame(at, status, err);
    }
    struct ghn__tensor result = run->values[run->output].tensor;
    result.dtype = GHN_F32;
    result.data = output;
    ghn__strides(&result, GHN__ROW_MAJOR);
    ghn__copy(&result, &run->values[run->output].tensor, false);
    if (run->options.mode == GHN_MODE_TRAIN)
        params->batches_tracked++;
    run->forward_done = true;
    return GHN_OK;
}

/* What a layer that cannot add has left in its spare buffer. */
static void add_spare(const struct ghn__site *site) {
    if (!site->spare)
        return;
    struct ghn__tensor from = site->din[0];
    from.data = site->spare;
    ghn__copy(&site->din[0], &from, true);
}

enum ghn_status ghn_run_backward(struct ghn_run *run, const struct ghn_params *params,
                                 const float *doutput, float *gradient, struct ghn_err *err) {
    if (run->options.mode != GHN_MODE_TRAIN || !run->forward_done)
        return ghn_fail(err, GHN_OUT_OF_RANGE, NULL,
                        "only a forward pass in training mode can be differentiated");
    if (run->workspace->user != run)
        return ghn_fail(err, GHN_OUT_OF_RANGE, NULL,
                        "another network has used the workspace since the forward pass");
    struct ghn__value *output = &run->values[run->output];
    struct ghn__tensor given = output->tensor, into = output->tensor;
    given.dtype = GHN_F32;
    given.data = (void *)doutput;
    ghn__strides(&given, GHN__ROW_MAJOR);
    into.data = ghn__run_at(run, run->storages[output->storage].gradient);
    ghn__copy(&into, &given, false);
    for (int i = 0; i < run->arch->n_params; i++)
        if (!run->param_written[i])
            memset(gradient + params->offsets[i], 0,
                   (size_t)(params->offsets[i + 1] - params->offsets[i]) * sizeof *gradient);
    for (int s = run->n_steps - 1; s >= 0; s--) {
        struct ghn__step *at = &run->steps[s];
        if (!at->backward)
            continue;
        float **pointers = (float **)at->site.dparams;
        for (int k = 0; k < at->site.node->n_params; k++)
            pointers[k] = gradient + params->offsets[at->params[k]];
        at->site.scratch = ghn__run_at(run, at->scratch[1]);
        enum ghn_status status = run_pass(at->layer->backward, &at->site,
                                          run->times ? &run->times[s].backward : NULL, err);
        if (status)
            return blame(at, status, err);
        add_spare(&at->site);
    }
    return GHN_OK;
}
