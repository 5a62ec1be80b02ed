/* Descriptions of data sets are kept, and made anew when something has changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datasets.h"

struct fixture {
    char folder[64];
    struct ghnd_datasets datasets;
};

static const char *path(const struct fixture *f, const char *name) {
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", f->folder, name);
    return path;
}

/* Dates a file or folder so many seconds after 2001. */
static void date(const struct fixture *f, const char *name, int seconds) {
    const struct timespec times[2] = {{1000000000 + seconds, 0}, {1000000000 + seconds, 0}};
    assert_int_equal(0, utimensat(AT_FDCWD, path(f, name), times, 0));
}

static void write_file(const struct fixture *f, const char *name) {
    FILE *file = fopen(path(f, name), "wb");
    assert_non_null(file);
    (void)fputs("no picture", file);
    assert_int_equal(0, fclose(file));
}

static const char *const folders[] = {"set",         "set/train", "set/train/a",
                                      "set/train/b", "set/test",  "set/test/a"};
static const char *const files[] = {"set/train/a/1.png", "set/train/b/1.png", "set/test/a/1.png"};

static void date_all(const struct fixture *f) {
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        date(f, folders[i], 0);
}

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->folder, "/tmp/ghnd-datasets-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        assert_int_equal(0, mkdir(path(f, folders[i]), 0700));
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        write_file(f, files[i]);
    date_all(f);
    ghnd_datasets_init(&f->datasets);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    ghnd_datasets_done(&f->datasets);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r '%s'", f->folder);
    assert_int_equal(0, system(command));
    free(f);
    return 0;
}

/* Training images of the set; -1 if there is none. */
static int64_t images(struct fixture *f) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_dataset dataset;
    if (ghnd_datasets_describe(&f->datasets, f->folder, "set", &dataset, &err) != GHN_OK) {
        assert_string_equal("dataset", err.where);
        assert_null(strstr(err.message, f->folder));
        return -1;
    }
    assert_string_equal("set", dataset.name);
    assert_int_equal(GHN_DATASET_FOLDER, dataset.kind);
    return dataset.n[GHN_SPLIT_TRAIN];
}

static void test_what_did_not_change_is_not_looked_at_again(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(2, images(f));
    assert_int_equal(1, f->datasets.scans);
}

static void test_changes(void **state) {
    struct fixture *f = *state;
    assert_int_equal(2, images(f));
    write_file(f, "set/train/b/2.png"); /* which dates the folder now */
    assert_int_equal(3, images(f));
    date(f, "set/train/b", 1);
    assert_int_equal(3, images(f));
    assert_int_equal(0, unlink(path(f, "set/train/b/1.png")));
    date(f, "set/train/b", 2);
    assert_int_equal(2, images(f));
    char from[256];
    (void)snprintf(from, sizeof(from), "%s", path(f, "set/train"));
    assert_int_equal(0, rename(from, path(f, "set/trained")));
    assert_int_equal(-1, images(f));
}

/* Two changes within a tick of the clock leave one date: what is that young is not kept. */
static void test_what_has_just_changed_is_not_kept(void **state) {
    struct fixture *f = *state;
    write_file(f, "set/train/b/2.png");
    assert_int_equal(3, images(f));
    assert_int_equal(3, images(f));
    assert_int_equal(2, f->datasets.scans);
}

static void test_failures_are_kept_too(void **state) {
    struct fixture *f = *state;
    assert_int_equal(0, mkdir(path(f, "set/test/c"), 0700)); /* a class that train/ lacks */
    date(f, "set/test/c", 0);
    date_all(f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(-1, images(f));
    assert_int_equal(1, f->datasets.scans);
    assert_int_equal(0, rmdir(path(f, "set/test/c")));
    date(f, "set/test", 1);
    assert_int_equal(2, images(f));
}

static void test_no_more_than_so_many_are_kept(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        char name[32];
        struct ghn_err err = GHN_ERR_INIT;
        struct ghn_dataset dataset;
        (void)snprintf(name, sizeof(name), "empty%d", i);
        assert_int_equal(0, mkdir(path(f, name), 0700));
        date(f, name, 0);
        assert_int_equal(GHN_UNSUPPORTED_FILE,
                         ghnd_datasets_describe(&f->datasets, f->folder, name, &dataset, &err));
    }
    assert_int_equal(64, f->datasets.n);
}

static void test_shapes_need_no_folder(void **state) {
    struct fixture *f = *state;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_dataset dataset;
    assert_int_equal(GHN_OK,
                     ghnd_datasets_describe(&f->datasets, f->folder, "shapes", &dataset, &err));
    assert_int_equal(50000, dataset.n[GHN_SPLIT_TRAIN]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_what_did_not_change_is_not_looked_at_again),
        TEST(test_changes),
        TEST(test_what_has_just_changed_is_not_kept),
        TEST(test_failures_are_kept_too),
        TEST(test_no_more_than_so_many_are_kept),
        TEST(test_shapes_need_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
