#include "data/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "data/dataset_impl.h"

/* --- Files --- */

char *ghn__data_path(struct ghn_dataset *dataset, const char *name) {
    return ghn_arena_printf(&dataset->impl->arena, "%s/%s", dataset->impl->path, name);
}

bool ghn__data_has(struct ghn_dataset *dataset, const char *name, int64_t *ret_bytes) {
    struct stat st;
    char *path = ghn__data_path(dataset, name);
    if (!path || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    if (ret_bytes)
        *ret_bytes = st.st_size;
    return true;
}

bool ghn__data_has_folder(struct ghn_dataset *dataset, const char *name) {
    struct stat st;
    char *path = ghn__data_path(dataset, name);
    return path && lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Reads exactly n bytes. */
static bool read_all(int fd, uint8_t *to, int64_t n) {
    while (n > 0) {
        ssize_t got = read(fd, to, (size_t)n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        n -= got;
    }
    return true;
}

enum ghn_status ghn__read_whole(const char *path, bool links, int64_t max, uint8_t **ret,
                                int64_t *ret_bytes, struct ghn_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (links ? 0 : O_NOFOLLOW));
    if (fd < 0)
        return ghn_fail(err, GHN_IO, path, "cannot be opened: %s", strerror(errno));
    struct stat st;
    enum ghn_status status = GHN_OK;
    uint8_t *data = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        status = ghn_fail(err, GHN_IO, path, "is no regular file");
    else if (st.st_size > max)
        status = ghn_fail(err, GHN_TOO_LARGE, path, "has %lld bytes; at most %lld were expected",
                          (long long)st.st_size, (long long)max);
    else if (!(data = ghn_malloc((size_t)st.st_size)))
        status = ghn_fail_memory(err);
    else if (!read_all(fd, data, st.st_size))
        status = ghn_fail(err, GHN_IO, path, "cannot be read to its end");
    close(fd);
    if (status) {
        ghn_free(data);
        return status;
    }
    *ret = data;
    *ret_bytes = st.st_size;
    return GHN_OK;
}

/* Cuts text of n bytes into lines; returns how many there are, the first max of them in lines. */
static int split_lines(struct ghn_arena *arena, const char *text, int64_t n, const char **lines,
                       int max) {
    int count = 0;
    for (int64_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', (size_t)(n - at));
        int64_t length = end ? end - (text + at) : n - at;
        int64_t trimmed = length > 0 && text[at + length - 1] == '\r' ? length - 1 : length;
        if (trimmed > 0) {
            if (count < max)
                lines[count] = ghn_arena_strndup(arena, text + at, (size_t)trimmed);
            count++;
        }
        at += length + 1;
    }
    return count;
}

enum ghn_status ghn__class_names(struct ghn_dataset *dataset, const char *file, int n_classes,
                                 struct ghn_err *err) {
    struct ghn_arena *arena = &dataset->impl->arena;
    const char **names = ghn_arena_array(arena, (size_t)n_classes, sizeof *names);
    uint8_t *text = NULL;
    int64_t bytes = 0;
    if (!names)
        return ghn_fail_memory(err);
    bool named = false;
    if (file && ghn__data_has(dataset, file, NULL)) {
        enum ghn_status status =
            ghn__read_whole(ghn__data_path(dataset, file), true, 65536, &text, &bytes, NULL);
        if (status == GHN_NO_MEMORY)
            return ghn_fail_memory(err);
        named =
            !status && split_lines(arena, (const char *)text, bytes, names, n_classes) == n_classes;
    }
    ghn_free(text);
    for (int i = 0; i < n_classes; i++) {
        if (!named)
            names[i] = ghn_arena_printf(arena, "%d", i);
        if (!names[i])
            return ghn_fail_memory(err);
    }
    dataset->class_names = names;
    dataset->n_classes = n_classes;
    return GHN_OK;
}

/* --- Means and deviations where nobody has published them --- */

static void measure(struct ghn_dataset *dataset, const uint8_t *pixels, int64_t images) {
    int64_t n = images * dataset->height * dataset->width;
    for (int c = 0; c < dataset->channels; c++) {
        double sum = 0, square = 0;
        for (int64_t i = 0; i < n; i++) {
            double x = pixels[i * dataset->channels + c] / 255.0;
            sum += x;
            square += x * x;
        }
        double mean = n ? sum / (double)n : 0, variance = n ? square / (double)n - mean * mean : 0;
        dataset->mean[c] = (float)mean;
        dataset->std[c] = variance > 1e-6 ? (float)__builtin_sqrt(variance) : 1.0f;
    }
}

/* --- Opening --- */

static const char *const kind_names[] = {"cifar10", "cifar100", "idx", "folder", "shapes"};

const char *ghn_dataset_kind_name(enum ghn_dataset_kind kind) {
    return kind_names[kind];
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool has_either(struct ghn_dataset *dataset, const char *a, const char *b) {
    return ghn__data_has(dataset, a, NULL) || ghn__data_has(dataset, b, NULL);
}

static enum ghn_status open_kind(struct ghn_dataset *dataset, struct ghn_err *err) {
    const char *path = dataset->impl->path;
    if (strcmp(path, "shapes") == 0 && !is_folder(path)) {
        ghn__shapes_open(dataset);
        return GHN_OK;
    }
    if (!is_folder(path))
        return ghn_fail(err, GHN_IO, path, "there is no such folder");
    if (has_either(dataset, "data_batch_1.bin", "train.bin"))
        return ghn__cifar_open(dataset, err);
    if (has_either(dataset, "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz")) {
        enum ghn_status status = ghn__idx_open(dataset, err);
        if (!status && !dataset->impl->described_only)
            measure(dataset, dataset->impl->pixels[0],
                    dataset->n[0] < 10000 ? dataset->n[0] : 10000);
        return status;
    }
    enum ghn_status status = GHN_OK;
    if (ghn__folder_is(dataset, &status, err))
        return ghn__folder_open(dataset, err);
    return status ? status
                  : ghn_fail(err, GHN_UNSUPPORTED_FILE, path,
                             "holds no data set: expected data_batch_1.bin (CIFAR-10), train.bin "
                             "(CIFAR-100), train-images-idx3-ubyte[.gz] (IDX), or "
                             "a folder of pictures for each class, also below train and test");
}

static enum ghn_status open_dataset(const char *path, bool described_only, struct ghn_dataset **ret,
                                    struct ghn_err *err) {
    struct ghn_dataset *dataset = ghn_calloc(1, sizeof *dataset);
    struct ghn_dataset_impl *impl = ghn_calloc(1, sizeof *impl);
    if (!dataset || !impl) {
        ghn_free(dataset);
        ghn_free(impl);
        return ghn_fail_memory(err);
    }
    dataset->impl = impl;
    impl->described_only = described_only;
    impl->path = ghn_arena_strdup(&impl->arena, path);
    enum ghn_status status = impl->path ? GHN_OK : ghn_fail_memory(err);
    if (!status) {
        size_t n = strlen(impl->path);
        while (n > 1 && impl->path[n - 1] == '/')
            impl->path[--n] = '\0';
        const char *slash = strrchr(impl->path, '/');
        char *name = ghn_arena_strdup(&impl->arena, slash && slash[1] ? slash + 1 : impl->path);
        dataset->name = name;
        if (name)
            ghn_utf8_sanitise(name);
        status = name ? open_kind(dataset, err) : ghn_fail_memory(err);
    }
    if (status) {
        ghn_dataset_free(dataset);
        return status;
    }
    *ret = dataset;
    return GHN_OK;
}

enum ghn_status ghn_dataset_open(const char *path, struct ghn_dataset **ret, struct ghn_err *err) {
    return open_dataset(path, false, ret, err);
}

enum ghn_status ghn_dataset_describe(const char *path, struct ghn_dataset **ret,
                                     struct ghn_err *err) {
    return open_dataset(path, true, ret, err);
}

void ghn_dataset_free(struct ghn_dataset *dataset) {
    if (!dataset)
        return;
    for (int i = 0; i < 2; i++) {
        ghn_free(dataset->impl->pixels[i]);
        ghn_free(dataset->impl->labels[i]);
    }
    ghn_arena_done(&dataset->impl->arena);
    ghn_free(dataset->impl);
    ghn_free(dataset);
}

int ghn__dataset_label(const struct ghn_dataset *dataset, enum ghn_split split, int64_t i) {
    const uint16_t *labels = dataset->impl->labels[split];
    return labels ? labels[i] : ghn__shapes_label(i);
}

/* Whether `side` is n pixels with a border of the same width at both ends, up to n / 8. */
static bool is_bordered(int64_t n, int64_t side) {
    return side >= n && (side - n) % 2 == 0 && (side - n) / 2 <= n / 8;
}

enum ghn_status ghn_dataset_fits(const struct ghn_dataset *dataset, const int64_t chw[3],
                                 struct ghn_err *err) {
    if (dataset->channels != chw[0] && !(dataset->channels == 1 && chw[0] == 3))
        return ghn_fail(err, GHN_SHAPE_MISMATCH, dataset->name,
                        "its images have %d channels; the network's input has %lld",
                        dataset->channels, (long long)chw[0]);
    if (dataset->height == 0)
        return GHN_OK;
    int64_t factor = chw[1] > 0 ? dataset->height / chw[1] : 0;
    bool shrunk =
        factor > 0 && dataset->height == factor * chw[1] && dataset->width == factor * chw[2];
    if (!shrunk && !(is_bordered(dataset->height, chw[1]) && is_bordered(dataset->width, chw[2])))
        return ghn_fail(err, GHN_SHAPE_MISMATCH, dataset->name,
                        "its images are %d x %d; the network's input is %lld x %lld, not that, a "
                        "half, a third ..., nor larger by a border of up to an eighth all around",
                        dataset->height, dataset->width, (long long)chw[1], (long long)chw[2]);
    return GHN_OK;
}
