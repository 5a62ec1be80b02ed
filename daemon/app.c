#include "app.h"

struct ghnd_snapshot *ghnd_app_snapshot(struct ghnd_app *app) {
    pthread_mutex_lock(&app->lock);
    struct ghnd_snapshot *snapshot = ghnd_snapshot_ref(app->snapshot);
    pthread_mutex_unlock(&app->lock);
    return snapshot;
}

void ghnd_app_replace(struct ghnd_app *app, struct ghnd_snapshot *snapshot) {
    pthread_mutex_lock(&app->lock);
    struct ghnd_snapshot *before = app->snapshot;
    app->snapshot = snapshot;
    pthread_mutex_unlock(&app->lock);
    ghnd_snapshot_unref(before);
}

enum ghnd_life ghnd_app_life(struct ghnd_app *app) {
    return (enum ghnd_life)atomic_load(&app->life);
}
