/* The restricted unpickler by itself: in a whole file, the archive's checksums keep most mutations
 * from reaching it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "tensor/torch_pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Looks at what a value refers to, down to a depth: containers may hold themselves. */
static int64_t touch(const struct ghn__value *value, int depth) {
    int64_t sum = 0;
    switch (value->kind) {
    case GHN__TEXT:
        for (size_t i = 0; i < value->as.text->n; i++)
            sum += value->as.text->bytes[i];
        return sum;
    case GHN__TUPLE:
    case GHN__LIST:
    case GHN__DICT:
        assert(value->as.list->n >= 0 && value->as.list->n <= value->as.list->capacity);
        assert(value->kind != GHN__DICT || value->as.list->n % 2 == 0);
        for (int i = 0; depth > 0 && i < value->as.list->n && i < 64; i++)
            sum += touch(&value->as.list->items[i], depth - 1);
        return sum;
    case GHN__STORAGE:
        return value->as.storage->numel;
    case GHN__TENSOR:
        assert(value->as.tensor->offset >= 0);
        assert(value->as.tensor->shape.ndim <= GHN_MAX_DIMS);
        for (int d = 0; d < value->as.tensor->shape.ndim; d++)
            assert(value->as.tensor->shape.dim[d] >= 0 && value->as.tensor->stride[d] >= 0);
        return value->as.tensor->storage->numel;
    default:
        return 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct ghn__source source = {.data = data, .n = size, .what = "input"};
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn__value value;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn__unpickle(&source, &arena, &value, &err) == GHN_OK)
        (void)touch(&value, 4);
    else
        assert(err.message[0]);
    ghn_arena_done(&arena);
    return 0;
}
