#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    *output = (struct cli_output){.path = path, .started = cli_seconds()};
    if (strcmp(path, "-") == 0) {
        if (binary && isatty(STDOUT_FILENO))
            return ghn_fail(err, GHN_IO, "standard output",
                            "it is a terminal, and the answer is binary");
        output->file = stdout;
        return GHN_OK;
    }
    size_t size = strlen(path) + sizeof(".XXXXXX");
    char *name = malloc(size);
    if (!name)
        return ghn_fail_memory(err);
    (void)snprintf(name, size, "%s.XXXXXX", path);
    int fd = mkstemp(name);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!file) {
        enum ghn_status status =
            ghn_fail(err, GHN_IO, path, "it cannot be written: %s", strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
            (void)unlink(name);
        }
        free(name);
        return status;
    }
    mode_t mask = umask(0);
    (void)umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
    output->temporary = name;
    output->file = file;
    catch_signals();
    return GHN_OK;
}

bool cli_output_progress(struct cli_output *output, uint64_t done, uint64_t total) {
    double now = cli_seconds();
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

/* Without this a power cut could undo the rename. */
static int sync_folder(const char *path) {
    char *copy = strdup(path);
    if (!copy)
        return -1;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    int failed = fd < 0 || fsync(fd) != 0;
    if (fd >= 0)
        (void)close(fd);
    return failed ? -1 : 0;
}

enum ghn_status cli_output_commit(struct cli_output *output, struct ghn_err *err) {
    end_progress(output);
    errno = 0;
    bool ok = fflush(output->file) == 0 && !ferror(output->file);
    if (!output->temporary)
        return ok ? GHN_OK
                  : ghn_fail(err, GHN_IO, "standard output", "it cannot be written: %s",
                             strerror(errno));
    ok = ok && fsync(fileno(output->file)) == 0 && rename(output->temporary, output->path) == 0 &&
         sync_folder(output->path) == 0;
    if (!ok) {
        (void)ghn_fail(err, GHN_IO, output->path, "it cannot be written: %s", strerror(errno));
        cli_output_discard(output);
        return GHN_IO;
    }
    (void)fclose(output->file);
    free(output->temporary);
    *output = (struct cli_output){.path = output->path};
    return GHN_OK;
}

void cli_output_discard(struct cli_output *output) {
    end_progress(output);
    if (!output->temporary)
        return;
    (void)fclose(output->file);
    (void)unlink(output->temporary);
    free(output->temporary);
    *output = (struct cli_output){.path = output->path};
}
