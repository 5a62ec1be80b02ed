/* What lib/arch knows of an operation, and what an operation's file uses to say it. */
#ifndef GHN_ARCH_OP_H
#define GHN_ARCH_OP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/arch.h"

/* How the GHN graph treats an operation (ghn2-spec B2). */
enum ghn_op_role {
    GHN_ROLE_LAYER, /* its emits follow each other; without any it is contracted away */
    GHN_ROLE_GATE,  /* contracted away, but may be the gate of a squeeze-excite product (rule 10) */
    GHN_ROLE_MEAN,  /* as LAYER, but if it averages over all of space it may be a squeeze-excite's
                       mean (rule 10) */
    GHN_ROLE_SUM,   /* a sum node where its operands come from several nodes (rule 4) */
    GHN_ROLE_CONCAT,  /* a concat node where its inputs come from several nodes (rule 5) */
    GHN_ROLE_PRODUCT, /* a cse node for a squeeze-excite, else contracted away */
    GHN_ROLE_ZERO,    /* depends on nothing */
};

enum ghn_attr_type {
    GHN_ATTR_INT,    /* int64_t */
    GHN_ATTR_BOOL,   /* bool */
    GHN_ATTR_DOUBLE, /* double */
    GHN_ATTR_PAIR,   /* int64_t[2]; in JSON an integer stands for two equal ones, null (if 0 is
                        allowed) for 0 */
    GHN_ATTR_INTS,   /* struct ghn_ints; in JSON an integer stands for a list of one */
    GHN_ATTR_CHOICE, /* int64_t, an index into `choices`; in JSON the string */
};

/* An attribute of an operation: a field of its struct in arch/attrs.h. */
struct ghn_attr {
    const char *name;
    enum ghn_attr_type type;
    size_t offset;
    bool required;
    double min, max;            /* of every number in it */
    const char *const *choices; /* NULL-terminated */
};

struct ghn_infer;

struct ghn_op {
    const char *name;
    enum ghn_op_role role;
    int min_inputs, max_inputs;
    const struct ghn_attr *attrs; /* ends with a NULL name; NULL for none */
    size_t attrs_size;
    const void *defaults; /* an attrs struct; NULL where there are no attributes */
    /* Checks the input shapes, sets the output's, and declares parameters, emits and multiply-adds
     * in the order of the layer. */
    enum ghn_status (*infer)(struct ghn_infer *infer);
};

/* The operation of that name; NULL if there is none. "cat" is taken for concat. */
const struct ghn_op *ghn_op_find(const char *name);

/* --- For the files of operations --- */

enum { GHN_MAX_INPUTS = 1024, GHN_OP_MAX_PARAMS = 8, GHN_OP_MAX_EMITS = 8 };

/* A parameter that an operation declares. */
struct ghn_op_param {
    const char *slot; /* "weight": NODE.weight is its default name */
    struct ghn_shape shape;
    enum ghn_param_kind kind;
    struct ghn_init init;
    const char *why_other;
};

/* The work sheet of an infer function. */
struct ghn_infer {
    const union ghn_attrs *attrs;
    int n_inputs;
    const struct ghn_shape *const *inputs;
    const char *op_name, *node_name, *where; /* for errors */
    struct ghn_err *err;
    /* To be filled in: */
    struct ghn_shape shape;
    double flops; /* a double cannot overflow; the budget is checked afterwards */
    int n_params;
    struct ghn_op_param params[GHN_OP_MAX_PARAMS];
    int n_emits;
    struct ghn_emit emits[GHN_OP_MAX_EMITS]; /* `param` is an index into params here */
};

/* Fails with status and a message about the node at hand. */
enum ghn_status ghn__infer_fail(struct ghn_infer *infer, enum ghn_status status, const char *format,
                                ...) __attribute__((format(printf, 3, 4), cold));

/* Declares a parameter of the given dimensions and returns its index. */
int ghn__infer_param(struct ghn_infer *infer, const char *slot, enum ghn_param_kind kind,
                     struct ghn_init init, const struct ghn_shape *shape);

