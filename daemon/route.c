#include "route.h"

#include <stdio.h>
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

static const char *const method_names[GHND_N_METHODS] = {"GET",    "HEAD",    "POST",
                                                         "DELETE", "OPTIONS", "other"};

enum ghnd_method ghnd_method_parse(const char *name) {
    int i = 0;
    while (i < GHND_OTHER_METHOD && strcmp(name, method_names[i]) != 0)
        i++;
    return (enum ghnd_method)i;
}

const char *ghnd_method_name(enum ghnd_method method) {
    return method_names[method];
}

/* Whether path matches the pattern; ret_id as in ghnd_route_find. */
static bool matches(const char *pattern, const char *path, char *ret_id) {
    static const char star[] = "{id}";
    const char *at = strstr(pattern, star);
    ret_id[0] = '\0';
    if (!at)
        return strcmp(pattern, path) == 0;
    size_t before = (size_t)(at - pattern);
    if (strncmp(pattern, path, before) != 0)
        return false;
    size_t n = strcspn(path + before, "/");
    if (n == 0 || strcmp(path + before + n, at + strlen(star)) != 0)
        return false;
    (void)snprintf(ret_id, GHND_PATH_ID + 1, "%.*s", (int)n, path + before);
    return true;
}

enum ghnd_route ghnd_route_find(const char *path, enum ghnd_method method,
                                char ret_id[GHND_PATH_ID + 1]) {
    enum ghnd_route found = GHND_ROUTE_NONE;
    char id[GHND_PATH_ID + 1];
    ret_id[0] = '\0';
    for (int i = 0; i < GHND_ROUTE_NONE; i++) {
        if (!matches(rows[i].path, path, id))
            continue;
        memcpy(ret_id, id, sizeof(id));
        found = (enum ghnd_route)i;
        if (ghnd_route_allows(found, method))
            break;
    }
    return found;
}

const char *ghnd_route_label(enum ghnd_route route) {
    return route == GHND_ROUTE_NONE ? "none" : rows[route].path;
}

bool ghnd_route_allows(enum ghnd_route route, enum ghnd_method method) {
    return method == rows[route].method ||
           (method == GHND_HEAD && rows[route].method == GHND_GET) || method == GHND_OPTIONS;
}

const char *ghnd_route_allow(enum ghnd_route route) {
    static const char *const texts[] = {"OPTIONS",
                                        "GET, HEAD, OPTIONS",
                                        "POST, OPTIONS",
                                        "GET, HEAD, POST, OPTIONS",
                                        "DELETE, OPTIONS",
                                        "GET, HEAD, DELETE, OPTIONS",
                                        "POST, DELETE, OPTIONS",
                                        "GET, HEAD, POST, DELETE, OPTIONS"};
    unsigned methods = 0;
    for (int i = 0; i < GHND_ROUTE_NONE; i++)
        if (route == GHND_ROUTE_NONE || strcmp(rows[i].path, rows[route].path) == 0)
            methods |= rows[i].method == GHND_GET ? 1 : rows[i].method == GHND_POST ? 2 : 4;
    return texts[methods];
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
