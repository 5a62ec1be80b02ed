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
 * path of root in errors.
 *
 * Of "net" only C (1 to 4096, even unless there is an msa, then at least 8) and n_cells (1 to 1024)
 * must be given. The other defaults: ks 3 (odd, to 15), C_mult 2 (to 8), preproc true, stem_type 0,
 * stem_pool false, norm "bn-track" (or "bnorm", or null for none), fc_layers 1 (or 2), fc_dim 256
 * (to 65536), glob_avg true; "input" [3, 32, 32] (a square, to 4096), "num_classes" 10 (to 65536).
 * A cell has 1 to GHN_MAX_STEPS steps. Errors name the field: MISSING_FIELD, UNKNOWN_FIELD,
 * WRONG_TYPE, OUT_OF_RANGE, UNKNOWN_OP, and INVALID_GENOTYPE for fields that contradict each other.
 */
enum ghn_status ghn_net_from_json(const json_t *root, const char *where, struct ghn_net *ret,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* The genotype form of a net, all fields written out: a request of its own. A new reference; NULL
 * if there is no memory. */
json_t *ghn_net_to_json(const struct ghn_net *net);

/* The network, of a genotype as ghn_net_from_json lets through, as an architecture, with parameters
 * named as in ghn2-spec A7. Branches that lead nowhere are part of it, off the path; parameters of
 * operations on a state that nothing computes belong to no node. Images up to 64 pixels get the
 * stems that A6 gives for 32, larger ones those for 224; all other sizes follow from the actual
 * maps. GHN_INVALID_GENOTYPE if the output is unavailable (every branch "none"), GHN_SHAPE_MISMATCH
 * where the pieces do not fit (a map of odd size cannot be halved), GHN_TOO_LARGE. The caller frees
 * with ghn_arch_free. */
enum ghn_status ghn_net_to_arch(const struct ghn_net *net, const struct ghn_limits *limits,
                                struct ghn_arch **ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
