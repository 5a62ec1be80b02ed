/* lib/tensor: what the pickle of a PyTorch file may say, and what comes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/tensors.h"
#include "torch_archive.h"
#include "torture.h"

/* Pickles are written as their bytes. TEXT1 is a text of one byte; STORAGE is the persistent id of
 * the floats of data/0 or the integer of data/1 (see archive_of_pickle), TENSOR a view of one. */
#define P(bytes) bytes, sizeof(bytes) - 1
#define TEXT1(c) "X\1\0\0\0" c
#define STORAGE(type, key, numel)                                                                  \
    "(X\7\0\0\0storagectorch\n" type "Storage\n" TEXT1(key) "X\3\0\0\0cpuK" numel "tQ"
#define NO_HOOKS "ccollections\nOrderedDict\n)R"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define TENSOR(storage, offset, size, stride)                                                      \
    REBUILD "(" storage "K" offset size stride "\x89" NO_HOOKS "tR"
#define FLOATS STORAGE("Float", "0", "\6")
/* All six floats in a row; the integer as a scalar. */
#define ROW TENSOR(FLOATS, "\0", "K\6\x85", "K\1\x85")
#define SCALAR TENSOR(STORAGE("Long", "1", "\1"), "\0", ")", ")")
/* {"w": value} */
#define DICT_OF(value) "\x80\2}" TEXT1("w") value "s."

static enum ghn_status parse(const char *pickle, size_t n, struct ghn_tensors **ret,
                             struct ghn_err *err) {
    struct archive a = {0};
    archive_of_pickle(&a, pickle, n);
    enum ghn_status status = ghn_tensors_parse(a.bytes, a.n, "a.pt", ret, err);
    free(a.bytes);
    return status;
}

static struct ghn_tensors *good(const char *pickle, size_t n) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *set = NULL;
    if (parse(pickle, n, &set, &err) != GHN_OK)
        fail_msg("%s", err.message);
    return set;
}

/* Checks that the set is one tensor w of these floats and that shape. */
static void check_floats(const char *pickle, size_t n, const char *shape, const float *values) {
    struct ghn_tensors *set = good(pickle, n);
    char text[GHN_SHAPE_TEXT];
    assert_int_equal(set->n, 1);
    const struct ghn_tensor *w = ghn_tensors_find(set, "w");
    assert_non_null(w);
    assert_int_equal(w->dtype, GHN_F32);
    assert_string_equal(ghn_shape_text(&w->shape, text, sizeof(text)), shape);
    assert_int_equal((uintptr_t)w->data % GHN_ALIGN, 0);
    assert_memory_equal(w->data, values, w->n_bytes);
    ghn_tensors_free(set);
}

static void views_become_contiguous(void **state) {
    (void)state;
#define FLOATS_ARE(shape, ...) shape, (const float[]){__VA_ARGS__}
    check_floats(P(DICT_OF(ROW)), FLOATS_ARE("[6]", 0, 1, 2, 3, 4, 5));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\0", "K\2K\3\x86", "K\3K\1\x86"))),
                 FLOATS_ARE("[2, 3]", 0, 1, 2, 3, 4, 5));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\0", "K\3K\2\x86", "K\1K\3\x86"))),
                 FLOATS_ARE("[3, 2]", 0, 3, 1, 4, 2, 5));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\1", "K\3\x85", "K\2\x85"))),
                 FLOATS_ARE("[3]", 1, 3, 5));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\4", "K\2\x85", "K\1\x85"))), FLOATS_ARE("[2]", 4, 5));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\3", ")", ")"))), FLOATS_ARE("[]", 3));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\0", "K\1K\2K\1\x87", "K\x63K\1K\x63\x87"))),
                 FLOATS_ARE("[1, 2, 1]", 0, 1));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\0", "K\2K\2\x86", "K\0K\1\x86"))),
                 FLOATS_ARE("[2, 2]", 0, 1, 0, 1));
    check_floats(P(DICT_OF(TENSOR(FLOATS, "\6", "K\0K\2\x86", "K\2K\1\x86"))),
                 FLOATS_ARE("[0, 2]", 0));
    check_floats(P(DICT_OF("ctorch._utils\n_rebuild_parameter\n" ROW "\x88" NO_HOOKS "\x87R")),
                 FLOATS_ARE("[6]", 0, 1, 2, 3, 4, 5));
