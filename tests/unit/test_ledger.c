/* The ledger of jobs: what it promises, and what it makes of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "ledger.h"

struct fixture {
    char folder[64], path[96];
    struct ghnd_ledger *ledger;
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->folder, "/tmp/ghnd-ledger-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/jobs.db", f->folder);
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(GHN_OK, ghnd_ledger_open(f->path, &f->ledger, &err));
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    ghnd_ledger_close(f->ledger);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r '%s'", f->folder);
    assert_int_equal(0, system(command));
    free(f);
    return 0;
}

static void reopen(struct fixture *f) {
    struct ghn_err err = GHN_ERR_INIT;
    ghnd_ledger_close(f->ledger);
    f->ledger = NULL;
    assert_int_equal(GHN_OK, ghnd_ledger_open(f->path, &f->ledger, &err));
}

/* Runs SQL behind the ledger's back. */
static void tamper(struct fixture *f, const char *sql) {
    sqlite3 *db;
    assert_int_equal(SQLITE_OK, sqlite3_open(f->path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, sql, NULL, NULL, NULL));
    sqlite3_close(db);
}

static enum ghnd_insertion insert_up_to(struct fixture *f, const char *id, const char *key,
                                        const char *digest, int64_t max_queued,
                                        struct ghnd_job_row *row) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghnd_insertion insertion = GHND_CONFLICT;
    *row = (struct ghnd_job_row){.steps = 100};
    (void)snprintf(row->id, sizeof(row->id), "%s", id);
    (void)snprintf(row->name, sizeof(row->name), "net");
    (void)snprintf(row->dataset, sizeof(row->dataset), "shapes");
    assert_int_equal(GHN_OK,
                     ghnd_ledger_insert(f->ledger, row, key, digest, max_queued, &insertion, &err));
    return insertion;
}

static enum ghnd_insertion insert(struct fixture *f, const char *id, const char *key,
                                  const char *digest, struct ghnd_job_row *row) {
    return insert_up_to(f, id, key, digest, 100, row);
}

static void add(struct fixture *f, const char *id) {
    struct ghnd_job_row row;
    assert_int_equal(GHND_INSERTED, insert(f, id, NULL, "d", &row));
}

static struct ghnd_job_row get(struct fixture *f, const char *id) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row row;
    bool found = false;
    assert_int_equal(GHN_OK, ghnd_ledger_get(f->ledger, id, &found, &row, &err));
    assert_true(found);
    return row;
}

static bool move(struct fixture *f, const char *id, enum ghnd_job_state to) {
    struct ghn_err err = GHN_ERR_INIT;
    bool moved = false;
    assert_int_equal(GHN_OK, ghnd_ledger_move(f->ledger, id, to, NULL, NULL, &moved, &err));
    return moved;
}

/* The id of the next job to be run; "" for none. */
static const char *next(struct fixture *f, const char *const *but, int n) {
    static char id[GHND_JOB_ID + 1];
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row row;
    bool found = true;
    assert_int_equal(GHN_OK, ghnd_ledger_next(f->ledger, but, n, &found, &row, &err));
    (void)snprintf(id, sizeof(id), "%s", found ? row.id : "");
    return id;
}

/* Removes the job whose time is over, *id; false if there is none. */
static bool remove_one(struct fixture *f, int64_t keep, int64_t max_age_ms, char *id) {
    struct ghn_err err = GHN_ERR_INIT;
    int64_t number = 0;
    bool found = false;
    assert_int_equal(GHN_OK,
                     ghnd_ledger_expired(f->ledger, keep, max_age_ms, &found, &number, id, &err));
    if (found)
        assert_int_equal(GHN_OK, ghnd_ledger_remove(f->ledger, number, &err));
    return found;
}

static const char A[] = "aaaaaaaaaaaaaaa1", B[] = "aaaaaaaaaaaaaaa2", C[] = "aaaaaaaaaaaaaaa3";

static void test_a_job_survives_the_daemon(void **state) {
    struct fixture *f = *state;
    add(f, A);
    reopen(f);
    struct ghnd_job_row row = get(f, A);
    assert_int_equal(GHND_JOB_QUEUED, row.state);
    assert_string_equal("net", row.name);
    assert_string_equal("shapes", row.dataset);
    assert_int_equal(100, row.steps);
    assert_true(row.created > INT64_C(1500000000000));
    assert_int_equal(0, row.started);
}

