/* Names of data sets: folders in --data-dir, and "shapes", which is drawn where there is no such
 * folder. */
#ifndef GHND_DATASET_NAME_H
#define GHND_DATASET_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* What a sound name has, for messages. */
#define GHND_DATASET_RULE "1 to 64 letters, digits, '_', '.' or '-' and does not begin with a dot"

/* Whether a name is 1 to 64 letters, digits, '_', '.' or '-' and does not begin with a dot: nothing
 * that leads out of the folder. */
bool ghnd_dataset_name_is_sound(const char *name);

/* The path of a data set as lib/data wants it, into path (n bytes). */
void ghnd_dataset_path(const char *data_dir, const char *name, char *path, size_t n);

#endif
