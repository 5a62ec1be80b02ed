#include "tensor/torch_pickle.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "tensor/bytes.h"

/* Limits well above what a checkpoint of millions of parameters needs (about 30 operations a
 * tensor). */
enum {
    OPS_MAX = 4000000,
    STACK_MAX = 100000,
    MEMO_MAX = 1000000,
    STRING_MAX = 65536,
    GLOBAL_MAX = 128,
};

struct machine {
    const unsigned char *data;
    size_t n, at;
    const char *what;
    struct ghn_arena *arena;
    struct ghn_err *err;
    struct ghn_py **stack;
    size_t depth, stack_capacity;
    size_t *marks;
    size_t n_marks, marks_capacity;
    struct ghn_py **memo;
    size_t memo_capacity;
};

static enum ghn_status invalid(struct machine *m, const char *message) {
    return ghn_fail(m->err, GHN_INVALID_FILE, m->what, "damaged pickle at byte %zu: %s", m->at,
                    message);
}

/* --- Memory --- */

/* Room for one more element in an array that doubles; the new array, or NULL. */
static void *grow(void *array, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity)
        return array;
    size_t larger = *capacity ? 2 * *capacity : 64;
    void *moved = ghn_realloc(array, *capacity * size, larger * size);
    if (moved)
        *capacity = larger;
    return moved;
}

static enum ghn_status push(struct machine *m, struct ghn_py *value) {
    if (m->depth >= STACK_MAX)
        return invalid(m, "its stack grows too deep");
    void *stack = grow(m->stack, m->depth, &m->stack_capacity, sizeof(*m->stack));
    if (!stack)
        return ghn_fail_memory(m->err);
    m->stack = stack;
    m->stack[m->depth++] = value;
    return GHN_OK;
}

static enum ghn_status push_new(struct machine *m, const struct ghn_py *value) {
    struct ghn_py *copy = ghn_arena_alloc(m->arena, sizeof(*copy));
    if (!copy)
        return ghn_fail_memory(m->err);
    *copy = *value;
    return push(m, copy);
}

/* Appends to the items of a container. What is outgrown stays in the arena: at most as much again.
 */
static enum ghn_status append(struct machine *m, struct ghn_py *container, size_t used,
                              struct ghn_py *value) {
    if (used == container->capacity) {
        size_t capacity = container->capacity ? 2 * container->capacity : 8;
        struct ghn_py **items = ghn_arena_array(m->arena, capacity, sizeof(*items));
        if (!items)
            return ghn_fail_memory(m->err);
        if (used)
            memcpy(items, container->items, used * sizeof(*items));
        container->items = items;
        container->capacity = capacity;
    }
    container->items[used] = value;
    return GHN_OK;
}

/* --- Reading operands --- */

static enum ghn_status take(struct machine *m, size_t n, const unsigned char **ret) {
    if (n > m->n - m->at)
        return invalid(m, "it ends in the middle of an operation");
    *ret = m->data + m->at;
    m->at += n;
    return GHN_OK;
}

/* The top of the stack, above the innermost mark, taken off. */
static enum ghn_status pop(struct machine *m, struct ghn_py **ret) {
    size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->depth <= floor)
        return invalid(m, "an operation lacks an operand");
    *ret = m->stack[--m->depth];
    return GHN_OK;
}

/* Takes off the innermost mark; *ret_first is where the values above it begin. They are still on
 * the stack. */
static enum ghn_status pop_mark(struct machine *m, size_t *ret_first) {
    if (m->n_marks == 0)
        return invalid(m, "an operation lacks its mark");
    *ret_first = m->marks[--m->n_marks];
    return GHN_OK;
}

static enum ghn_status op_mark(struct machine *m) {
    void *marks = grow(m->marks, m->n_marks, &m->marks_capacity, sizeof(*m->marks));
    if (!marks)
        return ghn_fail_memory(m->err);
    m->marks = marks;
    m->marks[m->n_marks++] = m->depth;
    return GHN_OK;
}

/* --- Values --- */

static enum ghn_status op_string(struct machine *m) {
    const unsigned char *p = NULL;
    enum ghn_status status = take(m, 4, &p);
    if (status != GHN_OK)
        return status;
    size_t n = ghn__le32(p);
    if (n > STRING_MAX)
        return invalid(m, "a string is longer than 64 KiB");
    status = take(m, n, &p);
    if (status != GHN_OK)
        return status;
    if (!ghn_utf8_valid((const char *)p, n) || memchr(p, 0, n))
        return invalid(m, "a string is not text in UTF-8");
    struct ghn_py value = {.kind = GHN_PY_STR};
    value.text = ghn_arena_strndup(m->arena, (const char *)p, n);
    value.length = n;
    return value.text ? push_new(m, &value) : ghn_fail_memory(m->err);
}

