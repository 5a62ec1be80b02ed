/* The daemon: start, the main loop with signals and deadlines, reload, shutdown. */
#ifndef GHND_DAEMON_H
#define GHND_DAEMON_H

/* Runs until a signal ends it; returns the exit status. argv is read again at each reload. */
int ghnd_main(int argc, char **argv);

#endif
