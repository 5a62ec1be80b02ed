/* What a hypernetwork in training is made of (private to this folder, its tests and benchmarks). */
#ifndef GHN_GHN_HYPERNET_IMPL_H
#define GHN_GHN_HYPERNET_IMPL_H

#include "ghn/hypernet.h"
#include "ghn/model_impl.h"

struct ghn_hypernet {
    struct ghn_config config;
    const struct ghn__kernels *kernels;
    struct ghn__shape_table shapes;
    struct ghn__tensor_spec specs[GHN__N_TENSORS];
    int64_t n;                        /* elements of values and of gradient */
    float *values, *gradient;         /* the tensors one after another */
    float *tensors[GHN__N_TENSORS];   /* in values; NULL where not present */
    float *gradients[GHN__N_TENSORS]; /* in gradient, likewise */
};

/* The tensors up to this one make node embeddings, those from it on decode them. */
enum { GHN__FIRST_OF_DECODERS = GHN__FC_W };

/* The elements of the tensors that make node embeddings: the beginning of values and gradient. */
int64_t ghn__hypernet_n_embedder(const struct ghn_hypernet *h);

#endif
