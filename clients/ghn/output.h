/* Where an answer goes: a file that is written whole or not at all, or standard output. */
#ifndef GHN_CLIENT_OUTPUT_H
#define GHN_CLIENT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct cli_output {
    const char *path;             /* borrowed; "-" for standard output, NULL to drop what comes */
    struct ghn_atomic_file *file; /* NULL for the other two */
    double started;               /* ghn_seconds() */
    double reported;              /* when progress was last shown; 0 if never */
};

/* Opens the output (GHN_IO if binary is set and standard output is a terminal). From here on Ctrl-C
 * only raises a flag, which cli_output_progress returns. */
enum ghn_status cli_output_open(struct cli_output *output, const char *path, bool binary,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* Appends n bytes. */
enum ghn_status cli_output_write(struct cli_output *output, const void *data, size_t n,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* Shows how far it is, on a terminal and when it takes more than a second; total 0: unknown. false
 * if the user wants to stop. */
bool cli_output_progress(struct cli_output *output, uint64_t done, uint64_t total);

/* Makes what was written the file at path. Discards it on failure. */
enum ghn_status cli_output_commit(struct cli_output *output, struct ghn_err *err) GHN_MUST_CHECK;

/* Leaves no trace of what was written to a file; does nothing after a commit. */
void cli_output_discard(struct cli_output *output);

#endif