#undef FLOATS_ARE
}

static void a_checkpoint_is_read(void **state) {
    (void)state;
    /* config: {"hid": -256, 1: None, "r": [2.5, inf, True, False, (-1, "é")]} */
    static const char pickle[] =
        "\x80\2}(X\n\0\0\0state_dict" NO_HOOKS "q\0(X\4\0\0\0fc.w" ROW "X\4\0\0\0fc.n" SCALAR
        "u}X\11\0\0\0_metadata" NO_HOOKS "sb"
        "X\10\0\0\0optimzer}X\5\0\0\0state" ROW "s"
        "X\11\0\0\0optimizer}X\5\0\0\0state" ROW "s"
        "X\3\0\0\0ema}" TEXT1("x") ROW "s"
                                       "X\5\0\0\0epochM\x2B\1"
                                       "X\6\0\0\0config}q\1(X\3\0\0\0hid\x8A\2\0\xFFK\1N" TEXT1(
                                           "r") "]("
                                                "G\x40\4\0\0\0\0\0\0G\x7F\xF0\0\0\0\0\0\0\x88\x89J"
                                                "\xFF\xFF\xFF\xFFX\2\0\0\0\xC3\xA9\x86"
                                                "e"
                                                "u"
                                                "u.";
    struct ghn_tensors *set = good(P(pickle));
    json_t *expected =
        json_loads("{\"epoch\": 299, \"config\": {\"hid\": -256, \"1\": null, \"r\": "
                   "[2.5, null, true, false, [-1, \"\xC3\xA9\"]]}}",
                   0, NULL);
    assert_int_equal(set->format, GHN_TORCH_ZIP);
    assert_int_equal(set->n, 2);
    assert_string_equal(set->items[0].name, "fc.w");
    assert_string_equal(set->items[1].name, "fc.n");
    assert_int_equal(set->items[1].dtype, GHN_I64);
    assert_int_equal(*(const int64_t *)set->items[1].data, 7);
    assert_non_null(expected);
    assert_true(json_equal(set->metadata, expected));
    json_decref(expected);
    ghn_tensors_free(set);
}

static void nested_dicts_are_flattened(void **state) {
    (void)state;
    /* {"m": {"a": {7: ROW}, "n": 1}, "e": {}, "optimizer": {"x": ROW}, "l": [ROW]} */
    struct ghn_tensors *set =
        good(P("\x80\2}(" TEXT1("m") "}(" TEXT1("a") "}K\7" ROW "s" TEXT1("n") "K\1u" TEXT1(
            "e") "}X\11\0\0\0optimizer}" TEXT1("x") ROW "s" TEXT1("l") "]" ROW "au."));
    assert_int_equal(set->n, 1);
    assert_string_equal(set->items[0].name, "m.a.7");
    json_t *expected = json_loads("{\"m\": {\"n\": 1}, \"e\": {}, \"l\": []}", 0, NULL);
    assert_true(json_equal(set->metadata, expected));
    json_decref(expected);
    ghn_tensors_free(set);
}

struct bad {
    const char *what;
    const char *pickle;
    size_t n;
    enum ghn_status status;
    const char *word;
};

static void check_bad(const struct bad *bad) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *set = NULL;
    enum ghn_status status = parse(bad->pickle, bad->n, &set, &err);
    if (status != bad->status || !strstr(err.message, bad->word))
        fail_msg("%s: expected %s with \"%s\", got %s: %s", bad->what, ghn_status_code(bad->status),
                 bad->word, ghn_status_code(status), err.message);
    assert_null(set);
    assert_string_equal(err.where, "a.pt");
}

static void check_all_bad(const struct bad *cases, size_t n) {
    for (size_t i = 0; i < n; i++)
        check_bad(&cases[i]);
}

#define CHECK_ALL_BAD(cases) check_all_bad(cases, sizeof(cases) / sizeof(cases[0]))