/* The same for one that is not predicted, and why. */
void ghn__infer_other(struct ghn_infer *infer, const char *slot, struct ghn_init init,
                      const struct ghn_shape *shape, const char *why);

/* Declares an emit for parameter `param` (-1: none). */
void ghn__infer_emit(struct ghn_infer *infer, enum ghn_emit_kind kind, int param);

/* Declares a bias of n elements, initialised U(-bound, bound), with its emit. */
void ghn__infer_bias(struct ghn_infer *infer, const char *slot, int64_t n, double bound);

/* The (C, H, W) of input 0; GHN_SHAPE_MISMATCH if it has not exactly three dimensions. */
enum ghn_status ghn__infer_chw(struct ghn_infer *infer, int64_t ret[3]) GHN_MUST_CHECK;

/* Turns a PyTorch dimension number (batch = 0, negative from the end) of a shape of ndim dimensions
 * without batch into an index of that shape; GHN_OUT_OF_RANGE for the batch's and for those beyond.
 * `attr` names the attribute. */
enum ghn_status ghn__infer_dim(struct ghn_infer *infer, const char *attr, int64_t dim, int ndim,
                               int *ret) GHN_MUST_CHECK;

/* The extent of a convolution's or pool's output along one axis; GHN_SHAPE_MISMATCH if the window
 * does not fit. */
enum ghn_status ghn__infer_window(struct ghn_infer *infer, int axis, int64_t size, int64_t kernel,
                                  int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode,
                                  int64_t *ret) GHN_MUST_CHECK;

/* The elements of a shape that passed the activation budget, as a double. */
double ghn__shape_count(const struct ghn_shape *shape);

/* A shape from its dimensions. */
#define GHN_SHAPE(...)                                                                             \
    ((struct ghn_shape){sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}})

/* Rows of attribute tables. */
#define GHN_A_INT(type, field, lo, hi)                                                             \
    { #field, GHN_ATTR_INT, offsetof(struct type, field), false, (lo), (hi), NULL }
#define GHN_A_INT_REQUIRED(type, field, lo, hi)                                                    \
    { #field, GHN_ATTR_INT, offsetof(struct type, field), true, (lo), (hi), NULL }
#define GHN_A_BOOL(type, field)                                                                    \
    { #field, GHN_ATTR_BOOL, offsetof(struct type, field), false, 0, 1, NULL }
#define GHN_A_DOUBLE(type, field, lo, hi)                                                          \
    { #field, GHN_ATTR_DOUBLE, offsetof(struct type, field), false, (lo), (hi), NULL }
#define GHN_A_PAIR(type, field, lo, hi)                                                            \
    { #field, GHN_ATTR_PAIR, offsetof(struct type, field), false, (lo), (hi), NULL }
#define GHN_A_PAIR_REQUIRED(type, field, lo, hi)                                                   \
    { #field, GHN_ATTR_PAIR, offsetof(struct type, field), true, (lo), (hi), NULL }
#define GHN_A_END                                                                                  \
    { NULL, GHN_ATTR_INT, 0, false, 0, 0, NULL }

/* Ranges of attributes: a dimension, and a window's extent. */
#define GHN_DIM_MAX (1 << 26)
#define GHN_WINDOW_MAX (1 << 16)

/* --- Between the files of lib/arch --- */

/* Decodes the "attrs" object (NULL: all defaults) of a node into ret; where is the path of the
 * node. */
enum ghn_status ghn__attrs_from_json(const struct ghn_op *op, const json_t *object,
                                     const char *where, union ghn_attrs *ret,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* Checks the ranges of attributes that came from C code. */
enum ghn_status ghn__attrs_check(const struct ghn_op *op, const union ghn_attrs *attrs,
                                 const char *where, struct ghn_err *err) GHN_MUST_CHECK;

/* The attributes that differ from the defaults, as a JSON object (new reference; NULL if there is
 * no memory). */
json_t *ghn__attrs_to_json(const struct ghn_op *op, const union ghn_attrs *attrs);

#endif