static void test_states(void **state) {
    struct fixture *f = *state;
    add(f, A);
    assert_true(move(f, A, GHND_JOB_RUNNING));
    int64_t started = get(f, A).started;
    assert_true(started > 0);
    assert_true(move(f, A, GHND_JOB_QUEUED)); /* set back, as after its worker's death */
    assert_true(move(f, A, GHND_JOB_RUNNING));
    assert_int_equal(started, get(f, A).started);
    assert_true(move(f, A, GHND_JOB_SUCCEEDED));
    assert_int_equal(100, get(f, A).step);
    assert_true(get(f, A).finished > 0);
    for (int to = 0; to < GHND_N_JOB_STATES; to++) /* what has ended stays as it is */
        assert_false(move(f, A, (enum ghnd_job_state)to));
    assert_int_equal(GHND_JOB_SUCCEEDED, get(f, A).state);
    assert_false(move(f, B, GHND_JOB_CANCELLED));
}

static void test_only_one_of_two_ends_wins(void **state) {
    struct fixture *f = *state;
    add(f, A);
    assert_true(move(f, A, GHND_JOB_RUNNING));
    assert_true(move(f, A, GHND_JOB_CANCELLED));
    assert_false(move(f, A, GHND_JOB_SUCCEEDED));
    assert_int_equal(GHND_JOB_CANCELLED, get(f, A).state);
}

static void test_why_it_failed(void **state) {
    struct fixture *f = *state;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_err why = {GHN_DIVERGED, "lr", "the loss is no longer finite"};
    bool moved = false;
    add(f, A);
    assert_int_equal(
        GHN_OK, ghnd_ledger_move(f->ledger, A, GHND_JOB_FAILED, "diverged", &why, &moved, &err));
    assert_true(moved);
    struct ghnd_job_row row = get(f, A);
    assert_string_equal("diverged", row.code);
    assert_string_equal("lr", row.where);
    assert_string_equal("the loss is no longer finite", row.detail);
}

static void test_keys(void **state) {
    struct fixture *f = *state;
    struct ghnd_job_row row;
    assert_int_equal(GHND_INSERTED, insert(f, A, "key", "one", &row));
    assert_int_equal(GHND_REPLAYED, insert(f, B, "key", "one", &row));
    assert_string_equal(A, row.id);
    assert_int_equal(GHND_CONFLICT, insert(f, B, "key", "two", &row));
    assert_int_equal(GHND_INSERTED, insert(f, B, "other", "one", &row));
    assert_int_equal(GHND_INSERTED, insert(f, C, NULL, "one", &row)); /* no key, no replay */
    reopen(f);
    struct ghn_err err = GHN_ERR_INIT;
    bool found = false, same = true;
    assert_int_equal(GHN_OK,
                     ghnd_ledger_by_key(f->ledger, "key", "two", &found, &same, &row, &err));
    assert_true(found);
    assert_false(same);
    assert_int_equal(GHN_OK,
                     ghnd_ledger_by_key(f->ledger, "new", "two", &found, &same, &row, &err));
    assert_false(found);
}

static void test_no_more_wait_than_may(void **state) {
    struct fixture *f = *state;
    struct ghnd_job_row row;
    assert_int_equal(GHND_INSERTED, insert_up_to(f, A, "key", "one", 1, &row));
    assert_int_equal(GHND_FULL, insert_up_to(f, B, NULL, "one", 1, &row));
    assert_int_equal(GHND_FULL, insert_up_to(f, B, "other", "one", 1, &row));
    /* A key that is known is answered however many wait. */
    assert_int_equal(GHND_REPLAYED, insert_up_to(f, B, "key", "one", 1, &row));
    assert_int_equal(GHND_CONFLICT, insert_up_to(f, B, "key", "two", 1, &row));
    assert_true(move(f, A, GHND_JOB_RUNNING)); /* it no longer waits */
    assert_int_equal(GHND_INSERTED, insert_up_to(f, B, "other", "one", 1, &row));
    assert_int_equal(GHND_FULL, insert_up_to(f, C, NULL, "one", 1, &row));
}

static bool is_new(struct fixture *f) {
    struct ghn_err err = GHN_ERR_INIT;
    bool found = false;
    assert_int_equal(GHN_OK, ghnd_ledger_is_new(f->ledger, &found, &err));
    return found;
}

