/* Prints what a file of tensors holds as one JSON object: format, sha256, metadata, and of each
 * tensor its name, dtype, shape and the sha256 of its bytes. With a second argument it also writes
 * the tensors there as safetensors. An error goes to standard error as "CODE: WHERE: MESSAGE", exit
 * status 1. */
#include <nettle/base16.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tensor/tensors.h"

static json_t *describe(const struct ghn_tensor *tensor) {
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char hex[BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) + 1] = "";
    sha256_init(&sha);
    sha256_update(&sha, tensor->n_bytes, tensor->data);
    sha256_digest(&sha, sizeof(digest), digest);
    base16_encode_update(hex, sizeof(digest), digest);
    json_t *shape = json_array();
    for (int i = 0; i < tensor->shape.ndim; i++)
        (void)json_array_append_new(shape, json_integer(tensor->shape.dim[i]));
    return json_pack("{s:s, s:s, s:o, s:s, s:b}", "name", tensor->name, "dtype",
                     ghn_dtype_name(tensor->dtype), "shape", shape, "sha256", hex, "aligned",
                     (int)((uintptr_t)tensor->data % GHN_ALIGN == 0));
}

static void print(const struct ghn_tensors *set) {
    json_t *list = json_array();
    for (int i = 0; i < set->n; i++)
        (void)json_array_append_new(list, describe(&set->items[i]));
    json_t *all = json_pack("{s:s, s:s, s:O, s:o}", "format",
                            set->format == GHN_SAFETENSORS ? "safetensors" : "torch", "sha256",
                            set->sha256, "metadata", set->metadata, "tensors", list);
    (void)json_dumpf(all, stdout, 0);
    (void)putchar('\n');
    json_decref(all);
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        (void)fprintf(stderr, "usage: %s FILE [COPY]\n", argv[0]);
        return 2;
    }
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *set = NULL;
    enum ghn_status status = ghn_tensors_read(argv[1], &set, &err);
    if (status == GHN_OK && argc == 3)
        status = ghn_safetensors_write(argv[2], set->items, set->n, NULL, &err);
    if (status == GHN_OK)
        print(set);
    else
        (void)fprintf(stderr, "%s: %s: %s\n", ghn_status_code(status), err.where, err.message);
    ghn_tensors_free(set);
    return status == GHN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
