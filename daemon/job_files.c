#include "job_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "ledger.h"
#include "train/finetune.h"

enum { MAX_POINTS = 1000, MAX_HISTORY_BYTES = 64 << 20 };

void ghnd_job_path(const char *jobs_dir, const char *id, const char *file, char *path) {
    (void)snprintf(path, GHND_PATH, "%s/%s%s%s", jobs_dir, id, file ? "/" : "", file ? file : "");
}

static enum ghn_status failed(const char *doing, struct ghn_err *err) {
    return ghn_fail(err, GHN_IO, "state-dir", "%s: %s", doing, strerror(errno));
}

static bool draw_id(char *ret) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char bytes[GHND_JOB_ID * 2];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return false;
    for (int i = 0; i < GHND_JOB_ID; i++)
        ret[i] = letters[(bytes[2 * i] * 256 + bytes[2 * i + 1]) % 36];
    ret[GHND_JOB_ID] = '\0';
    return true;
}

enum ghn_status ghnd_job_folder_new(const char *jobs_dir, char *ret_id, struct ghn_err *err) {
    char path[GHND_PATH], id[GHND_JOB_ID + 1];
    for (int i = 0; i < 10; i++) {
        if (!draw_id(id))
            return failed("no random numbers", err);
        ghnd_job_path(jobs_dir, id, NULL, path);
        if (mkdir(path, 0700) == 0) {
            memcpy(ret_id, id, sizeof(id));
            return GHN_OK;
        }
        if (errno != EEXIST)
            break;
    }
    return failed("the job's folder cannot be made", err);
}

enum ghn_status ghnd_job_write_request(const char *jobs_dir, const char *id, const json_t *request,
                                       struct ghn_err *err) {
    char path[GHND_PATH];
    char *text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return ghn_fail_memory(err);
    ghnd_job_path(jobs_dir, id, "request.json", path);
    struct ghn_atomic_file *file = NULL;
    enum ghn_status status = ghn_atomic_file_new(path, &file, err);
    if (status == GHN_OK) {
        status = ghn_atomic_file_write(file, text, strlen(text), err);
        if (status == GHN_OK)
            status = ghn_atomic_file_commit(file, err);
        else
            ghn_atomic_file_abort(file);
    }
    free(text);
    return status;
}

enum ghn_status ghnd_job_folder_sync(const char *folder, struct ghn_err *err) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed("the folder of jobs cannot be opened", err);
    bool ok = fsync(fd) == 0;
    enum ghn_status status = ok ? GHN_OK : failed("the folder of jobs cannot be saved", err);
    close(fd);
    return status;
}

/* Removes the files of a folder whose names `chosen` chooses. */
static void remove_files(const char *folder, bool (*chosen)(const char *name)) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries));)
        if (chosen(entry->d_name))
            (void)unlinkat(fd, entry->d_name, 0);
    (void)closedir(entries);
}

static bool is_any(const char *name) {
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* What only going on needs, and what a worker left that was killed while it wrote. */
static bool is_for_going_on(const char *name) {
    return strcmp(name, GHN_STATE_FILE) == 0 || strncmp(name, "initial", 7) == 0 ||
           strstr(name, ".tmp.");
}

void ghnd_job_folder_remove(const char *jobs_dir, const char *name) {
    char path[GHND_PATH];
    ghnd_job_path(jobs_dir, name, NULL, path);
    remove_files(path, is_any);
    (void)rmdir(path);
}

void ghnd_job_folder_trim(const char *jobs_dir, const char *id) {
    char path[GHND_PATH];
    ghnd_job_path(jobs_dir, id, NULL, path);
    remove_files(path, is_for_going_on);
}

bool ghnd_job_folder_was_worked_on(const char *jobs_dir, const char *id) {
    static const char *const left[] = {"parameters.safetensors", "state.safetensors"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        char path[GHND_PATH];
        ghnd_job_path(jobs_dir, id, left[i], path);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

static bool name_aside(const char *jobs_dir, const char *id, const char *suffix, char *path) {
    return snprintf(path, GHND_PATH, "%s/%s%s", jobs_dir, id, suffix) < GHND_PATH;
}

void ghnd_job_folder_set_aside(const char *jobs_dir, const char *id, const char *suffix) {
    char from[GHND_PATH], to[GHND_PATH];
    ghnd_job_path(jobs_dir, id, NULL, from);
    if (name_aside(jobs_dir, id, suffix, to))
        (void)rename(from, to);
}

void ghnd_job_folder_bring_back(const char *jobs_dir, const char *id, const char *suffix) {
    char from[GHND_PATH], to[GHND_PATH];
    ghnd_job_path(jobs_dir, id, NULL, to);
    if (name_aside(jobs_dir, id, suffix, from))
        (void)rename(from, to);
}

/* --- The history --- */

static json_int_t step_of(const json_t *point) {
    const json_t *step = json_object_get(point, "step");
    return json_is_integer(step) ? json_integer_value(step) : -1;
}

/* Appends a point in place of those that it does not follow. */
static void append(json_t *points, json_t *point) {
    size_t n = json_array_size(points);
    while (n > 0 && step_of(json_array_get(points, n - 1)) >= step_of(point))
        (void)json_array_remove(points, --n);
    (void)json_array_append_new(points, point);
}

/* Keeps, of the points above `after`, every k-th and the last one. */
static json_t *thin(json_t *points, int64_t after) {
    size_t n = json_array_size(points), first = 0;
    while (first < n && step_of(json_array_get(points, first)) <= after)
        first++;
    size_t k = (n - first) / MAX_POINTS + 1;
    if (first == 0 && k == 1)
        return points;
    json_t *kept = json_array();
    for (size_t i = first; i < n && kept; i++)
        if ((i - first) % k == 0 || i == n - 1)
            (void)json_array_append(kept, json_array_get(points, i));
    json_decref(points);
    return kept;
}

json_t *ghnd_job_history(const char *jobs_dir, const char *id, int64_t after) {
    char path[GHND_PATH];
    json_t *points = json_array();
    ghnd_job_path(jobs_dir, id, "history.jsonl", path);
    FILE *file = points ? fopen(path, "re") : NULL;
    if (!file)
        return points;
    char line[4096];
    long bytes = 0;
    while (fgets(line, sizeof(line), file) && bytes < MAX_HISTORY_BYTES) {
        bytes += (long)strlen(line);
        json_t *point = json_loads(line, 0, NULL);
        if (step_of(point) >= 0)
            append(points, point);
        else
            json_decref(point);
    }
    (void)fclose(file);
    return thin(points, after);
}

/* --- Parameters and space --- */

int ghnd_job_parameters(const char *jobs_dir, const char *id, int64_t *ret_size, char *ret_etag,
                        size_t n_etag) {
    char path[GHND_PATH];
    struct stat st;
    ghnd_job_path(jobs_dir, id, GHN_PARAMETERS_FILE, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        errno = EIO;
        return -1;
    }
    *ret_size = st.st_size;
    /* The file is never changed, only replaced. */
    (void)snprintf(ret_etag, n_etag, "\"%llx-%llx\"", (unsigned long long)st.st_ino,
                   (unsigned long long)st.st_mtim.tv_sec * 1000000000ull +
                       (unsigned long long)st.st_mtim.tv_nsec);
    return fd;
}

int64_t ghnd_disk_free(const char *dir) {
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0)
        return -1;
    return (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
}
