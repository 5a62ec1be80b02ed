/* The memory of runs, and where everything lies in it. */
#include "nn/run_impl.h"

enum ghn_status ghn_workspace_new(struct ghn_workspace **ret, struct ghn_err *err) {
    struct ghn_workspace *workspace = ghn_calloc(1, sizeof *workspace);
    if (!workspace)
        return ghn_fail_memory(err);
    *ret = workspace;
    return GHN_OK;
}

void ghn_workspace_free(struct ghn_workspace *workspace) {
    if (!workspace)
        return;
    ghn_free(workspace->memory);
    ghn_free(workspace);
}

/* Where it has to grow it becomes twice as large if it can: networks of many sizes by turns would
 * otherwise have fresh pages each time one of them is the largest so far, and the kernel clear
 * them. What no network touches takes addresses and no memory. */
static enum ghn_status reserve(struct ghn_workspace *workspace, size_t bytes, struct ghn_err *err) {
    if (bytes <= workspace->bytes)
        return GHN_OK;
    size_t twice = workspace->bytes <= SIZE_MAX / 2 ? 2 * workspace->bytes : 0,
           room = twice > bytes ? twice : bytes;
    ghn_free(workspace->memory);
    workspace->user = NULL;
    workspace->bytes = 0;
    workspace->memory = ghn_malloc(room);
    if (!workspace->memory && room > bytes)
        workspace->memory = ghn_malloc(room = bytes);
    if (!workspace->memory)
        return ghn_fail_memory(err);
    workspace->bytes = room;
    return GHN_OK;
}

void *ghn__run_at(const struct ghn_run *run, int block) {
    return block < 0 ? NULL : (char *)run->memory + run->blocks[block].offset;
}

/* Pointers of a step into the memory. */
static void bind_step(struct ghn_run *run, struct ghn__step *step) {
    struct ghn__site *site = &step->site;
    for (int i = 0; i < site->n_inputs; i++) {
        int gradient = step->backward ? ghn__gradient_of(run, step->inputs[i]) : -1;
        site->in[i].data = ghn__run_at(run, ghn__data_of(run, step->inputs[i]));
        bool shared = gradient >= 0 && gradient == ghn__gradient_of(run, step->output);
        site->din[i].data = shared ? NULL : ghn__run_at(run, gradient);
    }
    site->out.data = ghn__run_at(run, ghn__data_of(run, step->output));
    site->dout = site->out;
    site->dout.data = ghn__run_at(run, ghn__gradient_of(run, step->output));
    site->saved = ghn__run_at(run, step->saved);
    site->spare = ghn__run_at(run, step->spare);
}

enum ghn_status ghn__run_bind(struct ghn_run *run, struct ghn_err *err) {
    struct ghn_workspace *workspace = run->workspace;
    enum ghn_status status = reserve(workspace, run->bytes, err);
    if (status)
        return status;
    workspace->user = run;
    if (run->memory == workspace->memory)
        return GHN_OK;
    run->memory = workspace->memory;
    for (int s = 0; s < run->n_steps; s++)
        bind_step(run, &run->steps[s]);
    for (int v = 0; v < run->n_values; v++)
        run->values[v].tensor.data = ghn__run_at(run, ghn__data_of(run, v));
    return GHN_OK;
}
