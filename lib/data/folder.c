/* Folders of pictures: train/CLASS/FILE and test/CLASS/FILE (or val/). Only an index is kept;
 * pictures are decoded when they are wanted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "data/dataset_impl.h"

enum { MAX_CLASSES = 65535, MAX_FILES = 1 << 26 };

/* Names that grow as a folder is read. */
struct list {
    const char **names;
    size_t n, room;
};

static bool list_add(struct list *list, const char *name) {
    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        const char **names =
            ghn_realloc(list->names, list->room * sizeof *names, room * sizeof *names);
        if (!names)
            return false;
        list->names = names;
        list->room = room;
    }
    list->names[list->n++] = name;
    return true;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_picture(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 ||
                   strcasecmp(dot, ".png") == 0);
}

/* Regular files that are pictures, or folders, of the folder below/name, in byte order. Symbolic
 * links are passed over. */
static enum ghn_status read_folder(struct ghn_dataset *dataset, const char *below, bool folders,
                                   struct list *list, struct ghn_err *err) {
    struct ghn_arena *arena = &dataset->impl->arena;
    const char *path = ghn__data_path(dataset, below);
    DIR *dir = path ? opendir(path) : NULL;
    if (!dir)
        return path ? ghn_fail(err, GHN_IO, path, "cannot be read: %s", strerror(errno))
                    : ghn_fail_memory(err);
    enum ghn_status status = GHN_OK;
    while (!status) {
        struct stat st;
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry && errno != 0)
            status = ghn_fail(err, GHN_IO, path, "cannot be read: %s", strerror(errno));
        if (!entry)
            break;
        if (entry->d_name[0] == '.')
            continue;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno != ENOENT) /* else it was removed meanwhile */
                status = ghn_fail(err, GHN_IO, path, "%s cannot be looked at: %s", entry->d_name,
                                  strerror(errno));
            continue;
        }
        if (folders ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode) || !is_picture(entry->d_name))
            continue;
        char *name = ghn_arena_printf(arena, "%s/%s", below, entry->d_name);
        if (!name || !list_add(list, name))
            status = ghn_fail_memory(err);
    }
    closedir(dir);
    if (!status && list->n > 1)
        qsort(list->names, list->n, sizeof *list->names, by_bytes);
    return status;
}

/* The class of a folder's name, or -1. */
static int class_of(const struct ghn_dataset *dataset, const char *folder) {
    const char *name = strrchr(folder, '/') + 1;
    for (int k = 0; k < dataset->n_classes; k++)
        if (strcmp(dataset->class_names[k], name) == 0)
            return k;
    return -1;
}

/* Adds the pictures of a class's folder to all; of_class is freed by the caller. */
static enum ghn_status add_class(struct ghn_dataset *dataset, const char *folder, struct list *all,
                                 struct list *of_class, struct ghn_err *err) {
    if (class_of(dataset, folder) < 0)
        return ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, folder),
                        "is a class that train/ does not have");
    enum ghn_status status = read_folder(dataset, folder, false, of_class, err);
    for (size_t i = 0; !status && i < of_class->n; i++)
        if (!list_add(all, of_class->names[i]))
            status = ghn_fail_memory(err);
    return status;
}

static enum ghn_status keep_files(struct ghn_dataset *dataset, int split, const struct list *files,
                                  const struct list *classes, const size_t *ends,
                                  struct ghn_err *err) {
    struct ghn_dataset_impl *impl = dataset->impl;
    impl->files[split] = ghn_arena_array(&impl->arena, files->n, sizeof *impl->files[split]);
    impl->labels[split] = ghn_malloc(files->n * sizeof *impl->labels[split]);
    if (!impl->files[split] || !impl->labels[split])
        return ghn_fail_memory(err);
    memcpy(impl->files[split], files->names, files->n * sizeof *files->names);
    for (size_t k = 0, i = 0; k < classes->n; k++)
        for (int label = class_of(dataset, classes->names[k]); i < ends[k]; i++)
            impl->labels[split][i] = (uint16_t)label;
    dataset->n[split] = (int64_t)files->n;
    return GHN_OK;
}

/* The pictures of every class folder below `name`. */
static enum ghn_status index_split(struct ghn_dataset *dataset, int split, const char *name,
                                   struct ghn_err *err) {
    struct list classes = {0}, files = {0};
    size_t *ends = NULL; /* of each class in files */
    enum ghn_status status = read_folder(dataset, name, true, &classes, err);
    if (!status && !(ends = ghn_calloc(classes.n, sizeof *ends)))
        status = ghn_fail_memory(err);
    for (size_t k = 0; !status && k < classes.n; k++) {
        struct list of_class = {0};
        status = add_class(dataset, classes.names[k], &files, &of_class, err);
        ends[k] = files.n;
        ghn_free(of_class.names);
    }
    if (!status && files.n == 0)
        status = ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, name),
                          "holds no .jpg, .jpeg or .png in a folder for each class");
    if (!status && files.n > MAX_FILES)
        status = ghn_fail(err, GHN_TOO_LARGE, ghn__data_path(dataset, name),
                          "holds more than %d pictures", MAX_FILES);
    if (!status)
        status = keep_files(dataset, split, &files, &classes, ends, err);
    ghn_free(classes.names);
    ghn_free(files.names);
    ghn_free(ends);
    return status;
}

static enum ghn_status find_classes(struct ghn_dataset *dataset, struct ghn_err *err) {
    struct list classes = {0};
    enum ghn_status status = read_folder(dataset, "train", true, &classes, err);
    if (!status && (classes.n < 1 || classes.n > MAX_CLASSES))
        status = ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, "train"),
                          "holds %zu folders of classes; expected 1 to %d", classes.n, MAX_CLASSES);
    const char **names =
        status ? NULL : ghn_arena_array(&dataset->impl->arena, classes.n, sizeof *names);
    if (!status && !names)
        status = ghn_fail_memory(err);
    for (size_t k = 0; !status && k < classes.n; k++)
        names[k] = strrchr(classes.names[k], '/') + 1;
    if (!status) {
        dataset->class_names = names;
        dataset->n_classes = (int)classes.n;
    }
    ghn_free(classes.names);
    return status;
}

enum ghn_status ghn__folder_open(struct ghn_dataset *dataset, struct ghn_err *err) {
    /* ImageNet's, which is what networks for photographs are mostly made for. */
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    dataset->kind = GHN_DATASET_FOLDER;
    dataset->channels = 3;
    memcpy(dataset->mean, mean, sizeof mean);
    memcpy(dataset->std, std, sizeof std);
    enum ghn_status status = find_classes(dataset, err);
    if (!status)
        status = index_split(dataset, GHN_SPLIT_TRAIN, "train", err);
    if (!status)
        status = index_split(dataset, GHN_SPLIT_TEST,
                             ghn__data_has_folder(dataset, "test") ? "test" : "val", err);
    return status;
}
