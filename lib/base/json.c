#include "base/json.h"

#include <stdio.h>
#include <string.h>

const struct ghn_json_limits ghn_json_limits_default = {.max_depth = 32, .max_tokens = 1000000};

/* The end of the string whose opening quote is at text[i]: the index after its closing quote, or n.
 */
static size_t skip_string(const char *text, size_t n, size_t i) {
    for (i++; i < n && text[i] != '"'; i++)
        if (text[i] == '\\')
            i++;
    return i < n ? i + 1 : n;
}

/* The end of a number, true, false or null (or of rubbish, which the parser will report). */
static size_t skip_word(const char *text, size_t n, size_t i) {
    while (i < n && text[i] && !strchr(" \t\r\n{}[],:\"", text[i]))
        i++;
    return i;
}

/* Counts depth and tokens without building anything: jansson takes up to 79 bytes of heap for a
 * byte of text, and recurses. */
static enum ghn_status scan(const char *text, size_t n, const struct ghn_json_limits *limits,
                            struct ghn_err *err) {
    int64_t tokens = 0;
    int depth = 0;
    for (size_t i = 0; i < n;) {
        char c = text[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' || c == ':' || c == '\0') {
            i++;
            continue;
        }
        if (c == '}' || c == ']') {
            if (--depth < 0)
                return GHN_OK; /* which is no JSON: the parser will say where */
            i++;
            continue;
        }
        if (++tokens > limits->max_tokens)
            return ghn_fail(err, GHN_TOO_LARGE, NULL,
                            "the JSON text has more than %lld keys and values",
                            (long long)limits->max_tokens);
        if (c == '{' || c == '[') {
            if (++depth > limits->max_depth)
                return ghn_fail(err, GHN_TOO_LARGE, NULL,
                                "the JSON text nests more than %d levels deep", limits->max_depth);
            i++;
        } else {
            i = c == '"' ? skip_string(text, n, i) : skip_word(text, n, i);
        }
    }
    return GHN_OK;
}

enum ghn_status ghn_json_load(const void *text, size_t n, const struct ghn_json_limits *limits,
                              json_t **ret, struct ghn_err *err) {
    enum ghn_status status = scan(text, n, limits ? limits : &ghn_json_limits_default, err);
    if (status != GHN_OK)
        return status;
    json_error_t error;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        /* Where an allocation of its own fails, jansson sets no text. */
        if (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory)
            return ghn_fail_memory(err);
        return ghn_fail(err, GHN_JSON, NULL, "line %d, column %d: %s", error.line, error.column,
                        error.text);
    }
    *ret = root;
    return GHN_OK;
}

char *ghn_json_path(char *buf, size_t n, const char *where, const char *key) {
    (void)snprintf(buf, n, "%s%s%s", where, *where ? "." : "", key);
    return buf;
}

char *ghn_json_path_at(char *buf, size_t n, const char *where, size_t i) {
    (void)snprintf(buf, n, "%s[%zu]", where, i);
    return buf;
}

static const char *kind_name(json_type type) {
    switch (type) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction or exponent";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "nothing";
}

const char *ghn_json_kind(const json_t *value) {
    return value ? kind_name(json_typeof(value)) : "nothing";
}

enum ghn_status ghn_json_expect(const json_t *value, const char *where, json_type type,
                                struct ghn_err *err) {
    if (!value)
        return ghn_fail(err, GHN_MISSING_FIELD, where, "%s is required", kind_name(type));
    if (json_typeof(value) == type || (type == JSON_TRUE && json_is_false(value)))
        return GHN_OK;
    return ghn_fail(err, GHN_WRONG_TYPE, where, "expected %s, found %s", kind_name(type),
                    ghn_json_kind(value));
}

enum ghn_status ghn_json_int(const json_t *value, const char *where, int64_t min, int64_t max,
                             int64_t *ret, struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(value, where, JSON_INTEGER, err);
    if (status != GHN_OK)
        return status;
    int64_t i = json_integer_value(value);
    if (i < min || i > max)
        return ghn_fail(err, GHN_OUT_OF_RANGE, where, "%lld is not in [%lld, %lld]", (long long)i,
                        (long long)min, (long long)max);
    *ret = i;
    return GHN_OK;
}

enum ghn_status ghn_json_bool(const json_t *value, const char *where, bool *ret,
                              struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(value, where, JSON_TRUE, err);
    if (status == GHN_OK)
        *ret = json_is_true(value);
    return status;
}

bool ghn_json_one_of(const char *name, const char *const *list) {
    for (; list && *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

/* Appends the texts of list to buf, comma-separated; what does not fit is left out. */
static void append_names(char *buf, size_t n, const char *const *list) {
    for (; list && *list; list++) {
        size_t used = strlen(buf);
        if (used + strlen(*list) + 6 > n)
            return;
        (void)snprintf(buf + used, n - used, "%s\"%s\"", used ? ", " : "", *list);
    }
}

enum ghn_status ghn_json_only(const json_t *object, const char *where, const char *const *allowed,
                              const char *const *also, struct ghn_err *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        if (ghn_json_one_of(key, allowed) || ghn_json_one_of(key, also))
            continue;
        char path[GHN_ERR_WHERE], names[GHN_ERR_MESSAGE - 64] = "";
        append_names(names, sizeof(names), allowed);
        append_names(names, sizeof(names), also);
        return ghn_fail(err, GHN_UNKNOWN_FIELD, ghn_json_path(path, sizeof(path), where, key),
                        "there is no such field here; there are %s", names);
    }
    return GHN_OK;
}
