/* The inner loops of lib/nn. Every file of lib/nn/kernels (but pairs.c: nn/pairs.h) is compiled
 * once for each instruction set, its functions named by GHN__K; this table, made from kernels.def,
 * is how the rest of lib/nn calls them. Private to lib/nn, the optimisers of lib/train, tests and
 * benchmarks. */
#ifndef GHN_NN_KERNELS_H
#define GHN_NN_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "nn/gather.h"
#include "nn/layer.h"
#include "nn/pool.h"

#define GHN__PASTE2(a, b) a##b
#define GHN__PASTE(a, b) GHN__PASTE2(a, b)
/* The name of a kernel in the instruction set of this compilation (GHN__ISA: _plain, _avx2,
 * _avx512; pairs.c: _plain, _avx512_bf16). */
#define GHN__K(name) GHN__PASTE(name, GHN__ISA)

/* Floats in the widest vector of any instruction set. */
enum { GHN__MAX_LANES = 16 };

/* A step of AdamW: m += take1 (g - m), v = keep2 v + take2 g g,
 * p = keep p - rate m / (sqrt(v) inverse_root + eps). */
struct ghn__adamw {
    float take1;        /* 1 - beta1, and so on, not from a rounded beta */
    float keep2, take2; /* beta2, 1 - beta2 */
    float eps;
    float keep;         /* 1 - lr weight_decay */
    float rate;         /* lr / (1 - beta1^t) */
    float inverse_root; /* 1 / sqrt(1 - beta2^t) */
};

struct ghn__nn_kernels {
    const char *name; /* "plain", "avx2", "avx512" */
#define GHN__KERNEL(name, args) void(*name) args;
#include "nn/kernels.def"
#undef GHN__KERNEL
};

/* The best that this processor has and that ONEDNN_MAX_CPU_ISA allows. */
const struct ghn__nn_kernels *ghn__nn_kernels(void);

/* Every table this processor can run, "plain" first, into ret; returns how many. */
int ghn__nn_kernels_all(const struct ghn__nn_kernels *ret[3]);

#endif
