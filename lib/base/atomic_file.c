#include "base/atomic_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

struct ghn_atomic_file {
    char *path;      /* behind symbolic links */
    char *temporary; /* NULL: what is at path is no file, and is written to as it is */
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
    if (file->fd >= 0 && file->temporary)
        (void)unlink(file->temporary);
    free_file(file);
}

/* NAME.tmp.PID.I */
static bool is_temporary(const char *name) {
    static const char digits[] = "0123456789";
    const char *mark = strstr(name, ".tmp.");
    if (!mark)
        return false;
    const char *pid = mark + 5, *dot = pid + strspn(pid, digits);
    return dot > pid && dot[0] == '.' && dot[1] && dot[1 + strspn(dot + 1, digits)] == '\0';
}

void ghn_atomic_file_sweep(const char *dir) {
    DIR *folder = opendir(dir);
    if (!folder)
        return;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (is_temporary(entry->d_name))
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
    (void)closedir(folder);
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

/* Opens a temporary file beside file->path; it has the permissions of `old` if that is not NULL. */
static enum ghn_status open_beside(struct ghn_atomic_file *file, const struct stat *old,
                                   struct ghn_err *err) {
    const char *path = file->path;
    size_t n = strlen(path) + 1 + 32;
    file->temporary = ghn_malloc(n);
    if (!file->temporary)
        return ghn_fail_memory(err);
    file->folder = open_folder(path, file->temporary);
    if (file->folder >= 0)
        file->fd = create_beside(path, file->temporary, n);
    if (file->fd < 0)
        return fail(path, "create", err);
    if (old)
        (void)fchmod(file->fd, old->st_mode & 07777);
    return GHN_OK;
}

/* Opens a device or pipe. */
static enum ghn_status open_in_place(struct ghn_atomic_file *file, struct ghn_err *err) {
    file->fd = open(file->path, O_WRONLY | O_CLOEXEC); /* fails for a folder */
    return file->fd < 0 ? fail(file->path, "open", err) : GHN_OK;
}

enum ghn_status ghn_atomic_file_new(const char *path, struct ghn_atomic_file **ret,
                                    struct ghn_err *err) {
    struct ghn_atomic_file *file = ghn_calloc(1, sizeof(*file));
    if (!file)
        return ghn_fail_memory(err);
    file->fd = file->folder = -1;
    struct stat old;
    bool exists = stat(path, &old) == 0;
    char *behind = exists && S_ISREG(old.st_mode) ? realpath(path, NULL) : NULL;
    const char *target = behind ? behind : path;
    file->path = ghn_malloc(strlen(target) + 1);
    if (file->path)
        strcpy(file->path, target);
    free(behind);
    enum ghn_status status = !file->path ? ghn_fail_memory(err)
                             : exists && !S_ISREG(old.st_mode)
                                 ? open_in_place(file, err)
                                 : open_beside(file, exists ? &old : NULL, err);
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

static enum ghn_status commit_in_place(struct ghn_atomic_file *file, struct ghn_err *err) {
    int fd = file->fd;
    file->fd = -1;
    enum ghn_status status = close(fd) == 0 ? GHN_OK : fail(file->path, "write", err);
    free_file(file);
    return status;
}

enum ghn_status ghn_atomic_file_commit(struct ghn_atomic_file *file, struct ghn_err *err) {
    if (!file->temporary)
        return commit_in_place(file, err);
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
