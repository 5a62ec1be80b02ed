#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "request.h"

/* Bytes that a stream hands over at a time. */
enum { BLOCK = 262144, EVENTS_BLOCK = 4096 };

bool ghnd_library_succeeded(struct ghnd_request *request, enum ghn_status status,
                            const struct ghn_err *err) {
    if (status != GHN_OK)
        ghnd_problem_from_err(&request->problem, status, err);
    return status == GHN_OK;
}

void ghnd_reply_json(struct ghnd_request *request, json_t *json) {
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) {
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_NO_MEMORY, "", "not enough memory");
        return;
    }
    request->reply.status = 200;
    request->reply.type = "application/json";
    request->reply.body = text;
    request->reply.size = strlen(text);
}

void ghnd_reply_count(struct ghnd_reply *reply, _Atomic int64_t *counter) {
    if (!reply->body)
        return;
    reply->counter = counter;
    atomic_fetch_add(counter, (int64_t)reply->size);
}

/* A counted body in the library's hands. */
struct counted {
    char *body;
    int64_t size;
    _Atomic int64_t *counter;
};

static void free_counted(void *context) {
    struct counted *counted = context;
    atomic_fetch_sub(counted->counter, counted->size);
    free(counted->body);
    free(counted);
}

void ghnd_reply_done(struct ghnd_reply *reply) {
    if (reply->counter)
        atomic_fetch_sub(reply->counter, (int64_t)reply->size);
    ghnd_stream_free(reply->stream);
    ghnd_events_unsubscribe(reply->events);
    if (reply->has_file)
        close(reply->fd);
    free(reply->body);
    *reply = (struct ghnd_reply){0};
}

/* Puts the problem's document in the reply's place. */
static void reply_problem(struct ghnd_request *request) {
    struct ghnd_reply *reply = &request->reply;
    int64_t whole = reply->whole;
    ghnd_reply_done(reply);
    *reply = (struct ghnd_reply){.whole = whole,
                                 .status = ghnd_error_http(request->problem.error),
                                 .type = "application/problem+json"};
    json_t *json = ghnd_problem_json(&request->problem, request->id);
    reply->body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    reply->size = reply->body ? strlen(reply->body) : 0;
    json_decref(json);
}

/* The response of a body that is counted until it has been sent; that of the reply stays the
 * caller's if there is none. */
static struct MHD_Response *counted_response(const struct ghnd_reply *reply) {
    struct counted *counted = malloc(sizeof(*counted));
    if (!counted)
        return NULL;
    *counted = (struct counted){reply->body, (int64_t)reply->size, reply->counter};
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        reply->size, reply->body, free_counted, counted);
    if (!response)
        free(counted);
    return response;
}

/* The response of a reply, whose body or stream it takes over; NULL if there is no memory. */
static struct MHD_Response *make_response(struct ghnd_request *request) {
    struct ghnd_reply *reply = &request->reply;
    struct MHD_Response *response;
    if (reply->stream) {
        request->size = ghn_encoder_size(reply->stream->encoder);
        response = MHD_create_response_from_callback(request->size, BLOCK, ghnd_stream_read,
                                                     reply->stream, ghnd_stream_free);
        if (response)
            reply->stream = NULL;
        return response;
    }
    if (reply->events) {
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENTS_BLOCK, ghnd_events_read,
                                              reply->events, ghnd_events_unsubscribe);
        if (response)
            reply->events = NULL;
        return response;
    }
    bool bare = request->method == GHND_HEAD || reply->status == MHD_HTTP_NOT_MODIFIED;
    request->size = bare ? 0 : reply->size;
    if (reply->has_file) {
        response =
            MHD_create_response_from_fd_at_offset64(reply->size, reply->fd, (uint64_t)reply->first);
        reply->has_file = !response; /* else the descriptor is the library's */
        return response;
    }
    if (!reply->body)
        return MHD_create_response_from_buffer(reply->size, (void *)(uintptr_t)reply->fixed,
                                               MHD_RESPMEM_PERSISTENT);
    response = reply->counter ? counted_response(reply)
                              : MHD_create_response_from_buffer(reply->size, reply->body,
                                                                MHD_RESPMEM_MUST_FREE);
    if (response) {
        reply->body = NULL;
        reply->counter = NULL;
    }
    return response;
}

