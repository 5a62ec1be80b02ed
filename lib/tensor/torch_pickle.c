#include "tensor/torch_pickle.h"

#include <string.h>

#include "base/utf8.h"

enum {
    MAX_PICKLE = 64 * 1048576, /* bytes */
    MAX_OPS = 1000000,
    MAX_STACK = 100000,
    MAX_MEMO = 1000000,
    MAX_TEXT = 65536, /* bytes of a text */
    MAX_GLOBAL = 256, /* bytes of a module's or a class's name */
    PROTOCOL = 2,
};

/* The stack machine that a pickle is a program for. */
struct machine {
    const unsigned char *start, *p, *end; /* the program, and where we are */
    const char *what;
    struct ghn_arena *arena;
    struct ghn_err *err;
    struct ghn__value *stack;
    int n_stack, stack_capacity;
    int *marks; /* the stack's height at each MARK that is open */
    int n_marks, marks_capacity;
    struct ghn__value *memo;
    int n_memo, memo_capacity;
    bool stopped;
};

static enum ghn_status invalid(struct machine *m, const char *wrong) {
    return ghn_fail(m->err, GHN_INVALID_FILE, m->what, "the pickle at byte %zu: %s",
                    (size_t)(m->p - m->start), wrong);
}

static enum ghn_status too_large(struct machine *m, const char *limit, int value) {
    return ghn_fail(m->err, GHN_TOO_LARGE, m->what, "the pickle has more than %d %s", value, limit);
}

/* Makes room for one more in an array of elements of size bytes. */
static bool grow(void *array_pointer, int n, int *capacity, size_t size) {
    if (n < *capacity)
        return true;
    void *array;
    memcpy(&array, array_pointer, sizeof(array));
    int more = *capacity ? 2 * *capacity : 64;
    array = ghn_realloc(array, (size_t)*capacity * size, (size_t)more * size);
    if (!array)
        return false;
    memcpy(array_pointer, &array, sizeof(array));
    *capacity = more;
    return true;
}

static enum ghn_status push(struct machine *m, struct ghn__value value) {
    if (m->n_stack == MAX_STACK)
        return too_large(m, "values on its stack", MAX_STACK);
    if (!grow(&m->stack, m->n_stack, &m->stack_capacity, sizeof(*m->stack)))
        return ghn_fail_memory(m->err);
    m->stack[m->n_stack++] = value;
    return GHN_OK;
}

static enum ghn_status push_kind(struct machine *m, enum ghn__kind kind) {
    return push(m, (struct ghn__value){.kind = kind});
}

static enum ghn_status push_integer(struct machine *m, int64_t integer) {
    return push(m, (struct ghn__value){GHN__INT, {.integer = integer}});
}

/* The n topmost values, which must lie above the last mark; NULL, with the error recorded, if there
 * are fewer. */
static struct ghn__value *top(struct machine *m, int n) {
    int floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->n_stack - floor < n) {
        (void)invalid(m, "an operation finds too few values on the stack");
        return NULL;
    }
    return m->stack + m->n_stack - n;
}

/* Closes the last mark; *ret_items are the *ret_n values above it, still on the stack. */
static enum ghn_status close_mark(struct machine *m, struct ghn__value **ret_items, int *ret_n) {
    if (m->n_marks == 0)
        return invalid(m, "an operation finds no mark on the stack");
    int floor = m->marks[--m->n_marks];
    *ret_items = m->stack + floor;
    *ret_n = m->n_stack - floor;
    return GHN_OK;
}

/* The next n bytes of the program; NULL, with the error recorded, if there are fewer. */
static const unsigned char *take(struct machine *m, size_t n) {
    if ((size_t)(m->end - m->p) < n) {
        (void)invalid(m, "it ends inside an operation");
        return NULL;
    }
    const unsigned char *p = m->p;
    m->p += n;
    return p;
}

static enum ghn_status new_list(struct machine *m, enum ghn__kind kind,
                                const struct ghn__value *items, int n, struct ghn__value *ret) {
    struct ghn__list *list = ghn_arena_alloc(m->arena, sizeof(*list));
    if (!list)
        return ghn_fail_memory(m->err);
    if (n > 0) {
        list->items = ghn_arena_array(m->arena, (size_t)n, sizeof(*items));
        if (!list->items)
            return ghn_fail_memory(m->err);
        memcpy(list->items, items, (size_t)n * sizeof(*items));
        list->n = list->capacity = n;
    }
    *ret = (struct ghn__value){kind, {.list = list}};
    return GHN_OK;
}

