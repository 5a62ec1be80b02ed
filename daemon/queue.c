/* Lock rule: queue->lock guards every field but the capacity, which stays. Jobs are called without
 * it, and never touched after that. */
#include "queue.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

struct ghnd_queue {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* a job was added, or the queue stops */
    struct ghnd_job *first, **last;
    int capacity;
    int places;  /* taken: jobs that wait, and reservations */
    int waiting; /* jobs in the list */
    int running;
    bool stopping;
    int n_threads;
    pthread_t threads[];
};

/* Takes the first job off the list; NULL if it is empty. Called with the lock held. */
static struct ghnd_job *take(struct ghnd_queue *queue) {
    struct ghnd_job *job = queue->first;
    if (!job)
        return NULL;
    queue->first = job->next;
    if (!queue->first)
        queue->last = &queue->first;
    queue->waiting--;
    queue->places--;
    return job;
}

static void *thread_main(void *argument) {
    struct ghnd_queue *queue = argument;
    pthread_mutex_lock(&queue->lock);
    for (;;) {
        while (!queue->first && !queue->stopping)
            pthread_cond_wait(&queue->wake, &queue->lock);
        struct ghnd_job *job = take(queue);
        if (!job)
            break;
        queue->running++;
        pthread_mutex_unlock(&queue->lock);
        job->run(job, GHND_FATE_RUN);
        pthread_mutex_lock(&queue->lock);
        queue->running--;
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

static int processors(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? n : 1;
}

enum ghn_status ghnd_queue_new(int n_threads, int capacity, struct ghnd_queue **ret,
                               struct ghn_err *err) {
    int n = n_threads > 0 ? n_threads : processors();
    struct ghnd_queue *queue = calloc(1, sizeof(*queue) + (size_t)n * sizeof(queue->threads[0]));
    if (!queue)
        return ghn_fail_memory(err);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->wake, NULL);
    queue->last = &queue->first;
    queue->capacity = capacity;
    for (int i = 0; i < n; i++) {
        if (pthread_create(&queue->threads[i], NULL, thread_main, queue) != 0) {
            ghnd_queue_free(queue);
            return ghn_fail(err, GHN_IO, "--threads",
                            "thread %d of %d could not be started; lower the number", i + 1, n);
        }
        queue->n_threads++;
    }
    *ret = queue;
    return GHN_OK;
}

void ghnd_queue_free(struct ghnd_queue *queue) {
    if (!queue)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->stopping = true;
    pthread_cond_broadcast(&queue->wake);
    pthread_mutex_unlock(&queue->lock);
    for (int i = 0; i < queue->n_threads; i++)
        pthread_join(queue->threads[i], NULL);
    pthread_cond_destroy(&queue->wake);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

bool ghnd_queue_reserve(struct ghnd_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    bool room = queue->places < queue->capacity;
    if (room)
        queue->places++;
    pthread_mutex_unlock(&queue->lock);
    return room;
}

void ghnd_queue_push(struct ghnd_queue *queue, struct ghnd_job *job) {
    pthread_mutex_lock(&queue->lock);
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
    queue->waiting++;
    pthread_cond_signal(&queue->wake);
    pthread_mutex_unlock(&queue->lock);
}

/* Takes off every job whose deadline is at or before `until`, as a list in their order. */
static struct ghnd_job *take_due(struct ghnd_queue *queue, int64_t until) {
    struct ghnd_job *due = NULL, **end = &due;
    pthread_mutex_lock(&queue->lock);
    struct ghnd_job **at = &queue->first;
    while (*at) {
        struct ghnd_job *job = *at;
        if (job->deadline_ms > until) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        job->next = NULL;
        *end = job;
        end = &job->next;
        queue->waiting--;
        queue->places--;
    }
    queue->last = at;
    pthread_mutex_unlock(&queue->lock);
    return due;
}

static void end_all(struct ghnd_job *job, enum ghnd_job_fate fate) {
    while (job) {
        struct ghnd_job *next = job->next;
        job->run(job, fate);
        job = next;
    }
}

void ghnd_queue_expire(struct ghnd_queue *queue, int64_t now_ms) {
    end_all(take_due(queue, now_ms), GHND_FATE_EXPIRED);
}

void ghnd_queue_cancel(struct ghnd_queue *queue) {
    end_all(take_due(queue, INT64_MAX), GHND_FATE_CANCELLED);
}

int ghnd_queue_capacity(const struct ghnd_queue *queue) {
    return queue->capacity;
}

int ghnd_queue_depth(struct ghnd_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    int n = queue->waiting;
    pthread_mutex_unlock(&queue->lock);
    return n;
}

int ghnd_queue_running(struct ghnd_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    int n = queue->running;
    pthread_mutex_unlock(&queue->lock);
    return n;
}
