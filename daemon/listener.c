#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "notify.h"

/* Splits "host:port" or "[host]:port" in place. */
static bool split(char *text, char **ret_host, char **ret_port) {
    char *colon = strrchr(text, ':');
    if (!colon || colon == text || colon[1] == '\0')
        return false;
    char *host = text;
    *colon = '\0';
    size_t n = strlen(host);
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        host++;
    } else if (strchr(host, ':')) {
        return false; /* an IPv6 address needs its brackets */
    }
    *ret_host = host;
    *ret_port = colon + 1;
    return true;
}

static bool is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return address->ss_family == AF_UNIX;
}

/* Fills in what the socket itself says about where it listens. */
static void describe(struct ghnd_listener *listener) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);
    char host[64], port[16];
    listener->port = 0;
    (void)snprintf(listener->address, sizeof(listener->address), "a passed socket");
    if (getsockname(listener->fd, (struct sockaddr *)&address, &length) != 0)
        return;
    listener->loopback = is_loopback(&address);
    if (address.ss_family == AF_UNIX ||
        getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    bool v6 = address.ss_family == AF_INET6;
    listener->port = (int)strtol(port, NULL, 10);
    (void)snprintf(listener->address, sizeof(listener->address), v6 ? "[%s]:%s" : "%s:%s", host,
                   port);
}

static int bind_to(const struct addrinfo *info) {
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* Listens on the first of the addresses that can be had; -1 with errno if there is none. A name may
 * stand for several, and IPv4 comes first, whatever the resolver thinks, for that is where clients
 * look for "localhost". One that is taken ends the search: on the next one nobody would look for
 * us. */
static int bind_to_any(const struct addrinfo *infos) {
    static const int families[] = {AF_INET, AF_INET6};
    int first = 0;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        for (const struct addrinfo *info = infos; info; info = info->ai_next) {
            if (info->ai_family != families[i])
                continue;
            int fd = bind_to(info);
            if (fd >= 0)
                return fd;
            first = first ? first : errno;
            if (errno == EADDRINUSE)
                return -1;
        }
    errno = first ? first : EADDRNOTAVAIL;
    return -1;
}

static enum ghn_status fail_bind(const char *where, int error, struct ghn_err *err) {
    const char *advice = error == EADDRINUSE ? "another program listens there; choose another "
                                               "port, or 0 for a free one"
                         : error == EACCES   ? "ports below 1024 need a privilege; choose one above"
                         : error == EADDRNOTAVAIL ? "this machine does not have that address"
                                                  : "check the address";
    return ghn_fail(err, GHN_IO, where, "cannot listen: %s; %s", strerror(error), advice);
}

enum ghn_status ghnd_listen(const char *where, struct ghnd_listener *ret, struct ghn_err *err) {
    struct ghnd_listener listener = {.fd = ghnd_passed_socket()};
    char text[300], *host, *port;
    listener.passed = listener.fd >= 0;
    if (!listener.passed) {
        (void)snprintf(text, sizeof(text), "%s", where);
        if (!split(text, &host, &port))
            return ghn_fail(err, GHN_OUT_OF_RANGE, "--listen",
                            "expected ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:8080, found "
                            "\"%s\"",
                            where);
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
        struct addrinfo *info;
        int error = getaddrinfo(host, port, &hints, &info);
        if (error != 0)
            return ghn_fail(err, GHN_OUT_OF_RANGE, where, "cannot listen: %s", gai_strerror(error));
        listener.fd = bind_to_any(info);
        int saved = errno;
        freeaddrinfo(info);
        if (listener.fd < 0)
            return fail_bind(where, saved, err);
    }
    (void)fcntl(listener.fd, F_SETFL, fcntl(listener.fd, F_GETFL) | O_NONBLOCK);
    describe(&listener);
    *ret = listener;
    return GHN_OK;
}

enum ghn_status ghnd_write_port(const char *path, int port, struct ghn_err *err) {
    char temporary[4200];
    if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= (int)sizeof(temporary))
        return ghn_fail(err, GHN_OUT_OF_RANGE, "--port-file", "the path is too long");
    FILE *file = fopen(temporary, "we");
    bool written = file && fprintf(file, "%d\n", port) > 0;
    if (file && fclose(file) != 0)
        written = false;
    if (!written || rename(temporary, path) != 0)
        return ghn_fail(err, GHN_IO, path, "the port file cannot be written: %s", strerror(errno));
    return GHN_OK;
}