/* Appends n items to a list, whose room doubles as it grows. */
static enum ghn_status extend(struct machine *m, struct ghn__list *list,
                              const struct ghn__value *items, int n) {
    if (n > list->capacity - list->n) {
        /* Every item took an operation, so 2 (list->n + n) is no more than 4 million. */
        int capacity = 2 * (list->n + n);
        struct ghn__value *moved = ghn_arena_array(m->arena, (size_t)capacity, sizeof(*moved));
        if (!moved)
            return ghn_fail_memory(m->err);
        if (list->n > 0)
            memcpy(moved, list->items, (size_t)list->n * sizeof(*moved));
        list->items = moved;
        list->capacity = capacity;
    }
    if (n > 0)
        memcpy(list->items + list->n, items, (size_t)n * sizeof(*items));
    list->n += n;
    return GHN_OK;
}

static enum ghn_status op_mark(struct machine *m) {
    if (m->n_marks == MAX_STACK)
        return too_large(m, "open marks", MAX_STACK);
    if (!grow(&m->marks, m->n_marks, &m->marks_capacity, sizeof(*m->marks)))
        return ghn_fail_memory(m->err);
    m->marks[m->n_marks++] = m->n_stack;
    return GHN_OK;
}

static enum ghn_status op_stop(struct machine *m) {
    if (m->n_stack != 1 || m->n_marks != 0)
        return invalid(m, "it ends with other than one value on the stack");
    if (m->p != m->end)
        return invalid(m, "something follows its end");
    m->stopped = true;
    return GHN_OK;
}

static enum ghn_status op_none(struct machine *m) {
    return push_kind(m, GHN__NONE);
}

static enum ghn_status op_true(struct machine *m) {
    return push_kind(m, GHN__TRUE);
}

static enum ghn_status op_false(struct machine *m) {
    return push_kind(m, GHN__FALSE);
}

static enum ghn_status op_int1(struct machine *m) {
    const unsigned char *p = take(m, 1);
    return p ? push_integer(m, *p) : GHN_INVALID_FILE;
}

static enum ghn_status op_int2(struct machine *m) {
    const unsigned char *p = take(m, 2);
    return p ? push_integer(m, ghn__le16(p)) : GHN_INVALID_FILE;
}

static enum ghn_status op_int4(struct machine *m) {
    const unsigned char *p = take(m, 4);
    return p ? push_integer(m, (int32_t)ghn__le32(p)) : GHN_INVALID_FILE;
}

/* LONG1: a length and a two's complement integer of that many bytes. */
static enum ghn_status op_long1(struct machine *m) {
    const unsigned char *length = take(m, 1);
    const unsigned char *p = length ? take(m, *length) : NULL;
    if (!p)
        return GHN_INVALID_FILE;
    if (*length > 8)
        return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                        "the pickle holds an integer of %d bytes; at most 8 are read", *length);
    uint64_t x = *length > 0 && p[*length - 1] & 0x80 ? UINT64_MAX : 0;
    memcpy(&x, p, *length);
    return push_integer(m, (int64_t)x);
}

/* BINFLOAT: a double in big-endian order. */
static enum ghn_status op_real(struct machine *m) {
    const unsigned char *p = take(m, 8);
    if (!p)
        return GHN_INVALID_FILE;
    uint64_t bits = __builtin_bswap64(ghn__le64(p));
    struct ghn__value value = {.kind = GHN__REAL};
    memcpy(&value.as.real, &bits, sizeof(bits));
    return push(m, value);
}

static enum ghn_status push_text(struct machine *m, size_t n) {
    if (n > MAX_TEXT)
        return too_large(m, "bytes in a text", MAX_TEXT);
    const char *bytes = (const char *)take(m, n);
    if (!bytes)
        return GHN_INVALID_FILE;
    if (!ghn_utf8_valid(bytes, n))
        return invalid(m, "a text is not UTF-8");
    struct ghn__text *text = ghn_arena_alloc(m->arena, sizeof(*text));
    if (!text)
        return ghn_fail_memory(m->err);
    *text = (struct ghn__text){bytes, n};
    return push(m, (struct ghn__value){GHN__TEXT, {.text = text}});
}

