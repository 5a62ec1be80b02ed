/* The binary layout of CIFAR-10 (a label byte, then three planes of 32 x 32) and CIFAR-100 (a
 * coarse and a fine label byte). */
#include <string.h>

#include "data/dataset_impl.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE };

#define MAX_BYTES (INT64_C(1) << 32)

static const char *const cifar10_train[] = {"data_batch_1.bin", "data_batch_2.bin",
                                            "data_batch_3.bin", "data_batch_4.bin",
                                            "data_batch_5.bin", NULL};
static const char *const cifar10_test[] = {"test_batch.bin", NULL};
static const char *const cifar100_train[] = {"train.bin", NULL};
static const char *const cifar100_test[] = {"test.bin", NULL};

/* Records of the split's files. */
static enum ghn_status count(struct ghn_dataset *dataset, const char *const *files, int labels,
                             int64_t *ret, struct ghn_err *err) {
    int64_t total = 0, record = labels + PIXELS;
    for (int i = 0; files[i]; i++) {
        int64_t bytes;
        if (!ghn__data_has(dataset, files[i], &bytes))
            return ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, files[i]), "is missing");
        if (bytes == 0 || bytes % record || bytes > MAX_BYTES)
            return ghn_fail(err, GHN_INVALID_FILE, ghn__data_path(dataset, files[i]),
                            "has %lld bytes; expected a multiple of %lld, the length of a record",
                            (long long)bytes, (long long)record);
        total += bytes / record;
    }
    *ret = total;
    return GHN_OK;
}

/* Planes to channels-last. */
static void interleave(const uint8_t *planes, uint8_t *hwc) {
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++)
            hwc[3 * i + c] = planes[c * PLANE + i];
}

/* The records of one file behind the `at` images that are there. */
static enum ghn_status load_file(struct ghn_dataset *dataset, int split, const char *name,
                                 int labels, int64_t *at, struct ghn_err *err) {
    const char *path = ghn__data_path(dataset, name);
    uint8_t *data;
    int64_t bytes, record = labels + PIXELS;
    if (!path)
        return ghn_fail_memory(err);
    enum ghn_status status = ghn__read_whole(path, true, MAX_BYTES, &data, &bytes, err);
    if (status)
        return status;
    for (int64_t i = 0; i < bytes / record && !status; i++, ++*at) {
        const uint8_t *from = data + i * record;
        if (*at >= dataset->n[split])
            status = ghn_fail(err, GHN_INVALID_FILE, path, "has grown while it was read");
        else if (from[labels - 1] >= dataset->n_classes)
            status = ghn_fail(err, GHN_INVALID_FILE, path,
                              "record %lld has label %d; there are %d classes", (long long)i,
                              from[labels - 1], dataset->n_classes);
        if (status)
            break;
        dataset->impl->labels[split][*at] = from[labels - 1];
        interleave(from + labels, dataset->impl->pixels[split] + *at * PIXELS);
    }
    ghn_free(data);
    return status;
}

static enum ghn_status load(struct ghn_dataset *dataset, int split, const char *const *files,
                            int labels, struct ghn_err *err) {
    struct ghn_dataset_impl *impl = dataset->impl;
    impl->pixels[split] = ghn_malloc((size_t)dataset->n[split] * PIXELS);
    impl->labels[split] = ghn_malloc((size_t)dataset->n[split] * sizeof *impl->labels[split]);
    if (!impl->pixels[split] || !impl->labels[split])
        return ghn_fail_memory(err);
    int64_t at = 0;
    for (int i = 0; files[i]; i++) {
        enum ghn_status status = load_file(dataset, split, files[i], labels, &at, err);
        if (status)
            return status;
    }
    if (at != dataset->n[split])
        return ghn_fail(err, GHN_INVALID_FILE, impl->path,
                        "its files have shrunk while they were read");
    return GHN_OK;
}

enum ghn_status ghn__cifar_open(struct ghn_dataset *dataset, struct ghn_err *err) {
    static const float means[2][3] = {{0.49139968f, 0.48215827f, 0.44653124f},
                                      {0.5071f, 0.4865f, 0.4409f}};
    static const float stds[2][3] = {{0.24703233f, 0.24348505f, 0.26158768f},
                                     {0.2673f, 0.2564f, 0.2762f}};
    bool hundred = !ghn__data_has(dataset, "data_batch_1.bin", NULL);
    const char *const *files[2] = {hundred ? cifar100_train : cifar10_train,
                                   hundred ? cifar100_test : cifar10_test};
    int labels = hundred ? 2 : 1;
    dataset->kind = hundred ? GHN_DATASET_CIFAR100 : GHN_DATASET_CIFAR10;
    dataset->channels = 3;
    dataset->height = dataset->width = SIDE;
    memcpy(dataset->mean, means[hundred], sizeof dataset->mean);
    memcpy(dataset->std, stds[hundred], sizeof dataset->std);
    enum ghn_status status = ghn__class_names(
        dataset, hundred ? "fine_label_names.txt" : "batches.meta.txt", hundred ? 100 : 10, err);
    for (int i = 0; i < 2 && !status; i++)
        status = count(dataset, files[i], labels, &dataset->n[i], err);
    for (int i = 0; i < 2 && !status && !dataset->impl->described_only; i++)
        status = load(dataset, i, files[i], labels, err);
    return status;
}
