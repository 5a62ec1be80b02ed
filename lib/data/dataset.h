/* Image data sets for classification.
 *
 * A data set is a folder; what it holds says which kind it is:
 *
 *   cifar10   data_batch_1.bin ... data_batch_5.bin, test_batch.bin; batches.meta.txt names classes
 *   cifar100  train.bin, test.bin; fine_label_names.txt names classes
 *   idx       train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte,
 *             t10k-labels-idx1-ubyte (the MNIST family), each also with .gz behind its name
 *   folder    train/CLASS/FILE.{jpg,jpeg,png}, and the same below test/ or val/; without these, a
 *             picture in ten of every class is for the test. Or CLASS/FILE alone, of which the same
 *             is held out. Classes are in byte order of their names, files in an order that mixes
 *             the classes and depends on their paths alone. Hidden files and symbolic links are
 *             passed over.
 *
 * One needs no folder: "shapes" is drawn when it is wanted (32 x 32, 3 channels, 10 classes), for
 * tests and first steps. */
#ifndef GHN_DATA_DATASET_H
#define GHN_DATA_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum ghn_split { GHN_SPLIT_TRAIN, GHN_SPLIT_TEST };

enum ghn_dataset_kind {
    GHN_DATASET_CIFAR10,
    GHN_DATASET_CIFAR100,
    GHN_DATASET_IDX,
    GHN_DATASET_FOLDER,
    GHN_DATASET_SHAPES
};

struct ghn_dataset {
    enum ghn_dataset_kind kind;
    const char *name; /* the folder's last component; "shapes" */
    int n_classes;
    const char *const *class_names;
    int channels;          /* 1 or 3 */
    int height, width;     /* of every image; 0 for a folder, whose images may differ */
    int64_t n[2];          /* images by split */
    int64_t passed_over;   /* a folder: what lies among the pictures and is none, or a link */
    float mean[3], std[3]; /* by channel, of values in [0, 1]: the published ones of CIFAR; those of
                              ImageNet for a folder; measured on the first 10,000 training images
                              of an idx set; 0.5 and 0.25 for shapes */
    struct ghn_dataset_impl *impl; /* private */
};

/* Opens the data set in the folder at path, or the drawn one if path is "shapes" and there is no
 * such folder. Fixed-size kinds are read whole (CIFAR: 184 MB); of a folder, names only: a picture
 * is read when its batch is. GHN_IO; GHN_INVALID_FILE, naming the file, for a wrong length, a bad
 * magic number or checksum, or a label out of range; GHN_UNSUPPORTED_FILE for a folder of no known
 * kind; GHN_TOO_LARGE. The caller frees with ghn_dataset_free. Immutable and thread-safe. */
enum ghn_status ghn_dataset_open(const char *path, struct ghn_dataset **ret,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* The same without the pictures: kind, classes, sizes and counts from file names and lengths; only
 * those fields are filled and the set cannot be loaded from. */
enum ghn_status ghn_dataset_describe(const char *path, struct ghn_dataset **ret,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* Frees a data set that no loader uses any more; NULL is allowed. */
void ghn_dataset_free(struct ghn_dataset *dataset);

/* The name of a kind ("cifar10"). */
const char *ghn_dataset_kind_name(enum ghn_dataset_kind kind);

/* Whether a network with input (C, H, W) can take the data set's images: fixed-size kinds must have
 * that size, or be larger by a whole factor: then squares of pixels become their means after crop
 * and flip; or smaller by at most an eighth at each end: then a border of zero pixels is put around
 * them, as for 28 x 28 in 32 x 32; a folder's are resized; grey images serve a 3-channel network by
 * repetition. GHN_SHAPE_MISMATCH with a message that gives both. */
enum ghn_status ghn_dataset_fits(const struct ghn_dataset *dataset, const int64_t chw[3],
                                 struct ghn_err *err) GHN_MUST_CHECK;

#endif
