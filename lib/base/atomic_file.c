#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

struct ghn_atomic_file {
    char *path, *temporary;
    int fd;
};

static enum ghn_status fail(const struct ghn_atomic_file *file, const char *doing,
                            struct ghn_err *err) {
    return ghn_fail(err, GHN_IO, file->path, "cannot %s it: %s", doing, strerror(errno));
}

static void free_file(struct ghn_atomic_file *file) {
    if (file->fd >= 0)
        (void)close(file->fd);
    ghn_free(file->path);
    ghn_free(file->temporary);
    ghn_free(file);
}

void ghn_atomic_file_abort(struct ghn_atomic_file *file) {
    if (!file)
        return;
    if (file->temporary)
        (void)unlink(file->temporary);
    free_file(file);
}

/* mkostemp makes files for their owner alone; the result gets the mode that creating it would have
 * given. */
static void usual_mode(int fd) {
    mode_t mask = umask(0);
    (void)umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
}

enum ghn_status ghn_atomic_file_new(const char *path, struct ghn_atomic_file **ret,
                                    struct ghn_err *err) {
    static const char suffix[] = ".XXXXXX";
    size_t n = strlen(path);
    struct ghn_atomic_file *file = ghn_calloc(1, sizeof(*file));
    if (!file)
        return ghn_fail_memory(err);
    file->fd = -1;
    file->path = ghn_malloc(n + 1);
    char *temporary = ghn_malloc(n + sizeof(suffix));
    enum ghn_status status = GHN_OK;
    if (!file->path || !temporary) {
        status = ghn_fail_memory(err);
    } else {
        memcpy(file->path, path, n + 1);
        memcpy(temporary, path, n);
        memcpy(temporary + n, suffix, sizeof(suffix));
        file->fd = mkostemp(temporary, O_CLOEXEC);
        if (file->fd < 0)
            status = fail(file, "create", err);
    }
    if (status != GHN_OK) {
        ghn_free(temporary);
        free_file(file);
        return status;
    }
    file->temporary = temporary;
    usual_mode(file->fd);
    *ret = file;
    return GHN_OK;
}

enum ghn_status ghn_atomic_file_write(struct ghn_atomic_file *file, const void *data, size_t n,
                                      struct ghn_err *err) {
    const char *p = data;
    while (n > 0) {
        ssize_t k = write(file->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return fail(file, "write", err);
        p += k;
        n -= (size_t)k;
    }
    return GHN_OK;
}

/* Makes the renamed entry of the file's folder durable. */
static int sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    char *folder = ghn_malloc(n + 2);
    if (!folder) {
        errno = ENOMEM;
        return -1;
    }
    memcpy(folder, slash ? path : ".", slash ? n : 1);
    folder[slash ? n : 1] = 0;
    if (slash && n == 0)
        memcpy(folder, "/", 2);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ghn_free(folder);
    if (fd < 0)
        return -1;
    int result = fsync(fd);
    (void)close(fd);
    return result;
}

enum ghn_status ghn_atomic_file_commit(struct ghn_atomic_file *file, struct ghn_err *err) {
    int fd = file->fd;
    file->fd = -1;
    int failed = fsync(fd);
    failed |= close(fd);
    if (failed || rename(file->temporary, file->path) != 0) {
        enum ghn_status status = fail(file, "write", err);
        ghn_atomic_file_abort(file);
        return status;
    }
    enum ghn_status status = sync_folder(file->path) == 0 ? GHN_OK : fail(file, "sync", err);
    free_file(file);
    return status;
}