static enum ghn_status op_int(struct machine *m, size_t bytes) {
    const unsigned char *p = NULL;
    enum ghn_status status = take(m, bytes, &p);
    if (status != GHN_OK)
        return status;
    struct ghn_py value = {.kind = GHN_PY_INT};
    value.integer = bytes == 1 ? p[0] : bytes == 2 ? ghn__le16(p) : (int32_t)ghn__le32(p);
    return push_new(m, &value);
}

/* LONG1: an integer of up to 8 bytes here, two's complement, little-endian. */
static enum ghn_status op_long(struct machine *m) {
    const unsigned char *p = NULL;
    enum ghn_status status = take(m, 1, &p);
    if (status != GHN_OK)
        return status;
    size_t n = p[0];
    if (n > 8)
        return invalid(m, "an integer has more than 64 bits");
    status = take(m, n, &p);
    if (status != GHN_OK)
        return status;
    uint64_t bits = n > 0 && (p[n - 1] & 0x80) ? UINT64_MAX : 0;
    for (size_t i = n; i-- > 0;)
        bits = bits << 8 | p[i];
    struct ghn_py value = {.kind = GHN_PY_INT};
    value.integer = (int64_t)bits;
    return push_new(m, &value);
}

/* BINFLOAT: a big-endian double. */
static enum ghn_status op_float(struct machine *m) {
    const unsigned char *p = NULL;
    enum ghn_status status = take(m, 8, &p);
    if (status != GHN_OK)
        return status;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    struct ghn_py value = {.kind = GHN_PY_FLOAT};
    memcpy(&value.real, &bits, sizeof(bits));
    return push_new(m, &value);
}

static enum ghn_status op_simple(struct machine *m, enum ghn_py_kind kind, bool boolean) {
    struct ghn_py value = {.kind = kind};
    if (kind == GHN_PY_BOOL)
        value.boolean = boolean;
    return push_new(m, &value);
}

/* Makes a tuple of everything on the stack from `first` on. */
static enum ghn_status make_tuple(struct machine *m, size_t first) {
    struct ghn_py tuple = {.kind = GHN_PY_TUPLE};
    enum ghn_status status = GHN_OK;
    for (size_t i = first; i < m->depth && status == GHN_OK; i++) {
        status = append(m, &tuple, tuple.n, m->stack[i]);
        tuple.n++;
    }
    m->depth = first;
    return status == GHN_OK ? push_new(m, &tuple) : status;
}

static enum ghn_status op_tuple(struct machine *m, size_t n) {
    size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->depth - floor < n)
        return invalid(m, "a tuple lacks an item");
    return make_tuple(m, m->depth - n);
}

static enum ghn_status op_mark_tuple(struct machine *m) {
    size_t first = 0;
    enum ghn_status status = pop_mark(m, &first);
    return status == GHN_OK ? make_tuple(m, first) : status;
}

/* The container below the values from `first` on. */
static enum ghn_status target(struct machine *m, size_t first, enum ghn_py_kind kind,
                              struct ghn_py **ret) {
    size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (first <= floor || m->stack[first - 1]->kind != kind)
        return invalid(m, kind == GHN_PY_DICT ? "items are set on what is no dict"
                                              : "items are appended to what is no list");
    *ret = m->stack[first - 1];
    return GHN_OK;
}

/* Moves the values from `first` on into the container below them. */
static enum ghn_status move_items(struct machine *m, size_t first, enum ghn_py_kind kind) {
    struct ghn_py *container = NULL;
    enum ghn_status status = target(m, first, kind, &container);
    if (status == GHN_OK && kind == GHN_PY_DICT && (m->depth - first) % 2)
        status = invalid(m, "a dict gets a key without a value");
    for (size_t i = first; i < m->depth && status == GHN_OK; i++) {
        size_t per = kind == GHN_PY_DICT ? 2 : 1;
        status = append(m, container, per * container->n + (i - first) % per, m->stack[i]);
        container->n += (i - first) % per == per - 1;
    }
    m->depth = first;
    return status;
}

