#include "jobs_open.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beside.h"
#include "job_files.h"

enum { LOCK_TRIES = 20, LOCK_WAIT_MS = 50 };

static enum ghn_status failed(const char *what, struct ghn_err *err) {
    return ghn_fail(err, GHN_IO, "state-dir", "%s: %s", what, strerror(errno));
}

/* Makes a folder of ours, and those above it that are missing, with the rights that others have. */
static enum ghn_status make_folder(const char *path, struct ghn_err *err) {
    char text[GHND_PATH];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n >= sizeof(text)) {
        errno = ENAMETOOLONG;
        return failed("the folder cannot be made", err);
    }
    memcpy(text, path, n);
    text[n] = '\0';
    for (char *slash = text + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        (void)mkdir(text, 0755); /* where that fails, so does what follows, and says why */
    }
    if (mkdir(text, 0700) != 0 && errno != EEXIST)
        return failed("the folder cannot be made", err);
    return GHN_OK;
}

static enum ghn_status make_folders(const char *state_dir, const char *jobs_dir,
                                    struct ghn_err *err) {
    enum ghn_status status = make_folder(state_dir, err);
    if (status == GHN_OK && mkdir(jobs_dir, 0700) != 0 && errno != EEXIST)
        status = failed("the folder of jobs cannot be made", err);
    return status == GHN_OK ? ghnd_job_folder_sync(state_dir, err) : status;
}

static enum ghn_status take_folder(const char *jobs_dir, bool patient, int *ret_fd,
                                   struct ghn_err *err) {
    char path[GHND_PATH + 8];
    (void)snprintf(path, sizeof(path), "%s/lock", jobs_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed("the folder of jobs cannot be written", err);
    for (int i = 0; i < (patient ? LOCK_TRIES : 1); i++) {
        if (i > 0)
            (void)usleep(LOCK_WAIT_MS * 1000);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            *ret_fd = fd;
            return GHN_OK;
        }
    }
    close(fd);
    return ghn_fail(err, GHN_IO, "state-dir", "another ghnd works on the jobs in this folder");
}

/* Makes a job's folder what the ledger says of it. One without an entry is of a request that was
 * never acknowledged, and goes; but where the ledger has just been made, in place of one that was
 * lost, or a worker has been at it, so that the ledger is an older one that was put back, such
 * folders may be all that is left of jobs. */
static void tidy_folder(const char *jobs_dir, struct ghnd_ledger *ledger, const char *id,
                        bool new_ledger) {
    struct ghnd_job_row row;
    struct ghn_err err = GHN_ERR_INIT;
    bool found = true;
    if (ghnd_ledger_get(ledger, id, &found, &row, &err) != GHN_OK)
        return;
    if (!found && (new_ledger || ghnd_job_folder_was_worked_on(jobs_dir, id)))
        ghnd_job_folder_set_aside(jobs_dir, id, GHND_UNLISTED);
    else if (!found)
        ghnd_job_folder_remove(jobs_dir, id);
    else if (row.state > GHND_JOB_RUNNING)
        ghnd_job_folder_trim(jobs_dir, id);
}

/* Ends a removal that was under way: the job is gone if its entry is. */
static void end_removal(const char *jobs_dir, struct ghnd_ledger *ledger, const char *name,
                        const char *id) {
    struct ghnd_job_row row;
    struct ghn_err err = GHN_ERR_INIT;
    bool found = true;
    if (ghnd_ledger_get(ledger, id, &found, &row, &err) != GHN_OK)
        return;
    if (found)
        ghnd_job_folder_bring_back(jobs_dir, id, GHND_REMOVED);
    else
        ghnd_job_folder_remove(jobs_dir, name);
}

static void tidy_entry(const char *jobs_dir, struct ghnd_ledger *ledger, const char *name,
                       bool new_ledger) {
    char id[GHND_JOB_ID + 1];
    (void)snprintf(id, sizeof(id), "%.*s", GHND_JOB_ID, name);
    if (!ghnd_job_id_is_sound(id))
        return;
    if (name[GHND_JOB_ID] == '\0')
        tidy_folder(jobs_dir, ledger, id, new_ledger);
    else if (strcmp(name + GHND_JOB_ID, GHND_REMOVED) == 0)
        end_removal(jobs_dir, ledger, name, id);
}

static void tidy(const char *jobs_dir, struct ghnd_ledger *ledger) {
    struct ghn_err err = GHN_ERR_INIT;
    struct dirent **entries = NULL;
    bool new_ledger = false;
    if (ghnd_ledger_is_new(ledger, &new_ledger, &err) != GHN_OK)
        return;
    int n = scandir(jobs_dir, &entries, NULL, NULL);
    for (int i = 0; i < n; i++) {
        tidy_entry(jobs_dir, ledger, entries[i]->d_name, new_ledger);
        free(entries[i]);
    }
    free(entries);
}

enum ghn_status ghnd_jobs_open(const char *state_dir, const char *jobs_dir, bool patient,
                               int *ret_fd, struct ghnd_ledger **ret, struct ghn_err *err) {
    char path[GHND_PATH + 16];
    int fd = -1;
    (void)snprintf(path, sizeof(path), "%s/jobs.sqlite", state_dir);
    enum ghn_status status = make_folders(state_dir, jobs_dir, err);
    if (status == GHN_OK)
        status = take_folder(jobs_dir, patient, &fd, err);
    if (status != GHN_OK)
        return status;
    status = ghnd_ledger_open(path, ret, err);
    if (status != GHN_OK) {
        close(fd);
        return status;
    }
    tidy(jobs_dir, *ret);
    *ret_fd = fd;
    return GHN_OK;
}

void ghnd_jobs_find_program(const char *given, char *program, size_t n) {
    if (given) {
        (void)snprintf(program, n, "%s", given);
        return;
    }
    ghnd_beside("/ghn-worker", program, n);
    if (access(program, X_OK) != 0)
        ghnd_beside("/../libexec/ghnd/ghn-worker", program, n);
}
