/* The golden data: what the public implementation of GHN-2 makes of many networks. */
#ifndef GHN_TESTS_GOLDEN_H
#define GHN_TESTS_GOLDEN_H

#include <jansson.h>

/* What a test program returns to be counted as skipped. */
enum { GOLDEN_SKIPPED = 77 };

/* The folder of the golden data ($GHN_GOLDEN, or where the build says); NULL, after a message on
 * standard output, if it is absent. */
const char *golden_folder(void);

/* Runs test(&state), with *state the path of a case, for every case of a set ("deepnets",
 * "torchvision"), each as a cmocka test called as the case. What main returns: the number of
 * failures, or GOLDEN_SKIPPED. */
int golden_run(const char *set, void (*test)(void **state));

/* The case at `path`; fails the test if it is no JSON. */
json_t *golden_load(const char *path);

/* The path of the checkpoint that a case names; the caller frees it. */
char *golden_checkpoint(const json_t *golden);

#endif
