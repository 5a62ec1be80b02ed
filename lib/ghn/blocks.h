/* Reading a blocks answer (ghn/encode.h): the tensors in full. */
#ifndef GHN_GHN_BLOCKS_H
#define GHN_GHN_BLOCKS_H

#include <stdbool.h>

#include "base/status.h"
#include "tensor/tensors.h"

/* Whether the metadata says "format": "ghn-blocks/1". */
bool ghn_blocks_is(const struct ghn_tensors *tensors);

/* Writes the tensors of a blocks answer in full as a safetensors file, atomically: the same bytes
 * as the full answer has. GHN_INVALID_FILE, naming the tensor, if a block cannot be tiled to the
 * shape that the metadata entry "tiles" gives. */
enum ghn_status ghn_blocks_write_full(const struct ghn_tensors *blocks, const char *path,
                                      struct ghn_err *err) GHN_MUST_CHECK;

#endif
