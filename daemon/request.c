#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/rng.h"
#include "clock.h"
#include "guard.h"

struct ghnd_request *ghnd_request_new(struct ghnd_app *app, struct MHD_Connection *connection,
                                      struct ghnd_conn *conn, const char *target) {
    struct ghnd_request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    request->app = app;
    request->snapshot = ghnd_app_snapshot(app);
    request->connection = connection;
    request->conn = conn;
    request->started_us = ghnd_now_us();
    request->route = GHND_ROUTE_NONE;
    request->method = GHND_OTHER_METHOD;
    request->bad_target = ghnd_guard_target(target);
    uint64_t number = atomic_fetch_add(&app->id_count, 1);
    (void)snprintf(request->id, sizeof(request->id), "%016llx",
                   (unsigned long long)ghn_rng_bits(app->id_seed, 0, number));
    atomic_fetch_add(&app->active, 1);
    return request;
}

void ghnd_request_free_body(struct ghnd_request *request) {
    free(request->body);
    atomic_fetch_sub(&request->app->body_bytes, (int64_t)request->body_capacity);
    request->body = NULL;
    request->body_size = request->body_capacity = 0;
}

void ghnd_request_free(struct ghnd_request *request) {
    if (!request)
        return;
    atomic_fetch_sub(&request->app->active, 1);
    ghnd_reply_done(&request->reply);
    ghnd_request_free_body(request);
    ghnd_snapshot_unref(request->snapshot);
    free(request);
}

/* Takes over the client's own id for the request if it is harmless. */
static void adopt_id(struct ghnd_request *request, const char *id) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "_.-";
    size_t n = id ? strlen(id) : 0;
    if (n > 0 && n < sizeof(request->id) && strspn(id, allowed) == n)
        memcpy(request->id, id, n + 1);
}

/* Whether a Content-Type stands for JSON in UTF-8. */
static bool is_json(const char *type) {
    static const char json[] = "application/json";
    if (strncasecmp(type, json, strlen(json)) != 0)
        return false;
    const char *rest = type + strlen(json);
    rest += strspn(rest, " \t");
    return *rest == '\0' || *rest == ';';
}

/* MHD_KeyValueIterator: notes a field of the target's query. */
static enum MHD_Result note_query(void *context, enum MHD_ValueKind kind, const char *key,
                                  const char *value) {
    (void)kind;
    struct ghnd_query *query = context;
    const char *text = value ? value : "";
    if (strcmp(key, "state") == 0)
        query->state = text;
    else if (strcmp(key, "limit") == 0)
        query->limit = text;
    else if (strcmp(key, "before") == 0)
        query->before = text;
    else if (!query->unknown)
        query->unknown = key;
    return MHD_YES;
}

static bool check_key(struct ghnd_request *request, const struct ghnd_header *header) {
    size_t n = header->key ? strlen(header->key) : 1;
    if (header->n_key <= 1 && n >= 1 && n <= GHND_MAX_KEY) {
        request->key = header->key;
        return true;
    }
    ghnd_problem_set(&request->problem, GHND_E_BAD_REQUEST, "Idempotency-Key",
                     "the field may stand only once, with 1 to %d characters", GHND_MAX_KEY);
    return false;
}

static bool check_route(struct ghnd_request *request, const struct ghnd_header *header) {
    const char *token = request->snapshot->token;
    if (token && !ghnd_route_is_public(request->route) &&
        (header->n_authorization != 1 || !ghnd_guard_token(header->authorization, token))) {
        ghnd_problem_set(&request->problem, GHND_E_UNAUTHORIZED, "Authorization",
                         "expected the server's bearer token");
        return false;
    }
    if (request->method == GHND_OPTIONS)
        return true;
    if (request->route == GHND_ROUTE_NONE) {
        ghnd_problem_set(
            &request->problem, GHND_E_NOT_FOUND, "",
            "there is nothing at this path; GET /openapi.json describes what there is");
        return false;
    }
    if (!ghnd_route_allows(request->route, request->method)) {
        ghnd_problem_set(&request->problem, GHND_E_METHOD_NOT_ALLOWED, "", "%s takes %s",
                         ghnd_route_label(request->route), ghnd_route_allow(request->route));
        return false;
    }
    return true;
}

/* What the bodies of all requests may take: one that is alone is bounded by its own limit only. */
static int64_t bodies_limit(const struct ghnd_request *request) {
    const struct ghnd_config *config = &request->snapshot->config;
    int64_t own = ghnd_route_body_limit(request->route, config);
    return config->max_bodies_bytes > own ? config->max_bodies_bytes : own;
}

/* Whether so many more bytes are to be had beside those taken. */
static bool fits(const struct ghnd_request *request, int64_t more, int64_t taken) {
    return more == 0 || more <= bodies_limit(request) - taken;
}

