#include "tensor/torch_zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/utf8.h"

enum {
    MAX_RECORDS = 20000,
    /* Sizes in bytes of the archive's structures, without names and extra fields. */
    LOCAL_SIZE = 30,
    CENTRAL_SIZE = 46,
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR_SIZE = 20,
    DESCRIPTOR_SIZE = 16,
    DESCRIPTOR64_SIZE = 24,
    /* Bits of the flags. */
    FLAG_ENCRYPTED = 1 << 0,
    FLAG_DESCRIPTOR = 1 << 3, /* checksum and sizes follow the data */
    FLAG_UTF8 = 1 << 11,
    EXTRA_ZIP64 = 1,
};

static const uint32_t magic_local = 0x04034B50, magic_central = 0x02014B50, magic_end = 0x06054B50,
                      magic_end64 = 0x06064B50, magic_locator = 0x07064B50,
                      magic_descriptor = 0x08074B50;

/* What an 32-bit field holds if the number is in the ZIP64 extra field. */
static const uint32_t elsewhere = 0xFFFFFFFF;

/* The central directory's place, and how many records it lists. */
struct directory {
    uint64_t offset, size, n;
};

static enum ghn_status bad_record(const struct ghn__source *source, const struct ghn__record *r,
                                  struct ghn_err *err, const char *wrong) {
    return ghn_fail(err, GHN_INVALID_FILE, source->what, "record \"%.*s\": %s",
                    (int)(r->n_name < 100 ? r->n_name : 100), r->name, wrong);
}

/* Whether a field of the old end record says what the ZIP64 one says, or leaves it to that. */
static bool agrees(uint64_t field, uint64_t value, uint64_t max) {
    return field == value || field == max;
}

/* The ZIP64 end record, which must end where its locator begins. */
static enum ghn_status read_end64(const struct ghn__source *source, const unsigned char *end,
                                  struct directory *ret, uint64_t *ret_start, struct ghn_err *err) {
    uint64_t locator = source->n - END_SIZE - LOCATOR_SIZE;
    const unsigned char *l = source->data + locator;
    if (locator < END64_SIZE || ghn__le32(l + 4) != 0 || ghn__le32(l + 16) != 1 ||
        ghn__le64(l + 8) != locator - END64_SIZE)
        return ghn_fail(err, GHN_INVALID_FILE, source->what,
                        "the ZIP64 locator points to no ZIP64 end record before it");
    const unsigned char *e = l - END64_SIZE;
    if (ghn__le32(e) != magic_end64 || ghn__le64(e + 4) != END64_SIZE - 12 ||
        ghn__le32(e + 16) != 0 || ghn__le32(e + 20) != 0 || ghn__le64(e + 24) != ghn__le64(e + 32))
        return ghn_fail(err, GHN_INVALID_FILE, source->what, "the ZIP64 end record is not sound");
    struct directory d = {ghn__le64(e + 48), ghn__le64(e + 40), ghn__le64(e + 32)};
    if (!agrees(ghn__le16(end + 10), d.n, 0xFFFF) ||
        !agrees(ghn__le32(end + 12), d.size, elsewhere) ||
        !agrees(ghn__le32(end + 16), d.offset, elsewhere))
        return ghn_fail(err, GHN_INVALID_FILE, source->what, "the two end records disagree");
    *ret = d;
    *ret_start = locator - END64_SIZE;
    return GHN_OK;
}

