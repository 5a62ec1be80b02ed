/* Folders of pictures: train/CLASS/FILE and test/CLASS/FILE (or val/), or CLASS/FILE. Only an index
 * is kept; pictures are decoded when they are wanted.
 *
 * Their order is that of a hash of their paths, so that the first N of a split, and every batch in
 * file order, hold all classes: accuracy on a few images, training on a part, and statistics of a
 * batch would otherwise be those of one class. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/rng.h"
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

static const char *last_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Regular files that are pictures, or folders, of a folder of the data set, "" for itself, in byte
 * order. Symbolic links are passed over. */
static enum ghn_status read_folder(struct ghn_dataset *dataset, const char *below, bool folders,
                                   struct list *list, struct ghn_err *err) {
    struct ghn_arena *arena = &dataset->impl->arena;
    const char *path = *below ? ghn__data_path(dataset, below) : dataset->impl->path;
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
        if (folders ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode) || !is_picture(entry->d_name)) {
            dataset->passed_over += !folders;
            continue;
        }
        char *name = ghn_arena_printf(arena, "%s%s%s", below, *below ? "/" : "", entry->d_name);
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
    const char *name = last_of(folder);
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

/* A picture, and its place in the order. */
struct entry {
    uint64_t key;
    const char *file;
    uint16_t label;
};

static int by_key(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : strcmp(x->file, y->file);
}

/* Where the split has to be made, a picture in ten of every class, beginning with its second, is
 * for the test. Entries are in order. */
static bool is_held_out(const struct entry *entry, int *seen) {
    return seen[entry->label]++ % 10 == 1;
}

/* Makes entries that are `wanted` (or all, where held_out is NULL) a split. */
static enum ghn_status keep_split(struct ghn_dataset *dataset, int split,
                                  const struct entry *entries, size_t n, const bool *held_out,
                                  bool wanted, struct ghn_err *err) {
    struct ghn_dataset_impl *impl = dataset->impl;
    impl->files[split] = ghn_arena_array(&impl->arena, n, sizeof *impl->files[split]);
    impl->labels[split] = ghn_malloc(n * sizeof *impl->labels[split]);
    if (!impl->files[split] || !impl->labels[split])
        return ghn_fail_memory(err);
    int64_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!held_out || held_out[i] == wanted) {
            impl->files[split][kept] = entries[i].file;
            impl->labels[split][kept++] = entries[i].label;
        }
    dataset->n[split] = kept;
    return GHN_OK;
}

/* Makes both splits of one folder's pictures. */
static enum ghn_status hold_out(struct ghn_dataset *dataset, const struct entry *entries, size_t n,
                                const char *name, struct ghn_err *err) {
    int *seen = ghn_calloc((size_t)dataset->n_classes, sizeof *seen);
    bool *held_out = ghn_calloc(n, sizeof *held_out);
    enum ghn_status status = seen && held_out ? GHN_OK : ghn_fail_memory(err);
    bool any = false;
    for (size_t i = 0; !status && i < n; i++)
        any |= held_out[i] = is_held_out(&entries[i], seen);
    if (!status && !any)
        status = ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, name),
                          "holds one picture of each class; there is no test or val beside it, and "
                          "none can be held out");
    for (int split = 0; !status && split < 2; split++)
        status = keep_split(dataset, split, entries, n, held_out, split == GHN_SPLIT_TEST, err);
    ghn_free(seen);
    ghn_free(held_out);
    return status;
}

/* The pictures, class by class up to ends[k], in the order that they are kept in. */
static struct entry *sort_files(const struct ghn_dataset *dataset, const struct list *files,
                                const struct list *classes, const size_t *ends) {
    struct entry *entries = ghn_malloc(files->n * sizeof *entries);
    if (!entries)
        return NULL;
    for (size_t k = 0, i = 0; k < classes->n; k++)
        for (int label = class_of(dataset, classes->names[k]); i < ends[k]; i++)
            entries[i] = (struct entry){ghn_rng_bits(0, ghn_rng_stream(files->names[i]), 0),
                                        files->names[i], (uint16_t)label};
    qsort(entries, files->n, sizeof *entries, by_key);
    return entries;
}

