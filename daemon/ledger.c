/* Locking: what is done with one of the two connections is done under its lock, and nobody holds
 * both. What only reads has a connection of its own, and so does not wait for the disk that another
 * thread's change is being written to; it sees all that has been committed (SQLite's WAL). */
#include "ledger.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

struct connection {
    pthread_mutex_t lock;
    sqlite3 *db;
};

struct ghnd_ledger {
    struct connection reader, writer;
};

static const char *const state_names[GHND_N_JOB_STATES] = {"queued", "running", "succeeded",
                                                           "failed", "cancelled"};

const char *ghnd_job_state_name(enum ghnd_job_state state) {
    return state_names[state];
}

int ghnd_job_state_parse(const char *name) {
    for (int i = 0; i < GHND_N_JOB_STATES; i++)
        if (strcmp(state_names[i], name) == 0)
            return i;
    return -1;
}

bool ghnd_job_id_is_sound(const char *id) {
    return strlen(id) == GHND_JOB_ID &&
           strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789") == GHND_JOB_ID;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum ghn_status failed(struct connection *at, struct ghn_err *err) {
    return ghn_fail(err, GHN_IO, "ledger", "%s",
                    at->db ? sqlite3_errmsg(at->db) : "not enough memory");
}

/* --- Opening --- */

#define COLUMNS                                                                                    \
    "number, id, state, created, started, finished, attempts, step, steps, name, dataset, model, " \
    "init, code, at, detail"

#define DAMAGED "the ledger holds nonsense for this job"

static const char schema[] =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;"
    "CREATE TABLE IF NOT EXISTS jobs ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL,"
    " created INTEGER NOT NULL, started INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL "
    "DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0, step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL,"
    " furthest INTEGER NOT NULL DEFAULT 0,"
    " name TEXT NOT NULL, dataset TEXT NOT NULL, model TEXT NOT NULL, init TEXT NOT NULL,"
    " code TEXT NOT NULL DEFAULT '', at TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',"
    " key TEXT UNIQUE, digest TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);"
    "CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (finished, number) WHERE state > 1;"
    "PRAGMA user_version = 1;";

/* A ledger of a later program is left alone. */
static enum ghn_status check_version(struct connection *at, struct ghn_err *err) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(at->db, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK)
        return failed(at, err);
    int stepped = sqlite3_step(statement),
        version = stepped == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    sqlite3_finalize(statement);
    if (stepped != SQLITE_ROW)
        return failed(at, err);
    if (version > 1)
        return ghn_fail(err, GHN_IO, "ledger", "it has version %d; this program knows 1", version);
    return GHN_OK;
}

/* A ledger of which part is damaged could promise a job twice, or forget one: it is not used. */
static enum ghn_status check_integrity(struct connection *at, struct ghn_err *err) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(at->db, "PRAGMA integrity_check(1)", -1, &statement, NULL) != SQLITE_OK)
        return failed(at, err);
    enum ghn_status status = GHN_OK;
    const char *found = sqlite3_step(statement) == SQLITE_ROW
                            ? (const char *)sqlite3_column_text(statement, 0)
                            : NULL;
    if (!found)
        status = failed(at, err);
    else if (strcmp(found, "ok") != 0)
        status = ghn_fail(err, GHN_IO, "ledger", "it is damaged: %s", found);
    sqlite3_finalize(statement);
    return status;
}

/* Entries that no ledger can have written become failed jobs that say so. */
static const char repair[] =
    "UPDATE jobs SET state = 3, code = 'damaged_job', at = '', detail = '" DAMAGED "',"
    " step = max(0, CAST(step AS INTEGER)), steps = max(0, CAST(steps AS INTEGER)),"
    " finished = CAST(strftime('%s', 'now') AS INTEGER) * 1000"
    " WHERE typeof(state) <> 'integer' OR state NOT BETWEEN 0 AND 4"
    " OR typeof(step) <> 'integer' OR step < 0 OR typeof(steps) <> 'integer' OR steps < 0"
    " OR (state IN (0, 1) AND (length(id) <> 16 OR id GLOB '*[^a-z0-9]*'));";