/* The end record, at the very end of the archive, and from it the directory just before it. */
static enum ghn_status read_end(const struct ghn__source *source, struct directory *ret,
                                struct ghn_err *err) {
    if (source->n < END_SIZE || ghn__le32(source->data + source->n - END_SIZE) != magic_end)
        return ghn_fail(err, GHN_INVALID_FILE, source->what,
                        "the archive does not end with its directory: it is cut off, or followed "
                        "by something else");
    const unsigned char *end = source->data + source->n - END_SIZE;
    if (ghn__le16(end + 20) != 0)
        return ghn_fail(err, GHN_INVALID_FILE, source->what, "the archive ends inside its comment");
    if (ghn__le16(end + 4) != 0 || ghn__le16(end + 6) != 0 ||
        ghn__le16(end + 8) != ghn__le16(end + 10))
        return ghn_fail(err, GHN_UNSUPPORTED_FILE, source->what, "the archive is in several parts");
    struct directory d = {ghn__le32(end + 16), ghn__le32(end + 12), ghn__le16(end + 10)};
    uint64_t start = source->n - END_SIZE;
    if (start >= LOCATOR_SIZE && ghn__le32(end - LOCATOR_SIZE) == magic_locator) {
        enum ghn_status status = read_end64(source, end, &d, &start, err);
        if (status != GHN_OK)
            return status;
    }
    if (d.n > MAX_RECORDS)
        return ghn_fail(err, GHN_TOO_LARGE, source->what,
                        "an archive of %llu records; at most %d are read", (unsigned long long)d.n,
                        MAX_RECORDS);
    if (d.size > start || d.offset != start - d.size)
        return ghn_fail(err, GHN_INVALID_FILE, source->what,
                        "the directory does not end where the end record begins");
    *ret = d;
    return GHN_OK;
}

/* Takes the next number from a ZIP64 extra field if *value says that it is there. */
static bool take64(const unsigned char **p, size_t *n, uint64_t *value) {
    if (*value != elsewhere)
        return true;
    if (*n < 8)
        return false;
    *value = ghn__le64(*p);
    *p += 8;
    *n -= 8;
    return true;
}

/* Goes through n bytes of extra fields and completes the numbers that are in a ZIP64 one. offset
 * may be NULL. */
static bool read_extra(const unsigned char *p, size_t n, uint64_t *size, uint64_t *packed,
                       uint64_t *offset) {
    bool found = false;
    while (n > 0) {
        if (n < 4 || ghn__le16(p + 2) > n - 4)
            return false;
        size_t length = ghn__le16(p + 2);
        if (ghn__le16(p) == EXTRA_ZIP64) {
            const unsigned char *q = p + 4;
            size_t left = length;
            if (found || !take64(&q, &left, size) || !take64(&q, &left, packed) ||
                (offset && !take64(&q, &left, offset)))
                return false;
            found = true;
        }
        p += 4 + length;
        n -= 4 + length;
    }
    return found ||
           (*size != elsewhere && *packed != elsewhere && (!offset || *offset != elsewhere));
}

/* Relative, without "..", "." or empty parts, without NUL and backslash, valid UTF-8. */
static bool harmless(const char *name, size_t n) {
    if (n == 0 || n > GHN__MAX_NAME || memchr(name, '\0', n) || memchr(name, '\\', n) ||
        !ghn_utf8_valid(name, n))
        return false;
    for (size_t i = 0; i <= n;) {
        const char *slash = i < n ? memchr(name + i, '/', n - i) : NULL;
        size_t part = slash ? (size_t)(slash - name) - i : n - i;
        if (part == 0 || (part == 1 && name[i] == '.') ||
            (part == 2 && name[i] == '.' && name[i + 1] == '.'))
            return false;
        i += part + 1;
    }
    return true;
}

