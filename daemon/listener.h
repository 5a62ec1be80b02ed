/* The socket that is listened on. */
#ifndef GHND_LISTENER_H
#define GHND_LISTENER_H

#include <stdbool.h>

#include "base/status.h"

struct ghnd_listener {
    int fd;
    int port; /* 0 for a socket that has none */
    bool loopback;
    bool passed;      /* by the service manager, which listens on when we stop */
    char address[80]; /* "127.0.0.1:8080", for messages */
};

/* Listens on "host:port" ("[::1]:0", "localhost:8080"), or takes the socket that the service
 * manager passes. Errors say what is in the way. The caller closes ret->fd. */
enum ghn_status ghnd_listen(const char *where, struct ghnd_listener *ret,
                            struct ghn_err *err) GHN_MUST_CHECK;

/* Writes the port to a file, atomically. */
enum ghn_status ghnd_write_port(const char *path, int port, struct ghn_err *err) GHN_MUST_CHECK;

#endif
