/* Status codes and error text: how every fallible call of libghn reports. */
#ifndef GHN_BASE_STATUS_H
#define GHN_BASE_STATUS_H

#include <stdarg.h>

enum ghn_status {
#define GHN_STATUS(name, id, code, meaning) GHN_##name = (id),
#include "base/status.def"
#undef GHN_STATUS
};

/* A fallible function returns a status that must be looked at, and leaves its ret_ outputs
 * untouched unless that status is GHN_OK. */
#define GHN_MUST_CHECK __attribute__((warn_unused_result))

enum { GHN_ERR_WHERE = 256, GHN_ERR_MESSAGE = 512 };

/* What went wrong, for a person. `where` names the field, node, tensor or file at fault (a JSON
 * path such as "arch.nodes[3].attrs.stride", or a node's name; empty if there is none to name);
 * `message` is one sentence that says what was found and what was expected. Both are valid UTF-8
 * and free of control characters, whatever the input held. The first error recorded wins: later
 * ones are consequences. */
struct ghn_err {
    enum ghn_status status;
    char where[GHN_ERR_WHERE];
    char message[GHN_ERR_MESSAGE];
};

/* An err in its starting state. */
#define GHN_ERR_INIT                                                                               \
    { GHN_OK, "", "" }

/* Records a failure in err (which may be NULL) unless one is recorded already. where may be NULL.
 */
void ghn_record(struct ghn_err *err, enum ghn_status status, const char *where, const char *format,
                ...) __attribute__((format(printf, 4, 5), cold));

/* The same, with status as its value, so that a caller can write
 * `return ghn_fail(err, GHN_IO, path, "...")`. A macro, so that compilers and analysers see that
 * what comes back is a failure; status is evaluated twice. */
#define ghn_fail(err, status, where, ...) (ghn_record(err, status, where, __VA_ARGS__), (status))

/* The usual message for a failed allocation; its value is GHN_NO_MEMORY. */
#define ghn_fail_memory(err) ghn_fail(err, GHN_NO_MEMORY, NULL, "not enough memory")

/* The stable code of a status ("wrong_type"), and what it means. Never NULL. */
const char *ghn_status_code(enum ghn_status status);
const char *ghn_status_meaning(enum ghn_status status);

#endif