static void the_machine_is_strict(void **state) {
    (void)state;
    static const struct bad cases[] = {
        {"nothing", P(""), GHN_INVALID_FILE, "ends inside"},
        {"no protocol", P("}."), GHN_INVALID_FILE, "protocol"},
        {"protocol 3", P("\x80\3}."), GHN_UNSUPPORTED_FILE, "protocol 3"},
        {"protocol twice", P("\x80\2\x80\2}."), GHN_UNSUPPORTED_FILE, "0x80"},
        {"no end", P("\x80\2}"), GHN_INVALID_FILE, "ends inside"},
        {"more after the end", P("\x80\2}.}"), GHN_INVALID_FILE, "follows its end"},
        {"no value", P("\x80\2."), GHN_INVALID_FILE, "other than one"},
        {"two values", P("\x80\2}}."), GHN_INVALID_FILE, "other than one"},
        {"an open mark", P("\x80\2}(."), GHN_INVALID_FILE, "other than one"},
        {"no dict", P("\x80\2]."), GHN_UNSUPPORTED_FILE, "no dict of tensors"},
        {"a tensor alone", P("\x80\2" ROW "."), GHN_UNSUPPORTED_FILE, "no dict of tensors"},
        {"state_dict is a list", P("\x80\2}X\n\0\0\0state_dict]s."), GHN_UNSUPPORTED_FILE,
         "not a dict"},
        {"two state_dicts", P("\x80\2}X\n\0\0\0state_dict}sX\n\0\0\0state_dict}s."),
         GHN_INVALID_FILE, "twice"},
        /* Operations that are not read: NEWOBJ, EMPTY_SET, INST, OBJ, EXT1, POP, FRAME ... */
        {"NEWOBJ", P("\x80\2}\x81."), GHN_UNSUPPORTED_FILE, "0x81"},
        {"EMPTY_SET", P("\x80\2\x8F."), GHN_UNSUPPORTED_FILE, "0x8f"},
        {"INST", P("\x80\2(ios\nsystem\n."), GHN_UNSUPPORTED_FILE, "0x69"},
        {"OBJ", P("\x80\2(o."), GHN_UNSUPPORTED_FILE, "0x6f"},
        {"EXT1", P("\x80\2\x82\1."), GHN_UNSUPPORTED_FILE, "0x82"},
        {"STACK_GLOBAL", P("\x80\2}}\x93."), GHN_UNSUPPORTED_FILE, "0x93"},
        {"POP", P("\x80\2}}0."), GHN_UNSUPPORTED_FILE, "0x30"},
        {"PERSID", P("\x80\2P0\n."), GHN_UNSUPPORTED_FILE, "0x50"},
        {"INT in text", P("\x80\2I1\n."), GHN_UNSUPPORTED_FILE, "0x49"},
        /* Operands. */
        {"cut BININT", P("\x80\2J\0\0"), GHN_INVALID_FILE, "ends inside"},
        {"cut BININT1", P("\x80\2K"), GHN_INVALID_FILE, "ends inside"},
        {"cut BININT2", P("\x80\2M\0"), GHN_INVALID_FILE, "ends inside"},
        {"cut LONG1", P("\x80\2\x8A\4\0"), GHN_INVALID_FILE, "ends inside"},
        {"long LONG1", P("\x80\2\x8A\11\0\0\0\0\0\0\0\0\1."), GHN_UNSUPPORTED_FILE, "9 bytes"},
        {"cut BINFLOAT", P("\x80\2G\0\0"), GHN_INVALID_FILE, "ends inside"},
        {"cut text", P("\x80\2X\5\0\0\0abcd"), GHN_INVALID_FILE, "ends inside"},
        {"cut short text", P("\x80\2U\5abcd"), GHN_INVALID_FILE, "ends inside"},
        {"long text", P("\x80\2X\1\0\1\0"), GHN_TOO_LARGE, "65536 bytes"},
        {"negative text", P("\x80\2X\xFF\xFF\xFF\xFF"), GHN_TOO_LARGE, "65536 bytes"},
        {"text that is not UTF-8", P("\x80\2X\1\0\0\0\xFF."), GHN_INVALID_FILE, "UTF-8"},
        {"cut memo index", P("\x80\2}r\0\0"), GHN_INVALID_FILE, "ends inside"},
        {"cut name", P("\x80\2ccollections"), GHN_INVALID_FILE, "does not end"},
        /* The stack. */
        {"TUPLE1 of nothing", P("\x80\2\x85."), GHN_INVALID_FILE, "too few"},
        {"TUPLE2 of one", P("\x80\2}\x86."), GHN_INVALID_FILE, "too few"},
        {"TUPLE2 across a mark", P("\x80\2}(}\x86."), GHN_INVALID_FILE, "too few"},
        {"TUPLE without a mark", P("\x80\2}t."), GHN_INVALID_FILE, "no mark"},
        {"memo of nothing", P("\x80\2q\0."), GHN_INVALID_FILE, "too few"},
        {"memo with a hole", P("\x80\2}q\1."), GHN_INVALID_FILE, "leaves out"},
        {"memo far away", P("\x80\2}r\xFF\xFF\xFF\xFF."), GHN_INVALID_FILE, "leaves out"},
        {"unwritten memo", P("\x80\2h\0."), GHN_INVALID_FILE, "not written"},
        {"unwritten memo, far", P("\x80\2j\xFF\xFF\xFF\xFF."), GHN_INVALID_FILE, "not written"},
        /* Containers. */
        {"SETITEM on a list", P("\x80\2]K\1K\1s."), GHN_INVALID_FILE, "no dict"},
        {"SETITEM on a tensor", P("\x80\2" ROW "K\1K\1s."), GHN_INVALID_FILE, "no dict"},
        {"SETITEM on a storage", P("\x80\2" FLOATS "K\1K\1s."), GHN_INVALID_FILE, "no dict"},
        {"SETITEMS on nothing", P("\x80\2(K\1K\1u."), GHN_INVALID_FILE, "too few"},
        {"SETITEMS, odd", P("\x80\2}(K\1u."), GHN_INVALID_FILE, "no value"},
        {"APPEND to a dict", P("\x80\2}K\1a."), GHN_INVALID_FILE, "no list"},
        {"APPEND to a tuple", P("\x80\2)K\1a."), GHN_INVALID_FILE, "no list"},
        {"APPENDS to a dict", P("\x80\2}(K\1e."), GHN_INVALID_FILE, "no list"},
        {"a tuple as a key", P("\x80\2})K\1s."), GHN_UNSUPPORTED_FILE, "neither a text"},
        {"a list as a key", P("\x80\2}(]K\1u."), GHN_UNSUPPORTED_FILE, "neither a text"},
        {"one key twice", P("\x80\2}(" TEXT1("k") "K\1" TEXT1("k") "K\2u."), GHN_INVALID_FILE,
         "stands twice"},
        {"1 and \"1\"", P("\x80\2}(" TEXT1("1") "K\1K\1K\2u."), GHN_INVALID_FILE, "stands twice"},
        {"NUL in a key", P("\x80\2}X\2\0\0\0k\0K\1s."), GHN_INVALID_FILE, "NUL"},
        {"two tensors of one name",
         P("\x80\2}(" TEXT1("k") ROW "X\3\0\0\0a.b" ROW TEXT1("a") "}" TEXT1("b") ROW "su."),
         GHN_INVALID_FILE, "are called \"a.b\""},
        {"BUILD on a dict", P("\x80\2}}b."), GHN_INVALID_FILE, "no OrderedDict"},
        {"BUILD with a list", P("\x80\2" NO_HOOKS "]b."), GHN_INVALID_FILE, "no OrderedDict"},
        {"BUILD on a tensor", P("\x80\2" ROW "}b."), GHN_INVALID_FILE, "no OrderedDict"},
    };
    CHECK_ALL_BAD(cases);
}

