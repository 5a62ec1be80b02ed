/* A set of tensors, and the way from a file of either format to one. */
#include "tensor/tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "tensor/files.h"

/* Files beyond this are no parameters of anything that is served here. */
#define FILE_MAX ((int64_t)8 << 30)

/* --- The set --- */

static struct ghn__storage *storage_of(const struct ghn_tensors *tensors) {
    return tensors->storage;
}

struct ghn_arena *ghn__tensors_arena(struct ghn_tensors *tensors) {
    return &storage_of(tensors)->arena;
}

void ghn_tensors_free(struct ghn_tensors *tensors) {
    if (!tensors)
        return;
    struct ghn__storage *storage = storage_of(tensors);
    if (storage) {
        for (int i = 0; i < tensors->n && storage->copies; i++)
            ghn_free(storage->copies[i]);
        ghn_names_done(&storage->names);
        ghn_free(storage->file);
        ghn_arena_done(&storage->arena);
        ghn_free(storage);
    }
    json_decref(tensors->metadata);
    ghn_free(tensors);
}

static struct ghn_tensors *new_set(void) {
    struct ghn_tensors *tensors = ghn_calloc(1, sizeof(*tensors));
    if (!tensors)
        return NULL;
    tensors->storage = ghn_calloc(1, sizeof(struct ghn__storage));
    tensors->metadata = json_object();
    if (tensors->storage && tensors->metadata)
        return tensors;
    ghn_tensors_free(tensors);
    return NULL;
}

enum ghn_status ghn__tensors_reserve(struct ghn_tensors *tensors, size_t n, struct ghn_err *err) {
    struct ghn__storage *storage = storage_of(tensors);
    tensors->items = ghn_arena_array(&storage->arena, n, sizeof(*tensors->items));
    storage->copies = ghn_arena_array(&storage->arena, n, sizeof(*storage->copies));
    return tensors->items && storage->copies ? GHN_OK : ghn_fail_memory(err);
}

enum ghn_status ghn__tensor_bytes(enum ghn_dtype dtype, const struct ghn_shape *shape,
                                  const char *what, const char *name, size_t *ret,
                                  struct ghn_err *err) {
    int64_t numel, n_bytes;
    if (!ghn_shape_numel(shape, &numel) ||
        !ghn_mul_i64(numel, (int64_t)ghn_dtype_size(dtype), &n_bytes))
        return ghn_fail(err, GHN_INVALID_FILE, what, "tensor \"%s\" has an impossible size", name);
    if (numel == 0)
        return ghn_fail(err, GHN_INVALID_FILE, what, "tensor \"%s\" has no elements", name);
    *ret = (size_t)n_bytes;
    return GHN_OK;
}

static enum ghn_status check_new(struct ghn_tensors *tensors, const char *what, const char *name,
                                 struct ghn_err *err) {
    size_t n = strlen(name);
    if (n == 0 || n > GHN_TENSOR_NAME_MAX || !ghn_utf8_valid(name, n))
        return ghn_fail(err, GHN_INVALID_FILE, what,
                        "a tensor is called \"%.64s\": expected 1 to %d bytes of UTF-8", name,
                        GHN_TENSOR_NAME_MAX);
    int at = ghn_names_add(&storage_of(tensors)->names, name, tensors->n);
    if (at == GHN_NAMES_NO_MEMORY)
        return ghn_fail_memory(err);
    if (at != tensors->n)
        return ghn_fail(err, GHN_INVALID_FILE, what, "tensor \"%s\" is there twice", name);
    return GHN_OK;
}

enum ghn_status ghn__tensors_add_new(struct ghn_tensors *tensors, const char *what,
                                     const char *name, enum ghn_dtype dtype,
                                     const struct ghn_shape *shape, size_t n_bytes, void **ret,
                                     struct ghn_err *err) {
    enum ghn_status status = check_new(tensors, what, name, err);
    if (status != GHN_OK)
        return status;
    void *copy = ghn_malloc(n_bytes);
    if (!copy)
        return ghn_fail_memory(err);
    storage_of(tensors)->copies[tensors->n] = copy;
    tensors->items[tensors->n++] = (struct ghn_tensor){name, dtype, *shape, copy, n_bytes};
    *ret = copy;
    return GHN_OK;
}

enum ghn_status ghn__tensors_add(struct ghn_tensors *tensors, const char *what, const char *name,
                                 enum ghn_dtype dtype, const struct ghn_shape *shape,
                                 const void *data, size_t n_bytes, struct ghn_err *err) {
    if ((uintptr_t)data % GHN_ALIGN != 0) {
        void *copy = NULL;
        enum ghn_status status =
            ghn__tensors_add_new(tensors, what, name, dtype, shape, n_bytes, &copy, err);
        if (status == GHN_OK)
            memcpy(copy, data, n_bytes);
        return status;
    }
    enum ghn_status status = check_new(tensors, what, name, err);
    if (status == GHN_OK)
        tensors->items[tensors->n++] = (struct ghn_tensor){name, dtype, *shape, data, n_bytes};
    return status;
}

const struct ghn_tensor *ghn_tensors_find(const struct ghn_tensors *tensors, const char *name) {
    int i = ghn_names_find(&storage_of(tensors)->names, name);
    return i < 0 ? NULL : &tensors->items[i];
}

/* --- Telling formats apart --- */

struct magic {
    const char *bytes;
    size_t n, offset;
    const char *meaning; /* what the file is and what to do */
};

