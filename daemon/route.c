#include "route.h"

#include <string.h>

static const struct {
    enum ghnd_method method;
    const char *path;
    ghnd_handler *handler;
    enum ghnd_place place;
} rows[GHND_N_ROUTES] = {
#define GHND_ROUTE(symbol, method, path, handler, place, body_limit, time_limit)                   \
    [GHND_ROUTE_##symbol] = {GHND_##method, path, handler, GHND_##place},
#include "routes.def"
#undef GHND_ROUTE
};

static const char *const method_names[GHND_N_METHODS] = {"GET", "HEAD", "POST", "OPTIONS", "other"};

enum ghnd_method ghnd_method_parse(const char *name) {
    int i = 0;
    while (i < GHND_OTHER_METHOD && strcmp(name, method_names[i]) != 0)
        i++;
    return (enum ghnd_method)i;
}

const char *ghnd_method_name(enum ghnd_method method) {
    return method_names[method];
}

/* Whether path matches the pattern; *ret_id as in ghnd_route_find. */
static bool matches(const char *pattern, const char *path, const char **ret_id) {
    size_t n = strlen(pattern);
    *ret_id = NULL;
    if (pattern[n - 1] != '*')
        return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, n - 1) != 0 || path[n - 1] == '\0' || strchr(path + n - 1, '/'))
        return false;
    *ret_id = path + n - 1;
    return true;
}

enum ghnd_route ghnd_route_find(const char *path, const char **ret_id) {
    for (int i = 0; i < GHND_ROUTE_NONE; i++)
        if (matches(rows[i].path, path, ret_id))
            return (enum ghnd_route)i;
    *ret_id = NULL;
    return GHND_ROUTE_NONE;
}

const char *ghnd_route_label(enum ghnd_route route) {
    if (route == GHND_ROUTE_NONE)
        return "none";
    return route == GHND_ROUTE_MODEL ? "/models/{id}" : rows[route].path;
}

bool ghnd_route_allows(enum ghnd_route route, enum ghnd_method method) {
    return method == rows[route].method ||
           (method == GHND_HEAD && rows[route].method == GHND_GET) || method == GHND_OPTIONS;
}

const char *ghnd_route_allow(enum ghnd_route route) {
    if (route == GHND_ROUTE_NONE)
        return "GET, HEAD, POST, OPTIONS";
    return rows[route].method == GHND_GET ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
}

ghnd_handler *ghnd_route_handler(enum ghnd_route route) {
    return rows[route].handler;
}

enum ghnd_place ghnd_route_place(enum ghnd_route route) {
    return rows[route].place;
}

bool ghnd_route_is_public(enum ghnd_route route) {
    return route == GHND_ROUTE_HEALTHZ || route == GHND_ROUTE_READYZ;
}

int64_t ghnd_route_body_limit(enum ghnd_route route, const struct ghnd_config *config) {
    switch (route) {
#define GHND_ROUTE(symbol, method, path, handler, place, body_limit, time_limit)                   \
    case GHND_ROUTE_##symbol:                                                                      \
        return (body_limit);
#include "routes.def"
#undef GHND_ROUTE
    default:
        return 0;
    }
}

int64_t ghnd_route_time_limit(enum ghnd_route route, const struct ghnd_config *config) {
    switch (route) {
#define GHND_ROUTE(symbol, method, path, handler, place, body_limit, time_limit)                   \
    case GHND_ROUTE_##symbol:                                                                      \
        return (time_limit);
#include "routes.def"
#undef GHND_ROUTE
    default:
        return 0;
    }
}