/* Also a ledger from which every job was removed is none that was just made. */
static void test_a_new_ledger_is_told_from_an_empty_one(void **state) {
    struct fixture *f = *state;
    char id[GHND_JOB_ID + 1];
    assert_true(is_new(f));
    add(f, A);
    assert_false(is_new(f));
    assert_true(move(f, A, GHND_JOB_CANCELLED));
    assert_true(remove_one(f, 0, 60000, id));
    reopen(f);
    assert_false(is_new(f));
}

static void test_what_is_next(void **state) {
    struct fixture *f = *state;
    assert_string_equal("", next(f, NULL, 0));
    add(f, A);
    add(f, B);
    add(f, C);
    assert_string_equal(A, next(f, NULL, 0));
    const char *const but[] = {A};
    assert_string_equal(B, next(f, but, 1));
    assert_true(move(f, C, GHND_JOB_RUNNING)); /* what was begun goes on first */
    assert_string_equal(C, next(f, NULL, 0));
    assert_true(move(f, C, GHND_JOB_FAILED));
    assert_true(move(f, A, GHND_JOB_CANCELLED));
    assert_string_equal(B, next(f, NULL, 0));
}

static void test_list(void **state) {
    struct fixture *f = *state;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row rows[4];
    int n = 0;
    add(f, A);
    add(f, B);
    add(f, C);
    assert_true(move(f, B, GHND_JOB_CANCELLED));
    assert_int_equal(GHN_OK, ghnd_ledger_list(f->ledger, -1, 0, 2, rows, &n, &err));
    assert_int_equal(2, n);
    assert_string_equal(C, rows[0].id);
    assert_string_equal(B, rows[1].id);
    assert_int_equal(GHN_OK, ghnd_ledger_list(f->ledger, -1, rows[1].number, 2, rows, &n, &err));
    assert_int_equal(1, n);
    assert_string_equal(A, rows[0].id);
    assert_int_equal(GHN_OK, ghnd_ledger_list(f->ledger, GHND_JOB_CANCELLED, 0, 4, rows, &n, &err));
    assert_int_equal(1, n);
    int64_t counts[GHND_N_JOB_STATES], waiting_ms = -1;
    tamper(f, "UPDATE jobs SET created = created - 5000 WHERE id <> 'aaaaaaaaaaaaaaa3'");
    reopen(f);
    assert_int_equal(GHN_OK, ghnd_ledger_count(f->ledger, counts, &err));
    assert_int_equal(2, counts[GHND_JOB_QUEUED]);
    assert_int_equal(1, counts[GHND_JOB_CANCELLED]);
    assert_int_equal(GHN_OK, ghnd_ledger_longest_wait(f->ledger, &waiting_ms, &err));
    assert_in_range(waiting_ms, 5000, 4000000);
    tamper(f, "UPDATE jobs SET created = -9223372036854775808 WHERE number = 1");
    assert_int_equal(GHN_OK, ghnd_ledger_longest_wait(f->ledger, &waiting_ms, &err));
    assert_int_equal(0, waiting_ms);
    assert_true(move(f, A, GHND_JOB_CANCELLED));
    assert_true(move(f, C, GHND_JOB_CANCELLED));
    waiting_ms = -1;
    assert_int_equal(GHN_OK, ghnd_ledger_longest_wait(f->ledger, &waiting_ms, &err));
    assert_int_equal(0, waiting_ms);
}

/* A worker that dies again and again where the last one did must run out of attempts, although each
 * one makes steps; one that gets further is given new ones. */
static void test_attempts(void **state) {
    struct fixture *f = *state;
    struct ghn_err err = GHN_ERR_INIT;
    int attempts = 0;
    add(f, A);
    assert_true(move(f, A, GHND_JOB_RUNNING));
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(GHN_OK, ghnd_ledger_progress(f->ledger, A, 0, 100, &err));
        assert_int_equal(GHN_OK, ghnd_ledger_progress(f->ledger, A, 5, 100, &err));
        assert_int_equal(GHN_OK, ghnd_ledger_died(f->ledger, A, &attempts, &err));
        assert_int_equal(i, attempts);
    }
    assert_int_equal(GHN_OK, ghnd_ledger_progress(f->ledger, A, 6, 120, &err));
    assert_int_equal(0, get(f, A).attempts);
    assert_int_equal(6, get(f, A).step);
    assert_int_equal(120, get(f, A).steps);
    assert_int_equal(GHN_OK, ghnd_ledger_died(f->ledger, A, &attempts, &err));
    assert_int_equal(1, attempts);
}