static enum ghn_status op_text(struct machine *m) {
    const unsigned char *p = take(m, 4);
    return p ? push_text(m, ghn__le32(p)) : GHN_INVALID_FILE;
}

static enum ghn_status op_short_text(struct machine *m) {
    const unsigned char *p = take(m, 1);
    return p ? push_text(m, *p) : GHN_INVALID_FILE;
}

/* Replaces the n topmost values by a tuple of them. */
static enum ghn_status tuple_of(struct machine *m, int n) {
    struct ghn__value *items = top(m, n), tuple;
    if (!items)
        return GHN_INVALID_FILE;
    enum ghn_status status = new_list(m, GHN__TUPLE, items, n, &tuple);
    if (status != GHN_OK)
        return status;
    m->n_stack -= n;
    return push(m, tuple);
}

static enum ghn_status op_tuple0(struct machine *m) {
    return tuple_of(m, 0);
}

static enum ghn_status op_tuple1(struct machine *m) {
    return tuple_of(m, 1);
}

static enum ghn_status op_tuple2(struct machine *m) {
    return tuple_of(m, 2);
}

static enum ghn_status op_tuple3(struct machine *m) {
    return tuple_of(m, 3);
}

static enum ghn_status op_tuple(struct machine *m) {
    struct ghn__value *items;
    int n = 0;
    enum ghn_status status = close_mark(m, &items, &n);
    return status == GHN_OK ? tuple_of(m, n) : status;
}

static enum ghn_status push_container(struct machine *m, enum ghn__kind kind) {
    struct ghn__value container;
    enum ghn_status status = new_list(m, kind, NULL, 0, &container);
    return status == GHN_OK ? push(m, container) : status;
}

static enum ghn_status op_list(struct machine *m) {
    return push_container(m, GHN__LIST);
}

static enum ghn_status op_dict(struct machine *m) {
    return push_container(m, GHN__DICT);
}

/* The n topmost values go into the container below them, which must be of that kind. */
static enum ghn_status put_into(struct machine *m, enum ghn__kind kind, int n) {
    struct ghn__value *container = top(m, n + 1);
    if (!container)
        return GHN_INVALID_FILE;
    if (container->kind != kind)
        return invalid(m, kind == GHN__LIST ? "it appends to what is no list"
                                            : "it sets an entry of what is no dict");
    if (kind == GHN__DICT) {
        if (n % 2 != 0)
            return invalid(m, "a key of a dict has no value");
        for (int i = 1; i <= n; i += 2)
            if (container[i].kind != GHN__TEXT && container[i].kind != GHN__INT)
                return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                                "the pickle holds a dict with a key that is neither a text nor an "
                                "integer");
    }
    m->n_stack -= n;
    return extend(m, container->as.list, container + 1, n);
}

static enum ghn_status put_marked(struct machine *m, enum ghn__kind kind) {
    struct ghn__value *items;
    int n = 0;
    enum ghn_status status = close_mark(m, &items, &n);
    return status == GHN_OK ? put_into(m, kind, n) : status;
}

static enum ghn_status op_append(struct machine *m) {
    return put_into(m, GHN__LIST, 1);
}

static enum ghn_status op_appends(struct machine *m) {
    return put_marked(m, GHN__LIST);
}

static enum ghn_status op_setitem(struct machine *m) {
    return put_into(m, GHN__DICT, 2);
}

static enum ghn_status op_setitems(struct machine *m) {
    return put_marked(m, GHN__DICT);
}

/* The memo is filled densely, as Python's pickler does it. */
static enum ghn_status memo_put(struct machine *m, uint32_t i) {
    const struct ghn__value *value = top(m, 1);
    if (!value)
        return GHN_INVALID_FILE;
    if (i > (uint32_t)m->n_memo)
        return invalid(m, "it leaves out entries of the memo");
    if (i == MAX_MEMO)
        return too_large(m, "entries in its memo", MAX_MEMO);
    if (!grow(&m->memo, (int)i, &m->memo_capacity, sizeof(*m->memo)))
        return ghn_fail_memory(m->err);
    m->memo[i] = *value;
    if (i == (uint32_t)m->n_memo)
        m->n_memo++;
    return GHN_OK;
}

