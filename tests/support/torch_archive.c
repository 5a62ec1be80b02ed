#include "torch_archive.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void put(struct archive *a, const void *data, size_t n) {
    a->bytes = realloc(a->bytes, a->n + n + 1);
    assert(a->bytes);
    if (n > 0)
        memcpy(a->bytes + a->n, data, n);
    a->n += n;
}

static void put16(struct archive *a, unsigned value) {
    uint16_t x = (uint16_t)value;
    put(a, &x, sizeof(x));
}

static void put32(struct archive *a, uint64_t value) {
    uint32_t x = (uint32_t)value;
    put(a, &x, sizeof(x));
}

static void put64(struct archive *a, uint64_t value) {
    put(a, &value, sizeof(value));
}

void archive_add(struct archive *a, const char *name, const void *data, size_t n) {
    assert(a->n_records < ARCHIVE_RECORDS);
    struct archive_record *r = &a->records[a->n_records++];
    size_t n_name = strlen(name);
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    r->size = n;
    r->crc = (uint32_t)crc32(0, data, (uInt)n);
    r->local = a->n;
    unsigned padding = (unsigned)(64 - (a->n + 30 + n_name + 4) % 64) % 64;
    put32(a, 0x04034B50);
    put16(a, 0);
    put16(a, n ? 0x0808 : 0x0800);
    for (int i = 0; i < 9; i++) /* method, time, date, checksum and sizes */
        put16(a, 0);
    put16(a, (unsigned)n_name);
    put16(a, 4 + padding);
    put(a, name, n_name);
    put(a, "FB", 2);
    put16(a, padding);
    for (unsigned i = 0; i < padding; i++)
        put(a, "Z", 1);
    r->data = a->n;
    put(a, data, n);
    r->descriptor = a->n;
    if (n == 0)
        return;
    put32(a, 0x08074B50);
    put32(a, r->crc);
    for (int i = 0; i < 2; i++)
        a->zip64 ? put64(a, n) : put32(a, n);
}

static void put_central(struct archive *a, struct archive_record *r) {
    uint64_t none = UINT32_MAX;
    r->central = a->n;
    put32(a, 0x02014B50);
    put16(a, 0);
    put16(a, 0);
    put16(a, r->size ? 0x0808 : 0x0800);
    for (int i = 0; i < 3; i++)
        put16(a, 0);
    put32(a, r->crc);
    put32(a, a->zip64 ? none : r->size);
    put32(a, a->zip64 ? none : r->size);
    put16(a, (unsigned)strlen(r->name));
    put16(a, a->zip64 ? 28 : 0);
    for (int i = 0; i < 5; i++) /* comment, disk, attributes */
        put16(a, 0);
    put32(a, a->zip64 ? none : r->local);
    put(a, r->name, strlen(r->name));
    if (!a->zip64)
        return;
    put16(a, 1);
    put16(a, 24);
    put64(a, r->size);
    put64(a, r->size);
    put64(a, r->local);
}

void archive_end(struct archive *a) {
    a->directory = a->n;
    for (int i = 0; i < a->n_records; i++)
        put_central(a, &a->records[i]);
    uint64_t n = (uint64_t)a->n_records, size = a->n - a->directory;
    a->end64 = a->n;
    if (a->zip64) {
        put32(a, 0x06064B50);
        put64(a, 44);
        put16(a, 0x031E);
        put16(a, 45);
        put32(a, 0);
        put32(a, 0);
        put64(a, n);
        put64(a, n);
        put64(a, size);
        put64(a, a->directory);
        put32(a, 0x07064B50);
        put32(a, 0);
        put64(a, a->end64);
        put32(a, 1);
    }
    a->end = a->n;
    put32(a, 0x06054B50);
    put32(a, 0);
    put16(a, a->zip64 ? 0xFFFF : (unsigned)n);
    put16(a, a->zip64 ? 0xFFFF : (unsigned)n);
    put32(a, a->zip64 ? UINT32_MAX : size);
    put32(a, a->zip64 ? UINT32_MAX : a->directory);
    put16(a, 0);
}

void archive_of_pickle(struct archive *a, const void *pickle, size_t n) {
    static const float floats[6] = {0, 1, 2, 3, 4, 5};
    static const int64_t integer = 7;
    archive_add(a, "a/data.pkl", pickle, n);
    archive_add(a, "a/data/0", floats, sizeof(floats));
    archive_add(a, "a/data/1", &integer, sizeof(integer));
    archive_add(a, "a/version", "3\n", 2);
    archive_end(a);
}
