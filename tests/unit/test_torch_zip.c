/* lib/tensor: the archive of a PyTorch file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/tensors.h"
#include "torch_archive.h"

/* {} */
static const char empty_dict[] = "\x80\x02}.";
enum { N_EMPTY_DICT = sizeof(empty_dict) - 1 };

static void check(const struct archive *a, size_t n, enum ghn_status expected, const char *word,
                  const char *what) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *set = NULL;
    enum ghn_status status = ghn_tensors_parse(a->bytes, n, "a.pt", &set, &err);
    if (status != expected || !strstr(err.message, word))
        fail_msg("%s: expected %s with \"%s\", got %s: %s", what, ghn_status_code(expected), word,
                 ghn_status_code(status), err.message);
    assert_true((status == GHN_OK) == (set != NULL));
    ghn_tensors_free(set);
}

static void start(struct archive *a, bool zip64) {
    *a = (struct archive){.zip64 = zip64};
    archive_of_pickle(a, empty_dict, N_EMPTY_DICT);
}

static void whole_archives_are_read(void **state) {
    (void)state;
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct archive a;
        start(&a, zip64);
        check(&a, a.n, GHN_OK, "", zip64 ? "ZIP64" : "plain");
        free(a.bytes);
    }
}

/* Where a patch is counted from. */
enum place { LOCAL, DATA, DESCRIPTOR, CENTRAL, END64, LOCATOR, END };

struct patch {
    const char *what;
    enum place place;
    int record;
    size_t offset;
    const char *bytes;
    size_t n;
    enum ghn_status status;
    const char *word;
};

#define B(bytes) bytes, sizeof(bytes) - 1

static size_t offset_of(const struct archive *a, const struct patch *patch) {
    const struct archive_record *r = &a->records[patch->record];
    const size_t places[] = {
        [LOCAL] = r->local,     [DATA] = r->data,   [DESCRIPTOR] = r->descriptor,
        [CENTRAL] = r->central, [END64] = a->end64, [LOCATOR] = a->end64 + 56,
        [END] = a->end};
    return places[patch->place] + patch->offset;
}

static void try_patches(const struct patch *patches, size_t n, bool zip64) {
    for (size_t i = 0; i < n; i++) {
        struct archive a;
        start(&a, zip64);
        memcpy(a.bytes + offset_of(&a, &patches[i]), patches[i].bytes, patches[i].n);
        check(&a, a.n, patches[i].status, patches[i].word, patches[i].what);
        free(a.bytes);
    }
}

