/* A job at a server: asking for it, following it to its end, fetching what it trained. */
#ifndef GHN_CLIENT_JOB_H
#define GHN_CLIENT_JOB_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"

/* The server that has the job. */
struct cli_link {
    const char *server; /* as cli_server gives it */
    const char *token_file;
};

/* Sends METHOD (NULL: GET) to /jobs/ID and gives the job that is answered, a new reference.
 * *ret_code as for cli_http_request. */
enum ghn_status cli_job_ask(const struct cli_link *link, const char *id, const char *method,
                            json_t **ret, long *ret_code, struct ghn_err *err) GHN_MUST_CHECK;

/* Whether the text can be the id of a job. */
bool cli_job_is_id(const char *text);

/* A text of the job ("state", "dataset"), fit for a terminal, in buf; "-" where there is none. */
enum { CLI_JOB_TEXT = 128 };
const char *cli_job_text(const json_t *job, const char *key, char buf[CLI_JOB_TEXT]);

/* Whether its state will stay. */
bool cli_job_is_final(const json_t *job);

/* Shows the progress of a job on standard error until it ends or Ctrl-C ends that, by the server's
 * events or, where there are none, by asking again and again. Then, on standard output, how it
 * ended. Returns an exit code: CLI_OK for a job that succeeded. */
int cli_job_follow(const struct cli_link *link, const char *id);

/* Fetches its parameters into a file, "-" for standard output, and says what they are. Returns an
 * exit code. */
int cli_job_save(const struct cli_link *link, const char *id, const char *path);

#endif