static const struct magic others[] = {
    {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14, 0,
     "a PyTorch file of the format before version 1.6; convert it once with Python: "
     "torch.save(torch.load(OLD, map_location=\"cpu\"), NEW)"},
    {"\x80", 1, 0,
     "a bare pickle, which is never read; save the parameters with torch.save or as safetensors"},
    {"ustar", 5, 257, "a tar archive; extract the parameter file from it"},
    {"\x89HDF\r\n\x1a\n", 8, 0, "an HDF5 file; save the parameters as safetensors"},
    {"\x1f\x8b", 2, 0, "compressed by gzip; decompress it first"},
    {"\x28\xb5\x2f\xfd", 4, 0, "compressed by zstd; decompress it first"},
    {"\x93NUMPY", 6, 0, "a NumPy array; save the parameters as safetensors"},
    {"GGUF", 4, 0, "a GGUF file; save the parameters as safetensors"},
};

static enum ghn_status refuse(const unsigned char *data, size_t n, const char *what,
                              struct ghn_err *err) {
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        const struct magic *magic = &others[i];
        if (n >= magic->offset + magic->n &&
            memcmp(data + magic->offset, magic->bytes, magic->n) == 0)
            return ghn_fail(err, GHN_UNSUPPORTED_FILE, what, "this is %s", magic->meaning);
    }
    return ghn_fail(err, GHN_UNSUPPORTED_FILE, what,
                    "this is neither a safetensors file nor a PyTorch file");
}

/* Fills a set from its own bytes. */
static enum ghn_status parse(struct ghn_tensors *tensors, size_t n, const char *what,
                             struct ghn_err *err) {
    const unsigned char *data = storage_of(tensors)->file;
    if (n >= 4 && memcmp(data, "PK\3\4", 4) == 0) {
        tensors->format = GHN_TORCH_ZIP;
        return ghn__torch_parse(tensors, data, n, what, err);
    }
    if (n >= 9 && data[8] == '{') {
        tensors->format = GHN_SAFETENSORS;
        return ghn__safetensors_parse(tensors, data, n, what, err);
    }
    return refuse(data, n, what, err);
}

static void digest(const unsigned char *data, size_t n, char ret[65]) {
    struct sha256_ctx context;
    uint8_t hash[SHA256_DIGEST_SIZE];
    sha256_init(&context);
    sha256_update(&context, n, data);
    sha256_digest(&context, sizeof(hash), hash);
    for (size_t i = 0; i < sizeof(hash); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", hash[i]);
}

enum ghn_status ghn_tensors_parse(const void *data, size_t n, const char *what,
                                  struct ghn_tensors **ret, struct ghn_err *err) {
    struct ghn_tensors *tensors = new_set();
    unsigned char *file = ghn_malloc(n);
    if (!tensors || !file) {
        ghn_free(file);
        ghn_tensors_free(tensors);
        return ghn_fail_memory(err);
    }
    if (n)
        memcpy(file, data, n);
    storage_of(tensors)->file = file;
    enum ghn_status status = parse(tensors, n, what, err);
    if (status == GHN_OK)
        *ret = tensors;
    else
        ghn_tensors_free(tensors);
    return status;
}

/* --- Files --- */

static enum ghn_status fail_errno(struct ghn_err *err, const char *path, const char *doing) {
    return ghn_fail(err, GHN_IO, path, "cannot %s it: %s", doing, strerror(errno));
}

static enum ghn_status read_all(int fd, const char *path, unsigned char *data, size_t n,
                                struct ghn_err *err) {
    for (size_t done = 0; done < n;) {
        ssize_t k = read(fd, data + done, n - done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return fail_errno(err, path, "read");
        if (k == 0)
            return ghn_fail(err, GHN_IO, path, "it became shorter while it was read");
        done += (size_t)k;
    }
    return GHN_OK;
}

/* The bytes of a regular file; the caller frees. */
static enum ghn_status read_file(const char *path, unsigned char **ret, size_t *ret_n,
                                 struct ghn_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, path, "open");
    struct stat st;
    unsigned char *data = NULL;
    enum ghn_status status = GHN_OK;
    if (fstat(fd, &st) != 0)
        status = fail_errno(err, path, "look at");
    else if (!S_ISREG(st.st_mode))
        status = ghn_fail(err, GHN_IO, path, "it is no regular file");
    else if (st.st_size > FILE_MAX)
        status = ghn_fail(err, GHN_TOO_LARGE, path, "it has %" PRId64 " bytes, more than 8 GiB",
                          (int64_t)st.st_size);
    if (status == GHN_OK) {
        data = ghn_malloc((size_t)st.st_size);
        status = data ? read_all(fd, path, data, (size_t)st.st_size, err) : ghn_fail_memory(err);
    }
    (void)close(fd);
    if (status == GHN_OK) {
        *ret = data;
        *ret_n = (size_t)st.st_size;
    } else {
        ghn_free(data);
    }
    return status;
}

enum ghn_status ghn_tensors_read(const char *path, struct ghn_tensors **ret, struct ghn_err *err) {
    struct ghn_tensors *tensors = new_set();
    if (!tensors)
        return ghn_fail_memory(err);
    size_t n = 0;
    enum ghn_status status = read_file(path, &storage_of(tensors)->file, &n, err);
    if (status == GHN_OK)
        status = parse(tensors, n, path, err);
    if (status == GHN_OK) {
        digest(storage_of(tensors)->file, n, tensors->sha256);
        *ret = tensors;
    } else {
        ghn_tensors_free(tensors);
    }
    return status;
}
