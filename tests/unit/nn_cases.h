/* Tiny networks, each of which puts one operation, or a way of joining nodes, to work: what the
 * reference twins and the fast kernels are both tested with. Every operation of arch/ops.def is
 * among them, with every attribute. */
#ifndef NN_CASES_H
#define NN_CASES_H

#include "arch/arch.h"
#include "nn/run.h"

struct nn_case {
    const char *name;
    const char *input; /* its shape, "[C, H, W]" */
    const char *nodes; /* JSON with ' for "; the input is called 'input', the output 'out' */
    int batch;         /* 0 stands for 3 */
    enum ghn_mode mode;
    double range; /* inputs lie in (-range, range); 0 stands for 2 */
    /* A parameter to be set to a value throughout; NULL for none. */
    const char *fixed;
    double value;
};

extern const struct nn_case nn_cases[];
extern const int nn_n_cases;

/* The network of a case; fails the test if it is none. With `lead` the input is first multiplied by
 * a parameter of its shape, "lead.weight", so that the gradient by an operation's input is to be
 * read from that of a parameter. The caller frees it. */
struct ghn_arch *nn_case_arch(const struct nn_case *c, bool lead);

int nn_case_batch(const struct nn_case *c);

/* n inputs for a case: distinct, evenly spread over (-range, range), in a random order. */
void nn_case_images(const struct nn_case *c, int64_t n, double *images);

/* Values for all parameters of a case's network, laid out as struct ghn_params has them: uniform in
 * (-1, 1), those of "lead.weight" in (0.5, 1.5); and statistics: means in (-1, 1), variances in
 * (0.5, 1.5). statistics may be NULL. */
void nn_case_values(const struct nn_case *c, const struct ghn_arch *arch, double *values,
                    double *statistics);

#endif
