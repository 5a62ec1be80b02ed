#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

struct ghn_atomic_file {
    char *path, *temporary;
    int fd;
    int folder; /* opened at the start: what can fail should fail before anything is replaced */
};

static enum ghn_status fail(const char *path, const char *doing, struct ghn_err *err) {
    return ghn_fail(err, GHN_IO, path, "cannot %s it: %s", doing, strerror(errno));
}

static void free_file(struct ghn_atomic_file *file) {
    if (file->fd >= 0)
        (void)close(file->fd);
    if (file->folder >= 0)
        (void)close(file->folder);
    ghn_free(file->path);
    ghn_free(file->temporary);
    ghn_free(file);
}

void ghn_atomic_file_abort(struct ghn_atomic_file *file) {
    if (!file)
        return;
    if (file->fd >= 0)
        (void)unlink(file->temporary);
    free_file(file);
}

/* The folder that path is in; scratch has room for path. Returns -1 with errno set on failure. */
static int open_folder(const char *path, char *scratch) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    memcpy(scratch, path, n);
    scratch[n] = '\0';
    return open(n ? scratch : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Creates PATH.tmp.PID.I, which was not there, with the permissions of any new file, and puts its
 * name into name, of n bytes. Returns -1 with errno set on failure. */
static int create_beside(const char *path, char *name, size_t n) {
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, n, "%s.tmp.%d.%d", path, (int)getpid(), i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

enum ghn_status ghn_atomic_file_new(const char *path, struct ghn_atomic_file **ret,
                                    struct ghn_err *err) {
    size_t n = strlen(path) + 1, n_temporary = n + 32;
    struct ghn_atomic_file *file = ghn_calloc(1, sizeof(*file));
    if (!file)
        return ghn_fail_memory(err);
    char *copy = file->path = ghn_malloc(n), *temporary = file->temporary = ghn_malloc(n_temporary);
    file->fd = file->folder = -1;
    enum ghn_status status = GHN_OK;
    if (!copy || !temporary) {
        status = ghn_fail_memory(err);
    } else {
        memcpy(copy, path, n);
        file->folder = open_folder(path, temporary);
        if (file->folder >= 0)
            file->fd = create_beside(path, temporary, n_temporary);
        if (file->fd < 0)
            status = fail(path, "create", err);
    }
    if (status == GHN_OK)
        *ret = file;
    else
        free_file(file);
    return status;
}

enum ghn_status ghn_atomic_file_write(struct ghn_atomic_file *file, const void *data, size_t n,
                                      struct ghn_err *err) {
    const char *p = data;
    while (n > 0) {
        ssize_t k = write(file->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return fail(file->path, "write", err);
        p += k;
        n -= (size_t)k;
    }
    return GHN_OK;
}

/* fsync and close; errno is that of the first that fails. */
static bool sync_and_close(int fd) {
    bool synced = fsync(fd) == 0;
    int reason = errno;
    bool closed = close(fd) == 0;
    if (!synced)
        errno = reason;
    return synced && closed;
}

enum ghn_status ghn_atomic_file_commit(struct ghn_atomic_file *file, struct ghn_err *err) {
    enum ghn_status status = GHN_OK;
    bool written = sync_and_close(file->fd);
    file->fd = -1;
    if (!written || rename(file->temporary, file->path) != 0) {
        status = fail(file->path, "write", err);
        (void)unlink(file->temporary);
    } else if (fsync(file->folder) != 0) {
        status = fail(file->path, "sync the folder of", err);
    }
    free_file(file);
    return status;
}
