/* IDX files of the MNIST family, plain or compressed by gzip. */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "data/dataset_impl.h"

enum { MAX_SIDE = 4096 };

#define MAX_BYTES (INT64_C(1) << 33)

/* DEFLATE cannot make more of a byte. */
enum { MAX_RATIO = 1032 };

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A file being read, compressed or not. */
struct idx {
    gzFile file;
    const char *path;
    int64_t most; /* bytes that it can hold */
};

/* The file NAME or NAME.gz, opened so that both read alike. */
static enum ghn_status open_file(struct ghn_dataset *dataset, const char *name, struct idx *ret,
                                 struct ghn_err *err) {
    char compressed[64];
    int64_t bytes = 0;
    (void)snprintf(compressed, sizeof compressed, "%s.gz", name);
    bool plain = ghn__data_has(dataset, name, &bytes);
    const char *path = ghn__data_path(dataset, plain ? name : compressed);
    if (!path)
        return ghn_fail_memory(err);
    if (!plain && !ghn__data_has(dataset, compressed, &bytes))
        return ghn_fail(err, GHN_INVALID_FILE, path, "is missing");
    gzFile file = gzopen(path, "rb");
    if (!file)
        return ghn_fail(err, GHN_IO, path, "cannot be opened");
    *ret = (struct idx){file, path, bytes < MAX_BYTES / MAX_RATIO ? bytes * MAX_RATIO : MAX_BYTES};
    return GHN_OK;
}

/* Reads exactly n bytes. */
static enum ghn_status read_exactly(const struct idx *idx, void *to, int64_t n,
                                    struct ghn_err *err) {
    char *at = to;
    while (n > 0) {
        int got = gzread(idx->file, at, n > 1 << 20 ? 1 << 20 : (unsigned)n);
        if (got <= 0)
            return ghn_fail(err, GHN_INVALID_FILE, idx->path, "ends too early, or is damaged");
        at += got;
        n -= got;
    }
    return GHN_OK;
}

/* Nothing may follow. Reading on also makes zlib check the sum at the end; that a file is cut off
 * there is no error of the read itself. */
static enum ghn_status expect_end(const struct idx *idx, struct ghn_err *err) {
    uint8_t byte;
    int code = Z_OK, got = gzread(idx->file, &byte, 1);
    (void)gzerror(idx->file, &code);
    if (got < 0 || code != Z_OK)
        return ghn_fail(err, GHN_INVALID_FILE, idx->path, "is damaged, or cut off");
    if (got > 0)
        return ghn_fail(err, GHN_INVALID_FILE, idx->path, "is longer than its extents say");
    return GHN_OK;
}

/* Magic number and extents: (n) for labels, (n, height, width) for images. */
static enum ghn_status read_header(const struct idx *idx, int ndim, int64_t *dims,
                                   struct ghn_err *err) {
    uint8_t header[16];
    enum ghn_status status = read_exactly(idx, header, 4 + 4 * ndim, err);
    if (status)
        return status;
    if (big_endian(header) != 0x0800u + (unsigned)ndim)
        return ghn_fail(err, GHN_INVALID_FILE, idx->path,
                        "its magic number is %08x; expected %08x, unsigned bytes in %d dimensions",
                        big_endian(header), 0x0800u + (unsigned)ndim, ndim);
    for (int i = 0; i < ndim; i++)
        dims[i] = big_endian(header + 4 + 4 * i);
    return GHN_OK;
}

/* The images of a split behind the header. */
static enum ghn_status read_images(struct ghn_dataset *dataset, int split, const struct idx *idx,
                                   struct ghn_err *err) {
    int64_t dims[3];
    enum ghn_status status = read_header(idx, 3, dims, err);
    if (status)
        return status;
    if (dims[0] < 1 || dims[1] < 1 || dims[2] < 1 || dims[1] > MAX_SIDE || dims[2] > MAX_SIDE ||
        dims[0] * dims[1] * dims[2] > idx->most ||
        (split && (dims[1] != dataset->height || dims[2] != dataset->width)))
        return ghn_fail(
            err, GHN_INVALID_FILE, idx->path,
            "its extents are %lld x %lld x %lld, which no such file can have beside the others",
            (long long)dims[0], (long long)dims[1], (long long)dims[2]);
    dataset->n[split] = dims[0];
    dataset->height = (int)dims[1];
    dataset->width = (int)dims[2];
    if (dataset->impl->described_only)
        return GHN_OK;
    int64_t bytes = dims[0] * dims[1] * dims[2];
    uint8_t *pixels = dataset->impl->pixels[split] = ghn_malloc((size_t)bytes);
    status = pixels ? read_exactly(idx, pixels, bytes, err) : ghn_fail_memory(err);
    return status ? status : expect_end(idx, err);
}

/* The labels of a split behind the header; *classes grows to the largest label and 1. */
static enum ghn_status read_labels(struct ghn_dataset *dataset, int split, const struct idx *idx,
                                   int *classes, struct ghn_err *err) {
    int64_t n;
    enum ghn_status status = read_header(idx, 1, &n, err);
    if (status)
        return status;
    if (n != dataset->n[split])
        return ghn_fail(err, GHN_INVALID_FILE, idx->path, "has %lld labels for %lld images",
                        (long long)n, (long long)dataset->n[split]);
    uint8_t *bytes = ghn_malloc((size_t)n);
    uint16_t *labels = dataset->impl->labels[split] = ghn_malloc((size_t)n * sizeof *labels);
    status = bytes && labels ? read_exactly(idx, bytes, n, err) : ghn_fail_memory(err);
    if (!status)
        status = expect_end(idx, err);
    for (int64_t i = 0; !status && i < n; i++) {
        labels[i] = bytes[i];
        *classes = bytes[i] + 1 > *classes ? bytes[i] + 1 : *classes;
    }
    ghn_free(bytes);
    return status;
}

static enum ghn_status load_split(struct ghn_dataset *dataset, int split, const char *prefix,
                                  int *classes, struct ghn_err *err) {
    struct idx idx;
    char name[64];
    (void)snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    enum ghn_status status = open_file(dataset, name, &idx, err);
    if (status)
        return status;
    status = read_images(dataset, split, &idx, err);
    gzclose(idx.file);
    if (status)
        return status;
    (void)snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    status = open_file(dataset, name, &idx, err);
    if (status)
        return status;
    status = read_labels(dataset, split, &idx, classes, err);
    gzclose(idx.file);
    return status;
}

enum ghn_status ghn__idx_open(struct ghn_dataset *dataset, struct ghn_err *err) {
    static const char *const prefix[2] = {"train", "t10k"};
    dataset->kind = GHN_DATASET_IDX;
    dataset->channels = 1;
    dataset->std[0] = 1.0f;
    int classes = 1;
    for (int i = 0; i < 2; i++) {
        enum ghn_status status = load_split(dataset, i, prefix[i], &classes, err);
        if (status)
            return status;
    }
    return ghn__class_names(dataset, NULL, classes, err);
}