/* Reads the directory's entry at p, of which n bytes may be read; its length into *ret_length. */
static enum ghn_status read_central(const struct ghn__source *source, const unsigned char *p,
                                    size_t n, struct ghn__record *r, size_t *ret_length,
                                    struct ghn_err *err) {
    if (n < CENTRAL_SIZE || ghn__le32(p) != magic_central)
        return ghn_fail(err, GHN_INVALID_FILE, source->what,
                        "the directory lists no record where one is due");
    size_t n_name = ghn__le16(p + 28), n_extra = ghn__le16(p + 30);
    if (n_name + n_extra > n - CENTRAL_SIZE)
        return ghn_fail(err, GHN_INVALID_FILE, source->what, "the directory is cut off");
    *r = (struct ghn__record){.name = (const char *)p + CENTRAL_SIZE,
                              .n_name = n_name,
                              .size = ghn__le32(p + 24),
                              .header = ghn__le32(p + 42),
                              .crc = ghn__le32(p + 16),
                              .flags = ghn__le16(p + 8)};
    if (!harmless(r->name, n_name))
        return bad_record(source, r, err, "its name is no plain relative path");
    uint64_t packed = ghn__le32(p + 20);
    if (!read_extra(p + CENTRAL_SIZE + n_name, n_extra, &r->size, &packed, &r->header))
        return bad_record(source, r, err, "its extra fields are not sound");
    if (r->flags & FLAG_ENCRYPTED || ghn__le16(p + 10) != 0)
        return ghn_fail(err, GHN_UNSUPPORTED_FILE, source->what,
                        "record \"%.*s\" is compressed or encrypted, which torch.save does not do; "
                        "of a TorchScript archive save the state_dict() instead",
                        (int)(n_name < 100 ? n_name : 100), r->name);
    if (r->flags & ~(FLAG_DESCRIPTOR | FLAG_UTF8))
        return bad_record(source, r, err, "it has flags that PyTorch does not set");
    if (packed != r->size)
        return bad_record(source, r, err, "it is stored but its two sizes differ");
    if (ghn__le16(p + 32) != 0 || ghn__le16(p + 34) != 0)
        return bad_record(source, r, err, "it has a comment or lies in another part");
    *ret_length = CENTRAL_SIZE + n_name + n_extra;
    return GHN_OK;
}

/* The local header must say what the directory says; with a descriptor after the data it may leave
 * checksum and sizes to that. */
static bool local_agrees(const struct ghn__record *r, const unsigned char *p) {
    if (ghn__le16(p + 6) != r->flags || ghn__le16(p + 8) != 0)
        return false;
    uint32_t crc = ghn__le32(p + 14);
    uint64_t packed = ghn__le32(p + 18), size = ghn__le32(p + 22);
    size_t n_name = ghn__le16(p + 26);
    if (!read_extra(p + LOCAL_SIZE + n_name, ghn__le16(p + 28), &size, &packed, NULL))
        return false;
    if (r->flags & FLAG_DESCRIPTOR && crc == 0 && packed == 0 && size == 0)
        return true;
    return crc == r->crc && packed == r->size && size == r->size;
}

/* What follows the data up to the next record: nothing, or a descriptor with the same numbers. */
static bool descriptor_agrees(const struct ghn__record *r, const unsigned char *p, uint64_t n) {
    if (!(r->flags & FLAG_DESCRIPTOR))
        return n == 0;
    if ((n != DESCRIPTOR_SIZE && n != DESCRIPTOR64_SIZE) || ghn__le32(p) != magic_descriptor ||
        ghn__le32(p + 4) != r->crc)
        return false;
    if (n == DESCRIPTOR_SIZE)
        return ghn__le32(p + 8) == r->size && ghn__le32(p + 12) == r->size;
    return ghn__le64(p + 8) == r->size && ghn__le64(p + 16) == r->size;
}

/* Finds the data of a record that takes all bytes from its header up to end, and checks them. */
static enum ghn_status read_local(const struct ghn__source *source, struct ghn__record *r,
                                  uint64_t end, struct ghn_err *err) {
    uint64_t room = end - r->header;
    const unsigned char *p = source->data + r->header;
    if (room < LOCAL_SIZE || ghn__le32(p) != magic_local)
        return bad_record(source, r, err, "no local header where the directory says");
    size_t n_name = ghn__le16(p + 26), n_extra = ghn__le16(p + 28);
    uint64_t before = LOCAL_SIZE + n_name + n_extra;
    if (before > room || r->size > room - before)
        return bad_record(source, r, err, "it overlaps what follows it");
    if (n_name != r->n_name || memcmp(p + LOCAL_SIZE, r->name, n_name) != 0)
        return bad_record(source, r, err, "its local header has another name");
    if (!local_agrees(r, p))
        return bad_record(source, r, err, "its local header disagrees with the directory");
    r->data = p + before;
    if (!descriptor_agrees(r, r->data + r->size, room - before - r->size))
        return bad_record(source, r, err, "what follows its data is no matching descriptor");
    if (crc32_z(0, r->data, (z_size_t)r->size) != r->crc)
        return bad_record(source, r, err, "its checksum is wrong: the file is damaged");
    return GHN_OK;
}

