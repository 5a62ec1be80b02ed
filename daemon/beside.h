/* What lies beside the program: an installation may be anywhere, so its files are found from it. */
#ifndef GHND_BESIDE_H
#define GHND_BESIDE_H

#include <stddef.h>

/* ret (n) = the folder of this program, then `path`: "/ghn-worker", "/../share/ghnd". Cut off if it
 * does not fit. */
void ghnd_beside(const char *path, char *ret, size_t n);

#endif
