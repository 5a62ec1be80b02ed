#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/mem.h"

enum ghn_status cli_folder_take(const char *path, int *ret, struct ghn_err *err) {
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return ghn_fail(err, GHN_IO, path, "the folder cannot be made: %s", strerror(errno));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ghn_fail(err, GHN_IO, path, "the folder cannot be opened: %s", strerror(errno));
    struct stat taken;
    enum ghn_status status = GHN_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        status =
            errno == EWOULDBLOCK
                ? ghn_fail(err, GHN_IO, path, "another training is at work in this folder")
                : ghn_fail(err, GHN_IO, path, "the folder cannot be locked: %s", strerror(errno));
    else if (fstat(fd, &taken) != 0 || taken.st_nlink == 0)
        status =
            ghn_fail(err, GHN_IO, path, "another training has just ended and removed the folder");
    if (status != GHN_OK) {
        (void)close(fd);
        return status;
    }
    ghn_atomic_file_sweep(path);
    *ret = fd;
    return GHN_OK;
}

void cli_folder_remove(const char *dir, const char *name) {
    struct ghn_arena arena = GHN_ARENA_INIT;
    const char *path = ghn_arena_printf(&arena, "%s/%s", dir, name);
    if (path)
        (void)unlink(path);
    ghn_arena_done(&arena);
}

enum ghn_status cli_copy_file(const char *from, const char *to, struct ghn_err *err) {
    static char piece[1 << 16];
    struct ghn_atomic_file *file = NULL;
    FILE *in = fopen(from, "rb");
    if (!in)
        return ghn_fail(err, GHN_IO, from, "it cannot be opened: %s", strerror(errno));
    enum ghn_status status = ghn_atomic_file_new(to, &file, err);
    size_t n = 1;
    while (status == GHN_OK && (n = fread(piece, 1, sizeof piece, in)) > 0)
        status = ghn_atomic_file_write(file, piece, n, err);
    if (status == GHN_OK && ferror(in))
        status = ghn_fail(err, GHN_IO, from, "it cannot be read: %s", strerror(errno));
    (void)fclose(in);
    if (status == GHN_OK)
        return ghn_atomic_file_commit(file, err);
    ghn_atomic_file_abort(file);
    return status;
}