static enum ghn_status op_items(struct machine *m, enum ghn_py_kind kind, bool marked) {
    size_t first = 0, n = kind == GHN_PY_DICT ? 2 : 1;
    if (marked) {
        enum ghn_status status = pop_mark(m, &first);
        return status == GHN_OK ? move_items(m, first, kind) : status;
    }
    if (m->depth < n)
        return invalid(m, "an operation lacks an operand");
    return move_items(m, m->depth - n, kind);
}

/* --- The memo --- */

static enum ghn_status op_put(struct machine *m, size_t bytes) {
    const unsigned char *p = NULL;
    enum ghn_status status = take(m, bytes, &p);
    if (status != GHN_OK)
        return status;
    size_t i = bytes == 1 ? p[0] : ghn__le32(p);
    if (i >= MEMO_MAX || m->depth == 0)
        return invalid(m, "it remembers a value that cannot be");
    if (i >= m->memo_capacity) {
        size_t capacity = i + 1 > 2 * m->memo_capacity ? i + 256 : 2 * m->memo_capacity;
        struct ghn_py **memo =
            ghn_realloc(m->memo, m->memo_capacity * sizeof(*memo), capacity * sizeof(*memo));
        if (!memo)
            return ghn_fail_memory(m->err);
        memset(memo + m->memo_capacity, 0, (capacity - m->memo_capacity) * sizeof(*memo));
        m->memo = memo;
        m->memo_capacity = capacity;
    }
    m->memo[i] = m->stack[m->depth - 1];
    return GHN_OK;
}

static enum ghn_status op_get(struct machine *m, size_t bytes) {
    const unsigned char *p = NULL;
    enum ghn_status status = take(m, bytes, &p);
    if (status != GHN_OK)
        return status;
    size_t i = bytes == 1 ? p[0] : ghn__le32(p);
    if (i >= m->memo_capacity || !m->memo[i])
        return invalid(m, "it recalls a value that it never remembered");
    return push(m, m->memo[i]);
}

/* --- Globals, and what they make --- */

struct global {
    const char *name; /* "module name" */
    enum ghn_py_global tag;
    enum ghn_dtype dtype;
};

static const struct global globals[] = {
    {"collections OrderedDict", GHN_PY_ORDERED_DICT, 0},
    {"torch._utils _rebuild_tensor_v2", GHN_PY_REBUILD_TENSOR, 0},
    {"torch._utils _rebuild_parameter", GHN_PY_REBUILD_PARAMETER, 0},
    {"torch Size", GHN_PY_SIZE, 0},
    {"torch FloatStorage", GHN_PY_STORAGE_TYPE, GHN_F32},
    {"torch DoubleStorage", GHN_PY_STORAGE_TYPE, GHN_F64},
    {"torch HalfStorage", GHN_PY_STORAGE_TYPE, GHN_F16},
    {"torch BFloat16Storage", GHN_PY_STORAGE_TYPE, GHN_BF16},
    {"torch LongStorage", GHN_PY_STORAGE_TYPE, GHN_I64},
    {"torch IntStorage", GHN_PY_STORAGE_TYPE, GHN_I32},
    {"torch ShortStorage", GHN_PY_STORAGE_TYPE, GHN_I16},
    {"torch CharStorage", GHN_PY_STORAGE_TYPE, GHN_I8},
    {"torch ByteStorage", GHN_PY_STORAGE_TYPE, GHN_U8},
    {"torch BoolStorage", GHN_PY_STORAGE_TYPE, GHN_BOOL},
};

/* A line of the pickle, without its end, appended to buf. */
static enum ghn_status take_line(struct machine *m, char *buf, size_t n) {
    const unsigned char *start = m->data + m->at;
    const unsigned char *end = memchr(start, '\n', m->n - m->at);
    size_t used = strlen(buf);
    if (!end || (size_t)(end - start) >= n - used)
        return invalid(m, "a global has no proper name");
    memcpy(buf + used, start, (size_t)(end - start));
    buf[used + (size_t)(end - start)] = 0;
    m->at += (size_t)(end - start) + 1;
    return GHN_OK;
}

static enum ghn_status op_global(struct machine *m) {
    char name[2 * GLOBAL_MAX] = "";
    enum ghn_status status = take_line(m, name, GLOBAL_MAX);
    size_t n = strlen(name);
    name[n] = ' ';
    name[n + 1] = 0;
    if (status == GHN_OK)
        status = take_line(m, name, sizeof(name));
    if (status != GHN_OK)
        return status;
    for (size_t i = 0; i < sizeof(globals) / sizeof(globals[0]); i++) {
        if (strcmp(globals[i].name, name) != 0)
            continue;
        struct ghn_py value = {.kind = GHN_PY_GLOBAL};
        value.global = globals[i].tag;
        value.dtype = globals[i].dtype;
        return push_new(m, &value);
    }
    name[n] = '.';
    return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                    "its pickle asks for \"%s\"; a parameter file holds only tensors, numbers, "
                    "text, lists and dicts (save a state_dict, not a module)",
                    name);
}

