#include "output.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "cli.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int signal) {
    (void)signal;
    interrupted = 1;
}

/* A second Ctrl-C, should we not look, does what it always does. */
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

enum ghn_status cli_output_open(struct cli_output *output, const char *path, bool binary,
                                struct ghn_err *err) {
    *output = (struct cli_output){.path = path, .started = ghn_seconds()};
    if (!path)
        return GHN_OK;
    if (strcmp(path, "-") == 0)
        return binary && isatty(STDOUT_FILENO)
                   ? ghn_fail(err, GHN_IO, "standard output",
                              "it is a terminal, and the answer is binary")
                   : GHN_OK;
    enum ghn_status status = ghn_atomic_file_new(path, &output->file, err);
    if (status == GHN_OK)
        catch_signals();
    return status;
}

enum ghn_status cli_output_write(struct cli_output *output, const void *data, size_t n,
                                 struct ghn_err *err) {
    if (output->file)
        return ghn_atomic_file_write(output->file, data, n, err);
    errno = 0;
    if (output->path && fwrite(data, 1, n, stdout) != n)
        return ghn_fail(err, GHN_IO, "standard output", "it cannot be written: %s",
                        strerror(errno));
    return GHN_OK;
}

bool cli_output_progress(struct cli_output *output, uint64_t done, uint64_t total) {
    double now = ghn_seconds();
    char have[CLI_NUMBER], all[CLI_NUMBER];
    if (interrupted)
        return false;
    if (!isatty(STDERR_FILENO) || now - output->started < 1 || now - output->reported < 0.2)
        return true;
    if (total > 0)
        (void)fprintf(stderr, "\r%s of %s (%.0f %%) ", cli_bytes(done, have), cli_bytes(total, all),
                      100 * (double)done / (double)total);
    else
        (void)fprintf(stderr, "\r%s ", cli_bytes(done, have));
    output->reported = now;
    return true;
}

/* The line of the progress makes room for what comes next. */
static void end_progress(struct cli_output *output) {
    if (output->reported > 0)
        (void)fputs("\r\033[K", stderr);
    output->reported = 0;
}

enum ghn_status cli_output_commit(struct cli_output *output, struct ghn_err *err) {
    struct ghn_atomic_file *file = output->file;
    end_progress(output);
    output->file = NULL;
    return file ? ghn_atomic_file_commit(file, err) : GHN_OK;
}

void cli_output_discard(struct cli_output *output) {
    end_progress(output);
    ghn_atomic_file_abort(output->file);
    output->file = NULL;
}
