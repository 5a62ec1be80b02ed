/* Lock rule: events->lock guards the list and every field of a subscription. A connection is
 * suspended and resumed under it, so that nothing published between the two is overlooked. Reading
 * and freeing happen on HTTP threads, publishing on any. */
#include "events.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* What may be waiting for a slow client before its stream is ended: it can come back and go on from
 * the last event that it has. */
enum { MAX_PENDING = 1 << 20, HEARTBEAT_MS = 15000 };

struct ghnd_subscription {
    struct ghnd_subscription *next, *prev;
    struct ghnd_events *events;
    struct ghnd_subscriber subscriber;
    char topic[32];
    char *pending; /* from malloc: bytes [taken, size) are to be sent */
    size_t taken, size, capacity;
    bool ended;      /* the stream ends when nothing is pending */
    bool waiting;    /* the connection is suspended and not yet resumed */
    bool counted;    /* among the suspended ones */
    int64_t beat_ms; /* when something was last added */
};

void ghnd_events_init(struct ghnd_events *events, int max, _Atomic int64_t *suspended) {
    *events = (struct ghnd_events){.max = max, .suspended = suspended};
    pthread_mutex_init(&events->lock, NULL);
}

void ghnd_events_done(struct ghnd_events *events) {
    pthread_mutex_destroy(&events->lock);
}

struct ghnd_subscription *ghnd_events_subscribe(struct ghnd_events *events, const char *topic,
                                                const struct ghnd_subscriber *subscriber) {
    struct ghnd_subscription *subscription = calloc(1, sizeof(*subscription));
    if (!subscription)
        return NULL;
    subscription->events = events;
    subscription->subscriber = *subscriber;
    subscription->beat_ms = ghnd_now_ms();
    memcpy(subscription->topic, topic, strnlen(topic, sizeof(subscription->topic) - 1));
    pthread_mutex_lock(&events->lock);
    bool room = !events->closed && events->n < events->max;
    if (room) {
        subscription->next = events->first;
        if (subscription->next)
            subscription->next->prev = subscription;
        events->first = subscription;
        events->n++;
    }
    pthread_mutex_unlock(&events->lock);
    if (!room) {
        free(subscription);
        return NULL;
    }
    return subscription;
}

/* Called with the lock held, like the next three. */
static void resume(struct ghnd_subscription *subscription) {
    if (!subscription->waiting)
        return;
    subscription->waiting = false;
    MHD_resume_connection(subscription->subscriber.connection);
}

static bool reserve(struct ghnd_subscription *subscription, size_t n) {
    if (subscription->taken > 0) { /* what has been sent makes room for what comes */
        subscription->size -= subscription->taken;
        memmove(subscription->pending, subscription->pending + subscription->taken,
                subscription->size);
        subscription->taken = 0;
    }
    size_t needed = subscription->size + n;
    if (needed <= subscription->capacity)
        return true;
    char *grown = realloc(subscription->pending, 2 * needed);
    if (!grown)
        return false;
    subscription->pending = grown;
    subscription->capacity = 2 * needed;
    return true;
}

static void add(struct ghnd_subscription *subscription, const char *text, int64_t now_ms) {
    size_t n = strlen(text);
    subscription->beat_ms = now_ms;
    if (subscription->size - subscription->taken + n > MAX_PENDING || !reserve(subscription, n)) {
        subscription->ended = true;
    } else {
        memcpy(subscription->pending + subscription->size, text, n);
        subscription->size += n;
    }
    resume(subscription);
}

static void end(struct ghnd_subscription *subscription) {
    subscription->ended = true;
    resume(subscription);
}

bool ghnd_events_begin(struct ghnd_subscription *subscription, const char *text, bool last) {
    struct ghnd_events *events = subscription->events;
    size_t n = strlen(text);
    pthread_mutex_lock(&events->lock);
    if (last) /* the text tells how it ended: what was published since says the same again */
        subscription->size = 0;
    bool ok = reserve(subscription, n);
    if (ok) {
        memmove(subscription->pending + n, subscription->pending, subscription->size);
        memcpy(subscription->pending, text, n);
        subscription->size += n;
        subscription->ended = subscription->ended || last;
    }
    pthread_mutex_unlock(&events->lock);
    return ok;
}