static enum ghn_status memo_get(struct machine *m, uint32_t i) {
    if (i >= (uint32_t)m->n_memo)
        return invalid(m, "it reads an entry of the memo that was not written");
    return push(m, m->memo[i]);
}

static enum ghn_status op_put1(struct machine *m) {
    const unsigned char *p = take(m, 1);
    return p ? memo_put(m, *p) : GHN_INVALID_FILE;
}

static enum ghn_status op_put4(struct machine *m) {
    const unsigned char *p = take(m, 4);
    return p ? memo_put(m, ghn__le32(p)) : GHN_INVALID_FILE;
}

static enum ghn_status op_get1(struct machine *m) {
    const unsigned char *p = take(m, 1);
    return p ? memo_get(m, *p) : GHN_INVALID_FILE;
}

static enum ghn_status op_get4(struct machine *m) {
    const unsigned char *p = take(m, 4);
    return p ? memo_get(m, ghn__le32(p)) : GHN_INVALID_FILE;
}

/* All that a pickle may name. */
static const struct {
    const char *module, *name;
    int global;
} globals[] = {
    {"collections", "OrderedDict", GHN__ORDERED_DICT},
    {"torch._utils", "_rebuild_tensor_v2", GHN__REBUILD_TENSOR},
    {"torch._utils", "_rebuild_parameter", GHN__REBUILD_PARAMETER},
    {"torch", "FloatStorage", GHN__STORAGE_TYPE + GHN_F32},
    {"torch", "HalfStorage", GHN__STORAGE_TYPE + GHN_F16},
    {"torch", "BFloat16Storage", GHN__STORAGE_TYPE + GHN_BF16},
    {"torch", "DoubleStorage", GHN__STORAGE_TYPE + GHN_F64},
    {"torch", "LongStorage", GHN__STORAGE_TYPE + GHN_I64},
    {"torch", "IntStorage", GHN__STORAGE_TYPE + GHN_I32},
    {"torch", "ShortStorage", GHN__STORAGE_TYPE + GHN_I16},
    {"torch", "CharStorage", GHN__STORAGE_TYPE + GHN_I8},
    {"torch", "ByteStorage", GHN__STORAGE_TYPE + GHN_U8},
    {"torch", "BoolStorage", GHN__STORAGE_TYPE + GHN_BOOL},
};

/* The line at the program's current place, without its newline. */
static enum ghn_status take_line(struct machine *m, struct ghn__text *ret) {
    size_t left = (size_t)(m->end - m->p);
    const unsigned char *newline = memchr(m->p, '\n', left < MAX_GLOBAL ? left : MAX_GLOBAL);
    if (!newline)
        return invalid(m, "a name does not end");
    *ret = (struct ghn__text){(const char *)m->p, (size_t)(newline - m->p)};
    m->p = newline + 1;
    return GHN_OK;
}

static bool text_is(const struct ghn__text *text, const char *s) {
    return text->n == strlen(s) && memcmp(text->bytes, s, text->n) == 0;
}

static enum ghn_status op_global(struct machine *m) {
    struct ghn__text module = {NULL, 0}, name = {NULL, 0};
    enum ghn_status status = take_line(m, &module);
    if (status == GHN_OK)
        status = take_line(m, &name);
    if (status != GHN_OK)
        return status;
    for (size_t i = 0; i < sizeof(globals) / sizeof(globals[0]); i++)
        if (text_is(&module, globals[i].module) && text_is(&name, globals[i].name))
            return push(m, (struct ghn__value){GHN__GLOBAL, {.global = globals[i].global}});
    return ghn_fail(
        m->err, GHN_UNSUPPORTED_FILE, m->what,
        "the pickle asks for %.*s.%.*s; only tensors, dicts, lists and plain values are "
        "read: save the model's state_dict() instead of the object",
        (int)module.n, module.bytes, (int)name.n, name.bytes);
}