static bool is_kind(const struct ghn_py *value, enum ghn_py_kind kind) {
    return value && value->kind == kind;
}

/* BINPERSID: ("storage", type, key, location, numel). */
static enum ghn_status op_persistent(struct machine *m) {
    struct ghn_py *id = NULL;
    enum ghn_status status = pop(m, &id);
    if (status != GHN_OK)
        return status;
    if (id->kind != GHN_PY_TUPLE || id->n != 5 || !is_kind(id->items[0], GHN_PY_STR) ||
        strcmp(id->items[0]->text, "storage") != 0 || !is_kind(id->items[1], GHN_PY_GLOBAL) ||
        id->items[1]->global != GHN_PY_STORAGE_TYPE || !is_kind(id->items[2], GHN_PY_STR) ||
        !is_kind(id->items[4], GHN_PY_INT) || id->items[4]->integer < 0)
        return invalid(m, "a storage is not described as PyTorch does");
    const char *key = id->items[2]->text;
    if (strlen(key) > 20 || strspn(key, "0123456789") != strlen(key))
        return invalid(m, "a storage's key is no number");
    struct ghn_py value = {.kind = GHN_PY_STORAGE};
    value.dtype = id->items[1]->dtype;
    value.key = key;
    value.numel = id->items[4]->integer;
    return push_new(m, &value);
}

/* A tuple of n integers of 0 or more. */
static bool read_sizes(const struct ghn_py *tuple, size_t n, int64_t *ret) {
    if (!is_kind(tuple, GHN_PY_TUPLE) || tuple->n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_kind(tuple->items[i], GHN_PY_INT) || tuple->items[i]->integer < 0)
            return false;
        ret[i] = tuple->items[i]->integer;
    }
    return true;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]). */
static enum ghn_status rebuild_tensor(struct machine *m, const struct ghn_py *args) {
    struct ghn_py tensor = {.kind = GHN_PY_TENSOR};
    bool sound = (args->n == 6 || args->n == 7) && is_kind(args->items[0], GHN_PY_STORAGE) &&
                 is_kind(args->items[1], GHN_PY_INT) && args->items[1]->integer >= 0 &&
                 is_kind(args->items[2], GHN_PY_TUPLE);
    if (!sound)
        return invalid(m, "a tensor is not described as PyTorch does");
    size_t ndim = args->items[2]->n;
    if (ndim > GHN_MAX_DIMS)
        return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                        "a tensor has %zu dimensions, more than %d", ndim, GHN_MAX_DIMS);
    tensor.storage = args->items[0];
    tensor.offset = args->items[1]->integer;
    tensor.shape.ndim = (int)ndim;
    if (!read_sizes(args->items[2], ndim, tensor.shape.dim) ||
        !read_sizes(args->items[3], ndim, tensor.stride))
        return invalid(m, "a tensor's size or stride is not one");
    return push_new(m, &tensor);
}

static enum ghn_status op_reduce(struct machine *m) {
    struct ghn_py *args = NULL, *callee = NULL;
    enum ghn_status status = pop(m, &args);
    if (status == GHN_OK)
        status = pop(m, &callee);
    if (status != GHN_OK)
        return status;
    if (!is_kind(callee, GHN_PY_GLOBAL) || !is_kind(args, GHN_PY_TUPLE))
        return invalid(m, "it calls what cannot be called");
    switch (callee->global) {
    case GHN_PY_ORDERED_DICT:
        return args->n == 0 ? op_simple(m, GHN_PY_DICT, false)
                            : invalid(m, "an OrderedDict is made with arguments");
    case GHN_PY_REBUILD_TENSOR:
        return rebuild_tensor(m, args);
    case GHN_PY_REBUILD_PARAMETER:
        if (args->n < 1 || !is_kind(args->items[0], GHN_PY_TENSOR))
            return invalid(m, "a parameter is made of what is no tensor");
        return push(m, args->items[0]);
    case GHN_PY_SIZE:
        if (args->n != 1 || !is_kind(args->items[0], GHN_PY_TUPLE))
            return invalid(m, "a size is made of what is no tuple");
        return push(m, args->items[0]);
    case GHN_PY_STORAGE_TYPE:
        break;
    }
    return invalid(m, "it calls what cannot be called");
}

