/* Answers: a prediction as a stream of bytes, made piece by piece and never as a whole (design:
 * "the answer never needs to be materialised").
 *
 * Two forms share one container, that of safetensors: u64 little-endian header length, a JSON
 * header padded with spaces to a multiple of 64 bytes in all, data.
 *
 * GHN_FORM_SAFETENSORS: a plain safetensors file of the full tensors.
 * GHN_FORM_BLOCKS (application/vnd.ghn.blocks): also a valid safetensors file, but of the blocks;
 * __metadata__ has "format": "ghn-blocks/1" and "tiles", a JSON object as a string that gives for
 * each tensor whose shape differs from its block's the full shape: {"conv.weight": [512, 256, 3,
 * 3]}. A reader tiles (ghn/predict.h) and has the same values to the bit. */
#ifndef GHN_GHN_ENCODE_H
#define GHN_GHN_ENCODE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ghn/predict.h"
#include "tensor/dtype.h"

enum ghn_form { GHN_FORM_SAFETENSORS, GHN_FORM_BLOCKS };

struct ghn_encoder;

/* An encoder of prediction (borrowed; must outlive it) with values as dtype (f32, f16, bf16).
 * metadata: an object of strings for __metadata__, or NULL. To it are added "not_predicted" (a JSON
 * object as a string: tensor name -> reason, for those initialised and omitted), if there are any,
 * and what the form asks for. The caller frees with ghn_encoder_free. */
enum ghn_status ghn_encoder_new(const struct ghn_prediction *prediction, enum ghn_form form,
                                enum ghn_dtype dtype, const json_t *metadata,
                                struct ghn_encoder **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Bytes of the whole answer. */
uint64_t ghn_encoder_size(const struct ghn_encoder *encoder);

/* Copies bytes of the answer from `offset` into buf, up to n of them, and returns how many (0 only
 * at the end). Sequential reading is fast, any offset is allowed. Not thread-safe for one encoder.
 */
size_t ghn_encoder_read(struct ghn_encoder *encoder, uint64_t offset, void *buf, size_t n);

/* Frees an encoder; NULL is allowed. */
void ghn_encoder_free(struct ghn_encoder *encoder);

/* Writes the whole answer to a file, atomically. */
enum ghn_status ghn_encoder_write_file(struct ghn_encoder *encoder, const char *path,
                                       struct ghn_err *err) GHN_MUST_CHECK;

/* Fills values [first, first + n) (flat, row-major) of tensor `slot` in f32: for reports and tests.
 * The slot must not be OMITTED. */
void ghn_prediction_values(const struct ghn_prediction *prediction, int slot, int64_t first,
                           int64_t n, float *ret);

#endif
