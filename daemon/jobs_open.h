/* What jobs need before the first of them runs: their folder, tidied, and the worker's program. */
#ifndef GHND_JOBS_OPEN_H
#define GHND_JOBS_OPEN_H

#include <stdbool.h>
#include <stddef.h>

#include "ledger.h"

/* Makes the folder of jobs, if need be, and takes it for this daemon alone, for as long as *ret_fd,
 * which the caller closes, is open: a second daemon would start workers on the same jobs. Then
 * opens the ledger, and finishes what a daemon left that was killed: makes the folders of jobs what
 * the ledger says. If `patient`, waits a second for a daemon that has just been killed, or for a
 * child of it that has not come to exec yet. Only while nobody has the ledger. GHN_IO, and nothing
 * is open then. */
enum ghn_status ghnd_jobs_open(const char *state_dir, const char *jobs_dir, bool patient,
                               int *ret_fd, struct ghnd_ledger **ret,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* The path of the worker's program, into program (n bytes): the given one or, for NULL, the one
 * that is installed with this daemon. */
void ghnd_jobs_find_program(const char *given, char *program, size_t n);

#endif
