/* Threads: libmicrohttpd calls everything here on the HTTP thread that a connection belongs to,
 * except end_job, which a worker calls (or the main thread, for jobs that never ran).
 *
 * A request waits for its worker with its connection suspended. Suspension comes before the push,
 * so that a fast worker cannot resume too early; the response is queued by the HTTP thread when it
 * finds the request done. */
#include "server.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "request.h"

struct ghnd_server {
    struct MHD_Daemon *mhd;
    int listen_fd;
    bool passed; /* the service manager's socket */
    bool quiet;
};

/* --- Connections --- */

static void set_send_timeout(int fd, int64_t ms) {
    unsigned value = (unsigned)ms;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof(value));
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
    struct ghnd_app *app = context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context)
            ghnd_conns_remove(&app->conns, *socket_context);
        *socket_context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ghnd_snapshot *snapshot = ghnd_app_snapshot(app);
    const struct ghnd_config *config = &snapshot->config;
    if (config->min_send_rate > 0)
        set_send_timeout(info->connect_fd, config->send_window);
    *socket_context =
        ghnd_conns_add(&app->conns, info->connect_fd, ghnd_now_ms() + config->header_timeout);
    ghnd_snapshot_unref(snapshot);
}

/* --- A request's first line and its end --- */

/* Empties the query of a target that will be refused. The text is the library's, which has not
 * taken it apart yet: with a great many fields it would run out of memory, and then not even have
 * enough for its own refusal, so that the client would wait in vain. */
static void cut_query(const char *target) {
    char *query = strchr((char *)(uintptr_t)target, '?');
    if (query && query[1])
        query[1] = '\0';
}

static void *on_first_line(void *context, const char *target, struct MHD_Connection *connection) {
    struct ghnd_app *app = context;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct ghnd_conn *conn = info->socket_context;
    if (!conn)
        return NULL; /* there was no memory for it; on_request closes the connection */
    struct ghnd_request *request = ghnd_request_new(app, connection, conn, target);
    if (request && request->bad_target)
        cut_query(target);
    /* The first request's deadline runs from the connection on. */
    if (request && atomic_load(&conn->phase) == GHND_PHASE_IDLE)
        ghnd_conn_enter(conn, GHND_PHASE_HEADER,
                        ghnd_now_ms() + request->snapshot->config.header_timeout);
    return request;
}

/* Ends the count of a request among the suspended ones, at the first of two events: the access
 * handler finds it done, or the connection broke meanwhile and the handler is not called again. */
static void count_resumed(struct ghnd_request *request) {
    if (!request->suspended)
        return;
    request->suspended = false;
    atomic_fetch_sub(&request->app->suspended, 1);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_context,
                         enum MHD_RequestTerminationCode code) {
    (void)context;
    (void)connection;
    struct ghnd_request *request = *request_context;
    if (!request)
        return;
    *request_context = NULL;
    count_resumed(request);
    ghnd_request_account(request, code);
    ghnd_conn_enter(request->conn, GHND_PHASE_IDLE,
                    ghnd_now_ms() + request->snapshot->config.keepalive_timeout);
    ghnd_request_free(request);
}

/* --- Between the two --- */