static int by_header(const void *a, const void *b) {
    const struct ghn__record *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

static int compare_names(const char *a, size_t n, const char *b, size_t m) {
    int order = memcmp(a, b, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static int by_name(const void *a, const void *b) {
    const struct ghn__record *x = a, *y = b;
    return compare_names(x->name, x->n_name, y->name, y->n_name);
}

/* Records must fill the archive up to the directory. */
static enum ghn_status read_records(const struct ghn__source *source, const struct directory *d,
                                    struct ghn__zip *zip, struct ghn_err *err) {
    if (zip->n == 0)
        return ghn_fail(err, GHN_INVALID_FILE, source->what, "the archive is empty");
    qsort(zip->records, (size_t)zip->n, sizeof(*zip->records), by_header);
    if (zip->records[0].header != 0)
        return bad_record(source, &zip->records[0], err,
                          "it is the first but does not begin the file");
    if (zip->records[zip->n - 1].header > d->offset)
        return bad_record(source, &zip->records[zip->n - 1], err, "it lies outside the file");
    for (int i = 0; i < zip->n; i++) {
        uint64_t end = i + 1 < zip->n ? zip->records[i + 1].header : d->offset;
        enum ghn_status status = read_local(source, &zip->records[i], end, err);
        if (status != GHN_OK)
            return status;
    }
    qsort(zip->records, (size_t)zip->n, sizeof(*zip->records), by_name);
    for (int i = 1; i < zip->n; i++)
        if (by_name(&zip->records[i - 1], &zip->records[i]) == 0)
            return bad_record(source, &zip->records[i], err, "two records have this name");
    return GHN_OK;
}

static enum ghn_status read_directory(const struct ghn__source *source, const struct directory *d,
                                      struct ghn__zip *zip, struct ghn_err *err) {
    uint64_t used = 0;
    for (; zip->n < (int)d->n; zip->n++) {
        size_t length = 0;
        enum ghn_status status =
            read_central(source, source->data + d->offset + used, (size_t)(d->size - used),
                         &zip->records[zip->n], &length, err);
        if (status != GHN_OK)
            return status;
        used += length;
    }
    if (used != d->size)
        return ghn_fail(err, GHN_INVALID_FILE, source->what,
                        "the directory is longer than the records that it lists");
    return read_records(source, d, zip, err);
}

enum ghn_status ghn__zip_open(const struct ghn__source *source, struct ghn__zip *ret,
                              struct ghn_err *err) {
    struct directory d = {0};
    enum ghn_status status = read_end(source, &d, err);
    if (status != GHN_OK)
        return status;
    struct ghn__zip zip = {0, ghn_calloc((size_t)d.n, sizeof(struct ghn__record))};
    if (!zip.records)
        return ghn_fail_memory(err);
    status = read_directory(source, &d, &zip, err);
    if (status != GHN_OK) {
        ghn__zip_done(&zip);
        return status;
    }
    *ret = zip;
    return GHN_OK;
}

void ghn__zip_done(struct ghn__zip *zip) {
    ghn_free(zip->records);
    *zip = (struct ghn__zip){0, NULL};
}

const struct ghn__record *ghn__zip_find(const struct ghn__zip *zip, const char *root, size_t n_root,
                                        const char *name, size_t n) {
    char full[2 * GHN__MAX_NAME + 1];
    if (n_root + 1 + n > sizeof(full))
        return NULL;
    memcpy(full, root, n_root);
    full[n_root] = '/';
    memcpy(full + n_root + 1, name, n);
    struct ghn__record key = {.name = full, .n_name = n_root + 1 + n};
    return bsearch(&key, zip->records, (size_t)zip->n, sizeof(key), by_name);
}
