/* What a hypernetwork is made of (private to this folder, its tests and benchmarks). */
#ifndef GHN_GHN_MODEL_IMPL_H
#define GHN_GHN_MODEL_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "ghn/kernels.h"
#include "ghn/model.h"
#include "ghn/shape_table.h"
#include "graph/graph.h"
#include "tensor/shape.h"

/* The tensors of ghn/tensors.def. */
enum ghn__tensor_id {
#define GHN_TENSOR(symbol, name, present, init, fan_in, ndim, d0, d1, d2, d3) GHN__##symbol,
#include "ghn/tensors.def"
#undef GHN_TENSOR
    GHN__N_TENSORS,
};

enum ghn__tensor_init { GHN__INIT_NORMAL, GHN__INIT_UNIFORM, GHN__INIT_ONE, GHN__INIT_ZERO };

/* What a configuration makes of a line of that list. */
struct ghn__tensor_spec {
    const char *name;
    bool present;
    enum ghn__tensor_init init;
    int fan_in;
    struct ghn_shape shape;
    int64_t numel;
};

/* All of them; config must have been checked. */
void ghn__tensor_specs(const struct ghn_config *config,
                       struct ghn__tensor_spec ret[GHN__N_TENSORS]);

/* Where the tensors lie that are present, one after another from storage on (NULL: nowhere; others
 * are NULL too); returns their elements. */
int64_t ghn__tensors_place(const struct ghn__tensor_spec specs[GHN__N_TENSORS], float *storage,
                           float *ret[GHN__N_TENSORS]);

/* GHN_OUT_OF_RANGE if a hypernetwork of n parameters is larger than allowed. */
enum ghn_status ghn__n_parameters_check(int64_t n, struct ghn_err *err) GHN_MUST_CHECK;

/* ret (numel) = PyTorch's initial values of a tensor. */
void ghn__tensor_initialise(const struct ghn__tensor_spec *spec, uint64_t seed, float *ret);

/* A linear layer for ghn__kernels.dense: w (in, n), bias (n), n padded. */
struct ghn__dense {
    const float *w, *bias;
    int in, n;
};

/* A linear layer for ghn__kernels.panel: panels (in + 1, 8) one after the other, of which the last
 * row is the bias, to be multiplied by a row of ones or scales. */
struct ghn__panels {
    const float *a;
    int k; /* in + 1 */
};

/* Weights as the kernels want them. Node states have hid_padded columns. */
struct ghn__packed {
    int hid_padded;
    struct ghn__dense message0, message2; /* A of ghn2-spec C3 */
    struct ghn__dense virtual0, virtual2; /* B */
    struct ghn__dense gru_in, gru_state;  /* gates of hid_padded columns each */
    struct ghn__dense node0, node2;       /* the MLP baseline's */
    struct ghn__dense vector0, vector2;   /* decoder_1d */
    /* The convolutional decoder. fc: for every position (y, x) a dense layer from hid to 4 hid;
     * conv0: panels of 8 rows; conv2: panels of 8 output rows o .. o + 7 of one i, ordered by o,
     * then i. */
    const float *fc_w, *fc_bias; /* (S * S, hid, fc_n), (S * S, fc_n) */
    int fc_n;                    /* 4 hid, padded */
    struct ghn__panels conv0, conv2;
    int conv0_panels, conv2_o_panels;
    /* The mlp decoder: mlp0 dense; mlp2 (S * S, O * I, 2 hid) and its bias (S * S, O * I). */
    struct ghn__dense mlp0;
    const float *mlp2_w, *mlp2_bias;
    float *storage;
};

struct ghn_model {
    atomic_int refs;
    struct ghn_config config;
    int64_t n_parameters;
    json_t *metadata;
    char sha256[65];
    const struct ghn__kernels *kernels;
    struct ghn__shape_table shapes;
    struct ghn__tensor_spec specs[GHN__N_TENSORS];
    float *tensors[GHN__N_TENSORS]; /* NULL where not present; in storage */
    float *storage;
    struct ghn__packed packed;
};

/* A model with those values, laid out as ghn__tensors_place has them; config must have been
 * checked.
 */
enum ghn_status ghn__model_from_values(const struct ghn_config *config, const float *values,
                                       struct ghn_model **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Makes packed of the tensors; GHN_NO_MEMORY. */
enum ghn_status ghn__pack(struct ghn_model *model, struct ghn_err *err) GHN_MUST_CHECK;

#endif
