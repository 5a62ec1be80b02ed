/* What the files of lib/data share. Private to this folder. */
#ifndef GHN_DATA_DATASET_IMPL_H
#define GHN_DATA_DATASET_IMPL_H

#include <stddef.h>

#include "base/mem.h"
#include "data/dataset.h"

struct ghn_dataset_impl {
    struct ghn_arena arena; /* names, class names, file names */
    char *path;
    bool described_only;
    uint8_t *pixels[2];    /* fixed-size kinds: (n, H, W, C); NULL for shapes and folders */
    uint16_t *labels[2];   /* (n); NULL for shapes */
    const char **files[2]; /* folders: paths below `path` */
};

/* Each fills the dataset in from the folder impl->path; with described_only without pictures and
 * labels. */
enum ghn_status ghn__cifar_open(struct ghn_dataset *dataset, struct ghn_err *err) GHN_MUST_CHECK;
enum ghn_status ghn__idx_open(struct ghn_dataset *dataset, struct ghn_err *err) GHN_MUST_CHECK;
enum ghn_status ghn__folder_open(struct ghn_dataset *dataset, struct ghn_err *err) GHN_MUST_CHECK;
/* Whether the folder holds a folder of pictures: train/, or one that pictures lie in. false with
 * *ret, which is GHN_OK before, set if it cannot be told. */
bool ghn__folder_is(struct ghn_dataset *dataset, enum ghn_status *ret, struct ghn_err *err);
void ghn__shapes_open(struct ghn_dataset *dataset);

/* The label of an image in [0, n_classes). */
int ghn__dataset_label(const struct ghn_dataset *dataset, enum ghn_split split, int64_t i);

/* The label and the picture (32, 32, 3) of a drawn image. */
int ghn__shapes_label(int64_t i);
void ghn__shapes_draw(enum ghn_split split, int64_t i, uint8_t *hwc);

/* PATH/NAME in the arena; NULL if there is no memory. */
char *ghn__data_path(struct ghn_dataset *dataset, const char *name);

/* Whether PATH/NAME is a regular file, and its length. */
bool ghn__data_has(struct ghn_dataset *dataset, const char *name, int64_t *ret_bytes);

/* Whether PATH/NAME is a folder, and no symbolic link to one. */
bool ghn__data_has_folder(struct ghn_dataset *dataset, const char *name);

/* A whole regular file of at most max bytes, freed by the caller with ghn_free; `links`: it may be
 * a symbolic link. GHN_IO, GHN_TOO_LARGE. */
enum ghn_status ghn__read_whole(const char *path, bool links, int64_t max, uint8_t **ret,
                                int64_t *ret_bytes, struct ghn_err *err) GHN_MUST_CHECK;

/* The lines of a text file as class names if there are exactly n_classes of them; else "0", "1",
 * ... */
enum ghn_status ghn__class_names(struct ghn_dataset *dataset, const char *file, int n_classes,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* A decoded picture: (height, width, channels), freed with ghn_free. */
struct ghn__picture {
    int height, width, channels;
    uint8_t *pixels;
};

/* Decodes a JPEG or PNG file to `channels` (1 or 3). A JPEG may come at 1/2, 1/4 or 1/8 of its size
 * as long as its shorter side stays at least `enough`. GHN_IO, GHN_INVALID_FILE,
 * GHN_UNSUPPORTED_FILE, GHN_TOO_LARGE (beyond 2^26 pixels), where = path. */
enum ghn_status ghn__picture_read(const char *path, int channels, int enough,
                                  struct ghn__picture *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* The same from memory. */
enum ghn_status ghn__picture_decode(const uint8_t *data, size_t n, const char *path, int channels,
                                    int enough, struct ghn__picture *ret,
                                    struct ghn_err *err) GHN_MUST_CHECK;

/* The rectangle (top, left, height, width) of a picture, scaled to out (out_height, out_width,
 * channels) with the antialiased bilinear (triangle) filter of PIL and torchvision. */
struct ghn__rectangle {
    double top, left, height, width;
};
enum ghn_status ghn__resize(const struct ghn__picture *picture, const struct ghn__rectangle *from,
                            int out_height, int out_width, float *out,
                            struct ghn_err *err) GHN_MUST_CHECK;

#endif
