/* Makes PyTorch files, byte by byte as torch.save does it. */
#ifndef GHN_TESTS_TORCH_ARCHIVE_H
#define GHN_TESTS_TORCH_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ARCHIVE_RECORDS = 16 };

/* An archive in the making; start it zeroed. */
struct archive {
    unsigned char *bytes; /* by malloc, the caller's to free */
    size_t n;
    bool zip64; /* numbers go to ZIP64 fields, as they do in files beyond 4 GiB */
    int n_records;
    struct archive_record {
        char name[64];
        uint32_t crc;
        uint64_t size;
        size_t local, data, descriptor, central; /* offsets */
    } records[ARCHIVE_RECORDS];
    size_t directory, end64, end; /* offsets */
};

/* Appends a record of n bytes, its data aligned to 64. */
void archive_add(struct archive *archive, const char *name, const void *data, size_t n);

/* Appends the directory and the end record. */
void archive_end(struct archive *archive);

/* A whole archive: a/data.pkl with that pickle, a/data/0 of 24 bytes (the floats 0 to 5), a/data/1
 * of 8 bytes (the integer 7) and a/version. */
void archive_of_pickle(struct archive *archive, const void *pickle, size_t n);

#endif
