#include "tensor/tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/base16.h>
#include <nettle/sha2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/machine.h"
#include "base/mem.h"
#include "base/names.h"
#include "tensor/source.h"

/* The piece of a file that is read and hashed at once: small enough to be in the cache still when
 * it is hashed. */
enum { READ_PIECE = 1 << 18 };

/* Who owns what a set points to. */
struct storage {
    struct ghn_arena arena; /* the items and their names */
    void *file;             /* the file's bytes; NULL once nothing points into them */
    void *copies;           /* tensors that did not lie as they must */
    struct ghn_names names; /* tensor name -> its number */
};

/* Where in a buffer aligned to 64 bytes a file that starts with these 8 bytes must lie, so that its
 * tensors are aligned if they are in their file's own terms: PyTorch counts from the beginning of
 * the file, safetensors from the end of its header, whose size these bytes tell. */
static size_t lead_of(const unsigned char head[8]) {
    if (memcmp(head, "PK", 2) == 0)
        return 0;
    return (size_t)(GHN_ALIGN - (8 + ghn__le64(head)) % GHN_ALIGN) % GHN_ALIGN;
}

/* As ghn_malloc, for what is about to be filled from end to end: a fault for every 4 KiB of a large
 * buffer takes longer than reading and hashing what goes there. */
static void *allocate(size_t n) {
    enum { PAGE = 4096, LARGE = 1 << 22 };
    char *p = ghn_malloc(n);
    if (p && n >= LARGE) {
        size_t before = (PAGE - (uintptr_t)p % PAGE) % PAGE;
        (void)madvise(p + before, (n - before) / PAGE * PAGE, MADV_HUGEPAGE);
    }
    return p;
}

/* Reads up to n bytes at offset; returns how many, fewer only at the end of the file, or -1. */
static ssize_t read_at(int fd, void *buf, size_t n, uint64_t offset) {
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(fd, (char *)buf + done, n - done, (off_t)(offset + done));
        if (got == 0)
            break;
        if (got > 0)
            done += (size_t)got;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)done;
}

/* Reads size bytes into buf, hashing along the way. */
static enum ghn_status read_all(int fd, unsigned char *buf, uint64_t size, const char *path,
                                char ret_sha256[65], struct ghn_err *err) {
    struct sha256_ctx sha;
    sha256_init(&sha);
    for (uint64_t done = 0; done < size;) {
        size_t piece = size - done < READ_PIECE ? (size_t)(size - done) : READ_PIECE;
        ssize_t got = read_at(fd, buf + done, piece, done);
        if (got < 0)
            return ghn_fail(err, GHN_IO, path, "cannot read: %s", strerror(errno));
        if ((size_t)got < piece)
            return ghn_fail(err, GHN_IO, path, "the file became shorter while it was read");
        sha256_update(&sha, piece, buf + done);
        done += piece;
    }
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(&sha, sizeof(digest), digest);
    base16_encode_update(ret_sha256, sizeof(digest), digest);
    ret_sha256[BASE16_ENCODE_LENGTH(sizeof(digest))] = '\0';
    return GHN_OK;
}

/* An open file into memory: *ret_buffer is the caller's to free, *source points into it. */
static enum ghn_status load_fd(int fd, const char *path, void **ret_buffer,
                               struct ghn__source *source, char ret_sha256[65],
                               struct ghn_err *err) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ghn_fail(err, GHN_IO, path, "cannot read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return ghn_fail(err, GHN_IO, path, "this is not a regular file");
    if (st.st_size > ghn_machine_memory())
        return ghn_fail(err, GHN_TOO_LARGE, path,
                        "a file of %lld bytes, which is read whole; there are %lld of memory",
                        (long long)st.st_size, (long long)ghn_machine_memory());
    unsigned char head[8] = {0};
    if (read_at(fd, head, sizeof(head), 0) < 0)
        return ghn_fail(err, GHN_IO, path, "cannot read: %s", strerror(errno));
    size_t lead = lead_of(head);
    unsigned char *buffer = allocate((size_t)st.st_size + lead);
    if (!buffer)
        return ghn_fail_memory(err);
    enum ghn_status status =
        read_all(fd, buffer + lead, (uint64_t)st.st_size, path, ret_sha256, err);
    if (status != GHN_OK) {
        ghn_free(buffer);
        return status;
    }
    *ret_buffer = buffer;
    *source = (struct ghn__source){buffer + lead, (size_t)st.st_size, path};
    return GHN_OK;
}

