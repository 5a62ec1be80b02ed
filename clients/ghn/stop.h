/* Ctrl-C and its like for commands that save where they are before they end. */
#ifndef GHN_CLIENT_STOP_H
#define GHN_CLIENT_STOP_H

#include <stdatomic.h>

/* Becomes true at such a signal; a command may set it itself. */
extern atomic_bool cli_stop;

/* From now on this signal sets cli_stop, once: a second one, should the first take too long, does
 * what it always does. */
void cli_stop_on(int signal);

/* That for SIGINT, SIGTERM, and SIGHUP unless it is ignored. */
void cli_stop_catch(void);

#endif
