/* IDX files of the MNIST family, plain or compressed by gzip. */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "data/dataset_impl.h"

enum { MAX_SIDE = 4096 };

#define MAX_BYTES (INT64_C(1) << 33)

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The file NAME or NAME.gz, opened so that both read alike. */
static enum ghn_status open_file(struct ghn_dataset *dataset, const char *name, gzFile *ret,
                                 const char **ret_path, struct ghn_err *err) {
    char compressed[64];
    snprintf(compressed, sizeof compressed, "%s.gz", name);
    bool plain = ghn__data_has(dataset, name, NULL);
    const char *path = ghn__data_path(dataset, plain ? name : compressed);
    if (!path)
        return ghn_fail_memory(err);
    if (!plain && !ghn__data_has(dataset, compressed, NULL))
        return ghn_fail(err, GHN_INVALID_FILE, path, "is missing");
    gzFile file = gzopen(path, "rb");
    if (!file)
        return ghn_fail(err, GHN_IO, path, "cannot be opened");
    *ret = file;
    *ret_path = path;
    return GHN_OK;
}

/* Reads exactly n bytes. */
static enum ghn_status read_exactly(gzFile file, const char *path, void *to, int64_t n,
                                    struct ghn_err *err) {
    char *at = to;
    while (n > 0) {
        int got = gzread(file, at, n > 1 << 20 ? 1 << 20 : (unsigned)n);
        if (got <= 0)
            return ghn_fail(err, GHN_INVALID_FILE, path, "ends too early, or is damaged");
        at += got;
        n -= got;
    }
    return GHN_OK;
}

/* Magic number and extents: (n) for labels, (n, height, width) for images. */
static enum ghn_status read_header(gzFile file, const char *path, int ndim, int64_t *dims,
                                   struct ghn_err *err) {
    uint8_t header[16];
    enum ghn_status status = read_exactly(file, path, header, 4 + 4 * ndim, err);
    if (status)
        return status;
    if (big_endian(header) != 0x0800u + (unsigned)ndim)
        return ghn_fail(err, GHN_INVALID_FILE, path,
                        "its magic number is %08x; expected %08x, unsigned bytes in %d dimensions",
                        big_endian(header), 0x0800u + (unsigned)ndim, ndim);
    for (int i = 0; i < ndim; i++)
        dims[i] = big_endian(header + 4 + 4 * i);
    return GHN_OK;
}

static enum ghn_status load_images(struct ghn_dataset *dataset, int split, const char *name,
                                   struct ghn_err *err) {
    gzFile file;
    const char *path;
    int64_t dims[3];
    enum ghn_status status = open_file(dataset, name, &file, &path, err);
    if (status)
        return status;
    status = read_header(file, path, 3, dims, err);
    if (!status && (dims[0] < 1 || dims[1] < 1 || dims[2] < 1 || dims[1] > MAX_SIDE ||
                    dims[2] > MAX_SIDE || dims[0] * dims[1] * dims[2] > MAX_BYTES ||
                    (split && (dims[1] != dataset->height || dims[2] != dataset->width))))
        status = ghn_fail(
            err, GHN_INVALID_FILE, path,
            "its extents are %lld x %lld x %lld, which no such file can have beside the others",
            (long long)dims[0], (long long)dims[1], (long long)dims[2]);
    if (!status) {
        dataset->n[split] = dims[0];
        dataset->height = (int)dims[1];
        dataset->width = (int)dims[2];
    }
    if (!status && !dataset->impl->described_only) {
        uint8_t *pixels = dataset->impl->pixels[split] =
            ghn_malloc((size_t)(dims[0] * dims[1] * dims[2]));
        status = pixels ? read_exactly(file, path, pixels, dims[0] * dims[1] * dims[2], err)
                        : ghn_fail_memory(err);
    }
    gzclose(file);
    return status;
}

/* Labels of a split; *classes grows to the largest label and 1. */
static enum ghn_status load_labels(struct ghn_dataset *dataset, int split, const char *name,
                                   int *classes, struct ghn_err *err) {
    gzFile file;
    const char *path;
    int64_t n;
    uint8_t *bytes = NULL;
    enum ghn_status status = open_file(dataset, name, &file, &path, err);
    if (status)
        return status;
    status = read_header(file, path, 1, &n, err);
    if (!status && n != dataset->n[split])
        status = ghn_fail(err, GHN_INVALID_FILE, path, "has %lld labels for %lld images",
                          (long long)n, (long long)dataset->n[split]);
    if (!status) {
        bytes = ghn_malloc((size_t)n);
        dataset->impl->labels[split] = ghn_malloc((size_t)n * sizeof *dataset->impl->labels[split]);
        status = bytes && dataset->impl->labels[split] ? read_exactly(file, path, bytes, n, err)
                                                       : ghn_fail_memory(err);
    }
    for (int64_t i = 0; !status && i < n; i++) {
        dataset->impl->labels[split][i] = bytes[i];
        *classes = bytes[i] + 1 > *classes ? bytes[i] + 1 : *classes;
    }
    ghn_free(bytes);
    gzclose(file);
    return status;
}

enum ghn_status ghn__idx_open(struct ghn_dataset *dataset, struct ghn_err *err) {
    static const char *const prefix[2] = {"train", "t10k"};
    dataset->kind = GHN_DATASET_IDX;
    dataset->channels = 1;
    dataset->std[0] = 1.0f;
    int classes = 1;
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix[i]);
        enum ghn_status status = load_images(dataset, i, name, err);
        snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix[i]);
        if (!status)
            status = load_labels(dataset, i, name, &classes, err);
        if (status)
            return status;
    }
    return ghn__class_names(dataset, NULL, classes, err);
}
