/* Running and differentiating an architecture on the processor.
 *
 * A run is an arch compiled for one batch size, mode and precision: every kernel chosen, every
 * buffer placed. Parameters are no part of it; one set may serve several runs (training and
 * evaluation). A run is used by one thread at a time; inside, it works with all threads of OpenMP's
 * team.
 *
 * The same arguments give the same bits every time, on one kind of processor and for one number of
 * threads from planning on. Another number changes the order in which oneDNN sums the gradients of
 * convolutions and linear layers, and nothing else: all that lib/nn sums itself is summed in parts
 * whose number is fixed. */
#ifndef GHN_NN_RUN_H
#define GHN_NN_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "arch/arch.h"
#include "base/status.h"
#include "nn/params.h"

enum ghn_precision {
    GHN_PRECISION_AUTO, /* bf16 where the processor multiplies it natively (AMX, AVX512_BF16), else
                           f32 */
    GHN_PRECISION_F32,
    GHN_PRECISION_BF16, /* activations and their gradients in bf16; sums, statistics, parameters and
                           their gradients in f32 */
};

enum ghn_mode {
    GHN_MODE_TRAIN, /* batch statistics (running ones are updated), dropout and stochastic depth at
                       work; can be differentiated */
    GHN_MODE_EVAL,  /* running statistics where batch_norm2d tracks them, nothing dropped */
    GHN_MODE_BATCH_STATISTICS, /* as EVAL, but every batch_norm2d takes the batch's statistics and
                                  updates none (ghn2-spec C9) */
};

/* Memory that runs use in turn: for programs that compile many networks and run one at a time. It
 * grows to the largest of them. */
struct ghn_workspace;

enum ghn_status ghn_workspace_new(struct ghn_workspace **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Frees a workspace, after the runs that use it; NULL is allowed. */
void ghn_workspace_free(struct ghn_workspace *workspace);

struct ghn_run_options {
    int batch; /* images at a time, at least 1 */
    enum ghn_mode mode;
    enum ghn_precision precision;
    struct ghn_workspace *workspace; /* borrowed; NULL: memory of its own. From a forward pass to
                                        the backward pass behind it no other run may use it */
    int sharing; /* runs that are under way at a time: each may have an equal part of the machine's
                    memory; 0: this one alone */
    bool new_statistics; /* mode TRAIN: running statistics that no batch has gone into hold nothing
                            to keep: until the momentum takes over they are the mean of the batches
                            so far. Without it they start from what they hold, as in PyTorch, and of
                            the 0 and 1 of a new batch norm a tenth is left after 22 batches */
};

struct ghn_run;

/* Compiles arch, which must outlive the run. GHN_OUT_OF_RANGE (also as
 * ghn_precision_check), GHN_TOO_LARGE (more bytes than its part of the machine's memory),
 * GHN_NO_MEMORY, or GHN_INTERNAL, naming the node, if the kernel library refuses it. The caller
 * frees with ghn_run_free. */
enum ghn_status ghn_run_new(const struct ghn_arch *arch, const struct ghn_run_options *options,
                            struct ghn_run **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Frees a run; NULL is allowed. */
void ghn_run_free(struct ghn_run *run);

/* Bytes of activations, their gradients and work space that the run holds; and the precision it
 * came to. */
size_t ghn_run_bytes(const struct ghn_run *run);
enum ghn_precision ghn_run_precision(const struct ghn_run *run);

/* One forward pass. images: (N, H, W, C) in f32, channels last, already normalised (for an input
 * that is not (C, H, W): (N, ...) row-major). output: (N, ...) the output node's values in f32,
 * row-major, with the batch first. (seed, step) number the random draws of dropout and stochastic
 * depth: the same pair draws the same. In mode TRAIN the running statistics in params are updated.
 * On failure output and params are untouched or, if a kernel failed half-way, unspecified. */
enum ghn_status ghn_run_forward(struct ghn_run *run, struct ghn_params *params, const float *images,
                                uint64_t seed, uint64_t step, float *output,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* The backward pass of the last forward pass (mode TRAIN). doutput: (N, ...) gradient of the loss
 * by the output, as output. gradient: (params->n) gradient of the loss by every parameter,
 * overwritten; zero for those off the path. GHN_OUT_OF_RANGE, and nothing is written, if there was
 * no such forward pass or another run has used the workspace since; if a kernel fails half-way,
 * with the node in err->where, gradient is unspecified. */
enum ghn_status ghn_run_backward(struct ghn_run *run, const struct ghn_params *params,
                                 const float *doutput, float *gradient,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* "f32", "bf16", "auto"; false if there is no such name. */
bool ghn_precision_parse(const char *name, enum ghn_precision *ret);
const char *ghn_precision_name(enum ghn_precision precision);

/* The precision that AUTO comes to on this processor. */
enum ghn_precision ghn_precision_best(void);

/* GHN_OUT_OF_RANGE at `where` for bf16 on a processor without AVX-512, for which there are no
 * kernels. */
enum ghn_status ghn_precision_check(enum ghn_precision precision, const char *where,
                                    struct ghn_err *err) GHN_MUST_CHECK;

#endif
