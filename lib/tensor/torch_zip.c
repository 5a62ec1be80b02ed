#include "tensor/torch_zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/utf8.h"
#include "tensor/bytes.h"

/* Sizes of the fixed parts of the records (APPNOTE 4.3). */
enum {
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR_SIZE = 20,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    MEMBERS_MAX = 20000,
    NAME_MAX_BYTES = 512,
};

/* Flag bits that PyTorch sets: a data descriptor follows, names are UTF-8. Encryption and the rest
 * are refused. */
enum { FLAGS_ALLOWED = 0x0808 };

struct archive {
    const unsigned char *data;
    size_t n;
    const char *what;
    struct ghn_arena *arena;
    struct ghn_err *err;
};

static enum ghn_status invalid(const struct archive *a, const char *message) {
    return ghn_fail(a->err, GHN_INVALID_FILE, a->what, "damaged zip archive: %s", message);
}

static enum ghn_status invalid_member(const struct archive *a, const char *name,
                                      const char *message) {
    return ghn_fail(a->err, GHN_INVALID_FILE, a->what, "damaged zip archive: member \"%s\" %s",
                    name, message);
}

/* Where the central directory lies. */
struct directory {
    uint64_t offset, size, n;
};

/* The 64-bit end record that the locator in front of the ordinary one points to. */
static enum ghn_status read_end64(const struct archive *a, size_t locator, struct directory *ret) {
    const unsigned char *l = a->data + locator;
    uint64_t at = ghn__le64(l + 8);
    if (ghn__le32(l + 4) != 0 || ghn__le32(l + 16) != 1)
        return invalid(a, "it spans several disks");
    if (locator < END64_SIZE || at != locator - END64_SIZE || ghn__le32(a->data + at) != 0x06064b50)
        return invalid(a, "its 64-bit end record is not where it should be");
    const unsigned char *end = a->data + at;
    if (ghn__le32(end + 16) != 0 || ghn__le32(end + 20) != 0)
        return invalid(a, "it spans several disks");
    *ret = (struct directory){ghn__le64(end + 48), ghn__le64(end + 40), ghn__le64(end + 32)};
    if (ghn__le64(end + 24) != ret->n || ret->offset > at || ret->size != at - ret->offset)
        return invalid(a, "its directory does not end at its end record");
    return GHN_OK;
}

static enum ghn_status find_directory(const struct archive *a, struct directory *ret) {
    if (a->n < END_SIZE || ghn__le32(a->data + a->n - END_SIZE) != 0x06054b50)
        return invalid(a, "it has no end record at its end; the file may be cut short");
    size_t at = a->n - END_SIZE;
    const unsigned char *end = a->data + at;
    if (ghn__le16(end + 20) != 0)
        return invalid(a, "it has a comment");
    if (at >= LOCATOR_SIZE && ghn__le32(end - LOCATOR_SIZE) == 0x07064b50)
        return read_end64(a, at - LOCATOR_SIZE, ret);
    if (ghn__le16(end + 4) != 0 || ghn__le16(end + 6) != 0)
        return invalid(a, "it spans several disks");
    *ret = (struct directory){ghn__le32(end + 16), ghn__le32(end + 12), ghn__le16(end + 10)};
    if (ghn__le16(end + 8) != ret->n || ret->offset > at || ret->size != at - ret->offset)
        return invalid(a, "its directory does not end at its end record");
    return GHN_OK;
}

/* A member while its records are compared. */
struct entry {
    uint32_t crc;
    uint64_t packed, size, local;
    char *name;        /* as in the archive, with its folder */
    size_t begin, end; /* of its local record, header included */
};

/* Replaces sizes that are all ones in the 32-bit record by those in the ZIP64 extra field (id 1),
 * in the order they are missing. */
