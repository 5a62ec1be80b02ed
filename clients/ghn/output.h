/* A file that is written whole or not at all. */
#ifndef GHN_CLIENT_OUTPUT_H
#define GHN_CLIENT_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

struct cli_output {
    const char *path; /* borrowed */
    char *temporary;  /* beside path; NULL for standard output */
    FILE *file;
    double started;  /* cli_seconds() */
    double reported; /* when progress was last shown; 0 if never */
};

/* Opens a temporary file beside path, or takes standard output for "-" (GHN_IO if binary is set and
 * that is a terminal). From here on Ctrl-C only raises a flag, which cli_output_progress returns.
 */
enum ghn_status cli_output_open(struct cli_output *output, const char *path, bool binary,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* Shows how far it is, on a terminal and when it takes more than a second; total 0: unknown. false
 * if the user wants to stop. */
bool cli_output_progress(struct cli_output *output, uint64_t done, uint64_t total);

/* Makes what was written the file at path: flushed to disk, renamed. Discards it on failure. */
enum ghn_status cli_output_commit(struct cli_output *output, struct ghn_err *err) GHN_MUST_CHECK;

/* Removes the temporary file; does nothing after a commit. */
void cli_output_discard(struct cli_output *output);

#endif
