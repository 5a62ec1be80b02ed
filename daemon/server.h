/* The HTTP server: libmicrohttpd's life, and the way of a request through it. */
#ifndef GHND_SERVER_H
#define GHND_SERVER_H

#include "app.h"
#include "base/status.h"
#include "listener.h"

struct ghnd_server;

/* Starts serving on the listener's socket, which it takes over on success. */
enum ghn_status ghnd_server_start(struct ghnd_app *app, const struct ghnd_listener *listener,
                                  struct ghnd_server **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Stops accepting connections; those that there are go on. */
void ghnd_server_quiesce(struct ghnd_server *server);

/* Closes every connection and frees the server. No connection may be suspended. */
void ghnd_server_stop(struct ghnd_server *server);

#endif
