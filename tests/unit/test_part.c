/* Which part of a file Range, If-Range, If-Match and If-None-Match ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "part.h"

enum { SIZE = 1000 };

static const char etag[] = "\"abc\"";

static enum ghnd_part wanted(const char *range, const char *if_range, const char *if_none_match,
                             int64_t *ret_first, int64_t *ret_n) {
    const struct ghnd_condition condition = {
        .range = range, .if_range = if_range, .if_none_match = if_none_match};
    *ret_first = *ret_n = -1;
    return ghnd_part_wanted(&condition, etag, SIZE, ret_first, ret_n);
}

static void ranges(void **state) {
    (void)state;
    static const struct {
        const char *range;
        enum ghnd_part part;
        int64_t first, n;
    } cases[] = {
        {NULL, GHND_PART_ALL, -1, -1},
        {"bytes=0-", GHND_PART_SOME, 0, SIZE},
        {"bytes=0-0", GHND_PART_SOME, 0, 1},
        {"Bytes=10-19", GHND_PART_SOME, 10, 10},
        {"bytes=999-", GHND_PART_SOME, 999, 1},
        {"bytes=990-99999999999999999999999", GHND_PART_SOME, 990, 10},
        {"bytes=-1", GHND_PART_SOME, 999, 1},
        {"bytes=-2000", GHND_PART_SOME, 0, SIZE},
        {"bytes=1000-", GHND_PART_BEHIND, -1, -1},
        {"bytes=99999999999999999999999-", GHND_PART_BEHIND, -1, -1},
        {"bytes=-0", GHND_PART_BEHIND, -1, -1},
        {"bytes=-", GHND_PART_ALL, -1, -1},
        {"bytes=", GHND_PART_ALL, -1, -1},
        {"bytes=5", GHND_PART_ALL, -1, -1},
        {"bytes=9-8", GHND_PART_ALL, -1, -1},
        {"bytes=0-1,5-6", GHND_PART_ALL, -1, -1},
        {"bytes=0-1 ", GHND_PART_ALL, -1, -1},
        {"bytes=--1", GHND_PART_ALL, -1, -1},
        {"lines=0-1", GHND_PART_ALL, -1, -1},
        {"", GHND_PART_ALL, -1, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t first, n;
        enum ghnd_part part = wanted(cases[i].range, NULL, NULL, &first, &n);
        if (part != cases[i].part || first != cases[i].first || n != cases[i].n)
            fail_msg("%s: %d, %lld bytes from %lld", cases[i].range, (int)part, (long long)n,
                     (long long)first);
    }
}

static void a_range_of_another_file_is_not_looked_at(void **state) {
    (void)state;
    int64_t first, n;
    assert_int_equal(GHND_PART_SOME, wanted("bytes=1-2", etag, NULL, &first, &n));
    assert_int_equal(GHND_PART_ALL, wanted("bytes=1-2", "\"abd\"", NULL, &first, &n));
    assert_int_equal(GHND_PART_ALL, wanted("bytes=1-2", "W/\"abc\"", NULL, &first, &n));
    assert_int_equal(GHND_PART_ALL,
                     wanted("bytes=1-2", "Sun, 06 Nov 1994 08:49:37 GMT", NULL, &first, &n));
    assert_int_equal(GHND_PART_ALL, wanted(NULL, etag, NULL, &first, &n));
}

static void what_is_there_is_not_sent_again(void **state) {
    (void)state;
    static const char *const same[] = {"\"abc\"", "*", "W/\"abc\"", "\"x\" , \"abc\"",
                                       "\"x\",W/\"y\",W/\"abc\""};
    static const char *const other[] = {"", "\"ab\"", "\"abcd\"", "abc", "\"x\", \"y\"", "**"};
    int64_t first, n;
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        assert_int_equal(GHND_PART_UNCHANGED, wanted("bytes=1-2", NULL, same[i], &first, &n));
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        assert_int_equal(GHND_PART_SOME, wanted("bytes=1-2", NULL, other[i], &first, &n));
}

static void another_file_is_not_sent(void **state) {
    (void)state;
    static const struct {
        const char *if_match;
        bool same;
    } cases[] = {{"\"abc\"", true},    {"*", true},         {"\"x\", \"abc\"", true}, {"", false},
                 {"W/\"abc\"", false}, {"\"abcd\"", false}, {"\"x\"", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct ghnd_condition condition = {
            .range = "bytes=1-2", .if_none_match = etag, .if_match = cases[i].if_match};
        int64_t first, n;
        assert_int_equal(cases[i].same ? GHND_PART_UNCHANGED : GHND_PART_ANOTHER,
                         ghnd_part_wanted(&condition, etag, SIZE, &first, &n));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),
        cmocka_unit_test(a_range_of_another_file_is_not_looked_at),
        cmocka_unit_test(what_is_there_is_not_sent_again),
        cmocka_unit_test(another_file_is_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
