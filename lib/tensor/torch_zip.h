/* The container of a PyTorch file: a zip archive whose members are stored, not compressed. */
#ifndef GHN_TENSOR_TORCH_ZIP_H
#define GHN_TENSOR_TORCH_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/names.h"
#include "base/status.h"

struct ghn_zip_member {
    const char *name;          /* without the folder that all members share */
    const unsigned char *data; /* within the archive's bytes */
    size_t size;
};

struct ghn_zip {
    const char *what; /* the file's name, for errors */
    struct ghn_zip_member *members;
    int n;
    struct ghn_names names; /* member name -> number */
};

/* Reads the directory of the n bytes at data, which must be a whole archive as PyTorch writes it:
 * one disk, no comment, every member stored and inside one common folder, local and central headers
 * agreeing, no two members overlapping, every checksum right. Anything else is GHN_INVALID_FILE or
 * GHN_UNSUPPORTED_FILE with what was wrong. Names live in arena; end with ghn__zip_done, also after
 * a failure. */
enum ghn_status ghn__zip_open(const unsigned char *data, size_t n, const char *what,
                              struct ghn_arena *arena, struct ghn_zip *ret,
                              struct ghn_err *err) GHN_MUST_CHECK;

/* The member of that name, or NULL. */
const struct ghn_zip_member *ghn__zip_find(const struct ghn_zip *zip, const char *name);

void ghn__zip_done(struct ghn_zip *zip);

#endif
