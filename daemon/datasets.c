/* Lock rule: `lock` guards the list and what is in it; nothing is read from disk under it, so that
 * two requests may look at one data set at the same time. */
#include "datasets.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dataset_name.h"

enum {
    MAX_KEPT = 64,
    MAX_COMPLAINTS = 1024,
    PATH = 4352,
    /* A change that comes so soon after another may leave the time of the file as it is. */
    RACY_SECONDS = 2,
};

/* A state of a folder: a number that changes with what is in it, and its latest change. */
struct mark {
    uint64_t sum;
    int64_t latest; /* seconds since 1970 */
};

struct ghnd_description {
    struct ghnd_description *next;
    char *path;
    struct mark mark;
    struct ghn_dataset dataset; /* without name, class names and impl */
    enum ghn_status status;     /* of describing it */
    struct ghn_err err;
};

/* What is known to be no data set, and was told. */
struct ghnd_complaint {
    struct ghnd_complaint *next;
    uint64_t reason; /* its hash */
    char name[];
};

void ghnd_datasets_init(struct ghnd_datasets *datasets) {
    *datasets = (struct ghnd_datasets){0};
    pthread_mutex_init(&datasets->lock, NULL);
}

static void free_description(struct ghnd_description *description) {
    if (description)
        free(description->path);
    free(description);
}

void ghnd_datasets_done(struct ghnd_datasets *datasets) {
    while (datasets->first) {
        struct ghnd_description *next = datasets->first->next;
        free_description(datasets->first);
        datasets->first = next;
    }
    while (datasets->complaints) {
        struct ghnd_complaint *next = datasets->complaints->next;
        free(datasets->complaints);
        datasets->complaints = next;
    }
    pthread_mutex_destroy(&datasets->lock);
}

/* --- Whether something has changed --- */

static uint64_t mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}

static uint64_t hash(const char *text) {
    uint64_t h = 1;
    for (const char *p = text; *p; p++)
        h = mix(h, (unsigned char)*p);
    return h;
}

/* Adds a file or folder to a mark. Entries come in any order, so they are summed. */
static void add_to_mark(struct mark *mark, const char *name, const struct stat *st) {
    uint64_t h = hash(name);
    h = mix(mix(h, (uint64_t)st->st_dev), (uint64_t)st->st_ino);
    h = mix(mix(h, (uint64_t)st->st_size), (uint64_t)st->st_mode);
    mark->sum += mix(mix(h, (uint64_t)st->st_mtim.tv_sec), (uint64_t)st->st_mtim.tv_nsec);
    if (st->st_mtim.tv_sec > mark->latest)
        mark->latest = st->st_mtim.tv_sec;
}

/* Adds what is in the folder `name` of `at`, down to `depth` folders below, of which only folders
 * are added: a file that comes or goes changes the folder that it is in. false if it cannot be
 * read.
 */
