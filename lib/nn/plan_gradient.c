/* Which steps run backward, and where gradients lie: of a value that several steps read, the last
 * of them writes its gradient, being the first to run backward, and the others add to it. */
#include "nn/run_impl.h"

static void count_consumers(struct ghn_run *run) {
    for (int s = 0; s < run->n_steps; s++)
        for (int i = 0; i < run->steps[s].site.n_inputs; i++)
            run->storages[run->values[run->steps[s].inputs[i]].storage].consumers++;
}

/* Whether the gradient of input i is the output's own, so that both can be one block. */
static bool shares(const struct ghn_run *run, const struct ghn__step *step, int i) {
    const struct ghn__value *in = &run->values[step->inputs[i]], *out = &run->values[step->output];
    bool passes =
        step->layer->passes_gradient || (step->site.residual && !step->site.activation && i == 1);
    return passes && run->storages[in->storage].consumers == 1 &&
           in->tensor.count == out->tensor.count && ghn__same_order(&in->tensor, &out->tensor);
}

/* Blocks of the gradients, from the last step back, so that an output's is known before its
 * inputs'. */
static enum ghn_status place(struct ghn_run *run, struct ghn_err *err) {
    struct ghn__storage *last = &run->storages[run->values[run->output].storage];
    last->gradient = ghn__run_block(run, run->blocks[last->data].bytes);
    last->contributors = 1; /* the caller's doutput */
    if (last->gradient < 0)
        return ghn_fail_memory(err);
    for (int s = run->n_steps - 1; s >= 0; s--) {
        struct ghn__step *step = &run->steps[s];
        struct ghn__storage *out = &run->storages[run->values[step->output].storage];
        if (out->contributors == 0)
            step->backward =
                false; /* what it computes does not reach the output by a differentiable way */
        for (int i = 0; step->backward && i < step->site.n_inputs; i++) {
            struct ghn__storage *in = &run->storages[run->values[step->inputs[i]].storage];
            step->site.din[i] = run->values[step->inputs[i]].tensor;
            if (!in->wanted)
                continue;
            if (in->gradient < 0)
                in->gradient = shares(run, step, i)
                                   ? out->gradient
                                   : ghn__run_block(run, run->blocks[in->data].bytes);
            if (in->gradient < 0)
                return ghn_fail_memory(err);
            step->site.add[i] = in->contributors++ > 0;
            if (step->site.cannot_add && step->site.add[i])
                step->spare = ghn__run_block(run, run->blocks[in->data].bytes);
        }
    }
    return GHN_OK;
}

static void mark_params(struct ghn_run *run) {
    for (int s = run->n_steps - 1; s >= 0; s--) {
        struct ghn__step *step = &run->steps[s];
        for (int k = 0; step->backward && k < step->site.node->n_params; k++) {
            step->site.add_param[k] = run->param_written[step->params[k]];
            run->param_written[step->params[k]] = true;
        }
    }
}

enum ghn_status ghn__plan_gradient(struct ghn_run *run, struct ghn_err *err) {
    if (run->options.mode != GHN_MODE_TRAIN)
        return GHN_OK;
    count_consumers(run);
    enum ghn_status status = place(run, err);
    if (!status)
        mark_params(run);
    return status;
}