static void nothing_can_be_called(void **state) {
    (void)state;
    static const struct bad cases[] = {
        {"os.system", P("\x80\2cos\nsystem\nX\2\0\0\0id\x85R."), GHN_UNSUPPORTED_FILE,
         "asks for os.system"},
        {"eval", P("\x80\2c__builtin__\neval\nX\2\0\0\0id\x85R."), GHN_UNSUPPORTED_FILE,
         "__builtin__.eval"},
        {"another of torch's", P("\x80\2ctorch\nload\n)R."), GHN_UNSUPPORTED_FILE, "torch.load"},
        {"the other module", P("\x80\2ccollections\nFloatStorage\n)R."), GHN_UNSUPPORTED_FILE,
         "collections.FloatStorage"},
        {"a longer name", P("\x80\2ctorch\nFloatStorageX\n)R."), GHN_UNSUPPORTED_FILE,
         "FloatStorageX"},
        {"no name", P("\x80\2c\n\n."), GHN_UNSUPPORTED_FILE, "asks for"},
        {"a type is called", P("\x80\2ctorch\nFloatStorage\n)R."), GHN_INVALID_FILE,
         "cannot be called"},
        {"a dict is called", P("\x80\2})R."), GHN_INVALID_FILE, "cannot be called"},
        {"a text is called", P("\x80\2" TEXT1("f") ")R."), GHN_INVALID_FILE, "cannot be called"},
        {"no tuple of arguments", P("\x80\2ccollections\nOrderedDict\n]R."), GHN_INVALID_FILE,
         "cannot be called"},
        {"OrderedDict of arguments", P("\x80\2ccollections\nOrderedDict\n]\x85R."),
         GHN_INVALID_FILE, "with arguments"},
        {"a name is the value", P("\x80\2ccollections\nOrderedDict\n."), GHN_UNSUPPORTED_FILE,
         "no dict of tensors"},
    };
    CHECK_ALL_BAD(cases);
}

