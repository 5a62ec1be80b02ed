/* A file of tensors, safetensors or PyTorch's: whatever comes, it is read or refused with a reason,
 * and what is read lies within what was allocated (which AddressSanitizer watches over). */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "tensor/stats.h"
#include "tensor/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uLong __wrap_crc32_z(uLong crc, const unsigned char *data, z_size_t n);

/* Linked in the place of zlib's: every record's checksum is 0, as it is in the archives to start
 * from, for true ones would keep nearly every mutation out. */
uLong __wrap_crc32_z(uLong crc, const unsigned char *data, z_size_t n) {
    (void)crc, (void)data, (void)n;
    return 0;
}

/* Touches every byte of a tensor, by way of its values. */
static void read_values(const struct ghn_tensor *tensor) {
    int64_t numel = 0;
    assert(ghn_shape_numel(&tensor->shape, &numel));
    assert((uint64_t)numel * ghn_dtype_size(tensor->dtype) == tensor->n_bytes);
    struct ghn_stats stats = {0};
    for (int64_t i = 0; i < numel; i++) {
        float value;
        const char *bytes = tensor->data;
        if (tensor->dtype == GHN_F32)
            value = ((const float *)tensor->data)[i];
        else
            ghn_dtype_to_f32(tensor->dtype, &value,
                             bytes + (size_t)i * ghn_dtype_size(tensor->dtype), 1);
        ghn_stats_add(&stats, &value, 1);
    }
    assert(stats.n + stats.n_not_finite == numel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *tensors = NULL;
    if (ghn_tensors_parse(data, size, "input", &tensors, &err) != GHN_OK) {
        assert(err.status != GHN_OK && err.message[0] && !tensors);
        return 0;
    }
    for (int i = 0; i < tensors->n; i++) {
        read_values(&tensors->items[i]);
        assert(ghn_tensors_find(tensors, tensors->items[i].name) == &tensors->items[i]);
    }
    assert(json_is_object(tensors->metadata));
    ghn_tensors_free(tensors);
    return 0;
}
