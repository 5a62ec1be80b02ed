/* The folders of jobs: STATE_DIR/jobs/ID, with
 *   request.json         the network and the recipe, for the worker
 *   initial.safetensors  where training starts: a prediction's blocks, or a state_dict; none for
 *                        random parameters
 *   history.jsonl        points of the course so far, one a line, written by the worker
 *   lock                 held by the worker
 * and what a training keeps (train/finetune.h). */
#ifndef GHND_JOB_FILES_H
#define GHND_JOB_FILES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

/* Bytes that hold any path made here. */
enum { GHND_PATH = 4352 };

/* The path of a file (NULL: of the folder itself) of a job into path (GHND_PATH bytes). */
void ghnd_job_path(const char *jobs_dir, const char *id, const char *file, char *path);

/* Makes the folder of a new job under an id that it draws, into ret_id (GHND_JOB_ID + 1 bytes). */
enum ghn_status ghnd_job_folder_new(const char *jobs_dir, char *ret_id,
                                    struct ghn_err *err) GHN_MUST_CHECK;

/* Writes the request, atomically. */
enum ghn_status ghnd_job_write_request(const char *jobs_dir, const char *id, const json_t *request,
                                       struct ghn_err *err) GHN_MUST_CHECK;

/* Makes sure that the entries made so far in a folder survive a power failure. */
enum ghn_status ghnd_job_folder_sync(const char *folder, struct ghn_err *err) GHN_MUST_CHECK;

/* Removes a folder of that name with all that is in it. */
void ghnd_job_folder_remove(const char *jobs_dir, const char *name);

/* What is added to the name of a folder that no ledger knows, and of one that is about to be
 * removed together with its entry. */
#define GHND_UNLISTED ".unlisted"
#define GHND_REMOVED ".removed"

/* Whether a worker has left something of value in a job's folder. */
bool ghnd_job_folder_was_worked_on(const char *jobs_dir, const char *id);

/* Adds one of these to the name of a job's folder, which is no job's then, and takes it off again.
 */
void ghnd_job_folder_set_aside(const char *jobs_dir, const char *id, const char *suffix);
void ghnd_job_folder_bring_back(const char *jobs_dir, const char *id, const char *suffix);

/* Removes what only going on needs, once a job has ended: checkpoint, initial parameters, and what
 * workers left that were killed while they wrote. */
void ghnd_job_folder_trim(const char *jobs_dir, const char *id);

/* The points of the history with steps above `after` (-1: all), at most about 1,000 of them, evenly
 * thinned, as a JSON array; a new reference, NULL if there is no memory. Where a worker has gone
 * back to a checkpoint, what was lost is left out. Lines that are none are passed over. */
json_t *ghnd_job_history(const char *jobs_dir, const char *id, int64_t after);

/* The parameters saved so far: a descriptor opened for reading, that the caller closes, and their
 * size and entity tag; -1 with errno, ENOENT if there are none. */
int ghnd_job_parameters(const char *jobs_dir, const char *id, int64_t *ret_size, char *ret_etag,
                        size_t n_etag);

/* Free bytes of the file system; -1 if it cannot be asked. */
int64_t ghnd_disk_free(const char *dir);

#endif
