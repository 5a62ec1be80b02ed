/* What a request works with: configuration, models, token. A snapshot never changes; a reload makes
 * a new one, and a request keeps the one that it began with. */
#ifndef GHND_SNAPSHOT_H
#define GHND_SNAPSHOT_H

#include <stdatomic.h>

#include "arch/arch.h"
#include "base/json.h"
#include "base/status.h"
#include "config.h"
#include "ghn/model.h"

enum { GHND_MAX_ID = 64 };

struct ghnd_model {
    char id[GHND_MAX_ID + 1]; /* [A-Za-z0-9_.-]{1,64} */
    char *path;               /* of its file */
    struct ghn_model *model;
};

struct ghnd_snapshot {
    atomic_int references;
    struct ghnd_config config;
    struct ghn_limits limits;           /* of networks, from config */
    struct ghn_json_limits json_limits; /* of bodies, from config */
    int n_models;
    struct ghnd_model *models; /* the first is the default */
    char *token;               /* NULL: none is asked for */
};

/* Loads what config names. config is taken over, also on failure. Errors name file or option, and
 * say what to do. The caller gives the snapshot back with ghnd_snapshot_unref. */
enum ghn_status ghnd_snapshot_new(struct ghnd_config *config, struct ghnd_snapshot **ret,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* Reference counting, thread-safe. NULL is allowed for unref. */
struct ghnd_snapshot *ghnd_snapshot_ref(struct ghnd_snapshot *snapshot);
void ghnd_snapshot_unref(struct ghnd_snapshot *snapshot);

/* The model of that id, the default one for NULL; NULL if there is none. */
const struct ghnd_model *ghnd_snapshot_model(const struct ghnd_snapshot *snapshot, const char *id);

#endif
