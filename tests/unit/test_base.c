/* lib/base: status, UTF-8, memory, random numbers, the thread pool, the machine's memory. */
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checked.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/utf8.h"

static void first_error_wins(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_fail(&err, GHN_IO, "a.pt", "cannot read %d bytes", 7), GHN_IO);
    assert_int_equal(ghn_fail(&err, GHN_JSON, "b", "later"), GHN_JSON);
    assert_int_equal(err.status, GHN_IO);
    assert_string_equal(err.where, "a.pt");
    assert_string_equal(err.message, "cannot read 7 bytes");
    assert_int_equal(ghn_fail(NULL, GHN_IO, NULL, "no place to record it"), GHN_IO);
}

static void error_text_is_printable(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    (void)ghn_fail(&err, GHN_JSON, "a\n\x80\xC3\xA9\x7F", "\xE2\x82");
    assert_string_equal(err.where, "a??\xC3\xA9?");
    assert_string_equal(err.message, "??");
}

static void codes_are_known(void **state) {
    (void)state;
    assert_string_equal(ghn_status_code(GHN_WRONG_TYPE), "wrong_type");
    assert_string_equal(ghn_status_code((enum ghn_status)999), "internal");
    assert_string_equal(ghn_status_code((enum ghn_status) - 1), "internal");
}

