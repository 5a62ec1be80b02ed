/* What a folder of pictures or an IDX file may hold: the first byte says which of the two the rest
 * is taken for. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/dataset_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATH = 128 };

static char folder[] = "/tmp/ghn-fuzz-XXXXXX";

static void remove_folder(void) {
    static const char *const names[] = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[PATH];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static void write_file(const char *name, const uint8_t *data, size_t size) {
    char path[PATH];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
}

/* The input as the training images of an otherwise sound set of one grey image of 2 x 2; zlib reads
 * what is not compressed as it is, so that both forms are tried. */
static void try_idx(const uint8_t *data, size_t size) {
    static const uint8_t images[] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4};
    static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 1, 3};
    static bool made;
    if (!made) {
        if (!mkdtemp(folder) || atexit(remove_folder) != 0)
            abort();
        write_file("train-labels-idx1-ubyte", labels, sizeof(labels));
        write_file("t10k-images-idx3-ubyte", images, sizeof(images));
        write_file("t10k-labels-idx1-ubyte", labels, sizeof(labels));
        made = true;
    }
    write_file("train-images-idx3-ubyte.gz", data, size);
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_dataset_open(folder, &dataset, &err) == GHN_OK)
        assert(dataset->n[0] == 1 && dataset->height == 2 && dataset->width == 2);
    else
        assert(!dataset && err.message[0] && err.status != GHN_INTERNAL);
    ghn_dataset_free(dataset);
}

/* A picture that can be decoded can be scaled, whatever its size. */
static void try_picture(const uint8_t *data, size_t size, int enough) {
    struct ghn__picture picture;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn__picture_decode(data, size, "input", 3, enough, &picture, &err) != GHN_OK) {
        assert(err.message[0]);
        return;
    }
    float out[8 * 8 * 3];
    const struct ghn__rectangle all = {0, 0, picture.height, picture.width};
    assert(picture.height > 0 && picture.width > 0 && picture.channels == 3);
    if (ghn__resize(&picture, &all, 8, 8, out, &err) == GHN_OK)
        for (int i = 0; i < 8 * 8 * 3; i++)
            assert(out[i] > -0.01f && out[i] < 255.01f);
    ghn_free(picture.pixels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    if (data[0] == 'i')
        try_idx(data + 1, size - 1);
    else
        try_picture(data + 1, size - 1, data[0] % 2 ? 8 : 32);
    return 0;
}
