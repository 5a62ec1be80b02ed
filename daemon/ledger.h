/* The ledger of jobs: what was promised to clients, in SQLite (WAL, synchronous = FULL: a
 * transaction that has returned survives power loss).
 *
 * A job's state moves by compare-and-swap only. Thread-safe; what only reads does not wait for
 * another thread's writing. */
#ifndef GHND_LEDGER_H
#define GHND_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum ghnd_job_state {
    GHND_JOB_QUEUED,
    GHND_JOB_RUNNING,
    GHND_JOB_SUCCEEDED,
    GHND_JOB_FAILED,
    GHND_JOB_CANCELLED,
    GHND_N_JOB_STATES,
};

enum { GHND_JOB_ID = 16, GHND_JOB_NAME = 128, GHND_JOB_KEY = 255 };

/* A row. Times are milliseconds since 1970; 0 for what has not happened. */
struct ghnd_job_row {
    int64_t number; /* grows from job to job */
    char id[GHND_JOB_ID + 1];
    enum ghnd_job_state state;
    int64_t created, started, finished;
    int attempts;        /* workers that have died on it since it last got on */
    int64_t step, steps; /* done, of how many */
    char name[GHND_JOB_NAME + 1], dataset[GHND_JOB_NAME + 1], model[GHND_JOB_NAME + 1], init[16];
    char code[64], where[GHN_ERR_WHERE], detail[GHN_ERR_MESSAGE]; /* why it failed */
};

struct ghnd_ledger;

/* Opens, and if need be makes, the ledger at path. GHN_IO with SQLite's reason, also for a file
 * that is no ledger, that is damaged or that cannot be written. Single entries that no ledger can
 * have written become failed jobs with the code "damaged_job". */
enum ghn_status ghnd_ledger_open(const char *path, struct ghnd_ledger **ret,
                                 struct ghn_err *err) GHN_MUST_CHECK;
void ghnd_ledger_close(struct ghnd_ledger *ledger);

/* What became of an insertion. */
enum ghnd_insertion { GHND_INSERTED, GHND_REPLAYED, GHND_CONFLICT, GHND_FULL };

/* Adds a queued job, unless max_queued wait already: FULL. With a key (else NULL) that was used
 * before: REPLAYED, with the earlier job in *row, if the digests are equal, else CONFLICT. Counted,
 * compared and added in one transaction. */
enum ghn_status ghnd_ledger_insert(struct ghnd_ledger *ledger, struct ghnd_job_row *row,
                                   const char *key, const char *digest, int64_t max_queued,
                                   enum ghnd_insertion *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Whether no job was ever entered: the ledger has just been made, perhaps in place of a lost one.
 */
enum ghn_status ghnd_ledger_is_new(struct ghnd_ledger *ledger, bool *ret_new,
                                   struct ghn_err *err) GHN_MUST_CHECK;

/* The job that a key stands for, before anything is done for a request; *ret_found, *ret_same tell
 * of key and digest. */
enum ghn_status ghnd_ledger_by_key(struct ghnd_ledger *ledger, const char *key, const char *digest,
                                   bool *ret_found, bool *ret_same, struct ghnd_job_row *row,
                                   struct ghn_err *err) GHN_MUST_CHECK;

/* The job of that id. */
enum ghn_status ghnd_ledger_get(struct ghnd_ledger *ledger, const char *id, bool *ret_found,
                                struct ghnd_job_row *row, struct ghn_err *err) GHN_MUST_CHECK;

/* Up to n jobs with numbers below `before` (0: no bound), newest first, of a state or of all (-1),
 * into rows. */
enum ghn_status ghnd_ledger_list(struct ghnd_ledger *ledger, int state, int64_t before, int n,
                                 struct ghnd_job_row *rows, int *ret_n,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* The oldest job that waits, or that was running when a daemon ended, but for those in the n ids of
 * `not_these`. */
enum ghn_status ghnd_ledger_next(struct ghnd_ledger *ledger, const char *const *not_these, int n,
                                 bool *ret_found, struct ghnd_job_row *row,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* Jobs by state, into counts (GHND_N_JOB_STATES). */
enum ghn_status ghnd_ledger_count(struct ghnd_ledger *ledger, int64_t *counts,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* For how many milliseconds the oldest queued job has waited; 0 if none does. */
enum ghn_status ghnd_ledger_longest_wait(struct ghnd_ledger *ledger, int64_t *ret_ms,
                                         struct ghn_err *err) GHN_MUST_CHECK;

/* Moves a job to a state if it is queued or running; *ret_moved tells whether it was. With `why`
 * (else NULL) its where and message are kept, as what became of the job under `code`. */
enum ghn_status ghnd_ledger_move(struct ghnd_ledger *ledger, const char *id, enum ghnd_job_state to,
                                 const char *code, const struct ghn_err *why, bool *ret_moved,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* Notes how far a running job is. A step that no worker has come to before clears the attempts: one
 * that only repeats what was lost does not, or a job that always dies there would never end. */
enum ghn_status ghnd_ledger_progress(struct ghnd_ledger *ledger, const char *id, int64_t step,
                                     int64_t steps, struct ghn_err *err) GHN_MUST_CHECK;

/* One more worker has died on a job; *ret_attempts is how many have. */
enum ghn_status ghnd_ledger_died(struct ghnd_ledger *ledger, const char *id, int *ret_attempts,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* The job that ended first, however long it took, if more than `keep` have ended or it did so more
 * than max_age_ms ago: *ret_number and *ret_id, if *ret_found, which is no sound id in a damaged
 * entry. */
enum ghn_status ghnd_ledger_expired(struct ghnd_ledger *ledger, int64_t keep, int64_t max_age_ms,
                                    bool *ret_found, int64_t *ret_number,
                                    char ret_id[GHND_JOB_ID + 1],
                                    struct ghn_err *err) GHN_MUST_CHECK;

/* Removes the entry of a job that has ended. */
enum ghn_status ghnd_ledger_remove(struct ghnd_ledger *ledger, int64_t number,
                                   struct ghn_err *err) GHN_MUST_CHECK;

/* Whether a text has the form of a job's id: GHND_JOB_ID lower-case letters and digits. */
bool ghnd_job_id_is_sound(const char *id);

/* "queued" ...; -1 for no such name. */
const char *ghnd_job_state_name(enum ghnd_job_state state);
int ghnd_job_state_parse(const char *name);

#endif
