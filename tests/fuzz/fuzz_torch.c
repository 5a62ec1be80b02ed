/* A pickle in a sound PyTorch file, from its bytes to tensors and metadata. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "tensor/tensors.h"
#include "torch_archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Touches every byte, for AddressSanitizer to see. */
static void touch(const struct ghn_tensor *tensor) {
    const volatile unsigned char *bytes = tensor->data;
    for (size_t i = 0; i < tensor->n_bytes; i++)
        (void)bytes[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct archive archive = {0};
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *tensors = NULL;
    archive_of_pickle(&archive, data, size);
    enum ghn_status status = ghn_tensors_parse(archive.bytes, archive.n, "input", &tensors, &err);
    assert(status == GHN_OK || status == GHN_INVALID_FILE || status == GHN_UNSUPPORTED_FILE ||
           status == GHN_TOO_LARGE);
    assert(status == err.status && (status == GHN_OK) == (tensors != NULL));
    size_t n_bytes = 0;
    for (int i = 0; tensors && i < tensors->n; i++) {
        touch(&tensors->items[i]);
        n_bytes += tensors->items[i].n_bytes;
        assert((uintptr_t)tensors->items[i].data % 64 == 0);
        assert(ghn_tensors_find(tensors, tensors->items[i].name) == &tensors->items[i]);
    }
    /* The two storages hold 32 bytes, and most of them can only be shared, not made more. */
    assert(!tensors || n_bytes <= 32 * (size_t)tensors->n);
    ghn_tensors_free(tensors);
    free(archive.bytes);
    return 0;
}
