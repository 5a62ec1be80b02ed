/* Server-sent events: the clients that follow a job, and how what happens reaches them.
 *
 * A subscription is the body of an answer without an end. While there is nothing to send its
 * connection is suspended; whoever has something resumes it. Events are text/event-stream as the
 * HTML standard has it, and are made by the caller. */
#ifndef GHND_EVENTS_H
#define GHND_EVENTS_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conns.h"

struct ghnd_subscription;

/* All subscriptions of the daemon. */
struct ghnd_events {
    pthread_mutex_t lock;
    struct ghnd_subscription *first;
    int n, max;
    bool closed;
    _Atomic int64_t *suspended; /* where suspended connections are counted */
};

void ghnd_events_init(struct ghnd_events *events, int max, _Atomic int64_t *suspended);
void ghnd_events_done(struct ghnd_events *events);

/* What a subscription belongs to. */
struct ghnd_subscriber {
    struct MHD_Connection *connection;
    struct ghnd_conn *conn;
    int64_t send_window_ms; /* in which the client must take what there is */
    uint64_t *sent;         /* where the bytes that are read are counted */
};

/* Follows the topic (a job's id, copied). From now on what is published is kept for it, but nothing
 * is sent before ghnd_events_begin. NULL if there are too many, no memory, or the daemon stops. */
struct ghnd_subscription *ghnd_events_subscribe(struct ghnd_events *events, const char *topic,
                                                const struct ghnd_subscriber *subscriber);

/* Puts text, which is copied, before what has been published since, and ends the stream after it if
 * `last`. false if there is no memory. */
bool ghnd_events_begin(struct ghnd_subscription *subscription, const char *text, bool last);

/* Ends a subscription and frees it; NULL is allowed. MHD_ContentReaderFreeCallback. */
void ghnd_events_unsubscribe(void *subscription);

/* MHD_ContentReaderCallback. */
ssize_t ghnd_events_read(void *subscription, uint64_t position, char *buf, size_t n);

/* Whether anybody follows the topic, so that an event is worth making. */
bool ghnd_events_wanted(struct ghnd_events *events, const char *topic);

/* Sends text to all who follow the topic; with `last` their streams end after it. */
void ghnd_events_publish(struct ghnd_events *events, const char *topic, const char *text,
                         bool last);

/* To be called often: sends a comment where nothing was sent for 15 s, so that proxies keep the
 * connection, and ends the streams of clients that have gone. */
void ghnd_events_tick(struct ghnd_events *events, int64_t now_ms);

/* Ends all streams, and lets nobody subscribe any more. */
void ghnd_events_close(struct ghnd_events *events);

#endif