/* ("storage", type, key, location, numel) */
static enum ghn_status op_persistent(struct machine *m) {
    struct ghn__value *v = top(m, 1);
    if (!v)
        return GHN_INVALID_FILE;
    const struct ghn__value *item = v->kind == GHN__TUPLE ? v->as.list->items : NULL;
    if (!item || v->as.list->n != 5 || item[0].kind != GHN__TEXT ||
        !text_is(item[0].as.text, "storage") || item[1].kind != GHN__GLOBAL ||
        item[1].as.global < GHN__STORAGE_TYPE || item[2].kind != GHN__TEXT ||
        item[3].kind != GHN__TEXT || item[4].kind != GHN__INT || item[4].as.integer < 0)
        return invalid(m, "a persistent id is not that of a storage");
    const struct ghn__text *key = item[2].as.text;
    for (size_t i = 0; i < key->n; i++)
        if (key->bytes[i] < '0' || key->bytes[i] > '9')
            return invalid(m, "the key of a storage is not a number");
    if (key->n == 0 || key->n > 10)
        return invalid(m, "the key of a storage is not a number of at most 10 digits");
    struct ghn__torch_storage *storage = ghn_arena_alloc(m->arena, sizeof(*storage));
    if (!storage)
        return ghn_fail_memory(m->err);
    *storage = (struct ghn__torch_storage){(enum ghn_dtype)(item[1].as.global - GHN__STORAGE_TYPE),
                                           key, item[4].as.integer};
    *v = (struct ghn__value){GHN__STORAGE, {.storage = storage}};
    return GHN_OK;
}

/* A tuple of ndim integers >= 0. */
static enum ghn_status read_dims(struct machine *m, const struct ghn__value *value, int *ret_ndim,
                                 int64_t dims[GHN_MAX_DIMS]) {
    if (value->kind != GHN__TUPLE)
        return invalid(m, "a size or stride of a tensor is not a tuple");
    const struct ghn__list *list = value->as.list;
    if (list->n > GHN_MAX_DIMS)
        return too_large(m, "dimensions in a tensor", GHN_MAX_DIMS);
    for (int i = 0; i < list->n; i++) {
        if (list->items[i].kind != GHN__INT || list->items[i].as.integer < 0)
            return invalid(m, "a size or stride of a tensor is not an integer >= 0");
        dims[i] = list->items[i].as.integer;
    }
    *ret_ndim = list->n;
    return GHN_OK;
}

static bool is_bool(const struct ghn__value *value) {
    return value->kind == GHN__TRUE || value->kind == GHN__FALSE;
}

