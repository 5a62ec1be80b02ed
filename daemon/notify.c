#include "notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

void ghnd_notify(const char *text) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (*path == '@') /* the abstract namespace */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, length);
    close(fd);
}

void ghnd_notify_reloading(void) {
    char text[80];
    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)ghnd_now_us());
    ghnd_notify(text);
}

/* Whether the variable names this process, or does not exist. */
static int meant_for_us(const char *variable) {
    const char *pid = getenv(variable);
    return !pid || strtol(pid, NULL, 10) == (long)getpid();
}

int64_t ghnd_watchdog_interval(void) {
    const char *usec = getenv("WATCHDOG_USEC");
    if (!usec || !meant_for_us("WATCHDOG_PID"))
        return 0;
    long long interval = strtoll(usec, NULL, 10) / 2000;
    return interval > 0 ? interval : 0;
}

int ghnd_passed_socket(void) {
    enum { FIRST_FD = 3 };
    const char *count = getenv("LISTEN_FDS");
    if (!count || !getenv("LISTEN_PID") || !meant_for_us("LISTEN_PID") ||
        strtol(count, NULL, 10) < 1)
        return -1;
    int flags = fcntl(FIRST_FD, F_GETFD);
    if (flags < 0 || fcntl(FIRST_FD, F_SETFD, flags | FD_CLOEXEC) < 0)
        return -1;
    return FIRST_FD;
}
