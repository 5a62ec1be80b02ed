/* The jobs: their ledger, their folders, and the workers that train them.
 *
 * The ledger is the truth; what runs follows it. Whoever changes the ledger (a handler that adds a
 * job, or cancels one) calls ghnd_jobs_wake, and the main thread starts and stops workers as the
 * ledger says. At the daemon's start nothing runs, so jobs that were running go on from their last
 * checkpoint. */
#ifndef GHND_JOBS_H
#define GHND_JOBS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "app.h"
#include "events.h"
#include "ledger.h"

struct ghnd_jobs;

/* Opens ledger and folders under the state directory. Only GHN_NO_MEMORY: whatever else is in the
 * way, there are no jobs then, ghnd_jobs_ledger says why, and from ghnd_jobs_start on it is tried
 * again every few seconds. */
enum ghn_status ghnd_jobs_new(struct ghnd_app *app, struct ghnd_jobs **ret,
                              struct ghn_err *err) GHN_MUST_CHECK;

/* Frees jobs of which no worker runs; NULL is allowed. */
void ghnd_jobs_free(struct ghnd_jobs *jobs);

/* --- Main thread --- */

/* Begins to work on jobs, on that loop. */
enum ghn_status ghnd_jobs_start(struct ghnd_jobs *jobs, uv_loop_t *loop,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* Asks workers to save and stop within grace_ms, or else be killed, and starts no more. Their jobs
 * stay as they are in the ledger, for the next start. */
void ghnd_jobs_stop(struct ghnd_jobs *jobs, int64_t grace_ms);

/* Whether no worker runs. */
bool ghnd_jobs_idle(const struct ghnd_jobs *jobs);

/* --- Any thread --- */

/* The ledger, which stays once it is there; NULL, after copying the reason into err, if there is
 * none yet. */
struct ghnd_ledger *ghnd_jobs_ledger(struct ghnd_jobs *jobs, struct ghn_err *err);

/* The folder that the folders of jobs are in. */
const char *ghnd_jobs_dir(const struct ghnd_jobs *jobs);

struct ghnd_events *ghnd_jobs_events(struct ghnd_jobs *jobs);

/* To be called after a change of the ledger. */
void ghnd_jobs_wake(struct ghnd_jobs *jobs);

/* Tells who follows the job what the ledger says of it. */
void ghnd_jobs_publish(struct ghnd_jobs *jobs, const char *id);

/* The latest point of a job that is being trained, a new reference; NULL if there is none. */
json_t *ghnd_jobs_point(struct ghnd_jobs *jobs, const char *id);

/* Whether a worker has the job, and so will see to its files when it ends. */
bool ghnd_jobs_works_on(struct ghnd_jobs *jobs, const char *id);

/* Workers that died and whose jobs were taken up again; images a second of all that train. */
uint64_t ghnd_jobs_restarts(const struct ghnd_jobs *jobs);
double ghnd_jobs_speed(struct ghnd_jobs *jobs);

/* The ledger; NULL after setting the request's problem. (h_jobs.c) */
struct ghnd_request;
struct ghnd_ledger *ghnd_find_ledger(struct ghnd_request *request);

/* Whether the ledger did what it was asked; false after setting the request's problem. (h_jobs.c)
 */
bool ghnd_ledger_succeeded(struct ghnd_request *request, enum ghn_status status,
                           const struct ghn_err *err);

/* The job that a request's path names; false after setting the problem. (h_jobs.c) */
bool ghnd_find_job(struct ghnd_request *request, struct ghnd_job_row *row);

/* --- What clients are shown (job_json.c) --- */

/* A job; point (borrowed) is its latest point or NULL. A new reference; NULL if there is no memory.
 */
json_t *ghnd_job_json(const struct ghnd_job_row *row, const json_t *point);

/* Events: of a job's state, and of a point. Freed by the caller with free; NULL if there is no
 * memory. */
char *ghnd_job_event(const struct ghnd_job_row *row, const json_t *point);
char *ghnd_point_event(const json_t *point);

#endif
