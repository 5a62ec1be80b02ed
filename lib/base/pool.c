/* Lock rule: pool->lock guards the list of jobs and every field of a job but its `next` counter,
 * which is atomic. Tasks run without the lock. A job lives on its caller's stack: a thread may
 * touch it only while it counts in job->helpers, and the caller leaves only when that count is zero
 * and the job is off the list. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/mem.h"

struct job {
    void (*task)(void *context, int i);
    void *context;
    int count;
    atomic_int next; /* the first task that nobody has taken */
    int helpers;     /* pool threads at work on this job */
    struct job *link;
};

struct ghn_pool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job was added, or the pool stops */
    pthread_cond_t done; /* a helper left a job */
    struct job *jobs;    /* those that may still have tasks to take */
    bool stopping;
    int n_threads; /* started, without callers */
    pthread_t threads[];
};

static void work_on(struct job *job) {
    for (;;) {
        int i = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (i >= job->count)
            return;
        job->task(job->context, i);
    }
}

/* Takes a job off the list if it is on it. Called with the lock held. */
static void unlink_job(struct ghn_pool *pool, struct job *job) {
    for (struct job **at = &pool->jobs; *at; at = &(*at)->link) {
        if (*at == job) {
            *at = job->link;
            return;
        }
    }
}

static void *thread_main(void *argument) {
    struct ghn_pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->jobs && !pool->stopping)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (pool->stopping)
            break;
        struct job *job = pool->jobs;
        job->helpers++;
        pthread_mutex_unlock(&pool->lock);
        work_on(job);
        pthread_mutex_lock(&pool->lock);
        unlink_job(pool, job);
        job->helpers--;
        pthread_cond_broadcast(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int processors(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

enum ghn_status ghn_pool_new(int n, struct ghn_pool **ret, struct ghn_err *err) {
    if (n <= 0)
        n = processors();
    struct ghn_pool *pool = ghn_calloc(1, sizeof(*pool) + (size_t)n * sizeof(pool->threads[0]));
    if (!pool)
        return ghn_fail_memory(err);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (int i = 0; i < n - 1; i++) {
        if (pthread_create(&pool->threads[i], NULL, thread_main, pool) != 0) {
            ghn_pool_free(pool);
            return ghn_fail(err, GHN_IO, NULL, "thread %d of %d could not be started", i + 1, n);
        }
        pool->n_threads++;
    }
    *ret = pool;
    return GHN_OK;
}

void ghn_pool_free(struct ghn_pool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    ghn_free(pool);
}

int ghn_pool_size(const struct ghn_pool *pool) {
    return pool ? pool->n_threads + 1 : 1;
}

void ghn_pool_run(struct ghn_pool *pool, int count, void (*task)(void *context, int i),
                  void *context) {
    struct job job = {.task = task, .context = context, .count = count};
    if (!pool || pool->n_threads == 0 || count < 2) {
        work_on(&job);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    job.link = pool->jobs;
    pool->jobs = &job;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);

    work_on(&job);

    pthread_mutex_lock(&pool->lock);
    unlink_job(pool, &job);
    while (job.helpers > 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