/* Takes a connection that was suspended off the count of those. */
static void count_resumed(struct ghnd_subscription *subscription) {
    if (subscription->counted)
        atomic_fetch_sub(subscription->events->suspended, 1);
    subscription->counted = false;
}

void ghnd_events_unsubscribe(void *context) {
    struct ghnd_subscription *subscription = context;
    if (!subscription)
        return;
    struct ghnd_events *events = subscription->events;
    pthread_mutex_lock(&events->lock);
    if (subscription->prev)
        subscription->prev->next = subscription->next;
    else
        events->first = subscription->next;
    if (subscription->next)
        subscription->next->prev = subscription->prev;
    events->n--;
    count_resumed(subscription);
    pthread_mutex_unlock(&events->lock);
    free(subscription->pending);
    free(subscription);
}

ssize_t ghnd_events_read(void *context, uint64_t position, char *buf, size_t n) {
    struct ghnd_subscription *subscription = context;
    struct ghnd_events *events = subscription->events;
    const struct ghnd_subscriber *subscriber = &subscription->subscriber;
    (void)position;
    ssize_t result = 0;
    pthread_mutex_lock(&events->lock);
    count_resumed(subscription);
    size_t left = subscription->size - subscription->taken;
    if (left > 0) {
        size_t taken = left < n ? left : n;
        memcpy(buf, subscription->pending + subscription->taken, taken);
        subscription->taken += taken;
        *subscriber->sent += taken;
        if (subscription->taken == subscription->size)
            subscription->taken = subscription->size = 0;
        ghnd_conn_enter(subscriber->conn, GHND_PHASE_SEND,
                        ghnd_now_ms() + subscriber->send_window_ms);
        result = (ssize_t)taken;
    } else if (subscription->ended || events->closed) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        ghnd_conn_enter(subscriber->conn, GHND_PHASE_WORK, 0);
        subscription->waiting = subscription->counted = true;
        atomic_fetch_add(events->suspended, 1);
        MHD_suspend_connection(subscriber->connection);
    }
    pthread_mutex_unlock(&events->lock);
    return result;
}

bool ghnd_events_wanted(struct ghnd_events *events, const char *topic) {
    bool wanted = false;
    pthread_mutex_lock(&events->lock);
    for (struct ghnd_subscription *s = events->first; s && !wanted; s = s->next)
        wanted = strcmp(s->topic, topic) == 0;
    pthread_mutex_unlock(&events->lock);
    return wanted;
}

void ghnd_events_publish(struct ghnd_events *events, const char *topic, const char *text,
                         bool last) {
    int64_t now = ghnd_now_ms();
    pthread_mutex_lock(&events->lock);
    for (struct ghnd_subscription *s = events->first; s; s = s->next) {
        if (s->ended || strcmp(s->topic, topic) != 0)
            continue;
        s->ended = last;
        add(s, text, now);
    }
    pthread_mutex_unlock(&events->lock);
}

static bool is_gone(const struct ghnd_subscription *subscription) {
    struct pollfd fd = {.fd = subscription->subscriber.conn->fd, .events = POLLRDHUP};
    return poll(&fd, 1, 0) == 1;
}

void ghnd_events_tick(struct ghnd_events *events, int64_t now_ms) {
    pthread_mutex_lock(&events->lock);
    for (struct ghnd_subscription *s = events->first; s; s = s->next) {
        if (!s->waiting)
            continue;
        if (is_gone(s))
            end(s);
        else if (now_ms - s->beat_ms >= HEARTBEAT_MS)
            add(s, ":\n\n", now_ms);
    }
    pthread_mutex_unlock(&events->lock);
}

void ghnd_events_close(struct ghnd_events *events) {
    pthread_mutex_lock(&events->lock);
    events->closed = true;
    for (struct ghnd_subscription *s = events->first; s; s = s->next)
        end(s);
    pthread_mutex_unlock(&events->lock);
}
