/* lib/base/atomic_file.h: what becomes of what was at the path, and what is left behind. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic_file.h"

static char folder[] = "/tmp/ghn-test-XXXXXX";

static const char *in_folder(const char *name) {
    static char paths[4][64];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static enum ghn_status put(const char *path, const char *text) {
    struct ghn_atomic_file *file = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghn_atomic_file_new(path, &file, &err);
    if (status != GHN_OK)
        return status;
    assert_int_equal(ghn_atomic_file_write(file, text, strlen(text), &err), GHN_OK);
    return ghn_atomic_file_commit(file, &err);
}

static void holds(const char *path, const char *text) {
    char found[64] = "";
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t n = fread(found, 1, sizeof found - 1, in);
    (void)fclose(in);
    found[n] = '\0';
    assert_string_equal(found, text);
}

static void a_file_keeps_its_permissions(void **state) {
    (void)state;
    const char *path = in_folder("secret");
    struct stat st;
    assert_int_equal(put(path, "old"), GHN_OK);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(put(path, "new"), GHN_OK);
    holds(path, "new");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    (void)unlink(path);
}

static void a_link_stays_a_link(void **state) {
    (void)state;
    const char *link_path = in_folder("link"), *target = in_folder("target");
    struct stat st;
    assert_int_equal(put(target, "old"), GHN_OK);
    assert_int_equal(symlink(target, link_path), 0);
    assert_int_equal(put(link_path, "new"), GHN_OK);
    assert_int_equal(lstat(link_path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    holds(target, "new");
    (void)unlink(link_path);
    (void)unlink(target);
}

static void a_pipe_is_written_to(void **state) {
    (void)state;
    const char *path = in_folder("pipe");
    char found[8] = "";
    struct stat st;
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(put(path, "text"), GHN_OK);
    assert_int_equal(read(reader, found, sizeof found), 4);
    assert_memory_equal(found, "text", 4);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    (void)close(reader);
    (void)unlink(path);
}

static void a_folder_is_refused(void **state) {
    (void)state;
    assert_int_equal(put(folder, "text"), GHN_IO);
    assert_int_equal(put(in_folder("none/file"), "text"), GHN_IO);
}

static void nothing_is_left_when_it_is_given_up(void **state) {
    (void)state;
    struct ghn_atomic_file *file = NULL;
    const char *path = in_folder("file");
    assert_int_equal(put(path, "old"), GHN_OK);
    assert_int_equal(ghn_atomic_file_new(path, &file, NULL), GHN_OK);
    assert_int_equal(ghn_atomic_file_write(file, "new", 3, NULL), GHN_OK);
    ghn_atomic_file_abort(file);
    holds(path, "old");
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

/* Of all files only those go whose names are of the making of this module. */
static void sweeping(void **state) {
    (void)state;
    static const char *const kept[] = {"notes.tmp.txt", "a.tmp.1", "a.tmp.1.", "a.tmp..1",
                                       "a.tmp.1.2x"};
    static const char *const swept[] = {"a.safetensors.tmp.123.0", "b.tmp.9.99"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_int_equal(put(in_folder(kept[i]), ""), GHN_OK);
    for (size_t i = 0; i < sizeof swept / sizeof *swept; i++)
        assert_int_equal(put(in_folder(swept[i]), ""), GHN_OK);
    ghn_atomic_file_sweep(folder);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_int_equal(unlink(in_folder(kept[i])), 0);
    for (size_t i = 0; i < sizeof swept / sizeof *swept; i++)
        assert_int_equal(access(in_folder(swept[i]), F_OK), -1);
    ghn_atomic_file_sweep(in_folder("none"));
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_keeps_its_permissions),
        cmocka_unit_test(a_link_stays_a_link),
        cmocka_unit_test(a_pipe_is_written_to),
        cmocka_unit_test(a_folder_is_refused),
        cmocka_unit_test(nothing_is_left_when_it_is_given_up),
        cmocka_unit_test(sweeping),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
