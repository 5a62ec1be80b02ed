/* What the files that talk to oneDNN share. */
#ifndef GHN_NN_DNNL_IMPL_H
#define GHN_NN_DNNL_IMPL_H

#include <dnnl.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* The processor as oneDNN's engine, and a stream on it; NULL if it cannot be had. Made once, never
 * changed. */
dnnl_engine_t ghn__dnnl_engine(void);
dnnl_stream_t ghn__dnnl_stream(void);

enum { GHN__DNNL_ARGS = 4 };

/* A compiled primitive with memory objects for its arguments and its work space. All zero: none. */
struct ghn__primitive {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    int n;
    int tags[GHN__DNNL_ARGS + 1];
    dnnl_memory_t memories[GHN__DNNL_ARGS + 1]; /* the last is the work space, if it wants one */
    size_t scratch_bytes;
};

/* A kernel that is not to be taken though it is oneDNN's first choice: its name begins so. Where it
 * is only slow, it is taken all the same if the second choice is no compiled kernel. */
struct ghn__avoid {
    const char *kernel;
    bool wrong;
};

/* Compiles an operation descriptor with the library's own work space turned off. hint: of the
 * forward pass, for a backward one. avoid may be NULL. GHN_INTERNAL with oneDNN's status. */
enum ghn_status ghn__primitive_new(const_dnnl_op_desc_t op, const_dnnl_primitive_desc_t hint,
                                   const_dnnl_primitive_attr_t attr, const struct ghn__avoid *avoid,
                                   struct ghn__primitive *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* A reorder between two layouts. */
enum ghn_status ghn__reorder_new(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                                 struct ghn__primitive *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Adds an argument of that layout. */
enum ghn_status ghn__primitive_argument(struct ghn__primitive *primitive, int tag,
                                        const dnnl_memory_desc_t *desc,
                                        struct ghn_err *err) GHN_MUST_CHECK;

/* Runs it on data[i] for argument i, and waits. */
enum ghn_status ghn__primitive_run(struct ghn__primitive *primitive, void *const *data,
                                   void *scratch, struct ghn_err *err) GHN_MUST_CHECK;

void ghn__primitive_done(struct ghn__primitive *primitive);

/* Turns oneDNN's status into ours. */
enum ghn_status ghn__dnnl_status(dnnl_status_t status, const char *what,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* n rounded up to whole cache lines. */
static inline size_t ghn__lines(size_t n) {
    return (n + 63) / 64 * 64;
}

#endif
