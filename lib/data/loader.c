/* Locking: everything in struct ghn_loader below `lock` is guarded by it, but for the contents of a
 * slot's batch, which belong to the thread that fills the slot (state BUSY) and then to the caller
 * (READY until the next call). Threads sleep on `work` until a slot may be filled, the caller on
 * `done` until its batch is ready. A seek bumps `generation`: what was begun before it is thrown
 * away. */
#include "data/loader.h"

#include <pthread.h>
#include <string.h>

#include "base/rng.h"
#include "data/augment.h"

enum slot_state { FREE, BUSY, READY };

struct slot {
    enum slot_state state;
    int64_t number;
    uint64_t generation;
    struct ghn_batch batch;
    enum ghn_status status;
    struct ghn_err err;
};

struct ghn_loader {
    const struct ghn_dataset *dataset;
    struct ghn_loader_options options;
    int64_t *selection; /* images of the split, in file order; NULL for [first, first + n) */
    int64_t first, n, batches;

    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct slot *slots;
    int n_slots, n_threads;
    pthread_t *threads;
    int64_t next, wanted; /* number of the batch to be begun next, and to be handed out next */
    uint64_t generation;
    bool stopping;
    struct slot *held; /* what the caller has */
};

/* --- Which images --- */

/* The image at place i of epoch e: a permutation by four Feistel rounds on the next power of four,
 * walked until it falls inside. No table is kept, so that any thread can look up any place. */
static int64_t shuffled(const struct ghn_loader *loader, int64_t epoch, int64_t i) {
    int half = 1;
    while ((INT64_C(1) << (2 * half)) < loader->n)
        half++;
    uint64_t mask = (UINT64_C(1) << half) - 1, x = (uint64_t)i;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t mixed = left ^ (ghn_rng_bits(loader->options.seed, (uint64_t)(2 * epoch),
                                                  4 * right + round) &
                                     mask);
            left = right;
            right = mixed;
        }
        x = left << half | right;
    } while (x >= (uint64_t)loader->n);
    return (int64_t)x;
}

static int64_t image_at(const struct ghn_loader *loader, int64_t epoch, int64_t place) {
    int64_t i = loader->options.shuffle ? shuffled(loader, epoch, place) : place;
    return loader->selection ? loader->selection[loader->first + i] : loader->first + i;
}

/* The first n_shots images of every class, in file order. */
static enum ghn_status select_shots(struct ghn_loader *loader, int64_t *ret_n,
                                    struct ghn_err *err) {
    const struct ghn_dataset *dataset = loader->dataset;
    int64_t total = dataset->n[loader->options.split], n = 0;
    int *taken = ghn_calloc((size_t)dataset->n_classes, sizeof *taken);
    loader->selection = ghn_malloc((size_t)total * sizeof *loader->selection);
    if (!taken || !loader->selection) {
        ghn_free(taken);
        return ghn_fail_memory(err);
    }
    for (int64_t i = 0; i < total; i++) {
        int label = ghn__dataset_label(dataset, loader->options.split, i);
        if (taken[label]++ < loader->options.n_shots)
            loader->selection[n++] = i;
    }
    ghn_free(taken);
    *ret_n = n;
    return GHN_OK;
}

static enum ghn_status select_images(struct ghn_loader *loader, struct ghn_err *err) {
    const struct ghn_loader_options *options = &loader->options;
    int64_t n = loader->dataset->n[options->split];
    enum ghn_status status = options->n_shots > 0 ? select_shots(loader, &n, err) : GHN_OK;
    if (status)
        return status;
    loader->first = options->first;
    loader->n = options->count > 0 && options->count < n - options->first ? options->count
                                                                          : n - options->first;
    loader->batches = loader->n <= 0       ? 0
                      : options->drop_last ? loader->n / options->batch
                                           : (loader->n + options->batch - 1) / options->batch;
    if (options->first < 0 || loader->n < 1 || loader->batches < 1)
        return ghn_fail(err, GHN_OUT_OF_RANGE, loader->dataset->name,
                        "%lld images are too few for a batch of %d",
                        (long long)(loader->n < 0 ? 0 : loader->n), options->batch);
    return GHN_OK;
}

/* --- Preparing --- */

static void prepare(const struct ghn_loader *loader, struct slot *slot) {
    int64_t epoch = slot->number / loader->batches,
            start = slot->number % loader->batches * loader->options.batch;
    const int64_t *chw = loader->options.chw;
    int n = loader->n - start < loader->options.batch ? (int)(loader->n - start)
                                                      : loader->options.batch;
    slot->batch.number = slot->number;
    slot->batch.n = n;
    slot->status = GHN_OK;
    for (int i = 0; i < n && !slot->status; i++) {
        int64_t image = image_at(loader, epoch, start + i);
        struct ghn__draws draws = {loader->options.seed, (uint64_t)(2 * epoch + 1), start + i};
        slot->batch.labels[i] = ghn__dataset_label(loader->dataset, loader->options.split, image);
        slot->status =
            ghn__prepare(loader->dataset, &loader->options, image, &draws,
                         slot->batch.images + i * (chw[0] * chw[1] * chw[2]), &slot->err);
    }
}

