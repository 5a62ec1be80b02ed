/* DeepNets-1M: the networks of genotypes (Knyazev et al. 2021, section 3.2 and appendix A.1;
 * ghn2-spec A1, A6 to A8). */
#ifndef GHN_DEEPNETS_DEEPNETS_H
#define GHN_DEEPNETS_DEEPNETS_H

#include <jansson.h>
#include <stdbool.h>

#include "arch/arch.h"
#include "base/status.h"

/* The operations of a cell: GHN_CELL_OP(symbol, "name"), in the order of ghn2-spec A2 (the
 * sampler's restrictions count on it). */
enum ghn_cell_op {
#define GHN_CELL_OP(symbol, name) GHN_CELL_##symbol,
#include "deepnets/cell_ops.def"
#undef GHN_CELL_OP
    GHN_N_CELL_OPS,
};

/* "sep_conv_3x3" ... */
const char *ghn_cell_op_name(enum ghn_cell_op op);

enum { GHN_MAX_STEPS = 32 };

/* A cell: step i (from 0) makes state i + 2 as the sum of two branches. */
struct ghn_cell {
    int n_steps;
    enum ghn_cell_op op[2 * GHN_MAX_STEPS]; /* of branch j of step i at 2i + j */
    int pred[2 * GHN_MAX_STEPS];            /* the state it reads, below i + 2 */
    int n_concat;
    int concat[GHN_MAX_STEPS + 2]; /* the states whose concatenation is the cell's output */
};

enum ghn_net_norm { GHN_NORM_NONE, GHN_NORM_BATCH, GHN_NORM_BATCH_TRACK };

/* A network of the space (A1). */
struct ghn_net {
    struct ghn_cell normal, reduce;
    int n_cells;
    int ks;         /* kernel of the first stem convolution */
    int C;          /* initial channels */
    int C_mult;     /* channel factor of a reduction cell */
    bool preproc;   /* 1x1 convolutions on a cell's inputs */
    int stem_type;  /* 0 simple, 1 "ImageNet style" */
    bool stem_pool; /* max pool after the simple stem */
    enum ghn_net_norm norm;
    int fc_layers;    /* linear layers of the head, 1 or 2 */
    int fc_dim;       /* width between them */
    bool glob_avg;    /* global average pooling before the head */
    int64_t input[3]; /* (C, H, W); H = W */
    int num_classes;
};

/* Decodes the genotype form: `root` is the request object, of which "genotype", "net", "input" and
 * "num_classes" are looked at and no others (the caller checks for unknown ones). `where` is the
 * path of root in errors. */
enum ghn_status ghn_net_from_json(const json_t *root, const char *where, struct ghn_net *ret,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* The network as an architecture, parameters named as in ghn2-spec A7. Branches that lead nowhere
 * are part of it, off the path. GHN_INVALID_GENOTYPE if its output is unavailable (every branch
 * "none"), GHN_SHAPE_MISMATCH where the pieces do not fit. The caller frees with ghn_arch_free. */
enum ghn_status ghn_net_to_arch(const struct ghn_net *net, const struct ghn_limits *limits,
                                struct ghn_arch **ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