#define ARGUMENTS "the arguments of a tensor"
#define TENSOR_OF(arguments) DICT_OF(REBUILD "(" arguments "tR")
#define ONE "K\1\x85"

static void tensors_are_checked(void **state) {
    (void)state;
    static const struct bad cases[] = {
        {"no arguments", P(DICT_OF(REBUILD ")R")), GHN_INVALID_FILE, ARGUMENTS},
        {"five arguments", P(TENSOR_OF(FLOATS "K\0" ONE ONE "\x89")), GHN_INVALID_FILE, ARGUMENTS},
        {"eight arguments", P(TENSOR_OF(FLOATS "K\0" ONE ONE "\x89" NO_HOOKS "NN")),
         GHN_INVALID_FILE, ARGUMENTS},
        {"attributes", P(TENSOR_OF(FLOATS "K\0" ONE ONE "\x89" NO_HOOKS "}K\1K\1s")),
         GHN_INVALID_FILE, ARGUMENTS},
        {"no storage", P(TENSOR_OF("NK\0" ONE ONE "\x89" NO_HOOKS)), GHN_INVALID_FILE, ARGUMENTS},
        {"no offset", P(TENSOR_OF(FLOATS "N" ONE ONE "\x89" NO_HOOKS)), GHN_INVALID_FILE,
         ARGUMENTS},
        {"negative offset", P(TENSOR_OF(FLOATS "J\xFF\xFF\xFF\xFF" ONE ONE "\x89" NO_HOOKS)),
         GHN_INVALID_FILE, ARGUMENTS},
        {"requires_grad", P(TENSOR_OF(FLOATS "K\0" ONE ONE "K\1" NO_HOOKS)), GHN_INVALID_FILE,
         ARGUMENTS},
        {"hooks", P(TENSOR_OF(FLOATS "K\0" ONE ONE "\x89}K\1K\1s")), GHN_INVALID_FILE, ARGUMENTS},
        {"size is a list", P(TENSOR_OF(FLOATS "K\0]" ONE "\x89" NO_HOOKS)), GHN_INVALID_FILE,
         "not a tuple"},
        {"size is a text", P(TENSOR_OF(FLOATS "K\0" TEXT1("1") "\x85" ONE "\x89" NO_HOOKS)),
         GHN_INVALID_FILE, "not an integer"},
        {"negative size", P(DICT_OF(TENSOR(FLOATS, "\0", "J\xFF\xFF\xFF\xFF\x85", ONE))),
         GHN_INVALID_FILE, "integer >= 0"},
        {"negative stride", P(DICT_OF(TENSOR(FLOATS, "\0", ONE, "J\xFF\xFF\xFF\xFF\x85"))),
         GHN_INVALID_FILE, "integer >= 0"},
        {"fewer strides", P(DICT_OF(TENSOR(FLOATS, "\0", "K\1K\1\x86", ONE))), GHN_INVALID_FILE,
         "as many strides"},
        {"nine dimensions", P(DICT_OF(TENSOR(FLOATS, "\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", ONE))),
         GHN_TOO_LARGE, "8 dimensions"},
        {"one too many", P(DICT_OF(TENSOR(FLOATS, "\0", "K\7\x85", ONE))), GHN_INVALID_FILE,
         "reaches beyond"},
        {"offset one too many", P(DICT_OF(TENSOR(FLOATS, "\1", "K\6\x85", ONE))), GHN_INVALID_FILE,
         "reaches beyond"},
        {"stride too many", P(DICT_OF(TENSOR(FLOATS, "\0", "K\2\x85", "K\6\x85"))),
         GHN_INVALID_FILE, "reaches beyond"},
        {"empty beyond", P(DICT_OF(TENSOR(FLOATS, "\7", "K\0\x85", ONE))), GHN_INVALID_FILE,
         "reaches beyond"},
        {"expanded", P(DICT_OF(TENSOR(FLOATS, "\0", "K\7\x85", "K\0\x85"))), GHN_INVALID_FILE,
         "reaches beyond"},
        {"numel overflows",
         P(DICT_OF(TENSOR(FLOATS, "\0", "\x8A\5\0\0\0\0\1\x8A\5\0\0\0\0\1\x86", "K\0K\0\x86"))),
         GHN_INVALID_FILE, "reaches beyond"},
        {"numel overflows beside 0",
         P(DICT_OF(
             TENSOR(FLOATS, "\0", "\x8A\5\0\0\0\0\1\x8A\5\0\0\0\0\1K\0\x87", "K\0K\0K\0\x87"))),
         GHN_INVALID_FILE, "reaches beyond"},
        {"extent overflows",
         P(DICT_OF(TENSOR(FLOATS, "\0", "K\3\x85", "\x8A\x8\0\0\0\0\0\0\0\x40\x85"))),
         GHN_INVALID_FILE, "reaches beyond"},
        {"offset near the end of int64",
         P(TENSOR_OF(FLOATS "\x8A\x8\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7FK\2\x85" ONE "\x89" NO_HOOKS)),
         GHN_INVALID_FILE, "reaches beyond"},
        {"a parameter of no tensor",
         P(DICT_OF("ctorch._utils\n_rebuild_parameter\n}\x89" NO_HOOKS "\x87R")), GHN_INVALID_FILE,
         "of a parameter"},
        {"a parameter's hooks", P(DICT_OF("ctorch._utils\n_rebuild_parameter\n" ROW "\x89N\x87R")),
         GHN_INVALID_FILE, "of a parameter"},
    };
    CHECK_ALL_BAD(cases);
}