static struct slot *free_slot(struct ghn_loader *loader) {
    for (int i = 0; i < loader->n_slots; i++)
        if (loader->slots[i].state == FREE)
            return &loader->slots[i];
    return NULL;
}

static void *run(void *context) {
    struct ghn_loader *loader = context;
    pthread_mutex_lock(&loader->lock);
    while (!loader->stopping) {
        struct slot *slot = free_slot(loader);
        if (!slot || loader->next >= loader->wanted + loader->n_slots) {
            pthread_cond_wait(&loader->work, &loader->lock);
            continue;
        }
        slot->state = BUSY;
        slot->number = loader->next++;
        slot->generation = loader->generation;
        slot->err = (struct ghn_err)GHN_ERR_INIT;
        pthread_mutex_unlock(&loader->lock);
        prepare(loader, slot);
        pthread_mutex_lock(&loader->lock);
        slot->state = slot->generation == loader->generation ? READY : FREE;
        pthread_cond_broadcast(&loader->done);
        pthread_cond_broadcast(&loader->work);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* --- Life --- */

static enum ghn_status make_slots(struct ghn_loader *loader, struct ghn_err *err) {
    const int64_t *chw = loader->options.chw;
    size_t batch = (size_t)loader->options.batch, pixels = (size_t)(chw[0] * chw[1] * chw[2]);
    int threads = loader->options.threads > 0 ? loader->options.threads : 1;
    loader->n_slots = threads + 2;
    loader->slots = ghn_calloc((size_t)loader->n_slots, sizeof *loader->slots);
    loader->threads = ghn_calloc((size_t)threads, sizeof *loader->threads);
    if (!loader->slots || !loader->threads)
        return ghn_fail_memory(err);
    for (int i = 0; i < loader->n_slots; i++) {
        loader->slots[i].batch.images = ghn_malloc(batch * pixels * sizeof(float));
        loader->slots[i].batch.labels = ghn_malloc(batch * sizeof(int32_t));
        if (!loader->slots[i].batch.images || !loader->slots[i].batch.labels)
            return ghn_fail_memory(err);
    }
    for (; loader->n_threads < threads; loader->n_threads++)
        if (pthread_create(&loader->threads[loader->n_threads], NULL, run, loader) != 0)
            return ghn_fail(err, GHN_IO, NULL, "a thread cannot be started");
    return GHN_OK;
}

enum ghn_status ghn_loader_new(const struct ghn_dataset *dataset,
                               const struct ghn_loader_options *options, struct ghn_loader **ret,
                               struct ghn_err *err) {
    enum ghn_status status = ghn_dataset_fits(dataset, options->chw, err);
    if (status)
        return status;
    if (options->batch < 1 || dataset->impl->described_only)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "batch",
                        "%d images at a time of a data set that is %s", options->batch,
                        dataset->impl->described_only ? "only described" : "open");
    struct ghn_loader *loader = ghn_calloc(1, sizeof *loader);
    if (!loader)
        return ghn_fail_memory(err);
    loader->dataset = dataset;
    loader->options = *options;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->done, NULL);
    status = select_images(loader, err);
    if (!status)
        status = make_slots(loader, err);
    if (status) {
        ghn_loader_free(loader);
        return status;
    }
    *ret = loader;
    return GHN_OK;
}

void ghn_loader_free(struct ghn_loader *loader) {
    if (!loader)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stopping = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->n_threads; i++)
        pthread_join(loader->threads[i], NULL);
    for (int i = 0; loader->slots && i < loader->n_slots; i++) {
        ghn_free(loader->slots[i].batch.images);
        ghn_free(loader->slots[i].batch.labels);
    }
    pthread_cond_destroy(&loader->done);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    ghn_free(loader->slots);
    ghn_free(loader->threads);
    ghn_free(loader->selection);
    ghn_free(loader);
}

int64_t ghn_loader_images(const struct ghn_loader *loader) {
    return loader->n;
}

int64_t ghn_loader_batches(const struct ghn_loader *loader) {
    return loader->batches;
}

void ghn_loader_seek(struct ghn_loader *loader, int64_t number) {
    pthread_mutex_lock(&loader->lock);
    loader->generation++;
    loader->next = loader->wanted = number;
    for (int i = 0; i < loader->n_slots; i++)
        if (loader->slots[i].state == READY)
            loader->slots[i].state = FREE;
    loader->held = NULL;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
}

static struct slot *ready_slot(struct ghn_loader *loader) {
    for (int i = 0; i < loader->n_slots; i++)
        if (loader->slots[i].state == READY && loader->slots[i].number == loader->wanted &&
            &loader->slots[i] != loader->held)
            return &loader->slots[i];
    return NULL;
}

enum ghn_status ghn_loader_next(struct ghn_loader *loader, const struct ghn_batch **ret,
                                struct ghn_err *err) {
    pthread_mutex_lock(&loader->lock);
    if (loader->held) {
        loader->held->state = FREE;
        loader->held = NULL;
        pthread_cond_broadcast(&loader->work);
    }
    struct slot *slot;
    while (!(slot = ready_slot(loader)))
        pthread_cond_wait(&loader->done, &loader->lock);
    loader->held = slot;
    loader->wanted++;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    if (slot->status)
        return ghn_fail(err, slot->status, slot->err.where, "%s", slot->err.message);
    *ret = &slot->batch;
    return GHN_OK;
}