static bool run(struct connection *at, const char *sql) {
    return sqlite3_exec(at->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static enum ghn_status open_connection(const char *path, int flags, struct connection *at,
                                       struct ghn_err *err) {
    if (sqlite3_open_v2(path, &at->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | flags, NULL) !=
        SQLITE_OK)
        return failed(at, err);
    sqlite3_busy_timeout(at->db, 2000); /* an operator's sqlite3, at most */
    return GHN_OK;
}

static enum ghn_status open_writer(const char *path, struct connection *at, struct ghn_err *err) {
    enum ghn_status status = open_connection(path, SQLITE_OPEN_CREATE, at, err);
    if (status == GHN_OK)
        status = check_version(at, err);
    if (status == GHN_OK)
        status = check_integrity(at, err);
    if (status == GHN_OK && !(run(at, schema) && run(at, repair)))
        status = failed(at, err);
    return status;
}

static enum ghn_status open_reader(const char *path, struct connection *at, struct ghn_err *err) {
    enum ghn_status status = open_connection(path, 0, at, err);
    if (status == GHN_OK && !run(at, "PRAGMA query_only = ON"))
        status = failed(at, err);
    return status == GHN_OK ? check_version(at, err) : status; /* which reads the file */
}

enum ghn_status ghnd_ledger_open(const char *path, struct ghnd_ledger **ret, struct ghn_err *err) {
    struct ghnd_ledger *ledger = calloc(1, sizeof(*ledger));
    if (!ledger)
        return ghn_fail_memory(err);
    pthread_mutex_init(&ledger->reader.lock, NULL);
    pthread_mutex_init(&ledger->writer.lock, NULL);
    enum ghn_status status = open_writer(path, &ledger->writer, err);
    if (status == GHN_OK)
        status = open_reader(path, &ledger->reader, err);
    if (status != GHN_OK) {
        ghnd_ledger_close(ledger);
        return status;
    }
    *ret = ledger;
    return GHN_OK;
}

static void disconnect(struct connection *at) {
    sqlite3_close(at->db);
    pthread_mutex_destroy(&at->lock);
}

void ghnd_ledger_close(struct ghnd_ledger *ledger) {
    if (!ledger)
        return;
    disconnect(&ledger->reader);
    disconnect(&ledger->writer); /* the last one puts the log into the file */
    free(ledger);
}

/* --- Statements --- */

/* One statement, from begin, which takes the lock, to end, which gives it back. */
struct query {
    struct connection *at;
    sqlite3_stmt *statement;
    int next, result;
};

static void begin(struct query *query, struct connection *at, const char *sql) {
    *query = (struct query){.at = at, .next = 1};
    pthread_mutex_lock(&at->lock);
    query->result = sqlite3_prepare_v2(at->db, sql, -1, &query->statement, NULL);
}

static void bind_text(struct query *query, const char *text) {
    if (query->result == SQLITE_OK)
        query->result =
            sqlite3_bind_text(query->statement, query->next++, text, -1, SQLITE_TRANSIENT);
}

static void bind_number(struct query *query, int64_t number) {
    if (query->result == SQLITE_OK)
        query->result = sqlite3_bind_int64(query->statement, query->next++, number);
}

/* Whether there is a row, or another one. */
static bool step(struct query *query) {
    if (query->result != SQLITE_OK && query->result != SQLITE_ROW)
        return false;
    query->result = sqlite3_step(query->statement);
    return query->result == SQLITE_ROW;
}

/* Ends the statement; *ret_changed, unless NULL, is how many rows it changed. */
static enum ghn_status end(struct query *query, int *ret_changed, struct ghn_err *err) {
    bool ok = query->result == SQLITE_DONE || query->result == SQLITE_ROW;
    enum ghn_status status = ok ? GHN_OK : failed(query->at, err);
    if (ok && ret_changed)
        *ret_changed = sqlite3_changes(query->at->db);
    sqlite3_finalize(query->statement);
    pthread_mutex_unlock(&query->at->lock);
    return status;
}

static void copy_text(sqlite3_stmt *statement, int column, char *to, size_t n) {
    const unsigned char *text = sqlite3_column_text(statement, column);
    (void)snprintf(to, n, "%s", text ? (const char *)text : "");
    ghn_utf8_sanitise(to); /* or no list that it is in could be shown */
}

/* The row at hand. One that this program cannot have written becomes a failed job that says so, and
 * stops nobody else. */
static void read_row(const struct query *query, struct ghnd_job_row *row) {
    sqlite3_stmt *s = query->statement;
    *row = (struct ghnd_job_row){.number = sqlite3_column_int64(s, 0),
                                 .created = sqlite3_column_int64(s, 3),
                                 .started = sqlite3_column_int64(s, 4),
                                 .finished = sqlite3_column_int64(s, 5),
                                 .attempts = sqlite3_column_int(s, 6),
                                 .step = sqlite3_column_int64(s, 7),
                                 .steps = sqlite3_column_int64(s, 8)};
    copy_text(s, 1, row->id, sizeof(row->id));
    copy_text(s, 9, row->name, sizeof(row->name));
    copy_text(s, 10, row->dataset, sizeof(row->dataset));
    copy_text(s, 11, row->model, sizeof(row->model));
    copy_text(s, 12, row->init, sizeof(row->init));
    copy_text(s, 13, row->code, sizeof(row->code));
    copy_text(s, 14, row->where, sizeof(row->where));
    copy_text(s, 15, row->detail, sizeof(row->detail));
    int state = sqlite3_column_int(s, 2);
    bool sound = sqlite3_column_type(s, 2) == SQLITE_INTEGER && state >= 0 &&
                 state < GHND_N_JOB_STATES && row->steps >= 0 && row->step >= 0 &&
                 ghnd_job_id_is_sound(row->id);
    row->state = sound ? (enum ghnd_job_state)state : GHND_JOB_FAILED;
    if (!sound) {
        (void)snprintf(row->code, sizeof(row->code), "damaged_job");
        (void)snprintf(row->detail, sizeof(row->detail), DAMAGED);
    }
}

/* Ends a query that looked for one row, which was read if it was found. */
static enum ghn_status end_row(struct query *query, bool found, const struct ghnd_job_row *read,
                               bool *ret_found, struct ghnd_job_row *row, struct ghn_err *err) {
    enum ghn_status status = end(query, NULL, err);
    if (status != GHN_OK)
        return status;
    *ret_found = found;
    if (found)
        *row = *read;
    return GHN_OK;
}

/* --- What is asked and done --- */

enum ghn_status ghnd_ledger_by_key(struct ghnd_ledger *ledger, const char *key, const char *digest,
                                   bool *ret_found, bool *ret_same, struct ghnd_job_row *row,
                                   struct ghn_err *err) {
    struct query query;
    begin(&query, &ledger->reader, "SELECT " COLUMNS ", digest = ? FROM jobs WHERE key = ?");
    bind_text(&query, digest);
    bind_text(&query, key);
    struct ghnd_job_row read;
    bool found = step(&query), same = false;
    if (found) {
        read_row(&query, &read);
        same = sqlite3_column_int(query.statement, 16) != 0;
    }
    enum ghn_status status = end_row(&query, found, &read, ret_found, row, err);
    if (status == GHN_OK && found)
        *ret_same = same;
    return status;
}

enum ghn_status ghnd_ledger_insert(struct ghnd_ledger *ledger, struct ghnd_job_row *row,
                                   const char *key, const char *digest, int64_t max_queued,
                                   enum ghnd_insertion *ret, struct ghn_err *err) {
    struct query query;
    int changed = 0;
    int64_t created = now_ms();
    begin(&query, &ledger->writer,
          "INSERT INTO jobs (id, state, created, steps, name, dataset, model, init, key, digest)"
          " SELECT ?, 0, ?, ?, ?, ?, ?, ?, ?, ?"
          " WHERE (SELECT count(*) FROM jobs WHERE state = 0) < ? ON CONFLICT (key) DO NOTHING");
    bind_text(&query, row->id);
    bind_number(&query, created);
    bind_number(&query, row->steps);
    bind_text(&query, row->name);
    bind_text(&query, row->dataset);
    bind_text(&query, row->model);
    bind_text(&query, row->init);
    bind_text(&query, key);
    bind_text(&query, digest);
    bind_number(&query, max_queued);
    (void)step(&query);
    enum ghn_status status = end(&query, &changed, err);
    bool found = false, same = false;
    if (status == GHN_OK && changed == 0 && key)
        status = ghnd_ledger_by_key(ledger, key, digest, &found, &same, row, err);
    if (status != GHN_OK)
        return status;
    if (changed == 1) {
        row->created = created;
        *ret = GHND_INSERTED;
    } else {
        *ret = !found ? GHND_FULL : same ? GHND_REPLAYED : GHND_CONFLICT;
    }
    return GHN_OK;
}

enum ghn_status ghnd_ledger_is_new(struct ghnd_ledger *ledger, bool *ret_new, struct ghn_err *err) {
    struct query query;
    begin(&query, &ledger->reader,
          "SELECT count(*) FROM sqlite_sequence WHERE name = 'jobs' AND seq > 0");
    bool used = step(&query) && sqlite3_column_int(query.statement, 0) > 0;
    enum ghn_status status = end(&query, NULL, err);
    if (status == GHN_OK)
        *ret_new = !used;
    return status;
}

enum ghn_status ghnd_ledger_get(struct ghnd_ledger *ledger, const char *id, bool *ret_found,
                                struct ghnd_job_row *row, struct ghn_err *err) {
    struct query query;
    begin(&query, &ledger->reader, "SELECT " COLUMNS " FROM jobs WHERE id = ?");
    bind_text(&query, id);
    struct ghnd_job_row read;
    bool found = step(&query);
    if (found)
        read_row(&query, &read);
    return end_row(&query, found, &read, ret_found, row, err);
}

enum ghn_status ghnd_ledger_list(struct ghnd_ledger *ledger, int state, int64_t before, int n,
                                 struct ghnd_job_row *rows, int *ret_n, struct ghn_err *err) {
    struct query query;
    int found = 0;
    begin(&query, &ledger->reader,
          "SELECT " COLUMNS " FROM jobs WHERE (?1 < 0 OR state = ?1) AND (?2 = 0 OR number < ?2) "
          "ORDER BY number DESC LIMIT ?3");
    bind_number(&query, state);
    bind_number(&query, before);
    bind_number(&query, n);
    while (found < n && step(&query))
        read_row(&query, &rows[found++]);
    enum ghn_status status = end(&query, NULL, err);
    if (status == GHN_OK)
        *ret_n = found;
    return status;
}

enum ghn_status ghnd_ledger_next(struct ghnd_ledger *ledger, const char *const *not_these, int n,
                                 bool *ret_found, struct ghnd_job_row *row, struct ghn_err *err) {
    struct query query;
    begin(&query, &ledger->reader,
          "SELECT " COLUMNS " FROM jobs WHERE state IN (0, 1) ORDER BY state DESC, number");
    struct ghnd_job_row read;
    bool found = false;
    while (!found && step(&query)) {
        read_row(&query, &read);
        found = read.state <= GHND_JOB_RUNNING;
        for (int i = 0; i < n && found; i++)
            found = strcmp(read.id, not_these[i]) != 0;
    }
    return end_row(&query, found, &read, ret_found, row, err);
}

enum ghn_status ghnd_ledger_count(struct ghnd_ledger *ledger, int64_t *counts,
                                  struct ghn_err *err) {
    struct query query;
    int64_t read[GHND_N_JOB_STATES] = {0};
    begin(&query, &ledger->reader, "SELECT state, count(*) FROM jobs GROUP BY state");
    while (step(&query)) {
        int state = sqlite3_column_int(query.statement, 0);
        if (state >= 0 && state < GHND_N_JOB_STATES)
            read[state] += sqlite3_column_int64(query.statement, 1);
    }
    enum ghn_status status = end(&query, NULL, err);
    if (status == GHN_OK)
        memcpy(counts, read, sizeof(read));
    return status;
}

enum ghn_status ghnd_ledger_longest_wait(struct ghnd_ledger *ledger, int64_t *ret_ms,
                                         struct ghn_err *err) {
    struct query query;
    int64_t now = now_ms(), created = now;
    begin(&query, &ledger->reader,
          "SELECT created FROM jobs WHERE state = 0 ORDER BY number LIMIT 1");
    if (step(&query))
        created = sqlite3_column_int64(query.statement, 0);
    enum ghn_status status = end(&query, NULL, err);
    if (status == GHN_OK) /* the clock may have been set back, and an entry hold nonsense */
        *ret_ms = created > 0 && created < now ? now - created : 0;
    return status;
}

enum ghn_status ghnd_ledger_move(struct ghnd_ledger *ledger, const char *id, enum ghnd_job_state to,
                                 const char *code, const struct ghn_err *why, bool *ret_moved,
                                 struct ghn_err *err) {
    struct query query;
    int changed = 0;
    begin(&query, &ledger->writer,
          "UPDATE jobs SET state = ?1, code = ?2, at = ?3, detail = ?4,"
          " started = CASE WHEN ?1 = 1 AND started = 0 THEN ?5 ELSE started END,"
          " finished = CASE WHEN ?1 > 1 THEN ?5 ELSE 0 END,"
          " step = CASE WHEN ?1 = 2 THEN steps ELSE step END"
          " WHERE id = ?6 AND state IN (0, 1)");
    bind_number(&query, to);
    bind_text(&query, code ? code : "");
    bind_text(&query, why ? why->where : "");
    bind_text(&query, why ? why->message : "");
    bind_number(&query, now_ms());
    bind_text(&query, id);
    (void)step(&query);
    enum ghn_status status = end(&query, &changed, err);
    if (status == GHN_OK)
        *ret_moved = changed == 1;
    return status;
}

enum ghn_status ghnd_ledger_progress(struct ghnd_ledger *ledger, const char *id, int64_t at,
                                     int64_t steps, struct ghn_err *err) {
    struct query query;
    begin(&query, &ledger->writer,
          "UPDATE jobs SET attempts = CASE WHEN ?1 > furthest THEN 0 ELSE attempts END,"
          " furthest = max(furthest, ?1), step = ?1, steps = ?2 WHERE id = ?3 AND state = 1");
    bind_number(&query, at);
    bind_number(&query, steps);
    bind_text(&query, id);
    (void)step(&query);
    return end(&query, NULL, err);
}

enum ghn_status ghnd_ledger_died(struct ghnd_ledger *ledger, const char *id, int *ret_attempts,
                                 struct ghn_err *err) {
    struct query query;
    begin(&query, &ledger->writer,
          "UPDATE jobs SET attempts = attempts + 1 WHERE id = ? RETURNING attempts");
    bind_text(&query, id);
    int attempts = -1;
    while (step(&query))
        attempts = sqlite3_column_int(query.statement, 0);
    enum ghn_status status = end(&query, NULL, err);
    if (status == GHN_OK && attempts >= 0)
        *ret_attempts = attempts;
    return status;
}

enum ghn_status ghnd_ledger_expired(struct ghnd_ledger *ledger, int64_t keep, int64_t max_age_ms,
                                    bool *ret_found, int64_t *ret_number,
                                    char ret_id[GHND_JOB_ID + 1], struct ghn_err *err) {
    struct query query;
    char id[GHND_JOB_ID + 2]; /* so that one that is too long does not become another's */
    int64_t number = 0;
    /* What ended first is the first to go, by number and by age. */
    begin(
        &query, &ledger->reader,
        "SELECT number, id FROM"
        " (SELECT number, id, finished FROM jobs WHERE state > 1 ORDER BY finished, number LIMIT 1)"
        " WHERE finished < ?1 OR (SELECT count(*) FROM jobs WHERE state > 1) > ?2");
    bind_number(&query, now_ms() - max_age_ms);
    bind_number(&query, keep);
    bool found = step(&query);
    if (found) {
        number = sqlite3_column_int64(query.statement, 0);
        copy_text(query.statement, 1, id, sizeof(id));
    }
    enum ghn_status status = end(&query, NULL, err);
    if (status != GHN_OK)
        return status;
    *ret_found = found;
    if (found) {
        *ret_number = number;
        (void)snprintf(ret_id, GHND_JOB_ID + 1, "%.*s", ghnd_job_id_is_sound(id) ? GHND_JOB_ID : 0,
                       id);
    }
    return GHN_OK;
}

enum ghn_status ghnd_ledger_remove(struct ghnd_ledger *ledger, int64_t number,
                                   struct ghn_err *err) {
    struct query query;
    begin(&query, &ledger->writer, "DELETE FROM jobs WHERE number = ? AND state > 1");
    bind_number(&query, number);
    (void)step(&query);
    return end(&query, NULL, err);
}