/* Counts so many more bytes, if they are to be had. */
static bool take_bytes(struct ghnd_request *request, int64_t more) {
    _Atomic int64_t *bytes = &request->app->body_bytes;
    int64_t taken = atomic_load(bytes);
    do {
        if (!fits(request, more, taken))
            return false;
    } while (!atomic_compare_exchange_weak(bytes, &taken, taken + more));
    return true;
}

static void refuse_bodies(struct ghnd_request *request) {
    ghnd_problem_set(&request->problem, GHND_E_OVERLOADED, "",
                     "the bodies of requests take %lld bytes of the %lld set aside for them",
                     (long long)atomic_load(&request->app->body_bytes),
                     (long long)bodies_limit(request));
}

static bool check_body(struct ghnd_request *request, const struct ghnd_header *header,
                       uint64_t length) {
    int64_t limit = ghnd_route_body_limit(request->route, &request->snapshot->config);
    bool body = length > 0 || header->transfer;
    if (request->method != GHND_POST)
        limit = 0;
    if (body && limit == 0) {
        ghnd_problem_set(&request->problem, GHND_E_BAD_REQUEST, "", "no body is expected here");
        return false;
    }
    if (length > (uint64_t)limit) {
        ghnd_problem_set(&request->problem, GHND_E_BODY_TOO_LARGE, "Content-Length",
                         "the body has %llu bytes; the limit is %lld", (unsigned long long)length,
                         (long long)limit);
        return false;
    }
    if (!fits(request, (int64_t)length, atomic_load(&request->app->body_bytes))) {
        refuse_bodies(request); /* before it is sent in vain */
        return false;
    }
    if (limit > 0 && header->type && (header->n_type > 1 || !is_json(header->type))) {
        ghnd_problem_set(&request->problem, GHND_E_UNSUPPORTED_MEDIA_TYPE, "Content-Type",
                         "expected application/json, found \"%s\"", header->type);
        return false;
    }
    if (header->encoding && strcasecmp(header->encoding, "identity") != 0) {
        ghnd_problem_set(&request->problem, GHND_E_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding",
                         "no content coding is understood, found \"%s\"", header->encoding);
        return false;
    }
    return true;
}

static void check_accept(struct ghnd_request *request, const struct ghnd_header *header) {
    if (request->route != GHND_ROUTE_PREDICT || request->method != GHND_POST)
        return;
    request->media = ghnd_accept(header->accept);
    if (!request->media)
        ghnd_problem_set(&request->problem, GHND_E_NOT_ACCEPTABLE, "Accept",
                         "\"%s\" allows none of %s", header->accept, ghnd_accept_offers());
}

void ghnd_request_check(struct ghnd_request *request, const char *url, const char *method,
                        const char *version) {
    struct ghnd_header header;
    uint64_t length = 0;
    ghnd_header_read(request->connection, &header);
    request->method = ghnd_method_parse(method);
    if (!ghnd_guard_framing(&header, version, &length, &request->problem)) {
        request->close = true;
        return;
    }
    request->has_body = length > 0 || header.transfer;
    request->body_announced = length;
    adopt_id(request, header.request_id);
    if (request->bad_target) {
        ghnd_problem_set(&request->problem, GHND_E_BAD_REQUEST, "", "%s", request->bad_target);
        request->close = true;
        return;
    }
    const char *authority = header.host ? header.host : "";
    size_t n_authority = strlen(authority);
    const char *path = ghnd_guard_path(url, &authority, &n_authority);
    request->route = ghnd_route_find(path, request->method, request->path_id);
    request->last_event = header.last_event;
    request->condition = header.condition;
    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, note_query,
                                    &request->query);
    if (ghnd_app_life(request->app) >= GHND_STOPPING)
        ghnd_problem_set_meaning(&request->problem, GHND_E_SHUTTING_DOWN);
    else if (ghnd_guard_origin(&header, authority, n_authority, &request->problem) &&
             check_route(request, &header) && check_key(request, &header) &&
             check_body(request, &header, length))
        check_accept(request, &header);
}

/* Makes room for n more bytes of at most `limit` in all; GHND_E_OVERLOADED or
 * GHND_E_LIBRARY_NO_MEMORY if there is none. Grown as bytes arrive, whatever length was announced.
 */
static enum ghnd_error grow_body(struct ghnd_request *request, size_t n, size_t limit) {
    size_t needed = request->body_size + n;
    if (needed <= request->body_capacity)
        return 0;
    size_t most = request->body_announced ? (size_t)request->body_announced : limit;
    size_t capacity = needed < most / 2 ? 2 * needed : most;
    int64_t more = (int64_t)(capacity - request->body_capacity);
    if (!take_bytes(request, more))
        return GHND_E_OVERLOADED;
    char *body = realloc(request->body, capacity);
    if (!body) {
        atomic_fetch_sub(&request->app->body_bytes, more);
        return GHND_E_LIBRARY_NO_MEMORY;
    }
    request->body = body;
    request->body_capacity = capacity;
    return 0;
}