static bool add_folder(struct mark *mark, int at, const char *name, int depth, bool files) {
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct stat st;
    if (!folder) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool ok = fstat(fd, &st) == 0;
    if (ok)
        add_to_mark(mark, name, &st);
    for (struct dirent *entry; ok && (entry = readdir(folder));) {
        bool maybe_folder = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
        if (entry->d_name[0] == '.' || (!files && !maybe_folder) ||
            fstatat(fd, entry->d_name, &st, files ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth > 0)
            ok = add_folder(mark, fd, entry->d_name, depth - 1, false);
        else if (files || S_ISDIR(st.st_mode))
            add_to_mark(mark, entry->d_name, &st);
    }
    (void)closedir(folder);
    return ok;
}

/* The mark of a data set: its files, its folders and theirs (train/CLASS). */
static bool make_mark(const char *path, struct mark *ret) {
    *ret = (struct mark){0};
    return add_folder(ret, AT_FDCWD, path, 1, true);
}

/* --- Describing --- */

/* Puts the field in the place of a path below path: clients are not told where the data are. */
static void name_field(const char *path, struct ghn_err *err) {
    size_t n = strlen(path);
    struct ghn_err shown = GHN_ERR_INIT;
    if (strncmp(err->where, path, n) != 0 || (err->where[n] != '\0' && err->where[n] != '/'))
        return;
    const char *file = err->where[n] ? err->where + n + 1 : "";
    ghn_record(&shown, err->status, "dataset", "%s%s%s", file, *file ? ": " : "", err->message);
    *err = shown;
}

/* Looks at the data set; a new description, NULL if there is no memory. */
static struct ghnd_description *describe(const char *path) {
    struct ghnd_description *ret = calloc(1, sizeof(*ret));
    struct ghn_dataset *dataset = NULL;
    if (!ret || !(ret->path = strdup(path))) {
        free_description(ret);
        return NULL;
    }
    ret->status = ghn_dataset_describe(path, &dataset, &ret->err);
    if (ret->status == GHN_NO_MEMORY) {
        free_description(ret);
        return NULL;
    }
    if (ret->status == GHN_OK) {
        ret->dataset = *dataset;
        ret->dataset.name = NULL;
        ret->dataset.class_names = NULL;
        ret->dataset.impl = NULL;
        ghn_dataset_free(dataset);
    } else {
        name_field(path, &ret->err);
    }
    return ret;
}

static void copy_out(const struct ghnd_description *from, struct ghn_dataset *ret,
                     enum ghn_status *ret_status, struct ghn_err *err) {
    *ret_status = from->status;
    if (from->status == GHN_OK)
        *ret = from->dataset;
    else if (err)
        *err = from->err;
}

/* Whether there is a description of path as it is now, which is copied out. */
static bool find(struct ghnd_datasets *datasets, const char *path, const struct mark *mark,
                 struct ghn_dataset *ret, enum ghn_status *ret_status, struct ghn_err *err) {
    bool found = false;
    pthread_mutex_lock(&datasets->lock);
    for (struct ghnd_description *d = datasets->first; d && !found; d = d->next) {
        found = d->mark.sum == mark->sum && strcmp(d->path, path) == 0;
        if (found)
            copy_out(d, ret, ret_status, err);
    }
    datasets->scans += !found;
    pthread_mutex_unlock(&datasets->lock);
    return found;
}

/* Takes a description in place of those of the same path, or of the oldest. */
static void keep(struct ghnd_datasets *datasets, struct ghnd_description *description) {
    pthread_mutex_lock(&datasets->lock);
    description->next = datasets->first;
    datasets->first = description;
    datasets->n++;
    for (struct ghnd_description **at = &description->next; *at;) {
        struct ghnd_description *d = *at;
        if (strcmp(d->path, description->path) != 0 && (d->next || datasets->n <= MAX_KEPT)) {
            at = &d->next;
            continue;
        }
        *at = d->next;
        free_description(d);
        datasets->n--;
    }
    pthread_mutex_unlock(&datasets->lock);
}

enum ghn_status ghnd_datasets_describe(struct ghnd_datasets *datasets, const char *data_dir,
                                       const char *name, struct ghn_dataset *ret,
                                       struct ghn_err *err) {
    char path[PATH];
    struct mark mark;
    enum ghn_status status = GHN_OK;
    ghnd_dataset_path(data_dir, name, path, sizeof(path));
    bool marked = make_mark(path, &mark);
    int64_t now = (int64_t)time(NULL);
    if (!marked || !find(datasets, path, &mark, ret, &status, err)) {
        struct ghnd_description *description = describe(path);
        if (!description)
            return ghn_fail_memory(err);
        copy_out(description, ret, &status, err);
        description->mark = mark;
        if (marked && mark.latest + RACY_SECONDS < now)
            keep(datasets, description);
        else
            free_description(description);
    }
    if (status == GHN_OK)
        ret->name = name;
    return status;
}

/* --- What is none --- */

/* The place where the complaint about that name is pointed to from, or where the list ends. Called
 * with the lock held, like the next. */
static struct ghnd_complaint **find_complaint(struct ghnd_datasets *datasets, const char *name) {
    struct ghnd_complaint **at = &datasets->complaints;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

/* Whether it was noted: no more than a bound are, and the rest is never told. */
static bool add_complaint(struct ghnd_datasets *datasets, const char *name, uint64_t reason) {
    size_t n = strlen(name) + 1;
    struct ghnd_complaint *complaint =
        datasets->n_complaints < MAX_COMPLAINTS ? malloc(sizeof(*complaint) + n) : NULL;
    if (!complaint)
        return false;
    memcpy(complaint->name, name, n);
    complaint->reason = reason;
    complaint->next = datasets->complaints;
    datasets->complaints = complaint;
    datasets->n_complaints++;
    return true;
}

bool ghnd_datasets_complain(struct ghnd_datasets *datasets, const char *name, const char *reason) {
    pthread_mutex_lock(&datasets->lock);
    struct ghnd_complaint **at = find_complaint(datasets, name), *known = *at;
    bool news = false;
    if (reason && !known) {
        news = add_complaint(datasets, name, hash(reason));
    } else if (reason) {
        news = known->reason != hash(reason);
        known->reason = hash(reason);
    } else if (known) {
        *at = known->next;
        datasets->n_complaints--;
        free(known);
    }
    pthread_mutex_unlock(&datasets->lock);
    return news;
}
