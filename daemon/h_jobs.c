/* GET /jobs, GET and DELETE /jobs/ID, GET /jobs/ID/parameters. Run on workers, for the ledger may
 * have to wait for the disk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_files.h"
#include "jobs.h"
#include "request.h"

enum { DEFAULT_LIMIT = 100, MAX_LIMIT = 1000 };

struct ghnd_ledger *ghnd_find_ledger(struct ghnd_request *request) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_ledger *ledger = ghnd_jobs_ledger(request->app->jobs, &err);
    if (!ledger)
        ghnd_problem_set(&request->problem, GHND_E_LEDGER_UNAVAILABLE, "", "%s: %s", err.where,
                         err.message);
    return ledger;
}

bool ghnd_ledger_succeeded(struct ghnd_request *request, enum ghn_status status,
                           const struct ghn_err *err) {
    if (status != GHN_OK)
        ghnd_problem_set(&request->problem, GHND_E_LEDGER_UNAVAILABLE, err->where, "%s",
                         err->message);
    return status == GHN_OK;
}

bool ghnd_find_job(struct ghnd_request *request, struct ghnd_job_row *row) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_ledger *ledger = ghnd_find_ledger(request);
    bool found = false;
    if (!ledger || !ghnd_ledger_succeeded(
                       request, ghnd_ledger_get(ledger, request->path_id, &found, row, &err), &err))
        return false;
    if (!found)
        ghnd_problem_set(&request->problem, GHND_E_UNKNOWN_JOB, "",
                         "there is no job \"%.64s\"; GET /jobs lists them", request->path_id);
    return found;
}

/* --- The list --- */

/* A number of the query in [min, max]; *ret stays as it is where text is NULL. */
static bool get_number(struct ghnd_request *request, const char *key, const char *text, int64_t min,
                       int64_t max, int64_t *ret) {
    if (!text)
        return true;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && number >= min &&
        number <= max) {
        *ret = number;
        return true;
    }
    ghnd_problem_set(&request->problem, GHND_E_LIBRARY_OUT_OF_RANGE, key,
                     "expected a whole number from %lld to %lld, found \"%.64s\"", (long long)min,
                     (long long)max, text);
    return false;
}

static bool check_fields(struct ghnd_request *request) {
    const char *unknown = request->query.unknown;
    if (unknown)
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_UNKNOWN_FIELD, unknown,
                         "the query has \"state\", \"limit\" and \"before\"");
    return !unknown;
}

static bool get_state(struct ghnd_request *request, int *ret) {
    const char *text = request->query.state;
    *ret = text ? ghnd_job_state_parse(text) : -1;
    if (!text || *ret >= 0)
        return true;
    ghnd_problem_set(&request->problem, GHND_E_LIBRARY_OUT_OF_RANGE, "state",
                     "expected \"queued\", \"running\", \"succeeded\", \"failed\" or "
                     "\"cancelled\", found \"%.64s\"",
                     text);
    return false;
}

/* {"jobs": [...], "next": ...} of n rows, of which more may follow. */
static json_t *list_json(struct ghnd_jobs *jobs, const struct ghnd_job_row *rows, int n,
                         bool more) {
    json_t *list = json_array();
    char next[24] = "";
    for (int i = 0; i < n && list; i++) {
        json_t *point = ghnd_jobs_point(jobs, rows[i].id);
        int failed = json_array_append_new(list, ghnd_job_json(&rows[i], point));
        json_decref(point);
        if (failed) {
            json_decref(list);
            list = NULL;
        }
    }
    if (more)
        (void)snprintf(next, sizeof(next), "%lld", (long long)rows[n - 1].number);
    return json_pack("{s:o, s:o}", "jobs", list, "next", more ? json_string(next) : json_null());
}

void ghnd_h_jobs(struct ghnd_request *request) {
    struct ghnd_ledger *ledger = ghnd_find_ledger(request);
    int64_t limit = DEFAULT_LIMIT, before = 0;
    int state = -1, n = 0;
    if (!ledger || !check_fields(request) || !get_state(request, &state) ||
        !get_number(request, "limit", request->query.limit, 1, MAX_LIMIT, &limit) ||
        !get_number(request, "before", request->query.before, 1, INT64_MAX, &before))
        return;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row *rows = calloc((size_t)limit + 1, sizeof(*rows));
    if (!rows) {
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_NO_MEMORY, "", "not enough memory");
        return;
    }
    if (ghnd_ledger_succeeded(
            request, ghnd_ledger_list(ledger, state, before, (int)limit + 1, rows, &n, &err), &err))
        ghnd_reply_json(request,
                        list_json(request->app->jobs, rows, n > limit ? (int)limit : n, n > limit));
    free(rows);
}