/* Backward hooks cannot be read, and the empty dict that stands for none always is there. */
static bool is_no_hooks(const struct ghn__value *value) {
    return value->kind == GHN__DICT && value->as.list->n == 0;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static enum ghn_status rebuild_tensor(struct machine *m, const struct ghn__list *args,
                                      struct ghn__value *ret) {
    const struct ghn__value *a = args->items;
    if (args->n < 6 || args->n > 7 || a[0].kind != GHN__STORAGE || a[1].kind != GHN__INT ||
        a[1].as.integer < 0 || !is_bool(&a[4]) || !is_no_hooks(&a[5]) ||
        (args->n == 7 && a[6].kind != GHN__NONE && !is_no_hooks(&a[6])))
        return invalid(m, "the arguments of a tensor are not as PyTorch writes them");
    struct ghn__torch_tensor *tensor = ghn_arena_alloc(m->arena, sizeof(*tensor));
    if (!tensor)
        return ghn_fail_memory(m->err);
    int n_strides = 0;
    enum ghn_status status = read_dims(m, &a[2], &tensor->shape.ndim, tensor->shape.dim);
    if (status == GHN_OK)
        status = read_dims(m, &a[3], &n_strides, tensor->stride);
    if (status != GHN_OK)
        return status;
    if (n_strides != tensor->shape.ndim)
        return invalid(m, "a tensor has not as many strides as sizes");
    tensor->storage = a[0].as.storage;
    tensor->offset = a[1].as.integer;
    *ret = (struct ghn__value){GHN__TENSOR, {.tensor = tensor}};
    return GHN_OK;
}

/* REDUCE: "calls" one of three names; the result is a description and nothing runs. */
static enum ghn_status op_reduce(struct machine *m) {
    struct ghn__value *v = top(m, 2), result;
    if (!v)
        return GHN_INVALID_FILE;
    if (v[0].kind != GHN__GLOBAL || v[0].as.global >= GHN__STORAGE_TYPE || v[1].kind != GHN__TUPLE)
        return invalid(m, "it calls what cannot be called");
    const struct ghn__list *args = v[1].as.list;
    enum ghn_status status;
    if (v[0].as.global == GHN__REBUILD_TENSOR) {
        status = rebuild_tensor(m, args, &result);
    } else if (v[0].as.global == GHN__REBUILD_PARAMETER) {
        if (args->n != 3 || args->items[0].kind != GHN__TENSOR || !is_bool(&args->items[1]) ||
            !is_no_hooks(&args->items[2]))
            return invalid(m, "the arguments of a parameter are not as PyTorch writes them");
        result = args->items[0];
        status = GHN_OK;
    } else {
        if (args->n != 0)
            return invalid(m, "an OrderedDict is made with arguments");
        status = new_list(m, GHN__DICT, NULL, 0, &result);
        if (status == GHN_OK)
            result.as.list->ordered = true;
    }
    if (status != GHN_OK)
        return status;
    m->n_stack -= 2;
    return push(m, result);
}

/* BUILD gives an object its attributes. A state_dict has one, _metadata, which nobody needs here.
 */
static enum ghn_status op_build(struct machine *m) {
    const struct ghn__value *v = top(m, 2);
    if (!v)
        return GHN_INVALID_FILE;
    if (v[0].kind != GHN__DICT || !v[0].as.list->ordered || v[1].kind != GHN__DICT)
        return invalid(m, "it sets attributes of what is no OrderedDict");
    m->n_stack--;
    return GHN_OK;
}

typedef enum ghn_status operation(struct machine *m);

static operation *const operations[256] = {
    ['('] = op_mark,       ['.'] = op_stop,    ['N'] = op_none,     [0x88] = op_true,
    [0x89] = op_false,     ['K'] = op_int1,    ['M'] = op_int2,     ['J'] = op_int4,
    [0x8A] = op_long1,     ['G'] = op_real,    ['X'] = op_text,     ['U'] = op_short_text,
    [')'] = op_tuple0,     [0x85] = op_tuple1, [0x86] = op_tuple2,  [0x87] = op_tuple3,
    ['t'] = op_tuple,      [']'] = op_list,    ['}'] = op_dict,     ['a'] = op_append,
    ['e'] = op_appends,    ['s'] = op_setitem, ['u'] = op_setitems, ['q'] = op_put1,
    ['r'] = op_put4,       ['h'] = op_get1,    ['j'] = op_get4,     ['c'] = op_global,
    ['Q'] = op_persistent, ['R'] = op_reduce,  ['b'] = op_build,
};

static enum ghn_status run(struct machine *m) {
    const unsigned char *head = take(m, 2);
    if (!head || head[0] != 0x80)
        return invalid(m, "it does not begin with its protocol");
    if (head[1] != PROTOCOL)
        return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                        "the pickle has protocol %d; torch.save's default, %d, is read", head[1],
                        PROTOCOL);
    for (int n_ops = 0; !m->stopped; n_ops++) {
        if (n_ops == MAX_OPS)
            return too_large(m, "operations", MAX_OPS);
        const unsigned char *code = take(m, 1);
        if (!code)
            return GHN_INVALID_FILE;
        if (!operations[*code])
            return ghn_fail(m->err, GHN_UNSUPPORTED_FILE, m->what,
                            "the pickle at byte %zu has operation 0x%02x, which torch.save does "
                            "not write for tensors and plain values",
                            (size_t)(code - m->start), *code);
        enum ghn_status status = operations[*code](m);
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

enum ghn_status ghn__unpickle(const struct ghn__source *pickle, struct ghn_arena *arena,
                              struct ghn__value *ret, struct ghn_err *err) {
    struct machine m = {.start = pickle->data,
                        .p = pickle->data,
                        .end = pickle->data + pickle->n,
                        .what = pickle->what,
                        .arena = arena,
                        .err = err};
    if (pickle->n > MAX_PICKLE)
        return too_large(&m, "bytes", MAX_PICKLE);
    /* The stack exists from the start, so that "no values" is not NULL, which is "too few". */
    enum ghn_status status =
        grow(&m.stack, 0, &m.stack_capacity, sizeof(*m.stack)) ? run(&m) : ghn_fail_memory(err);
    if (status == GHN_OK)
        *ret = m.stack[0];
    ghn_free(m.stack);
    ghn_free(m.marks);
    ghn_free(m.memo);
    return status;
}
