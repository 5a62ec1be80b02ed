/* Error answers: application/problem+json (RFC 9457) with a stable code. */
#ifndef GHND_PROBLEM_H
#define GHND_PROBLEM_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"

/* Every error, the library's and then the daemon's own, numbered without gaps: an index for tables.
 */
enum ghnd_error {
#define GHN_STATUS(name, id, code, meaning) GHND_E_LIBRARY_##name,
#include "base/status.def"
#undef GHN_STATUS
#define GHND_ERROR(symbol, http, code, meaning) GHND_E_##symbol,
#define GHND_LIBRARY(status, http)
#include "errors.def"
#undef GHND_ERROR
#undef GHND_LIBRARY
    GHND_N_ERRORS,
};

/* An error to answer with; error = 0 (the library's OK) is none. */
struct ghnd_problem {
    enum ghnd_error error;
    char where[GHN_ERR_WHERE];
    char detail[GHN_ERR_MESSAGE];
};

/* The code and HTTP status of an error. */
const char *ghnd_error_code(enum ghnd_error error);
int ghnd_error_http(enum ghnd_error error);

/* Sets problem, whatever it held. where may be NULL. Text from outside is made printable. */
void ghnd_problem_set(struct ghnd_problem *problem, enum ghnd_error error, const char *where,
                      const char *format, ...) __attribute__((format(printf, 4, 5), cold));

/* The same for an error that there is no more to say about than what errors.def does. */
void ghnd_problem_set_meaning(struct ghnd_problem *problem, enum ghnd_error error);

/* Sets problem to a failure of the library: its status, not GHN_OK, and what it said. */
void ghnd_problem_from_err(struct ghnd_problem *problem, enum ghn_status status,
                           const struct ghn_err *err);

/* Seconds to wait before trying again; 0 if that would not help. */
int ghnd_error_retry_after(enum ghnd_error error);

/* The document, a new reference; NULL if there is no memory. */
json_t *ghnd_problem_json(const struct ghnd_problem *problem, const char *request_id);

#endif