static enum ghn_status read_extra64(const struct archive *a, const unsigned char *extra, size_t n,
                                    struct entry *entry) {
    uint64_t *fields[] = {&entry->size, &entry->packed, &entry->local};
    bool missing = false;
    for (int i = 0; i < 3; i++)
        missing = missing || *fields[i] == UINT32_MAX;
    while (missing && n >= 4) {
        size_t length = ghn__le16(extra + 2);
        if (length > n - 4)
            break;
        const unsigned char *value = extra + 4;
        for (int i = 0; i < 3 && ghn__le16(extra) == 1; i++) {
            if (*fields[i] != UINT32_MAX)
                continue;
            if (length < 8)
                return invalid_member(a, entry->name, "has a short 64-bit field");
            *fields[i] = ghn__le64(value);
            value += 8;
            length -= 8;
            missing = false;
        }
        size_t step = 4 + (size_t)ghn__le16(extra + 2);
        extra += step;
        n -= step;
    }
    return missing ? invalid_member(a, entry->name, "lacks its 64-bit sizes") : GHN_OK;
}

/* Names that could lead somewhere, were they ever used as paths, and those with bytes that hide
 * what they are. */
static bool name_is_harmless(const char *name, size_t n) {
    if (n == 0 || strlen(name) != n || name[0] == '/' || !ghn_utf8_valid(name, n))
        return false;
    for (const char *part = name; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == 0))
            return false;
    return strchr(name, '\\') == NULL;
}

static enum ghn_status read_central(const struct archive *a, const unsigned char *p, size_t room,
                                    struct entry *ret, size_t *ret_length) {
    if (room < CENTRAL_SIZE || ghn__le32(p) != 0x02014b50)
        return invalid(a, "its directory has a broken entry");
    size_t name = ghn__le16(p + 28), extra = ghn__le16(p + 30), comment = ghn__le16(p + 32);
    if (name + extra + comment > room - CENTRAL_SIZE)
        return invalid(a, "its directory has an entry beyond its end");
    ret->name = ghn_arena_strndup(a->arena, (const char *)p + CENTRAL_SIZE, name);
    if (!ret->name)
        return ghn_fail_memory(a->err);
    if (name > NAME_MAX_BYTES || !name_is_harmless(ret->name, name))
        return invalid(a, "a member has an unacceptable name");
    if (ghn__le16(p + 8) & ~FLAGS_ALLOWED)
        return invalid_member(a, ret->name, "has flags that PyTorch does not set");
    if (ghn__le16(p + 10) != 0)
        return ghn_fail(a->err, GHN_UNSUPPORTED_FILE, a->what,
                        "member \"%s\" is compressed; PyTorch stores its members", ret->name);
    ret->crc = ghn__le32(p + 16);
    ret->packed = ghn__le32(p + 20);
    ret->size = ghn__le32(p + 24);
    ret->local = ghn__le32(p + 42);
    *ret_length = CENTRAL_SIZE + name + extra + comment;
    return read_extra64(a, p + CENTRAL_SIZE + name, extra, ret);
}

/* Checks the member's local header against the directory's entry, and its data. limit: where the
 * directory begins. */
static enum ghn_status check_local(const struct archive *a, uint64_t limit, struct entry *entry,
                                   const unsigned char **ret_data) {
    if (entry->local > limit || limit - entry->local < LOCAL_SIZE)
        return invalid_member(a, entry->name, "lies outside the file");
    const unsigned char *p = a->data + entry->local;
    size_t name = ghn__le16(p + 26), extra = ghn__le16(p + 28);
    uint64_t room = limit - entry->local - LOCAL_SIZE;
    if (ghn__le32(p) != 0x04034b50 || name + extra > room)
        return invalid_member(a, entry->name, "has a broken local header");
    if (name != strlen(entry->name) || memcmp(p + LOCAL_SIZE, entry->name, name) != 0)
        return invalid_member(a, entry->name, "has another name in its local header");
    if ((ghn__le16(p + 6) & ~FLAGS_ALLOWED) || ghn__le16(p + 8) != 0)
        return invalid_member(a, entry->name, "has other flags in its local header");
    if (entry->packed != entry->size || entry->size > room - name - extra)
        return invalid_member(a, entry->name, "is larger than the file");
    /* With a data descriptor the local header leaves checksum and sizes 0; otherwise they must
     * agree. */
    bool described = ghn__le16(p + 6) & 0x0008;
    uint32_t crc = ghn__le32(p + 14), size = ghn__le32(p + 22);
    if (!described && (crc != entry->crc || (size != UINT32_MAX && size != entry->size)))
        return invalid_member(a, entry->name, "has another size or checksum in its local header");
    const unsigned char *data = p + LOCAL_SIZE + name + extra;
    entry->begin = (size_t)entry->local;
    entry->end = (size_t)(data - a->data) + (size_t)entry->size;
    if (crc32_z(0, data, (size_t)entry->size) != entry->crc)
        return invalid_member(a, entry->name, "does not have its checksum");
    *ret_data = data;
    return GHN_OK;
}