static void drop_body(struct ghnd_request *request, enum ghnd_error error, size_t limit) {
    request->body_dropped = true;
    ghnd_request_free_body(request);
    if (error == GHND_E_BODY_TOO_LARGE)
        ghnd_problem_set(&request->problem, error, "",
                         "the body is larger than the limit of %zu bytes", limit);
    else if (error == GHND_E_OVERLOADED)
        refuse_bodies(request);
    else
        ghnd_problem_set(&request->problem, error, "", "not enough memory");
}

void ghnd_request_append(struct ghnd_request *request, const char *data, size_t n) {
    size_t limit = (size_t)ghnd_route_body_limit(request->route, &request->snapshot->config);
    if (request->body_dropped)
        return;
    enum ghnd_error error =
        n > limit - request->body_size ? GHND_E_BODY_TOO_LARGE : grow_body(request, n, limit);
    if (error) {
        drop_body(request, error, limit);
        return;
    }
    memcpy(request->body + request->body_size, data, n);
    request->body_size += n;
}

/* --- The end --- */

/* The status that was sent, also where MHD itself refused the request. */
static int final_status(const struct ghnd_request *request) {
    if (request->status)
        return request->status;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_HTTP_STATUS);
    return info ? (int)info->http_status : 0;
}

/* The error code that a request ended with; NULL if it ended well. */
static const char *final_code(struct ghnd_request *request, int status,
                              enum MHD_RequestTerminationCode termination) {
    bool unanswered = !request->problem.error && request->status == 0,
         completed = termination == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (atomic_load(&request->conn->expired))
        ghnd_problem_set(&request->problem, GHND_E_TIMEOUT, "", "a deadline was missed");
    else if (unanswered && status >= 400)
        ghnd_problem_set(&request->problem, GHND_E_BAD_REQUEST, "",
                         "libmicrohttpd refused it with status %d", status);
    else if (unanswered && completed)
        ghnd_problem_set(&request->problem, GHND_E_BAD_REQUEST, "", "not HTTP");
    else if (!request->problem.error && !completed &&
             termination != MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN)
        ghnd_problem_set(&request->problem, GHND_E_CLIENT_CLOSED, "", "the client went away");
    enum ghnd_error error = request->problem.error;
    if (!error)
        return NULL;
    ghnd_metrics_reject(&request->app->metrics, error);
    return ghnd_error_code(error);
}

/* Of an answer that was broken off, what the client has taken; the few hundred bytes of its header
 * count too. */
static void count_taken(struct ghnd_request *request) {
    int64_t taken = ghnd_conn_taken(request->conn) - request->taken_before;
    if (request->status && request->taken_before >= 0 && taken >= 0 &&
        (uint64_t)taken < request->size)
        request->size = (uint64_t)taken;
}

static void log_request(const struct ghnd_request *request, int status, const char *code,
                        int64_t duration_us) {
    struct ghnd_line line;
    bool ours =
        status >= 500 && request->problem.error && ghnd_error_http(request->problem.error) == 500;
    ghnd_line_begin(&line, &request->app->log, ours ? GHND_ERROR_LEVEL : GHND_INFO, "request");
    ghnd_line_text(&line, "request_id", request->id);
    ghnd_line_text(&line, "method", ghnd_method_name(request->method));
    ghnd_line_text(&line, "route", ghnd_route_label(request->route));
    ghnd_line_number(&line, "status", status);
    ghnd_line_number(&line, "bytes", (int64_t)request->size);
    ghnd_line_ms(&line, "duration_ms", (double)duration_us / 1000);
    ghnd_line_text(&line, "model", request->model);
    if (code) {
        ghnd_line_text(&line, "code", code);
        ghnd_line_text(&line, "where", request->problem.where);
        ghnd_line_text(&line, "detail", request->problem.detail);
    }
    ghnd_line_end(&line);
}

void ghnd_request_account(struct ghnd_request *request,
                          enum MHD_RequestTerminationCode termination) {
    struct ghnd_metrics *metrics = &request->app->metrics;
    int64_t now = ghnd_now_us(), duration = now - request->started_us;
    int status = final_status(request);
    const char *code = final_code(request, status, termination);
    if (termination != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        count_taken(request);
    if (request->replied_us && request->steps_us[GHND_STEP_PREDICT])
        request->steps_us[GHND_STEP_WRITE] = now - request->replied_us;
    for (int step = 0; step < GHND_N_STEPS; step++)
        if (request->route == GHND_ROUTE_PREDICT && request->steps_us[step])
            ghnd_histogram_add(&metrics->steps[step], request->steps_us[step]);
    ghnd_metrics_request(metrics, request->route, request->method, status, duration, request->size);
    log_request(request, status, code, duration);
}