#define ID "persistent id"

static void storages_are_checked(void **state) {
    (void)state;
    static const struct bad cases[] = {
        {"of nothing", P("\x80\2Q."), GHN_INVALID_FILE, "too few"},
        {"of a text", P("\x80\2" TEXT1("0") "Q."), GHN_INVALID_FILE, ID},
        {"of an empty tuple", P("\x80\2)Q."), GHN_INVALID_FILE, ID},
        {"of four", P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\n" TEXT1("0") TEXT1("c") "tQ."),
         GHN_INVALID_FILE, ID},
        {"no storage",
         P("\x80\2(X\7\0\0\0storagXctorch\nFloatStorage\n" TEXT1("0") TEXT1("c") "K\6tQ."),
         GHN_INVALID_FILE, ID},
        {"no type",
         P("\x80\2(X\7\0\0\0storageccollections\nOrderedDict\n" TEXT1("0") TEXT1("c") "K\6tQ."),
         GHN_INVALID_FILE, ID},
        {"no text as a key",
         P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nK\0" TEXT1("c") "K\6tQ."),
         GHN_INVALID_FILE, ID},
        {"negative",
         P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\n" TEXT1("0")
               TEXT1("c") "J\xFF\xFF\xFF\xFFtQ."),
         GHN_INVALID_FILE, ID},
        {"a path as a key",
         P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\7\0\0\0../../0" TEXT1("c") "K\6tQ."),
         GHN_INVALID_FILE, "not a number"},
        {"no key", P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\0\0\0\0" TEXT1("c") "K\6tQ."),
         GHN_INVALID_FILE, "10 digits"},
        {"a long key",
         P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\13\0\0\0"
           "00000000000" TEXT1("c") "K\6tQ."),
         GHN_INVALID_FILE, "10 digits"},
        {"no record", P(DICT_OF(TENSOR(STORAGE("Float", "2", "\6"), "\0", ONE, ONE))),
         GHN_INVALID_FILE, "data/2\", which is not there"},
        {"fewer elements", P(DICT_OF(TENSOR(STORAGE("Float", "0", "\5"), "\0", ONE, ONE))),
         GHN_INVALID_FILE, "24 bytes, which does not hold 5 elements of F32"},
        {"more elements", P(DICT_OF(TENSOR(STORAGE("Float", "0", "\7"), "\0", ONE, ONE))),
         GHN_INVALID_FILE, "does not hold 7"},
        {"another type", P(DICT_OF(TENSOR(STORAGE("Double", "0", "\6"), "\0", ONE, ONE))),
         GHN_INVALID_FILE, "6 elements of F64"},
        {"a type that is not read", P("\x80\2ctorch\nComplexFloatStorage\n."), GHN_UNSUPPORTED_FILE,
         "ComplexFloatStorage"},
    };
    CHECK_ALL_BAD(cases);
}