static int by_begin(const void *x, const void *y) {
    const struct entry *a = x, *b = y;
    return a->begin < b->begin ? -1 : a->begin > b->begin;
}

static enum ghn_status check_overlaps(const struct archive *a, struct entry *entries, int n) {
    qsort(entries, (size_t)n, sizeof(*entries), by_begin);
    for (int i = 1; i < n; i++)
        if (entries[i].begin < entries[i - 1].end)
            return invalid_member(a, entries[i].name, "overlaps another");
    return GHN_OK;
}

/* Takes the folder that all names begin with off a name; NULL if the name is not in it. */
static const char *without_folder(const char *name, const char *first) {
    const char *slash = strchr(first, '/');
    size_t n = slash ? (size_t)(slash - first) + 1 : 0;
    return n > 0 && strncmp(name, first, n) == 0 && name[n] ? name + n : NULL;
}

static enum ghn_status read_members(const struct archive *a, const struct directory *directory,
                                    struct ghn_zip *zip, struct entry *entries) {
    const unsigned char *p = a->data + directory->offset;
    size_t room = (size_t)directory->size;
    const char *first = NULL;
    for (int i = 0; i < (int)directory->n; i++) {
        size_t length = 0;
        const unsigned char *data = NULL;
        enum ghn_status status = read_central(a, p, room, &entries[i], &length);
        if (status == GHN_OK)
            status = check_local(a, directory->offset, &entries[i], &data);
        if (status != GHN_OK)
            return status;
        p += length;
        room -= length;
        first = first ? first : entries[i].name;
        const char *name = without_folder(entries[i].name, first);
        if (!name)
            return invalid_member(a, entries[i].name, "is not in the folder of the others");
        int at = ghn_names_add(&zip->names, name, i);
        if (at == GHN_NAMES_NO_MEMORY)
            return ghn_fail_memory(a->err);
        if (at != i)
            return invalid_member(a, name, "is there twice");
        zip->members[i] = (struct ghn_zip_member){name, data, (size_t)entries[i].size};
        zip->n = i + 1;
    }
    return room == 0 ? GHN_OK : invalid(a, "its directory is longer than its entries");
}

enum ghn_status ghn__zip_open(const unsigned char *data, size_t n, const char *what,
                              struct ghn_arena *arena, struct ghn_zip *ret, struct ghn_err *err) {
    struct archive a = {data, n, what, arena, err};
    *ret = (struct ghn_zip){.what = what, .names = GHN_NAMES_INIT};
    struct directory directory = {0};
    enum ghn_status status = find_directory(&a, &directory);
    if (status != GHN_OK)
        return status;
    if (directory.n == 0 || directory.n > MEMBERS_MAX ||
        directory.n > directory.size / CENTRAL_SIZE)
        return invalid(&a, "the number of its members does not fit its directory");
    ret->members = ghn_arena_array(arena, (size_t)directory.n, sizeof(*ret->members));
    struct entry *entries = ghn_calloc((size_t)directory.n, sizeof(*entries));
    status =
        ret->members && entries ? read_members(&a, &directory, ret, entries) : ghn_fail_memory(err);
    if (status == GHN_OK)
        status = check_overlaps(&a, entries, ret->n);
    ghn_free(entries);
    return status;
}

const struct ghn_zip_member *ghn__zip_find(const struct ghn_zip *zip, const char *name) {
    int i = ghn_names_find(&zip->names, name);
    return i < 0 ? NULL : &zip->members[i];
}

void ghn__zip_done(struct ghn_zip *zip) {
    ghn_names_done(&zip->names);
}
