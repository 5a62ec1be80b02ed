/* Folders that trainings keep their state in. */
#ifndef GHN_CLIENT_FOLDER_H
#define GHN_CLIENT_FOLDER_H

#include "base/status.h"

/* Makes the folder, if it is not there, and takes it for this training: two would write over each
 * other's states. What a training that was killed has left half-written is removed. *ret is to be
 * closed when it is done. GHN_IO. */
enum ghn_status cli_folder_take(const char *path, int *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Removes a file of a folder, if it is there. */
void cli_folder_remove(const char *dir, const char *name);

/* Copies a file, so that the copy is whole or not at all. GHN_IO. */
enum ghn_status cli_copy_file(const char *from, const char *to, struct ghn_err *err) GHN_MUST_CHECK;

#endif
