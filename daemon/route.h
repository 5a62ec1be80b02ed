/* Routes: which handler a method and path lead to. */
#ifndef GHND_ROUTE_H
#define GHND_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

struct ghnd_request;

enum ghnd_route {
#define GHND_ROUTE(symbol, method, path, handler, place, body_limit, time_limit)                   \
    GHND_ROUTE_##symbol,
#include "routes.def"
#undef GHND_ROUTE
    GHND_ROUTE_NONE, /* no such path; also the label of everything unmatched in metrics */
    GHND_N_ROUTES,
};

enum ghnd_method {
    GHND_GET,
    GHND_HEAD,
    GHND_POST,
    GHND_DELETE,
    GHND_OPTIONS,
    GHND_OTHER_METHOD,
    GHND_N_METHODS,
};

enum ghnd_place { GHND_INLINE, GHND_ON_WORKER, GHND_ON_LEDGER };

/* Computes a request's reply or problem. Never touches the connection. */
typedef void ghnd_handler(struct ghnd_request *request);

#define GHND_ROUTE(symbol, method, path, handler, place, body_limit, time_limit)                   \
    ghnd_handler handler;
#include "routes.def"
#undef GHND_ROUTE

enum ghnd_method ghnd_method_parse(const char *name);
const char *ghnd_method_name(enum ghnd_method method);

enum { GHND_PATH_ID = 128 };

/* The route of a decoded path that takes the method, or, if none does, one of that path. ret_id is
 * the segment that {id} stands for, cut to GHND_PATH_ID bytes (no id is that long); empty without
 * one. */
enum ghnd_route ghnd_route_find(const char *path, enum ghnd_method method,
                                char ret_id[GHND_PATH_ID + 1]);

/* The path of a route as metrics and logs have it: "/models/{id}". */
const char *ghnd_route_label(enum ghnd_route route);

/* Whether the route takes the method, and the value of Allow: what all routes of its path take. */
bool ghnd_route_allows(enum ghnd_route route, enum ghnd_method method);
const char *ghnd_route_allow(enum ghnd_route route);

ghnd_handler *ghnd_route_handler(enum ghnd_route route);
enum ghnd_place ghnd_route_place(enum ghnd_route route);

/* Whether it answers about the daemon's health, to everybody. */
bool ghnd_route_is_public(enum ghnd_route route);

/* Most bytes of the body, 0 if it takes none; most milliseconds in the queue. */
int64_t ghnd_route_body_limit(enum ghnd_route route, const struct ghnd_config *config);
int64_t ghnd_route_time_limit(enum ghnd_route route, const struct ghnd_config *config);

#endif
