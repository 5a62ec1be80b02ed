/* Files of other formats: what they are, and what to do about it. */
#include <stdbool.h>
#include <string.h>

#include "tensor/source.h"

/* A format known by bytes at a fixed place. */
struct foreign {
    size_t offset;
    size_t n;
    const char *magic;
    const char *advice;
};

#define USE_STATE_DICT "save the model's state_dict() with torch.save or as safetensors"

/* The first that matches counts, so longer magic numbers stand before their own beginnings. */
static const struct foreign formats[] = {
    /* Protocol 2, LONG1 of 10 bytes: PyTorch's old magic number 0x1950a86a20f9469cfc6c. */
    {0, 14, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
     "a PyTorch file of the format before 1.6; convert it with: "
     "torch.save(torch.load(f, map_location=\"cpu\"), f2)"},
    {0, 1, "\x80", "a bare pickle; " USE_STATE_DICT},
    {257, 5, "ustar",
     "a tar archive; unpack it, or if it is a PyTorch file from before 0.1.10 "
     "convert it with: torch.save(torch.load(f, map_location=\"cpu\"), f2)"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file (Keras?); convert its tensors to safetensors"},
    {0, 6, "\x93NUMPY", "a NumPy array; convert it to safetensors"},
    {0, 4, "GGUF", "a GGUF file; convert its tensors to safetensors"},
    {0, 2, "\x1f\x8b", "compressed by gzip; unpack it first"},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     "compressed by xz; unpack it first"},
    {0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"},
    {0, 3, "BZh", "compressed by bzip2; unpack it first"},
    {0, 6, "7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"},
    {0, 24, "version https://git-lfs.",
     "a Git LFS pointer, not the file itself; fetch that with: git lfs pull"},
    {0, 9, "<!DOCTYPE", "a web page, not the file that was to be downloaded"},
    {0, 5, "<html", "a web page, not the file that was to be downloaded"},
};

enum ghn_status ghn__refuse_unknown(const struct ghn__source *source, struct ghn_err *err) {
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        const struct foreign *format = &formats[i];
        if (source->n >= format->offset + format->n &&
            memcmp(source->data + format->offset, format->magic, format->n) == 0)
            return ghn_fail(err, GHN_UNSUPPORTED_FILE, source->what, "this is %s", format->advice);
    }
    if (source->n <= 8)
        return ghn_fail(err, GHN_INVALID_FILE, source->what,
                        "%zu bytes are too few for a file of tensors", source->n);
    return ghn_fail(err, GHN_UNSUPPORTED_FILE, source->what,
                    "this is neither a safetensors file nor a PyTorch one");
}
