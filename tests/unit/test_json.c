/* lib/base/json: texts within and beyond their budgets, and typed looks at values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static enum ghn_status load(const char *text, size_t n, struct ghn_err *err) {
    json_t *root = NULL;
    enum ghn_status status = ghn_json_load(text, n, NULL, &root, err);
    assert_true((status == GHN_OK) == (root != NULL));
    json_decref(root);
    return status;
}

static void good_texts_load(void **state) {
    (void)state;
    static const char *const good[] = {"{}", " [1, -2.5e3, true, null, \"\\\"}{\"]\n",
                                       "{\"a\": {\"b\": [[[]]]}}", "[\"\xC3\xA9\"]"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct ghn_err err = GHN_ERR_INIT;
        assert_int_equal(load(good[i], strlen(good[i]), &err), GHN_OK);
    }
}

static void bad_texts_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "1",
                                      "\"text\"",
                                      "{",
                                      "[1,]",
                                      "[1] 2",
                                      "{\"a\":1,\"a\":2}",
                                      "[\"\\u0000\"]",
                                      "[\"\x80\"]",
                                      "[\"\xED\xA0\x80\"]",
                                      "[\"\xC0\x80\"]",
                                      "\xEF\xBB\xBF{}",
                                      "[99999999999999999999]",
                                      "[1e999]",
                                      "[NaN]",
                                      "[\"unterminated",
                                      "[\"ends in a backslash\\",
                                      "]",
                                      "{'a':1}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ghn_err err = GHN_ERR_INIT;
        assert_int_equal(load(bad[i], strlen(bad[i]), &err), GHN_JSON);
        assert_true(err.message[0] != '\0');
    }
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(load("[1]\0", 4, &err), GHN_JSON);
}

static void errors_name_line_and_column(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    static const char text[] = "{\n  \"a\": 1,\n  \"b\" 2}";
    assert_int_equal(load(text, strlen(text), &err), GHN_JSON);
    assert_non_null(strstr(err.message, "line 3, column 7"));
}

/* A text of `depth` nested arrays. */
static char *nested(size_t depth) {
    char *text = malloc(2 * depth);
    assert_non_null(text);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return text;
}

static void depth_is_limited(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    char *text = nested(32);
    assert_int_equal(load(text, 64, &err), GHN_OK);
    free(text);
    text = nested(33);
    assert_int_equal(load(text, 66, &err), GHN_TOO_LARGE);
    assert_non_null(strstr(err.message, "32 levels"));
    free(text);
    /* Brackets inside a string count for nothing. */
    struct ghn_err none = GHN_ERR_INIT;
    static const char quoted[] = "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]";
    assert_int_equal(load(quoted, strlen(quoted), &none), GHN_OK);
}

static void tokens_are_limited(void **state) {
    (void)state;
    const struct ghn_json_limits limits = {.max_depth = 4, .max_tokens = 6};
    json_t *root = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    static const char six[] = "{\"a\":[1,\"b\",null]}", seven[] = "{\"a\":[1,\"b\",null,0]}";
    assert_int_equal(ghn_json_load(six, strlen(six), &limits, &root, &err), GHN_OK);
    json_decref(root);
    assert_int_equal(ghn_json_load(seven, strlen(seven), &limits, &root, &err), GHN_TOO_LARGE);
    assert_non_null(strstr(err.message, "more than 6"));
}

static void paths_read_like_code(void **state) {
    (void)state;
    char a[GHN_ERR_WHERE], b[GHN_ERR_WHERE];
    assert_string_equal(ghn_json_path(a, sizeof(a), "", "arch"), "arch");
    assert_string_equal(ghn_json_path(b, sizeof(b), a, "nodes"), "arch.nodes");
    assert_string_equal(ghn_json_path_at(a, sizeof(a), b, 3), "arch.nodes[3]");
    char small[6];
    assert_string_equal(ghn_json_path(small, sizeof(small), "arch", "nodes"), "arch.");
}

static void integers_are_checked(void **state) {
    (void)state;
    int64_t i = -7;
    json_t *three = json_integer(3), *real = json_real(3.0);
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_json_int(three, "steps", 1, 3, &i, &err), GHN_OK);
    assert_int_equal(i, 3);
    assert_int_equal(ghn_json_int(three, "steps", 4, 9, &i, &err), GHN_OUT_OF_RANGE);
    assert_string_equal(err.where, "steps");
    assert_string_equal(err.message, "3 is not in [4, 9]");
    err = (struct ghn_err)GHN_ERR_INIT;
    assert_int_equal(ghn_json_int(real, "steps", 0, 9, &i, &err), GHN_WRONG_TYPE);
    assert_int_equal(ghn_json_int(NULL, "steps", 0, 9, &i, NULL), GHN_MISSING_FIELD);
    assert_int_equal(i, 3);
    json_decref(three);
    json_decref(real);
}

static void types_are_checked(void **state) {
    (void)state;
    bool b = false;
    struct ghn_err err = GHN_ERR_INIT;
    json_t *text = json_string("true");
    assert_int_equal(ghn_json_bool(json_true(), "bias", &b, &err), GHN_OK);
    assert_true(b);
    assert_int_equal(ghn_json_bool(json_false(), "bias", &b, &err), GHN_OK);
    assert_false(b);
    assert_int_equal(ghn_json_bool(text, "bias", &b, &err), GHN_WRONG_TYPE);
    assert_string_equal(err.message, "expected a boolean, found a string");
    assert_int_equal(ghn_json_expect(text, "name", JSON_STRING, NULL), GHN_OK);
    assert_int_equal(ghn_json_expect(text, "name", JSON_OBJECT, NULL), GHN_WRONG_TYPE);
    assert_string_equal(ghn_json_kind(NULL), "nothing");
    json_decref(text);
}

static void unknown_keys_are_named(void **state) {
    (void)state;
    static const char *const allowed[] = {"a", "b", NULL}, *const also[] = {"c", NULL};
    json_t *object = json_pack("{s:i, s:i}", "a", 1, "c", 2);
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_json_only(object, "x", allowed, also, &err), GHN_OK);
    assert_int_equal(ghn_json_only(object, "x", allowed, NULL, &err), GHN_UNKNOWN_FIELD);
    assert_string_equal(err.where, "x.c");
    assert_non_null(strstr(err.message, "\"a\", \"b\""));
    json_decref(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_texts_load),
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(errors_name_line_and_column),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(tokens_are_limited),
        cmocka_unit_test(paths_read_like_code),
        cmocka_unit_test(integers_are_checked),
        cmocka_unit_test(types_are_checked),
        cmocka_unit_test(unknown_keys_are_named),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