/* Whether the client has closed its side, which for us means that it has lost interest. */
static bool client_is_gone(const struct ghnd_request *request) {
    struct pollfd fd = {.fd = request->conn->fd, .events = POLLRDHUP};
    return poll(&fd, 1, 0) == 1 && fd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* The queue of the route's requests. */
static struct ghnd_queue *queue_of(const struct ghnd_request *request) {
    bool ledger = ghnd_route_place(request->route) == GHND_ON_LEDGER;
    return ledger ? request->app->ledger_queue : request->app->queue;
}

/* The end of a request's time with the workers. */
static void end_job(struct ghnd_job *job, enum ghnd_job_fate fate) {
    struct ghnd_request *request =
        (struct ghnd_request *)((char *)job - offsetof(struct ghnd_request, job));
    request->steps_us[GHND_STEP_QUEUE] = ghnd_now_us() - request->pushed_us;
    if (fate == GHND_FATE_EXPIRED)
        ghnd_problem_set(&request->problem, GHND_E_QUEUE_TIMEOUT, "", "no thread was free in time");
    else if (fate == GHND_FATE_CANCELLED)
        ghnd_problem_set(&request->problem, GHND_E_SHUTTING_DOWN, "",
                         "the server stops and could not serve the request in time");
    else if (client_is_gone(request))
        ghnd_problem_set(&request->problem, GHND_E_CLIENT_CLOSED, "", "the client went away");
    else
        ghnd_route_handler(request->route)(request);
    ghnd_request_free_body(request); /* the answer may take its time */
    request->stage = GHND_STAGE_DONE;
    MHD_resume_connection(request->connection); /* from here on the request is not ours */
}

/* Counts the request among the suspended ones, for which the daemon's end waits; false if it has
 * begun already. The count comes first: either the main thread sees it, or this sees the end. */
static bool count_suspended(struct ghnd_request *request) {
    request->suspended = true;
    atomic_fetch_add(&request->app->suspended, 1);
    if (ghnd_app_life(request->app) < GHND_STOPPING)
        return true;
    count_resumed(request);
    return false;
}

static enum MHD_Result submit(struct ghnd_request *request) {
    struct ghnd_queue *queue = queue_of(request);
    if (!count_suspended(request)) {
        ghnd_problem_set_meaning(&request->problem, GHND_E_SHUTTING_DOWN);
        return ghnd_reply_send(request);
    }
    if (!ghnd_queue_reserve(queue)) {
        count_resumed(request);
        ghnd_problem_set(&request->problem, GHND_E_QUEUE_FULL, "",
                         "%d requests are waiting already", ghnd_queue_capacity(queue));
        return ghnd_reply_send(request);
    }
    ghnd_conn_enter(request->conn, GHND_PHASE_WORK, 0);
    request->stage = GHND_STAGE_WORKING;
    request->pushed_us = ghnd_now_us();
    request->job.run = end_job;
    request->job.deadline_ms =
        ghnd_now_ms() + ghnd_route_time_limit(request->route, &request->snapshot->config);
    MHD_suspend_connection(request->connection);
    ghnd_queue_push(queue, &request->job);
    return MHD_YES;
}

/* The request is complete. */
static enum MHD_Result dispatch(struct ghnd_request *request) {
    if (request->problem.error)
        return ghnd_reply_send(request);
    if (request->method == GHND_OPTIONS) {
        request->reply.status = MHD_HTTP_NO_CONTENT;
        return ghnd_reply_send(request);
    }
    if (ghnd_route_place(request->route) != GHND_INLINE)
        return submit(request);
    ghnd_route_handler(request->route)(request);
    return ghnd_reply_send(request);
}

/* The header is complete. What is refused is refused before its body is read, and the connection
 * ends with that; without a body it may go on. */
static enum MHD_Result on_header(struct ghnd_request *request, const char *url, const char *method,
                                 const char *version) {
    ghnd_request_check(request, url, method, version);
    if (request->problem.error && (request->has_body || request->close)) {
        request->close = true;
        return ghnd_reply_send(request);
    }
    request->stage = GHND_STAGE_BODY;
    ghnd_conn_enter(request->conn, GHND_PHASE_BODY,
                    ghnd_now_ms() + request->snapshot->config.body_timeout);
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **request_context) {
    (void)context;
    (void)connection;
    struct ghnd_request *request = *request_context;
    if (!request)
        return MHD_NO;
    switch (request->stage) {
    case GHND_STAGE_NEW:
        return on_header(request, url, method, version);
    case GHND_STAGE_BODY:
        if (*size == 0)
            return dispatch(request);
        ghnd_request_append(request, data, *size);
        *size = 0;
        return MHD_YES;
    case GHND_STAGE_DONE:
        count_resumed(request);
        if (request->problem.error == GHND_E_CLIENT_CLOSED)
            return MHD_NO;
        return ghnd_reply_send(request);
    case GHND_STAGE_WORKING:
    case GHND_STAGE_SENT:
        break;
    }
    return MHD_YES;
}

/* --- The server itself --- */

static void on_log(void *context, const char *format, va_list args) {
    struct ghnd_app *app = context;
    char text[400];
    (void)vsnprintf(text, sizeof(text), format, args);
    text[strcspn(text, "\n")] = '\0';
    ghnd_log(&app->log, GHND_DEBUG, "libmicrohttpd", "%s", text);
}

enum ghn_status ghnd_server_start(struct ghnd_app *app, const struct ghnd_listener *listener,
                                  struct ghnd_server **ret, struct ghn_err *err) {
    const struct ghnd_config *config = &app->snapshot->config;
    unsigned per_ip = listener->loopback ? 0 : (unsigned)config->max_connections_per_ip;
    unsigned threads = (unsigned)config->http_threads;
    struct ghnd_server *server = calloc(1, sizeof(*server));
    if (!server)
        return ghn_fail_memory(err);
    server->listen_fd = listener->fd;
    server->passed = listener->passed;
    /* Deadlines are ours (conns.h): the library's time-out is off. So is its strictness, which
     * sends the header of its refusal twice; guard.c is strict instead. */
    server->mhd = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_request, app, MHD_OPTION_EXTERNAL_LOGGER, on_log, app, MHD_OPTION_LISTEN_SOCKET,
        listener->fd, MHD_OPTION_NOTIFY_CONNECTION, on_connection, app, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, app, MHD_OPTION_URI_LOG_CALLBACK, on_first_line, app,
        MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->max_connections,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, per_ip, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)config->max_header_bytes,
        /* A pool of one is no pool to the library: the list ends before it. */
        threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, MHD_OPTION_END);
    if (!server->mhd) {
        free(server);
        return ghn_fail(err, GHN_IO, listener->address,
                        "the HTTP server could not be started; --log-level debug tells more");
    }
    *ret = server;
    return GHN_OK;
}

void ghnd_server_quiesce(struct ghnd_server *server) {
    if (server->quiet)
        return;
    server->quiet = true;
    (void)MHD_quiesce_daemon(server->mhd);
    /* From here on connections are refused. The descriptor itself must stay until the library
     * stops, whose threads may still take it off their polls. A socket of the service manager is
     * left as it is: what connects now waits for the daemon's next start. */
    if (!server->passed)
        (void)shutdown(server->listen_fd, SHUT_RDWR);
}

void ghnd_server_stop(struct ghnd_server *server) {
    ghnd_server_quiesce(server);
    MHD_stop_daemon(server->mhd);
    close(server->listen_fd);
    free(server);
}