static void add(struct MHD_Response *response, const char *name, const char *value) {
    (void)MHD_add_response_header(response, name, value);
}

/* Server-Timing: what each step took, in milliseconds. */
static void add_timing(struct MHD_Response *response, const struct ghnd_request *request) {
    char text[256] = "";
    size_t n = 0;
    for (int step = 0; step < GHND_STEP_WRITE; step++)
        if (request->steps_us[step])
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s;dur=%.3f", n ? ", " : "",
                                  ghnd_step_names[step], (double)request->steps_us[step] / 1000);
    if (n)
        add(response, "Server-Timing", text);
}

static void add_headers(struct MHD_Response *response, const struct ghnd_request *request) {
    const struct ghnd_reply *reply = &request->reply;
    char text[160];
    enum ghnd_error error = request->problem.error;
    if (reply->type)
        add(response, "Content-Type", reply->type);
    add(response, "X-Request-Id", request->id);
    add(response, "Cache-Control", "no-store");
    add(response, "X-Content-Type-Options", "nosniff");
    if (request->route == GHND_ROUTE_PREDICT)
        add(response, "Vary", "Accept");
    if (reply->name[0]) {
        (void)snprintf(text, sizeof(text), "attachment; filename=\"%s\"", reply->name);
        add(response, "Content-Disposition", text);
    }
    if (reply->location[0])
        add(response, "Location", reply->location);
    if (reply->etag[0])
        add(response, "ETag", reply->etag);
    if (reply->whole > 0)
        add(response, "Accept-Ranges", "bytes");
    if (reply->status == MHD_HTTP_PARTIAL_CONTENT) {
        (void)snprintf(text, sizeof(text), "bytes %lld-%lld/%lld", (long long)reply->first,
                       (long long)(reply->first + (int64_t)reply->size - 1),
                       (long long)reply->whole);
        add(response, "Content-Range", text);
    }
    if (error == GHND_E_RANGE_NOT_SATISFIABLE) {
        (void)snprintf(text, sizeof(text), "bytes */%lld", (long long)reply->whole);
        add(response, "Content-Range", text);
    }
    if (reply->replayed)
        add(response, "Idempotent-Replayed", "true");
    if (request->route == GHND_ROUTE_EVENTS)
        add(response, "X-Accel-Buffering", "no");
    if (error && ghnd_error_retry_after(error)) {
        (void)snprintf(text, sizeof(text), "%d", ghnd_error_retry_after(error));
        add(response, "Retry-After", text);
    }
    if (error == GHND_E_METHOD_NOT_ALLOWED || request->method == GHND_OPTIONS)
        add(response, "Allow", ghnd_route_allow(request->route));
    if (error == GHND_E_UNAUTHORIZED)
        add(response, "WWW-Authenticate", "Bearer");
    if (request->close || ghnd_app_life(request->app) >= GHND_DRAINING)
        add(response, "Connection", "close");
    add_timing(response, request);
}

/* Gives the client a deadline to take the answer by, unless it may take any time. A stream moves it
 * on as it is read; what lies in memory or in a file has to be taken as a whole. */
static void start_sending(struct ghnd_request *request, bool stream) {
    const struct ghnd_config *config = &request->snapshot->config;
    int64_t ms = config->send_window;
    if (!stream && config->min_send_rate > 0)
        ms += (int64_t)(request->size * 1000 / (uint64_t)config->min_send_rate);
    request->conn->mark = 0;
    request->taken_before = ghnd_conn_taken(request->conn);
    ghnd_conn_enter(request->conn, GHND_PHASE_SEND,
                    config->min_send_rate > 0 ? ghnd_now_ms() + ms : 0);
}

enum MHD_Result ghnd_reply_send(struct ghnd_request *request) {
    if (request->problem.error)
        reply_problem(request);
    bool stream = request->reply.stream != NULL || request->reply.events != NULL;
    if (request->reply.stream)
        request->reply.stream->conn = request->conn;
    struct MHD_Response *response = make_response(request);
    if (!response)
        return MHD_NO; /* without memory even for that, the connection is closed */
    add_headers(response, request);
    request->stage = GHND_STAGE_SENT;
    request->status = request->reply.status;
    request->replied_us = ghnd_now_us();
    start_sending(request, stream);
    enum MHD_Result result =
        MHD_queue_response(request->connection, (unsigned)request->reply.status, response);
    MHD_destroy_response(response);
    return result;
}