/* A pickle in the making. */
static struct {
    char bytes[1200000];
    size_t n;
} made;

static void put(const char *bytes, size_t n, int times) {
    assert_true(made.n + n * (size_t)times <= sizeof(made.bytes));
    for (int i = 0; i < times; i++, made.n += n)
        memcpy(made.bytes + made.n, bytes, n);
}

/* Takes what was put: it must be refused as too large with that word, or be read if word is NULL.
 */
static void check_made(const char *word) {
    if (word)
        check_bad(&(struct bad){word, made.bytes, made.n, GHN_TOO_LARGE, word});
    else
        ghn_tensors_free(good(made.bytes, made.n));
    made.n = 0;
}

/* A billion laughs: each of ten tuples holds the one before it ten times. To leave one value on the
 * stack, every new one is paired with all that was there. */
static void check_laughs(void) {
    put(P("\x80\2}" TEXT1("w") "]q\0"), 1);
    for (char i = 0; i < 9; i++) {
        char memo[2] = {'h', i}, next[4] = {'t', 'q', (char)(i + 1), (char)0x86};
        put("(", 1, 1);
        put(memo, 2, 10);
        put(next, 4, 1);
    }
    put("s.", 2, 1);
    check_made("1000000 values");
}

/* {"w": [[...]]} */
static void put_nested(int depth) {
    put(P("\x80\2}" TEXT1("w")), 1);
    put("]", 1, depth);
    put("a", 1, depth - 1);
    put("s.", 2, 1);
}

static void what_a_pickle_may_ask_is_bounded(void **state) {
    (void)state;
    put(P("\x80\2"), 1);
    put("N", 1, 100001);
    check_made("100000 values");
    put(P("\x80\2"), 1);
    put("(", 1, 100001);
    check_made("100000 open marks");
    put(P("\x80\2]"), 1);
    put("Na", 2, 500000);
    check_made("1000000 operations");
    put_nested(65);
    check_made(NULL);
    put_nested(66);
    check_made("64 levels");
    /* A list that holds itself, and a dict. */
    put(P("\x80\2}" TEXT1("w") "]q\0h\0as."), 1);
    check_made("64 levels");
    put(P("\x80\2}q\0" TEXT1("w") "h\0s."), 1);
    check_made("64 levels");
    check_laughs();
    /* One text of 65,536 bytes, 256 and 257 times. */
    for (int times = 256; times <= 257; times++) {
        put(P("\x80\2}X\0\0\0\0](X\0\0\1\0"), 1);
        put("t", 1, 65536);
        put("q\0", 2, 1);
        put("h\0", 2, times - 1);
        put("es.", 3, 1);
        check_made(times == 256 ? NULL : "16777216 bytes of text");
    }
    for (int more = 0; more <= 1; more++) {
        put(more ? "\x80\2}X\1\2\0\0" : "\x80\2}X\0\2\0\0", 8, 1);
        put("n", 1, 512 + more);
        put(P(ROW "s."), 1);
        check_made(more ? "longer than 512 bytes" : NULL);
    }
}

