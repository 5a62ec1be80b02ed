/* JSON text from outside: reading it within budgets, and looking at it with errors that name the
 * field at fault. */
#ifndef GHN_BASE_JSON_H
#define GHN_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Budgets on a text, checked before the parser allocates anything. */
struct ghn_json_limits {
    int max_depth;      /* nested arrays and objects */
    int64_t max_tokens; /* keys and values, arrays and objects among them */
};

/* Depth 32, 1,000,000 tokens. */
extern const struct ghn_json_limits ghn_json_limits_default;

/* Parses the n bytes at text, which must hold one object or array, in UTF-8, without duplicate
 * keys. limits may be NULL for the default. GHN_JSON names line and column; GHN_TOO_LARGE if a
 * limit is exceeded. The caller gives the value back with json_decref. */
enum ghn_status ghn_json_load(const void *text, size_t n, const struct ghn_json_limits *limits,
                              json_t **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* --- Looking at values; `where` is the value's own path, as ghn_err has it --- */

/* The path of member `key` of the object at path `where`, into buf (GHN_ERR_WHERE bytes are enough:
 * a longer one would be cut in an error too); returns buf. "arch" + "name" is "arch.name"; the
 * empty path stands for the root. */
char *ghn_json_path(char *buf, size_t n, const char *where, const char *key);

/* The same for element i of an array: "nodes[3]". */
char *ghn_json_path_at(char *buf, size_t n, const char *where, size_t i);

/* What a value is, with its article, for messages: "an object", "null"; "nothing" for NULL. */
const char *ghn_json_kind(const json_t *value);

/* GHN_WRONG_TYPE unless value is of that type (for booleans ask for JSON_TRUE); GHN_MISSING_FIELD
 * if value is NULL. */
enum ghn_status ghn_json_expect(const json_t *value, const char *where, json_type type,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* An integer in [min, max] (WRONG_TYPE, OUT_OF_RANGE); reals are refused, even whole ones. */
enum ghn_status ghn_json_int(const json_t *value, const char *where, int64_t min, int64_t max,
                             int64_t *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* true or false. */
enum ghn_status ghn_json_bool(const json_t *value, const char *where, bool *ret,
                              struct ghn_err *err) GHN_MUST_CHECK;

/* Whether name is one of the texts in the NULL-terminated list; a NULL list is empty. */
bool ghn_json_one_of(const char *name, const char *const *list);

/* GHN_UNKNOWN_FIELD for the first key of object that is in neither NULL-terminated list (either may
 * be NULL). */
enum ghn_status ghn_json_only(const json_t *object, const char *where, const char *const *allowed,
                              const char *const *also, struct ghn_err *err) GHN_MUST_CHECK;

#endif
