/* The decoders: blocks from node embeddings (ghn2-spec C5 to C8). Private to this folder, its tests
 * and benchmarks. */
#ifndef GHN_GHN_DECODE_H
#define GHN_GHN_DECODE_H

#include "base/pool.h"
#include "base/status.h"
#include "ghn/model_impl.h"
#include "ghn/plan.h"

/* A weight to decode: dst (O, I, height, width) = scale * the top left corner of the block W. All
 * are within max_shape. */
struct ghn__weight_job {
    const float *embedding; /* (hid) */
    float *dst;
    int O, I, height, width;
    float scale;
};

/* Decodes them all, by the model's decoder. The bytes of the result do not depend on the pool. */
enum ghn_status ghn__decode_weights(const struct ghn_model *model,
                                    const struct ghn__weight_job *jobs, int n_jobs,
                                    struct ghn_pool *pool, struct ghn_err *err) GHN_MUST_CHECK;

/* The two decoders behind it. */
enum ghn_status ghn__decode_conv(const struct ghn_model *model, const struct ghn__weight_job *jobs,
                                 int n_jobs, struct ghn_pool *pool,
                                 struct ghn_err *err) GHN_MUST_CHECK;
enum ghn_status ghn__decode_mlp(const struct ghn_model *model, const struct ghn__weight_job *jobs,
                                int n_jobs, struct ghn_pool *pool,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* The convolutional decoder as its definition has it, job by job, in double: for tests. dst must
 * have room; no pool. */
enum ghn_status ghn__decode_conv_ref(const struct ghn_model *model,
                                     const struct ghn__weight_job *job,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* A vector to decode: dst (n) from row 0 (norm weights) or row 1 (biases) of the 1-D decoder, or
 * from the classifier's bias head. n is within the decoder's width. */
struct ghn__vector_job {
    const float *embedding;
    float *dst;
    int n;
    enum ghn__maker maker; /* MAKE_NORM_WEIGHT, MAKE_BIAS, MAKE_CLASS_BIAS */
};

enum ghn_status ghn__decode_vectors(const struct ghn_model *model,
                                    const struct ghn__vector_job *jobs, int n_jobs,
                                    struct ghn_pool *pool, struct ghn_err *err) GHN_MUST_CHECK;

/* The classifier's weight: dst (rows, I), rows <= num_classes. With the convolutional decoder,
 * `block` is W (max_shape[0], I) of position (0, 0), unscaled, and is destroyed; the mlp decoder
 * works from the embedding alone, and block is NULL. */
enum ghn_status ghn__decode_class_weight(const struct ghn_model *model, const float *embedding,
                                         float *block, int rows, int I, float scale, float *dst,
                                         struct ghn_err *err) GHN_MUST_CHECK;

#endif