static enum ghn_status index_names(struct ghn_tensors *set, const char *what, struct ghn_err *err) {
    struct storage *storage = set->storage;
    for (int i = 0; i < set->n; i++) {
        int at = ghn_names_add(&storage->names, set->items[i].name, i);
        if (at == GHN_NAMES_NO_MEMORY)
            return ghn_fail_memory(err);
        if (at != i)
            return ghn_fail(err, GHN_INVALID_FILE, what, "two tensors are called \"%.100s\"",
                            set->items[i].name);
    }
    return GHN_OK;
}

static bool lies_well(const struct ghn__view *view) {
    return view->contiguous && (uintptr_t)view->first % GHN_ALIGN == 0;
}

static size_t round_up(size_t n) {
    return (n + GHN_ALIGN - 1) / GHN_ALIGN * GHN_ALIGN;
}

/* Room for the tensors that do not lie as they must. Views may overlap in the file, so that a small
 * one could ask for much: the copies may take four times the file and no more. */
static enum ghn_status allocate_copies(const struct ghn__source *source,
                                       const struct ghn__parsed *parsed, void **ret,
                                       struct ghn_err *err) {
    size_t bytes = 0, rounded = 0;
    bool any = false;
    for (int i = 0; i < parsed->n; i++)
        if (!lies_well(&parsed->views[i])) {
            any = true;
            bytes += parsed->views[i].n_bytes;
            rounded += round_up(parsed->views[i].n_bytes);
            if (bytes / 4 > source->n)
                return ghn_fail(err, GHN_TOO_LARGE, source->what,
                                "the tensors share storage so much that they take more than 4 "
                                "times the file's size");
        }
    if (!any)
        return GHN_OK;
    *ret = allocate(rounded);
    return *ret ? GHN_OK : ghn_fail_memory(err);
}

/* The elements of a strided view one after the other; the inner loop runs over the last dimension.
 */
static void gather(char *dst, const struct ghn__view *view, size_t size) {
    const struct ghn_shape *shape = &view->shape;
    int last = shape->ndim - 1;
    int64_t index[GHN_MAX_DIMS] = {0};
    if (view->n_bytes == 0)
        return;
    for (;;) {
        const unsigned char *src = view->first;
        for (int d = 0; d < last; d++)
            src += (size_t)(index[d] * view->stride[d]) * size;
        for (int64_t i = 0; i < shape->dim[last]; i++, dst += size)
            memcpy(dst, src + (size_t)(i * view->stride[last]) * size, size);
        int d = last - 1;
        for (; d >= 0 && ++index[d] == shape->dim[d]; d--)
            index[d] = 0;
        if (d < 0)
            return;
    }
}

/* Turns views into tensors, copying those that do not lie as they must. */
static void place(struct ghn_tensors *set, const struct ghn__parsed *parsed) {
    struct storage *storage = set->storage;
    char *copy = storage->copies;
    bool file_in_use = false;
    for (int i = 0; i < parsed->n; i++) {
        const struct ghn__view *view = &parsed->views[i];
        const void *data = view->first;
        if (lies_well(view)) {
            file_in_use = true;
        } else {
            if (view->contiguous && view->n_bytes > 0)
                memcpy(copy, view->first, view->n_bytes);
            else
                gather(copy, view, ghn_dtype_size(view->dtype));
            data = copy;
            copy += round_up(view->n_bytes);
        }
        set->items[i] =
            (struct ghn_tensor){view->name, view->dtype, view->shape, data, view->n_bytes};
    }
    if (!file_in_use) {
        ghn_free(storage->file);
        storage->file = NULL;
    }
}

