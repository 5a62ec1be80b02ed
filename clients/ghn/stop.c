#include "stop.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

atomic_bool cli_stop;

static void on_signal(int signal) {
    (void)signal;
    atomic_store(&cli_stop, true);
}

void cli_stop_on(int signal) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    (void)sigaction(signal, &action, NULL);
}

void cli_stop_catch(void) {
    struct sigaction hang_up;
    cli_stop_on(SIGINT);
    cli_stop_on(SIGTERM);
    if (sigaction(SIGHUP, NULL, &hang_up) == 0 && hang_up.sa_handler != SIG_IGN) /* nohup */
        cli_stop_on(SIGHUP);
}
