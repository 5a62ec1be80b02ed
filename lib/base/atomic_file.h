/* Writing a file so that at every instant, power failure included, either the whole new file or
 * what was there before is at its path. */
#ifndef GHN_BASE_ATOMIC_FILE_H
#define GHN_BASE_ATOMIC_FILE_H

#include <stddef.h>

#include "base/status.h"

struct ghn_atomic_file;

/* Starts writing the file at path, into a temporary one in the same folder. A file that is there
 * lends it its permissions, and a symbolic link to a file stays one. What is there and no file (a
 * device, a pipe) is written to as it is. GHN_IO with where = path. */
enum ghn_status ghn_atomic_file_new(const char *path, struct ghn_atomic_file **ret,
                                    struct ghn_err *err) GHN_MUST_CHECK;

/* Appends n bytes. */
enum ghn_status ghn_atomic_file_write(struct ghn_atomic_file *file, const void *data, size_t n,
                                      struct ghn_err *err) GHN_MUST_CHECK;

/* Puts the file in its place (fsync, rename, fsync of the folder) and frees `file`, also on
 * failure, where nothing is left behind. */
enum ghn_status ghn_atomic_file_commit(struct ghn_atomic_file *file,
                                       struct ghn_err *err) GHN_MUST_CHECK;

/* Gives up: removes the temporary file. NULL is allowed. */
void ghn_atomic_file_abort(struct ghn_atomic_file *file);

/* Removes the temporary files that processes have left in a folder which were killed while they
 * wrote; nobody may be writing there. */
void ghn_atomic_file_sweep(const char *dir);

#endif
