/* The service manager's protocols, sd_notify(3) and sd_listen_fds(3), without its library. */
#ifndef GHND_NOTIFY_H
#define GHND_NOTIFY_H

#include <stdint.h>

/* Sends text ("READY=1\nSTATUS=...") to $NOTIFY_SOCKET; does nothing without one. */
void ghnd_notify(const char *text);

/* Sends RELOADING=1 with the time stamp that goes with it. */
void ghnd_notify_reloading(void);

/* How often WATCHDOG=1 is to be sent, in milliseconds: half of what the manager asks for; 0 if it
 * asks for nothing. */
int64_t ghnd_watchdog_interval(void);

/* The listening socket that the manager passes, or -1 if it passes none. */
int ghnd_passed_socket(void);

#endif