static void utf8_follows_the_rfc(void **state) {
    (void)state;
    static const char *const good[] = {
        "", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xEF\xBF\xBF"};
    static const char *const bad[] = {"\x80",
                                      "\xC0\x80",
                                      "\xC3",
                                      "\xE0\x80\x80",
                                      "\xED\xA0\x80",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xE2\x28\xA1"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(ghn_utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(ghn_utf8_valid(bad[i], strlen(bad[i])));
}

static void overflow_is_reported(void **state) {
    (void)state;
    int64_t r = 5;
    assert_false(ghn_mul_i64(INT64_MAX, 2, &r));
    assert_false(ghn_add_i64(INT64_MAX, 1, &r));
    assert_int_equal(r, 5);
    assert_true(ghn_mul_i64(3, 4, &r));
    assert_int_equal(r, 12);
}

static void arena_serves_small_and_large(void **state) {
    (void)state;
    struct ghn_arena arena = GHN_ARENA_INIT;
    char *texts[100];
    for (int i = 0; i < 100; i++) {
        texts[i] = ghn_arena_printf(&arena, "text %d", i);
        assert_non_null(texts[i]);
    }
    unsigned char *large = ghn_arena_array(&arena, 3 << 20, 1);
    assert_non_null(large);
    assert_int_equal(large[(3 << 20) - 1], 0);
    assert_string_equal(texts[99], "text 99");
    assert_null(ghn_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(ghn_arena_alloc(&arena, SIZE_MAX));
    ghn_arena_done(&arena);
    ghn_arena_done(&arena);
}

static void allocation_fails_when_told(void **state) {
    (void)state;
    ghn_mem_fail_at(2, 0);
    void *a = ghn_malloc(1), *b = ghn_malloc(1), *c = ghn_malloc(1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    ghn_free(a);
    ghn_free(c);
    assert_null(ghn_calloc(SIZE_MAX / 2, 3));
}

static void random_numbers_have_their_moments(void **state) {
    (void)state;
    double sum = 0, squares = 0, uniform = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        double x = ghn_rng_normal(7, ghn_rng_stream("x"), (uint64_t)i),
               u = ghn_rng_uniform(7, 1, (uint64_t)i);
        assert_true(u >= 0 && u < 1);
        sum += x;
        squares += x * x;
        uniform += u;
    }
    /* Four standard errors. */
    assert_true(fabs(sum / n) < 4 / sqrt(n));
    assert_true(fabs(squares / n - 1) < 4 * sqrt(2.0 / n));
    assert_true(fabs(uniform / n - 0.5) < 4 * sqrt(1.0 / 12 / n));
    assert_true(ghn_rng_bits(1, 2, 3) == ghn_rng_bits(1, 2, 3));
    assert_true(ghn_rng_bits(1, 2, 3) != ghn_rng_bits(2, 2, 3));
    assert_true(ghn_rng_bits(1, 2, 3) != ghn_rng_bits(1, 3, 3));
}

static void draws_follow_each_other(void **state) {
    (void)state;
    struct ghn_rng rng = {.seed = 7, .stream = 1}, half = {.seed = 7, .stream = 1, .next = 30000};
    const int n = 60000;
    int counts[6] = {0}, hits = 0;
    for (int i = 0; i < n / 2; i++) {
        counts[ghn_rng_int(&rng, -2, 3) + 2]++;
        if (ghn_rng_chance(&half, 0.3))
            hits++;
    }
    assert_true(rng.next == (uint64_t)n / 2);
    assert_true(half.next == (uint64_t)n);
    /* Four standard errors. */
    for (int i = 0; i < 6; i++)
        assert_true(fabs(counts[i] - n / 12.0) < 4 * sqrt(n / 12.0 * 5 / 6));
    assert_true(fabs(hits - 0.3 * n / 2) < 4 * sqrt(0.3 * 0.7 * n / 2));
    assert_true(ghn_rng_draw(&rng) == ghn_rng_bits(7, 1, (uint64_t)n / 2));
    assert_int_equal(ghn_rng_int(&rng, 5, 5), 5);
    for (int i = 0; i < 100; i++) {
        assert_false(ghn_rng_chance(&rng, 0));
        assert_true(ghn_rng_chance(&rng, 1));
        (void)ghn_rng_int(&rng, INT32_MIN, INT32_MAX);
    }
}

static void count_call(void *context, int i) {
    atomic_int *counts = context;
    atomic_fetch_add(&counts[i], 1);
}

static void pool_calls_each_task_once(void **state) {
    (void)state;
    struct ghn_pool *pool = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_pool_new(4, &pool, &err), GHN_OK);
    assert_int_equal(ghn_pool_size(pool), 4);
    for (int round = 0; round < 200; round++) {
        atomic_int counts[37] = {0};
        ghn_pool_run(round % 10 ? pool : NULL, 37, count_call, counts);
        for (int i = 0; i < 37; i++)
            assert_int_equal(atomic_load(&counts[i]), 1);
    }
    ghn_pool_free(pool);
    ghn_pool_free(NULL);
}

struct nested {
    struct ghn_pool *shared;
    atomic_int total;
};

static void run_on_shared(void *context, int i) {
    (void)i;
    struct nested *nested = context;
    atomic_int counts[8] = {0};
    ghn_pool_run(nested->shared, 8, count_call, counts);
    for (int j = 0; j < 8; j++)
        atomic_fetch_add(&nested->total, atomic_load(&counts[j]));
}

static void callers_share_a_pool(void **state) {
    (void)state;
    struct nested nested = {0};
    struct ghn_pool *callers = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_pool_new(2, &nested.shared, &err), GHN_OK);
    assert_int_equal(ghn_pool_new(4, &callers, &err), GHN_OK);
    ghn_pool_run(callers, 400, run_on_shared, &nested);
    assert_int_equal(atomic_load(&nested.total), 3200);
    ghn_pool_free(callers);
    ghn_pool_free(nested.shared);
}

/* Writes text to root/name, whose folder is made; root/name is at most 200 bytes. */
static void put(const char *root, const char *name, const char *text) {
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(0, fclose(file));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static void remove_tree(const char *root) {
    assert_int_equal(0, nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS));
}

static void control_groups_limit_memory(void **state) {
    (void)state;
    char v2[] = "/tmp/ghn-cgroup-XXXXXX", v1[] = "/tmp/ghn-cgroup-XXXXXX";
    assert_non_null(mkdtemp(v2));
    assert_true(ghn__cgroup_memory(v2) == INT64_MAX);
    put(v2, "proc/self/cgroup", "0::/a.slice/b.service\n");
    assert_true(ghn__cgroup_memory(v2) == INT64_MAX);
    put(v2, "sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
    put(v2, "sys/fs/cgroup/a.slice/memory.max", "3000000000\n");
    assert_true(ghn__cgroup_memory(v2) == 3000000000);
    put(v2, "sys/fs/cgroup/a.slice/b.service/memory.max", "2000000000\n");
    assert_true(ghn__cgroup_memory(v2) == 2000000000);

    /* In a container of v1 the path is the host's, and the mount the group. */
    assert_non_null(mkdtemp(v1));
    put(v1, "proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/0123\n0::/\n");
    put(v1, "sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000000\n");
    put(v1, "sys/fs/cgroup/x/memory.max", "5\n");
    assert_true(ghn__cgroup_memory(v1) == 1000000000);
    put(v1, "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes", "500000000\n");
    assert_true(ghn__cgroup_memory(v1) == 500000000);
    put(v1, "proc/self/cgroup", "4:memory:/../x\n");
    assert_true(ghn__cgroup_memory(v1) == INT64_MAX);
    assert_in_range(ghn_machine_memory(), 1 << 20,
                    (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
    remove_tree(v2);
    remove_tree(v1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(error_text_is_printable),
        cmocka_unit_test(codes_are_known),
        cmocka_unit_test(utf8_follows_the_rfc),
        cmocka_unit_test(overflow_is_reported),
        cmocka_unit_test(arena_serves_small_and_large),
        cmocka_unit_test(allocation_fails_when_told),
        cmocka_unit_test(random_numbers_have_their_moments),
        cmocka_unit_test(draws_follow_each_other),
        cmocka_unit_test(pool_calls_each_task_once),
        cmocka_unit_test(callers_share_a_pool),
        cmocka_unit_test(control_groups_limit_memory),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