static void every_field_is_checked(void **state) {
    (void)state;
    static const struct patch patches[] = {
        {"end magic", END, 0, 0, B("X"), GHN_INVALID_FILE, "does not end"},
        {"disk", END, 0, 4, B("\1"), GHN_UNSUPPORTED_FILE, "several parts"},
        {"directory's disk", END, 0, 6, B("\1"), GHN_UNSUPPORTED_FILE, "several parts"},
        {"records here", END, 0, 8, B("\5"), GHN_UNSUPPORTED_FILE, "several parts"},
        {"too few records", END, 0, 8, B("\3\0\3\0"), GHN_INVALID_FILE, "longer than"},
        {"too many records", END, 0, 8, B("\5\0\5\0"), GHN_INVALID_FILE, "no record where"},
        {"no records", END, 0, 8, B("\0\0\0\0"), GHN_INVALID_FILE, "longer than"},
        {"very many records", END, 0, 8, B("\xFF\xFF\xFF\xFF"), GHN_TOO_LARGE, "65535 records"},
        {"directory's size", END, 0, 12, B("\1"), GHN_INVALID_FILE, "does not end where"},
        {"directory's offset", END, 0, 16, B("\1\0\0\0"), GHN_INVALID_FILE, "does not end where"},
        {"comment", END, 0, 20, B("\1"), GHN_INVALID_FILE, "comment"},
        {"central magic", CENTRAL, 2, 0, B("X"), GHN_INVALID_FILE, "no record where"},
        {"encrypted", CENTRAL, 0, 8, B("\x09"), GHN_UNSUPPORTED_FILE, "encrypted"},
        {"strong encryption", CENTRAL, 0, 8, B("\x48"), GHN_INVALID_FILE, "flags"},
        {"another flag", CENTRAL, 0, 9, B("\x28"), GHN_INVALID_FILE, "flags"},
        {"fewer flags", CENTRAL, 0, 8, B("\0\0"), GHN_INVALID_FILE, "disagrees"},
        {"compressed", CENTRAL, 1, 10, B("\x08"), GHN_UNSUPPORTED_FILE, "compressed"},
        {"checksum", CENTRAL, 1, 16, B("XXXX"), GHN_INVALID_FILE, "descriptor"},
        {"packed size", CENTRAL, 1, 20, B("\1"), GHN_INVALID_FILE, "two sizes differ"},
        {"both sizes", CENTRAL, 1, 20, B("\1\0\0\0\1\0\0\0"), GHN_INVALID_FILE, "descriptor"},
        {"huge sizes", CENTRAL, 1, 20, B("\xFE\xFF\xFF\xFF\xFE\xFF\xFF\xFF"), GHN_INVALID_FILE,
         "overlaps"},
        {"sizes elsewhere", CENTRAL, 1, 20, B("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), GHN_INVALID_FILE,
         "extra fields"},
        {"name's length", CENTRAL, 1, 28, B("\xFF\xFF"), GHN_INVALID_FILE, "cut off"},
        {"no name", CENTRAL, 1, 28, B("\0"), GHN_INVALID_FILE, "relative path"},
        {"comment of a record", CENTRAL, 1, 32, B("\1"), GHN_INVALID_FILE, "comment"},
        {"record's disk", CENTRAL, 1, 34, B("\1"), GHN_INVALID_FILE, "another part"},
        {"record's offset", CENTRAL, 1, 42, B("\x99"), GHN_INVALID_FILE, "descriptor"},
        {"offset beyond", CENTRAL, 1, 42, B("\0\0\0\x70"), GHN_INVALID_FILE, "outside"},
        {"same place", CENTRAL, 1, 42, B("\0\0\0\0"), GHN_INVALID_FILE, "no local header"},
        {"first is moved", CENTRAL, 0, 42, B("\1"), GHN_INVALID_FILE, "does not begin the file"},
        {"NUL in a name", CENTRAL, 1, 47, B("\0"), GHN_INVALID_FILE, "relative path"},
        {"backslash", CENTRAL, 1, 47, B("\\"), GHN_INVALID_FILE, "relative path"},
        {"absolute", CENTRAL, 1, 46, B("/"), GHN_INVALID_FILE, "relative path"},
        {"empty part", CENTRAL, 1, 48, B("/"), GHN_INVALID_FILE, "relative path"},
        {"parent", CENTRAL, 1, 48, B("../a"), GHN_INVALID_FILE, "relative path"},
        {"dot", CENTRAL, 1, 46, B("./"), GHN_INVALID_FILE, "relative path"},
        {"not UTF-8", CENTRAL, 1, 49, B("\xFF"), GHN_INVALID_FILE, "relative path"},
        {"other name", CENTRAL, 1, 53, B("7"), GHN_INVALID_FILE, "another name"},
        {"local magic", LOCAL, 1, 0, B("X"), GHN_INVALID_FILE, "no local header"},
        {"local flags", LOCAL, 1, 6, B("\0"), GHN_INVALID_FILE, "disagrees"},
        {"local method", LOCAL, 1, 8, B("\x08"), GHN_INVALID_FILE, "disagrees"},
        {"local checksum", LOCAL, 1, 14, B("\1"), GHN_INVALID_FILE, "disagrees"},
        {"local size", LOCAL, 1, 22, B("\1"), GHN_INVALID_FILE, "disagrees"},
        {"local name's length", LOCAL, 1, 26, B("\7"), GHN_INVALID_FILE, "another name"},
        {"local extra's length", LOCAL, 1, 28, B("\xFF\xFF"), GHN_INVALID_FILE, "overlaps"},
        {"local name", LOCAL, 1, 30, B("b"), GHN_INVALID_FILE, "another name"},
        {"local extra", LOCAL, 1, 40, B("\xFF\xFF"), GHN_INVALID_FILE, "disagrees"},
        {"data", DATA, 1, 3, B("\1"), GHN_INVALID_FILE, "checksum is wrong"},
        {"descriptor's magic", DESCRIPTOR, 1, 0, B("X"), GHN_INVALID_FILE, "descriptor"},
        {"descriptor's checksum", DESCRIPTOR, 1, 4, B("XXXX"), GHN_INVALID_FILE, "descriptor"},
        {"descriptor's size", DESCRIPTOR, 1, 8, B("\1"), GHN_INVALID_FILE, "descriptor"},
        {"descriptor's other size", DESCRIPTOR, 1, 12, B("\1"), GHN_INVALID_FILE, "descriptor"},
        {"version", DATA, 3, 0, B("3"), GHN_OK, ""},
    };
    try_patches(patches, sizeof(patches) / sizeof(patches[0]), false);
}

static void every_zip64_field_is_checked(void **state) {
    (void)state;
    static const struct patch patches[] = {
        {"locator's disk", LOCATOR, 0, 4, B("\1"), GHN_INVALID_FILE, "locator"},
        {"locator's offset", LOCATOR, 0, 8, B("\1"), GHN_INVALID_FILE, "locator"},
        {"disks", LOCATOR, 0, 16, B("\2"), GHN_INVALID_FILE, "locator"},
        {"end magic", END64, 0, 0, B("X"), GHN_INVALID_FILE, "not sound"},
        {"end size", END64, 0, 4, B("\1"), GHN_INVALID_FILE, "not sound"},
        {"disk", END64, 0, 16, B("\1"), GHN_INVALID_FILE, "not sound"},
        {"records here", END64, 0, 24, B("\5"), GHN_INVALID_FILE, "not sound"},
        {"directory's size", END64, 0, 40, B("\1"), GHN_INVALID_FILE, "does not end"},
        {"directory's offset", END64, 0, 55, B("\xFF"), GHN_INVALID_FILE, "does not end"},
        {"old records", END, 0, 8, B("\3\0\3\0"), GHN_INVALID_FILE, "end records disagree"},
        {"old size", END, 0, 12, B("\1\0\0\0"), GHN_INVALID_FILE, "end records disagree"},
        {"old offset", END, 0, 16, B("\1\0\0\0"), GHN_INVALID_FILE, "end records disagree"},
        {"no locator", LOCATOR, 0, 0, B("X"), GHN_TOO_LARGE, "65535 records"},
        {"no extra field", CENTRAL, 1, 54, B("\2"), GHN_INVALID_FILE, "extra fields"},
        {"short extra field", CENTRAL, 1, 56, B("\x10"), GHN_INVALID_FILE, "extra fields"},
        {"size", CENTRAL, 1, 58, B("\1"), GHN_INVALID_FILE, "two sizes differ"},
        {"offset", CENTRAL, 1, 74, B("\1"), GHN_INVALID_FILE, "no local header"},
        {"huge offset", CENTRAL, 3, 82, B("\x7F"), GHN_INVALID_FILE, "outside"},
        {"huge sizes", CENTRAL, 1, 58, B("\0\0\0\0\0\0\0\x7F\0\0\0\0\0\0\0\x7F"), GHN_INVALID_FILE,
         "overlaps"},
    };
    try_patches(patches, sizeof(patches) / sizeof(patches[0]), true);
}

static void cut_archives_are_refused(void **state) {
    (void)state;
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct archive a;
        start(&a, zip64);
        for (size_t n = 2; n < a.n; n++)
            check(&a, n, GHN_INVALID_FILE, "", "cut");
        free(a.bytes);
    }
}

