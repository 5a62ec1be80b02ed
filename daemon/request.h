/* A request from its first line to the last byte of its answer. */
#ifndef GHND_REQUEST_H
#define GHND_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "accept.h"
#include "app.h"
#include "conns.h"
#include "events.h"
#include "metrics.h"
#include "part.h"
#include "problem.h"
#include "queue.h"
#include "route.h"
#include "snapshot.h"
#include "stream.h"

/* What a handler answers with. One of body, fixed, stream, fd and events holds it; none is an
 * empty answer. */
struct ghnd_reply {
    int status;
    const char *type;           /* static */
    char *body;                 /* from malloc, owned */
    const char *fixed;          /* static */
    size_t size;                /* of body or fixed */
    _Atomic int64_t *counter;   /* the body's bytes count there until it is sent; NULL: no */
    struct ghnd_stream *stream; /* owned; its size is the encoder's */
    bool has_file;              /* `size` bytes from `first` on of the file `fd`, owned */
    int fd;
    int64_t first, whole; /* `whole` is the size of all of it, where a part is asked for */
    struct ghnd_subscription *events; /* owned */
    char name[80];                    /* the file name for Content-Disposition; "" for none */
    char location[32], etag[48];      /* values of these fields, "" for none */
    bool replayed;                    /* Idempotent-Replayed: true */
};

/* What the target of GET /jobs asks for; texts are within MHD's memory and NULL where absent.
 * `unknown` is the first field that there is not; other routes pass over fields. */
struct ghnd_query {
    const char *state, *limit, *before, *unknown;
};

enum { GHND_MAX_KEY = 255 };

enum ghnd_stage {
    GHND_STAGE_NEW,     /* only the first line is known */
    GHND_STAGE_BODY,    /* the header is accepted, the body arrives */
    GHND_STAGE_WORKING, /* the connection is suspended, a worker has the request */
    GHND_STAGE_DONE,    /* reply or problem stands */
    GHND_STAGE_SENT,    /* the answer is queued */
};

/* Owned by the HTTP thread of its connection, and from the push into the queue until the resumption
 * by the worker. */
struct ghnd_request {
    struct ghnd_app *app;
    struct ghnd_snapshot *snapshot;
    struct MHD_Connection *connection;
    struct ghnd_conn *conn;
    struct ghnd_job job;

    enum ghnd_stage stage;
    enum ghnd_method method;
    enum ghnd_route route;
    char path_id[GHND_PATH_ID + 1]; /* what {id} of the route's path stands for */
    struct ghnd_query query;
    const char *key, *last_event;    /* header fields, within MHD's memory; NULL where absent */
    struct ghnd_condition condition; /* likewise */
    bool has_body;                   /* the header announces one */
    const char *bad_target;          /* why the request's target is refused, static; NULL: not */
    bool suspended; /* counted in app->suspended; only the HTTP thread looks at it */
    bool close;     /* the connection is to end after the answer */
    char id[65];

    char *body;                      /* NUL-free bytes as they came */
    uint64_t body_announced;         /* its length; 0: it comes in chunks */
    size_t body_size, body_capacity; /* the capacity is counted in app->body_bytes */
    bool body_dropped;               /* problem says why; what still comes is not kept */

    const struct ghnd_media *media; /* of the answer, for POST /predict */
    struct ghnd_problem problem;    /* stands instead of reply if its error is not 0 */
    struct ghnd_reply reply;

    int status;           /* what was sent, for the log; 0 if nothing was */
    uint64_t size;        /* of the body that was sent */
    int64_t taken_before; /* what the client had taken on this connection before it; -1: unknown */
    char model[GHND_MAX_ID + 1];
    int64_t started_us, pushed_us, replied_us;
    int64_t steps_us[GHND_N_STEPS]; /* 0 where there was no such step */
};

/* A request whose first line has arrived; NULL if there is no memory. */
struct ghnd_request *ghnd_request_new(struct ghnd_app *app, struct MHD_Connection *connection,
                                      struct ghnd_conn *conn, const char *target);

/* Frees the body, of which nothing is needed any more once a handler has run. */
void ghnd_request_free_body(struct ghnd_request *request);

/* Frees what a reply holds and makes it an empty one. */
void ghnd_reply_done(struct ghnd_reply *reply);

/* Frees a request that no worker has; NULL is allowed. */
void ghnd_request_free(struct ghnd_request *request);

/* Decides about a request whose header has arrived: sets method, route, media and problem. */
void ghnd_request_check(struct ghnd_request *request, const char *url, const char *method,
                        const char *version);

/* Adds n bytes to the body, up to the route's limit. */
void ghnd_request_append(struct ghnd_request *request, const char *data, size_t n);

/* Sets a JSON reply, of which it takes the reference; a problem if json is NULL. */
void ghnd_reply_json(struct ghnd_request *request, json_t *json);

/* Counts the reply's body, if it has one, among the bytes at *counter until it has been sent. */
void ghnd_reply_count(struct ghnd_reply *reply, _Atomic int64_t *counter);

/* Whether the library did what it was asked; false after setting the request's problem. */
bool ghnd_library_succeeded(struct ghnd_request *request, enum ghn_status status,
                            const struct ghn_err *err);

/* The model of that id, the default one for NULL. NULL if there is none, after setting the
 * request's problem, with `where` as the field at fault. (h_models.c) */
const struct ghnd_model *ghnd_find_model(struct ghnd_request *request, const char *id,
                                         const char *where);

/* Makes the reply (or the problem) a response and queues it: the only caller of
 * MHD_queue_response. */
enum MHD_Result ghnd_reply_send(struct ghnd_request *request);

/* Writes the log line and counts the request, at its end. */
void ghnd_request_account(struct ghnd_request *request,
                          enum MHD_RequestTerminationCode termination);

#endif
