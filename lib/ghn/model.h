/* A hypernetwork: GHN-1, GHN-2 or the MLP baseline (Knyazev et al. 2021; ghn2-spec C1). Immutable
 * once loaded, so any number of threads may predict with one at the same time. */
#ifndef GHN_GHN_MODEL_H
#define GHN_GHN_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum ghn_hypernet_kind { GHN_GATED_GNN, GHN_MLP };
enum ghn_decoder { GHN_DECODER_CONV, GHN_DECODER_MLP };

/* A hypernetwork's configuration; the names are those of the reference's "config". */
struct ghn_config {
    int hid;          /* width of a node embedding; a multiple of 4 in [4, 1024] */
    int max_shape[4]; /* the block that is decoded: (O, I, S, S) */
    int num_classes;  /* K, in [1, 65536] */
    enum ghn_hypernet_kind hypernet;
    enum ghn_decoder decoder;
    bool weight_norm; /* normalise predicted parameters (C6) */
    bool ve;          /* virtual edges (C3) */
    bool layernorm;   /* layer norm of the embeddings (C4) */
};

/* GHN-2 for CIFAR-10: hid 32, (64, 64, 11, 11), 10 classes, gated GNN, convolutional decoder, all
 * three flags on. */
extern const struct ghn_config ghn_config_default;

struct ghn_model;

/* Loads a checkpoint: safetensors (configuration in __metadata__) or an official PyTorch file.
 * Errors: those of ghn_tensors_read, and GHN_INVALID_CHECKPOINT naming the tensor or configuration
 * entry at fault. The caller gives it back with ghn_model_unref. */
enum ghn_status ghn_model_load(const char *path, struct ghn_model **ret,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* A freshly initialised hypernetwork, PyTorch's defaults (ghn2-spec D), reproducible by seed.
 * GHN_OUT_OF_RANGE names a bad entry of config. */
enum ghn_status ghn_model_new(const struct ghn_config *config, uint64_t seed,
                              struct ghn_model **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Writes a model as safetensors, atomically, configuration and metadata (an object of strings, or
 * NULL) in __metadata__. */
enum ghn_status ghn_model_save(const struct ghn_model *model, const char *path,
                               const json_t *metadata, struct ghn_err *err) GHN_MUST_CHECK;

/* Reference counting, thread-safe. ref returns model; unref frees with the last reference, NULL is
 * allowed. */
struct ghn_model *ghn_model_ref(struct ghn_model *model);
void ghn_model_unref(struct ghn_model *model);

/* The configuration; the number of parameters of the hypernetwork; what the file's metadata says (a
 * JSON object, never NULL, borrowed); the sha256 of the file ("" for a new one). */
const struct ghn_config *ghn_model_config(const struct ghn_model *model);
int64_t ghn_model_n_parameters(const struct ghn_model *model);
const json_t *ghn_model_metadata(const struct ghn_model *model);
const char *ghn_model_sha256(const struct ghn_model *model);

/* "GHN-2", "GHN-1", "MLP", or "GHN" for another combination of flags. */
const char *ghn_config_kind(const struct ghn_config *config);

#endif