/* Tensors that share a storage each have a copy if they are views: a small file may not ask for
 * much.
 */
static void copies_are_bounded(void **state) {
    (void)state;
    struct archive a = {0};
    static char zeros[8192];
    /* {0: view, 1: view ...}: 40 views of 2,047 elements from offset 1 of a storage of 2,048. */
    char bytes[8192];
    size_t n = 0;
#define PUT(text)                                                                                  \
    do {                                                                                           \
        memcpy(bytes + n, text, sizeof(text) - 1);                                                 \
        n += sizeof(text) - 1;                                                                     \
    } while (0)
    PUT("\x80\2}(K\0" REBUILD "q\0("
        "(X\7\0\0\0storagectorch\nFloatStorage\n" TEXT1("0") TEXT1("c") "M\0\10tQ"
                                                                        "q\1K\1M\xFF\7\x85" ONE
                                                                        "\x89" NO_HOOKS "q\2tR");
    for (char i = 1; i < 40; i++) {
        PUT("K");
        bytes[n++] = i;
        PUT("h\0(h\1K\1M\xFF\7\x85" ONE "\x89h\2tR");
    }
    PUT("u.");
#undef PUT
    archive_add(&a, "a/data.pkl", bytes, n);
    archive_add(&a, "a/data/0", zeros, sizeof(zeros));
    archive_add(&a, "a/version", "3", 1);
    archive_end(&a);
    assert_true(a.n < 12000);
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *set = NULL;
    assert_int_equal(ghn_tensors_parse(a.bytes, a.n, "a.pt", &set, &err), GHN_TOO_LARGE);
    assert_non_null(strstr(err.message, "share storage"));
    free(a.bytes);
}

static enum ghn_status parse_checkpoint(void *context, struct ghn_err *err) {
    const struct archive *a = context;
    struct ghn_tensors *set = NULL;
    enum ghn_status status = ghn_tensors_parse(a->bytes, a->n, "a.pt", &set, err);
    if (status == GHN_OK) {
        assert_int_equal(set->n, 2);
        assert_int_equal(json_object_size(set->metadata), 2);
        assert_int_equal(json_object_size(json_object_get(set->metadata, "config")), 3);
    } else {
        assert_null(set);
    }
    ghn_tensors_free(set);
    return status;
}

static void memory_may_run_out(void **state) {
    (void)state;
    static const char pickle[] = "\x80\2}(X\n\0\0\0state_dict" NO_HOOKS "q\0(X\4\0\0\0fc.w" TENSOR(
        FLOATS, "\0", "K\3K\2\x86", "K\1K\3\x86") "X\4\0\0\0fc.n" SCALAR "u"
                                                  "X\5\0\0\0epochM\x2B\1"
                                                  "X\6\0\0\0config}(" TEXT1("a") "K\1" TEXT1("b")
                                                      TEXT1("x") TEXT1("c") "](K\1K\2K\3eu"
                                                                            "u.";
    struct archive a = {0};
    archive_of_pickle(&a, P(pickle));
    assert_true(torture(parse_checkpoint, &a, GHN_NO_MEMORY) >= 10);
    free(a.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_become_contiguous),
        cmocka_unit_test(a_checkpoint_is_read),
        cmocka_unit_test(nested_dicts_are_flattened),
        cmocka_unit_test(the_machine_is_strict),
        cmocka_unit_test(nothing_can_be_called),
        cmocka_unit_test(tensors_are_checked),
        cmocka_unit_test(storages_are_checked),
        cmocka_unit_test(what_a_pickle_may_ask_is_bounded),
        cmocka_unit_test(copies_are_bounded),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
