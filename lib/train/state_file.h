/* The file that a training's state is kept in: flat f32 tensors and a JSON object that describes
 * them, with a checksum over both. Private to lib/train.
 *
 * It is safetensors; __metadata__ has "format", "training" (the object as a string) and "crc32". */
#ifndef GHN_TRAIN_STATE_FILE_H
#define GHN_TRAIN_STATE_FILE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "tensor/tensors.h"

/* What a file is the state of. */
struct ghn__state_kind {
    const char *format; /* "ghn-training/1" */
    const char *name;   /* "a training", for errors */
};

/* n floats as a tensor of a state. */
struct ghn_tensor ghn__state_tensor(const char *name, const float *data, int64_t n);

/* Writes a state, atomically. training is given back here; NULL stands for no memory. GHN_IO,
 * GHN_NO_MEMORY. */
enum ghn_status ghn__state_file_write(const char *path, const struct ghn__state_kind *kind,
                                      json_t *training, const struct ghn_tensor *tensors, int n,
                                      struct ghn_err *err) GHN_MUST_CHECK;

/* Reads a state, its checksum before anything in it is believed. The caller frees *ret_file with
 * ghn_tensors_free and gives *ret_training back, whatever comes of it; both are to be NULL before.
 * GHN_IO; GHN_INVALID_FILE for a damaged file or one of another kind. */
enum ghn_status ghn__state_file_read(const char *path, const struct ghn__state_kind *kind,
                                     struct ghn_tensors **ret_file, json_t **ret_training,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* GHN_INVALID_FILE for a state in which something is wrong. */
enum ghn_status ghn__state_damaged(const char *path, const char *what, struct ghn_err *err);

/* Whether the n wanted tensors are in the file, in their types and sizes: GHN_INVALID_FILE; and
 * copies all of them to where their data are. */
enum ghn_status ghn__state_check_tensors(const char *path, const struct ghn_tensors *file,
                                         const struct ghn_tensor *wanted, int n,
                                         struct ghn_err *err) GHN_MUST_CHECK;
void ghn__state_copy_tensors(const struct ghn_tensors *file, const struct ghn_tensor *wanted,
                             int n);

/* The history in the state DIR/NAME, an array; a new reference. GHN_IO, GHN_INVALID_FILE. */
enum ghn_status ghn__state_history(const char *dir, const char *name,
                                   const struct ghn__state_kind *kind, json_t **ret,
                                   struct ghn_err *err) GHN_MUST_CHECK;

/* Says in buf which field differs between `here` and `there`, the object of a state, and both
 * values; false if none does. A field that `there` does not have, since the program that wrote it
 * did not know it, counts as its value in `before` (NULL: as different): what such programs did is
 * the default of a field that comes later. */
enum { GHN__STATE_DIFFERENCE = 256 };
bool ghn__state_difference(const json_t *there, const json_t *here, const json_t *before,
                           char buf[GHN__STATE_DIFFERENCE]);

/* An object as it is after it was written and read; a new reference; object is given back. NULL: no
 * memory. */
json_t *ghn__state_through_text(json_t *object);

#endif