/* An archive of those records. */
static void check_records(const char *const (*records)[2], size_t n, enum ghn_status status,
                          const char *word) {
    struct archive a = {0};
    for (size_t i = 0; i < n; i++) {
        bool pickle = strcmp(records[i][1], "{}") == 0;
        archive_add(&a, records[i][0], pickle ? empty_dict : records[i][1],
                    pickle ? N_EMPTY_DICT : strlen(records[i][1]));
    }
    archive_end(&a);
    check(&a, a.n, status, word, word);
    free(a.bytes);
}

static void records_are_looked_at(void **state) {
    (void)state;
#define RECORDS(status, word, ...)                                                                 \
    do {                                                                                           \
        const char *const records[][2] = {__VA_ARGS__};                                            \
        check_records(records, sizeof(records) / sizeof(records[0]), status, word);                \
    } while (0)
    RECORDS(GHN_OK, "", {"a/data.pkl", "{}"}, {"a/version", "3"});
    RECORDS(GHN_OK, "", {"a/data.pkl", "{}"}, {"a/.data/version", "10\n"});
    RECORDS(GHN_OK, "", {"a/version", "3\n"}, {"a/byteorder", "little"}, {"a/data.pkl", "{}"});
    RECORDS(GHN_UNSUPPORTED_FILE, "little-endian", {"a/data.pkl", "{}"}, {"a/version", "3"},
            {"a/byteorder", "big"});
    RECORDS(GHN_INVALID_FILE, "no record \"version\"", {"a/data.pkl", "{}"});
    RECORDS(GHN_INVALID_FILE, "holds no version", {"a/data.pkl", "{}"}, {"a/version", ""});
    RECORDS(GHN_INVALID_FILE, "holds no version", {"a/data.pkl", "{}"}, {"a/version", "3 "});
    RECORDS(GHN_UNSUPPORTED_FILE, "version 11", {"a/data.pkl", "{}"}, {"a/version", "11"});
    RECORDS(GHN_UNSUPPORTED_FILE, "version 0", {"a/data.pkl", "{}"}, {"a/version", "0"});
    RECORDS(GHN_UNSUPPORTED_FILE, "no data.pkl", {"a/version", "3"});
    RECORDS(GHN_UNSUPPORTED_FILE, "no data.pkl", {"data.pkl", "{}"}, {"version", "3"});
    RECORDS(GHN_UNSUPPORTED_FILE, "no data.pkl", {"a/x.npy", "x"});
    RECORDS(GHN_INVALID_FILE, "one folder", {"a/data.pkl", "{}"}, {"b/version", "3"});
    RECORDS(GHN_INVALID_FILE, "one folder", {"a/data.pkl", "{}"}, {"ab/version", "3"});
    RECORDS(GHN_INVALID_FILE, "two records", {"a/data.pkl", "{}"}, {"a/version", "3"},
            {"a/data.pkl", "{}"});
    RECORDS(GHN_UNSUPPORTED_FILE, "TorchScript", {"a/data.pkl", "{}"}, {"a/version", "3"},
            {"a/constants.pkl", "{}"});
#undef RECORDS
    struct archive none = {0};
    archive_end(&none);
    check(&none, none.n, GHN_INVALID_FILE, "empty", "no records");
    free(none.bytes);
}

/* Bytes between records would be a place to hide something. */
static void records_leave_no_gap(void **state) {
    (void)state;
    struct archive a = {0};
    archive_add(&a, "a/data.pkl", empty_dict, N_EMPTY_DICT);
    a.bytes = realloc(a.bytes, a.n + 16);
    assert_non_null(a.bytes);
    memset(a.bytes + a.n, 0, 16);
    a.n += 16;
    archive_add(&a, "a/version", "3", 1);
    archive_end(&a);
    check(&a, a.n, GHN_INVALID_FILE, "what follows its data", "gap");
    free(a.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_archives_are_read),      cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(every_zip64_field_is_checked), cmocka_unit_test(cut_archives_are_refused),
        cmocka_unit_test(records_are_looked_at),        cmocka_unit_test(records_leave_no_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