/* Makes the pictures of every class folder below `name` that split, or both. */
static enum ghn_status index_split(struct ghn_dataset *dataset, int split, const char *name,
                                   bool both, struct ghn_err *err) {
    struct entry *entries = NULL;
    struct list classes = {0}, files = {0};
    size_t *ends = NULL; /* of each class in files */
    const char *empty = NULL;
    enum ghn_status status = read_folder(dataset, name, true, &classes, err);
    if (!status && !(ends = ghn_calloc(classes.n, sizeof *ends)))
        status = ghn_fail_memory(err);
    for (size_t k = 0; !status && k < classes.n; k++) {
        struct list of_class = {0};
        status = add_class(dataset, classes.names[k], &files, &of_class, err);
        ends[k] = files.n;
        if (of_class.n == 0 && split == GHN_SPLIT_TRAIN)
            empty = classes.names[k];
        ghn_free(of_class.names);
    }
    if (!status && files.n == 0)
        status = ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, name),
                          "holds no .jpg, .jpeg or .png in a folder for each class");
    if (!status && empty)
        status = ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, empty),
                          "holds no .jpg, .jpeg or .png; every folder here is a class, and needs "
                          "some to be trained on");
    if (!status && files.n > MAX_FILES)
        status = ghn_fail(err, GHN_TOO_LARGE, ghn__data_path(dataset, name),
                          "holds more than %d pictures", MAX_FILES);
    if (!status && !(entries = sort_files(dataset, &files, &classes, ends)))
        status = ghn_fail_memory(err);
    if (!status)
        status = both ? hold_out(dataset, entries, files.n, name, err)
                      : keep_split(dataset, split, entries, files.n, NULL, false, err);
    ghn_free(entries);
    ghn_free(classes.names);
    ghn_free(files.names);
    ghn_free(ends);
    return status;
}

static enum ghn_status find_classes(struct ghn_dataset *dataset, const char *name,
                                    struct ghn_err *err) {
    struct list classes = {0};
    enum ghn_status status = read_folder(dataset, name, true, &classes, err);
    if (!status && (classes.n < 1 || classes.n > MAX_CLASSES))
        status = ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, name),
                          "holds %zu folders of classes; expected 1 to %d", classes.n, MAX_CLASSES);
    const char **names =
        status ? NULL : ghn_arena_array(&dataset->impl->arena, classes.n, sizeof *names);
    if (!status && !names)
        status = ghn_fail_memory(err);
    for (size_t k = 0; !status && k < classes.n; k++)
        names[k] = last_of(classes.names[k]);
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
    bool split = ghn__data_has_folder(dataset, "train");
    const char *train = split ? "train" : "";
    const char *test = !split                                  ? NULL
                       : ghn__data_has_folder(dataset, "test") ? "test"
                       : ghn__data_has_folder(dataset, "val")  ? "val"
                                                               : NULL;
    enum ghn_status status = find_classes(dataset, train, err);
    if (!status)
        status = index_split(dataset, GHN_SPLIT_TRAIN, train, !test, err);
    if (!status && test)
        status = index_split(dataset, GHN_SPLIT_TEST, test, false, err);
    return status;
}

bool ghn__folder_is(struct ghn_dataset *dataset, enum ghn_status *ret, struct ghn_err *err) {
    struct list classes = {0}, files = {0};
    bool is = ghn__data_has_folder(dataset, "train");
    if (!is)
        *ret = read_folder(dataset, "", true, &classes, err);
    for (size_t k = 0; !is && !*ret && k < classes.n; k++) {
        *ret = read_folder(dataset, classes.names[k], false, &files, err);
        is = files.n > 0;
    }
    ghn_free(classes.names);
    ghn_free(files.names);
    return is;
}