/* --- One job --- */

static void reply_job(struct ghnd_request *request, const struct ghnd_job_row *row) {
    struct ghnd_jobs *jobs = request->app->jobs;
    json_t *history = ghnd_job_history(ghnd_jobs_dir(jobs), row->id, -1);
    json_t *point = ghnd_jobs_point(jobs, row->id);
    size_t n = json_array_size(history);
    if (!point && n > 0)
        point = json_incref(json_array_get(history, n - 1));
    json_t *job = ghnd_job_json(row, point);
    if (job && json_object_set(job, "history", history) != 0) {
        json_decref(job);
        job = NULL;
    }
    json_decref(point);
    json_decref(history);
    ghnd_reply_json(request, job);
}

void ghnd_h_job(struct ghnd_request *request) {
    struct ghnd_job_row row;
    if (ghnd_find_job(request, &row))
        reply_job(request, &row);
}

void ghnd_h_cancel(struct ghnd_request *request) {
    struct ghnd_jobs *jobs = request->app->jobs;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row row;
    bool moved = false;
    if (!ghnd_find_job(request, &row))
        return;
    struct ghnd_ledger *ledger = ghnd_find_ledger(request);
    if (!ghnd_ledger_succeeded(
            request, ghnd_ledger_move(ledger, row.id, GHND_JOB_CANCELLED, NULL, NULL, &moved, &err),
            &err))
        return;
    if (moved) {
        atomic_fetch_add(&request->app->metrics.jobs_ended[GHND_JOB_CANCELLED], 1);
        ghnd_jobs_wake(jobs);
        ghnd_jobs_publish(jobs, row.id);
        if (!ghnd_jobs_works_on(jobs, row.id))
            ghnd_job_folder_trim(ghnd_jobs_dir(jobs), row.id);
        if (!ghnd_find_job(request, &row))
            return;
    }
    reply_job(request, &row);
}

/* Of the reply's file, which has `size` bytes, what the client asks for. */
static void choose_part(struct ghnd_request *request, int64_t size) {
    struct ghnd_reply *reply = &request->reply;
    struct ghnd_condition condition = request->condition;
    int64_t n = size;
    if (request->method == GHND_HEAD)
        condition.range = NULL;
    reply->whole = size;
    switch (ghnd_part_wanted(&condition, reply->etag, size, &reply->first, &n)) {
    case GHND_PART_ALL:
        reply->status = MHD_HTTP_OK;
        break;
    case GHND_PART_SOME:
        reply->status = MHD_HTTP_PARTIAL_CONTENT;
        break;
    case GHND_PART_UNCHANGED: /* sent with the length that the file has, but without it */
        reply->status = MHD_HTTP_NOT_MODIFIED;
        break;
    case GHND_PART_ANOTHER:
        ghnd_problem_set(&request->problem, GHND_E_PRECONDITION_FAILED, "If-Match",
                         "the file is now %s", reply->etag);
        break;
    case GHND_PART_BEHIND:
        ghnd_problem_set(&request->problem, GHND_E_RANGE_NOT_SATISFIABLE, "Range",
                         "the file has %lld bytes", (long long)size);
        break;
    }
    reply->size = (size_t)n;
}

/* Why there is no file of parameters to be had. */
static void refuse_parameters(struct ghnd_request *request, const struct ghnd_job_row *row,
                              int error) {
    if (error == ENOENT)
        ghnd_problem_set(&request->problem, GHND_E_NO_PARAMETERS_YET, "",
                         "the job is %s and has saved no parameters",
                         ghnd_job_state_name(row->state));
    else if (error == EMFILE || error == ENFILE || error == ENOMEM)
        ghnd_problem_set(&request->problem, GHND_E_OVERLOADED, "",
                         "the parameters cannot be opened now: %s", strerror(error));
    else
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_IO, "state-dir",
                         "the parameters cannot be read: %s", strerror(error));
}

void ghnd_h_parameters(struct ghnd_request *request) {
    struct ghnd_job_row row;
    if (!ghnd_find_job(request, &row))
        return;
    struct ghnd_reply *reply = &request->reply;
    int64_t size = 0;
    reply->fd = ghnd_job_parameters(ghnd_jobs_dir(request->app->jobs), row.id, &size, reply->etag,
                                    sizeof(reply->etag));
    reply->has_file = reply->fd >= 0;
    if (!reply->has_file) {
        refuse_parameters(request, &row, errno);
        return;
    }
    reply->type = "application/octet-stream";
    (void)snprintf(reply->name, sizeof(reply->name), "%s.safetensors", row.id);
    choose_part(request, size);
}