static void test_retention(void **state) {
    struct fixture *f = *state;
    char id[GHND_JOB_ID + 1] = "";
    add(f, A);
    add(f, B);
    add(f, C);
    assert_false(remove_one(f, 0, 0, id)); /* none has ended */
    assert_true(move(f, A, GHND_JOB_SUCCEEDED));
    assert_true(move(f, C, GHND_JOB_FAILED));
    assert_false(remove_one(f, 2, 60000, id));
    assert_true(remove_one(f, 1, 60000, id));
    assert_string_equal(A, id);
    tamper(f, "UPDATE jobs SET finished = 1000 WHERE id = 'aaaaaaaaaaaaaaa3'");
    assert_true(remove_one(f, 9, 60000, id));
    assert_string_equal(C, id);
    assert_int_equal(GHND_JOB_QUEUED, get(f, B).state);
}

/* A long job that ends last is the newest result, whenever it was asked for. */
static void test_what_ended_first_goes_first(void **state) {
    struct fixture *f = *state;
    char id[GHND_JOB_ID + 1] = "";
    add(f, A);
    add(f, B);
    add(f, C);
    assert_true(move(f, B, GHND_JOB_SUCCEEDED));
    assert_true(move(f, C, GHND_JOB_SUCCEEDED));
    assert_true(move(f, A, GHND_JOB_SUCCEEDED));
    tamper(f, "UPDATE jobs SET finished = finished - 1000 WHERE id <> 'aaaaaaaaaaaaaaa1'");
    assert_true(remove_one(f, 1, 60000, id));
    assert_string_equal(B, id);
    assert_true(remove_one(f, 1, 60000, id));
    assert_string_equal(C, id);
    assert_false(remove_one(f, 1, 60000, id));
    assert_int_equal(GHND_JOB_SUCCEEDED, get(f, A).state);
}

static void test_a_damaged_row_is_set_aside(void **state) {
    struct fixture *f = *state;
    static const char *const damages[] = {
        "UPDATE jobs SET state = 7 WHERE id = 'aaaaaaaaaaaaaaa1'",
        "UPDATE jobs SET state = 'x' WHERE id = 'aaaaaaaaaaaaaaa1'",
        "UPDATE jobs SET state = 0, steps = -1 WHERE id = 'aaaaaaaaaaaaaaa1'",
        "UPDATE jobs SET steps = 9, step = -5 WHERE id = 'aaaaaaaaaaaaaaa1'"};
    add(f, A);
    add(f, B);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        tamper(f, damages[i]);
        reopen(f);
        struct ghnd_job_row row = get(f, A);
        assert_int_equal(GHND_JOB_FAILED, row.state);
        assert_string_equal("damaged_job", row.code);
        assert_string_equal(B, next(f, NULL, 0)); /* the others go on */
    }
    tamper(f, "UPDATE jobs SET step = 0, state = 0, id = '../../etc/passwd'"
              " WHERE id = 'aaaaaaaaaaaaaaa1'");
    assert_string_equal(B, next(f, NULL, 0));
}

/* It does not take the place of one that waits, and goes when its time has come. */
static void test_a_damaged_row_ends(void **state) {
    struct fixture *f = *state;
    struct ghn_err err = GHN_ERR_INIT;
    char id[GHND_JOB_ID + 1];
    add(f, A);
    add(f, B);
    tamper(f, "UPDATE jobs SET steps = -1 WHERE id = 'aaaaaaaaaaaaaaa1'");
    reopen(f);
    int64_t counts[GHND_N_JOB_STATES];
    assert_int_equal(GHN_OK, ghnd_ledger_count(f->ledger, counts, &err));
    assert_int_equal(1, counts[GHND_JOB_QUEUED]);
    assert_int_equal(1, counts[GHND_JOB_FAILED]);
    assert_true(get(f, A).finished > INT64_C(1500000000000));
    assert_true(remove_one(f, 0, 60000, id));
    assert_string_equal(A, id);
}