static enum ghn_status build(struct ghn_tensors *set, const struct ghn__source *source,
                             const struct ghn__parsed *parsed, struct ghn_err *err) {
    struct storage *storage = set->storage;
    set->items = ghn_arena_array(&storage->arena, (size_t)parsed->n, sizeof(struct ghn_tensor));
    if (!set->items)
        return ghn_fail_memory(err);
    enum ghn_status status = allocate_copies(source, parsed, &storage->copies, err);
    if (status != GHN_OK)
        return status;
    set->n = parsed->n;
    place(set, parsed);
    return index_names(set, source->what, err);
}

static enum ghn_status parse_by_format(struct ghn_tensors *set, const struct ghn__source *source,
                                       struct ghn__parsed *parsed, struct ghn_err *err) {
    if (source->n >= 2 && memcmp(source->data, "PK", 2) == 0) {
        set->format = GHN_TORCH_ZIP;
        return ghn__torch_parse(source, parsed, err);
    }
    if (source->n > 8 && source->data[8] == '{') {
        set->format = GHN_SAFETENSORS;
        return ghn__safetensors_parse(source, parsed, err);
    }
    return ghn__refuse_unknown(source, err);
}

/* Makes a set of the source, which lies in buffer. The set, or on failure this function, frees
 * buffer. */
static enum ghn_status make_set(void *buffer, const struct ghn__source *source, const char *sha256,
                                struct ghn_tensors **ret, struct ghn_err *err) {
    struct ghn_tensors *set = ghn_calloc(1, sizeof(*set));
    struct storage *storage = ghn_calloc(1, sizeof(*storage));
    if (!set || !storage) {
        ghn_free(set);
        ghn_free(storage);
        ghn_free(buffer);
        return ghn_fail_memory(err);
    }
    set->storage = storage;
    storage->file = buffer;
    memcpy(set->sha256, sha256, strlen(sha256) + 1);
    struct ghn__parsed parsed = {.arena = &storage->arena};
    enum ghn_status status = parse_by_format(set, source, &parsed, err);
    set->metadata = parsed.metadata;
    if (status == GHN_OK)
        status = build(set, source, &parsed, err);
    ghn_free(parsed.views);
    if (status != GHN_OK) {
        ghn_tensors_free(set);
        return status;
    }
    *ret = set;
    return GHN_OK;
}

enum ghn_status ghn_tensors_read(const char *path, struct ghn_tensors **ret, struct ghn_err *err) {
    /* O_NONBLOCK, for a FIFO would make open wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return ghn_fail(err, GHN_IO, path, "cannot open: %s", strerror(errno));
    void *buffer = NULL;
    struct ghn__source source;
    char sha256[65];
    enum ghn_status status = load_fd(fd, path, &buffer, &source, sha256, err);
    (void)close(fd);
    if (status != GHN_OK)
        return status;
    return make_set(buffer, &source, sha256, ret, err);
}

enum ghn_status ghn_tensors_parse(const void *data, size_t n, const char *what,
                                  struct ghn_tensors **ret, struct ghn_err *err) {
    unsigned char head[8] = {0};
    if (n > 0)
        memcpy(head, data, n < sizeof(head) ? n : sizeof(head));
    size_t lead = lead_of(head);
    unsigned char *buffer = allocate(n + lead);
    if (!buffer)
        return ghn_fail_memory(err);
    if (n > 0)
        memcpy(buffer + lead, data, n);
    return make_set(buffer, &(struct ghn__source){buffer + lead, n, what}, "", ret, err);
}

void ghn_tensors_free(struct ghn_tensors *tensors) {
    if (!tensors)
        return;
    json_decref(tensors->metadata);
    struct storage *storage = tensors->storage;
    if (storage) {
        ghn_free(storage->file);
        ghn_free(storage->copies);
        ghn_names_done(&storage->names);
        ghn_arena_done(&storage->arena);
        ghn_free(storage);
    }
    ghn_free(tensors);
}

const struct ghn_tensor *ghn_tensors_find(const struct ghn_tensors *tensors, const char *name) {
    const struct storage *storage = tensors->storage;
    int i = ghn_names_find(&storage->names, name);
    return i < 0 ? NULL : &tensors->items[i];
}