/* BUILD: the attributes of an OrderedDict (a state_dict's _metadata), which are of no interest. */
static enum ghn_status op_build(struct machine *m) {
    struct ghn_py *state = NULL;
    enum ghn_status status = pop(m, &state);
    if (status != GHN_OK)
        return status;
    if (m->depth == 0 || m->stack[m->depth - 1]->kind != GHN_PY_DICT || state->kind != GHN_PY_DICT)
        return invalid(m, "it builds on what is no dict");
    return GHN_OK;
}

static enum ghn_status op_proto(struct machine *m) {
    const unsigned char *p = NULL;
    enum ghn_status status = take(m, 1, &p);
    if (status != GHN_OK)
        return status;
    if (p[0] != 2)
        return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                        "its pickle is of protocol %d; torch.save writes 2 unless told otherwise",
                        p[0]);
    return GHN_OK;
}

static enum ghn_status step(struct machine *m, unsigned char opcode) {
    switch (opcode) {
    case '(':
        return op_mark(m);
    case ')':
    case '}':
    case ']':
        return op_simple(m,
                         opcode == ')'   ? GHN_PY_TUPLE
                         : opcode == '}' ? GHN_PY_DICT
                                         : GHN_PY_LIST,
                         false);
    case 'N':
        return op_simple(m, GHN_PY_NONE, false);
    case 0x88:
    case 0x89:
        return op_simple(m, GHN_PY_BOOL, opcode == 0x88);
    case 'K':
        return op_int(m, 1);
    case 'M':
        return op_int(m, 2);
    case 'J':
        return op_int(m, 4);
    case 0x8a:
        return op_long(m);
    case 'G':
        return op_float(m);
    case 'X':
        return op_string(m);
    case 't':
        return op_mark_tuple(m);
    case 0x85:
    case 0x86:
    case 0x87:
        return op_tuple(m, (size_t)(opcode - 0x84));
    case 's':
    case 'u':
        return op_items(m, GHN_PY_DICT, opcode == 'u');
    case 'a':
    case 'e':
        return op_items(m, GHN_PY_LIST, opcode == 'e');
    case 'q':
    case 'r':
        return op_put(m, opcode == 'q' ? 1 : 4);
    case 'h':
    case 'j':
        return op_get(m, opcode == 'h' ? 1 : 4);
    case 'c':
        return op_global(m);
    case 'Q':
        return op_persistent(m);
    case 'R':
        return op_reduce(m);
    case 'b':
        return op_build(m);
    default:
        return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                        "its pickle has the operation 0x%02x, which no parameter file needs",
                        opcode);
    }
}

static enum ghn_status run(struct machine *m, const struct ghn_py **ret) {
    enum ghn_status status = GHN_OK;
    for (long count = 0; status == GHN_OK; count++) {
        const unsigned char *p = NULL;
        if (count >= OPS_MAX)
            return invalid(m, "it has too many operations");
        status = take(m, 1, &p);
        if (status != GHN_OK)
            return status;
        if (count == 0 && p[0] != 0x80)
            return invalid(m, "it does not begin like one");
        if (p[0] == 0x80)
            status = count == 0 ? op_proto(m) : invalid(m, "it begins twice");
        else if (p[0] == '.')
            break;
        else
            status = step(m, p[0]);
    }
    if (status != GHN_OK)
        return status;
    if (m->depth != 1 || m->n_marks != 0 || m->at != m->n)
        return invalid(m, "it does not end with one value");
    *ret = m->stack[0];
    return GHN_OK;
}

enum ghn_status ghn__unpickle(const unsigned char *data, size_t n, const char *what,
                              struct ghn_arena *arena, const struct ghn_py **ret,
                              struct ghn_err *err) {
    struct machine m = {.data = data, .n = n, .what = what, .arena = arena, .err = err};
    enum ghn_status status = run(&m, ret);
    ghn_free(m.stack);
    ghn_free(m.marks);
    ghn_free(m.memo);
    return status;
}

const struct ghn_py *ghn__py_get(const struct ghn_py *dict, const char *key) {
    if (!is_kind(dict, GHN_PY_DICT))
        return NULL;
    for (size_t i = 0; i < dict->n; i++)
        if (is_kind(dict->items[2 * i], GHN_PY_STR) && strcmp(dict->items[2 * i]->text, key) == 0)
            return dict->items[2 * i + 1];
    return NULL;
}