/* Bytes that are no UTF-8 would keep every list that they are in from being shown. */
static void test_texts_are_utf8(void **state) {
    struct fixture *f = *state;
    add(f, A);
    tamper(f, "UPDATE jobs SET name = CAST(x'6eff74' AS TEXT), detail = CAST(x'c3' AS TEXT)");
    struct ghnd_job_row row = get(f, A);
    assert_true(ghn_utf8_valid(row.name, strlen(row.name)));
    assert_true(ghn_utf8_valid(row.detail, strlen(row.detail)));
}

static void expect_no_ledger(const char *path, const char *why) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_ledger *ledger = NULL;
    assert_int_equal(GHN_IO, ghnd_ledger_open(path, &ledger, &err));
    assert_null(ledger);
    assert_non_null(strstr(err.message, why));
}

static void test_what_is_no_ledger(void **state) {
    struct fixture *f = *state;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/other.db", f->folder);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        (void)fprintf(file, "this is a text file\n");
    (void)fclose(file);
    expect_no_ledger(path, "not a database");
    (void)snprintf(path, sizeof(path), "%s/none/jobs.db", f->folder);
    expect_no_ledger(path, "unable to open");
    tamper(f, "PRAGMA user_version = 2");
    expect_no_ledger(f->path, "version 2");
}

/* Damage beyond a single entry. */
static void test_a_damaged_file(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 200; i++) {
        struct ghnd_job_row row;
        char id[GHND_JOB_ID + 1];
        (void)snprintf(id, sizeof(id), "aaaaaaaaaaaaa%03u", (unsigned)i % 1000);
        assert_int_equal(GHND_INSERTED, insert_up_to(f, id, id, "d", 1000, &row));
    }
    tamper(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    FILE *file = fopen(f->path, "r+b");
    assert_non_null(file);
    assert_int_equal(0, fseek(file, 3 * 4096, SEEK_SET)); /* a page in the middle */
    for (int i = 0; i < 4096; i++)
        (void)fputc(i * 7 % 256, file);
    assert_int_equal(0, fclose(file));
    expect_no_ledger(f->path, "damaged");
}

struct mover {
    struct fixture *f;
    atomic_bool ended;
};

static void *move_a(void *context) {
    struct mover *mover = context;
    bool moved = move(mover->f, A, GHND_JOB_CANCELLED);
    atomic_store(&mover->ended, true);
    return moved ? context : NULL;
}

/* While the file is locked, a change waits for it, and who only reads does not wait for either. */
static void test_readers_do_not_wait_for_writers(void **state) {
    struct fixture *f = *state;
    struct mover mover = {.f = f};
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row rows[2];
    pthread_t thread;
    sqlite3 *db;
    void *moved = NULL;
    int64_t counts[GHND_N_JOB_STATES];
    int n = 0;
    add(f, A);
    assert_int_equal(SQLITE_OK, sqlite3_open(f->path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    assert_int_equal(0, pthread_create(&thread, NULL, move_a, &mover));
    (void)usleep(100000); /* so that it is under way */
    assert_int_equal(GHND_JOB_QUEUED, get(f, A).state);
    assert_int_equal(GHN_OK, ghnd_ledger_count(f->ledger, counts, &err));
    assert_int_equal(GHN_OK, ghnd_ledger_list(f->ledger, -1, 0, 2, rows, &n, &err));
    bool ended = atomic_load(&mover.ended);
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    assert_int_equal(SQLITE_OK, sqlite3_close(db));
    assert_int_equal(0, pthread_join(thread, &moved));
    assert_false(ended);
    assert_non_null(moved);
    assert_int_equal(1, n);
    assert_int_equal(GHND_JOB_CANCELLED, get(f, A).state);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_job_survives_the_daemon),
        TEST(test_states),
        TEST(test_only_one_of_two_ends_wins),
        TEST(test_why_it_failed),
        TEST(test_keys),
        TEST(test_no_more_wait_than_may),
        TEST(test_a_new_ledger_is_told_from_an_empty_one),
        TEST(test_what_is_next),
        TEST(test_list),
        TEST(test_attempts),
        TEST(test_readers_do_not_wait_for_writers),
        TEST(test_retention),
        TEST(test_what_ended_first_goes_first),
        TEST(test_a_damaged_row_is_set_aside),
        TEST(test_a_damaged_row_ends),
        TEST(test_texts_are_utf8),
        TEST(test_what_is_no_ledger),
        TEST(test_a_damaged_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
