#include "problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

struct row {
    int http;
    const char *code;
    const char *meaning;
};

/* A status of the library that errors.def forgets has no LIBRARY_HTTP_ constant here, and the file
 * does not compile. */
enum {
    LIBRARY_HTTP_OK = 200,
#define GHND_ERROR(symbol, http, code, meaning)
#define GHND_LIBRARY(status, http) LIBRARY_HTTP_##status = (http),
#include "errors.def"
#undef GHND_ERROR
#undef GHND_LIBRARY
};

static const struct row rows[GHND_N_ERRORS] = {
#define GHN_STATUS(name, id, code, meaning)                                                        \
    [GHND_E_LIBRARY_##name] = {LIBRARY_HTTP_##name, code, meaning},
#include "base/status.def"
#undef GHN_STATUS
#define GHND_ERROR(symbol, http, code, meaning) [GHND_E_##symbol] = {http, code, meaning},
#define GHND_LIBRARY(status, http)
#include "errors.def"
#undef GHND_ERROR
#undef GHND_LIBRARY
};

const char *ghnd_error_code(enum ghnd_error error) {
    return rows[error].code;
}

int ghnd_error_http(enum ghnd_error error) {
    return rows[error].http;
}

int ghnd_error_retry_after(enum ghnd_error error) {
    return rows[error].http == 503 ? 1 : rows[error].http == 429 ? 10 : 0;
}

void ghnd_problem_set(struct ghnd_problem *problem, enum ghnd_error error, const char *where,
                      const char *format, ...) {
    problem->error = error;
    (void)snprintf(problem->where, sizeof(problem->where), "%s", where ? where : "");
    va_list args;
    va_start(args, format);
    (void)vsnprintf(problem->detail, sizeof(problem->detail), format, args);
    va_end(args);
    ghn_utf8_sanitise(problem->where);
    ghn_utf8_sanitise(problem->detail);
}

void ghnd_problem_set_meaning(struct ghnd_problem *problem, enum ghnd_error error) {
    ghnd_problem_set(problem, error, NULL, "%s", rows[error].meaning);
}

static enum ghnd_error error_of(enum ghn_status status) {
    switch (status) {
#define GHN_STATUS(name, id, code, meaning)                                                        \
    case GHN_##name:                                                                               \
        return GHND_E_LIBRARY_##name;
#include "base/status.def"
#undef GHN_STATUS
    }
    return GHND_E_LIBRARY_INTERNAL;
}

void ghnd_problem_from_err(struct ghnd_problem *problem, enum ghn_status status,
                           const struct ghn_err *err) {
    ghnd_problem_set(problem, error_of(status), err->where, "%s", err->message);
}

json_t *ghnd_problem_json(const struct ghnd_problem *problem, const char *request_id) {
    const struct row *row = &rows[problem->error];
    char type[80];
    (void)snprintf(type, sizeof(type), "urn:ghnd:error:%s", row->code);
    return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s}", "type", type, "title", row->meaning,
                     "status", row->http, "detail", problem->detail, "code", row->code, "where",
                     problem->where, "request_id", request_id);
}
