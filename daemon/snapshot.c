#include "snapshot.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "beside.h"

/* The id of a checkpoint: its file's name without folder and extension. */
static enum ghn_status id_of(const char *path, char *ret, struct ghn_err *err) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "_.-";
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot != base ? (size_t)(dot - base) : strlen(base);
    if (n == 0 || n > GHND_MAX_ID || strspn(base, allowed) < n)
        return ghn_fail(err, GHN_OUT_OF_RANGE, path,
                        "the file's name is the model's id: 1 to %d letters, digits, '_', '.' or "
                        "'-' before the extension are expected; rename the file",
                        GHND_MAX_ID);
    memcpy(ret, base, n);
    ret[n] = '\0';
    return GHN_OK;
}

static enum ghn_status add_model(struct ghnd_snapshot *snapshot, const char *path,
                                 struct ghn_err *err) {
    struct ghnd_model *model = &snapshot->models[snapshot->n_models];
    enum ghn_status status = id_of(path, model->id, err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < snapshot->n_models; i++)
        if (strcmp(snapshot->models[i].id, model->id) == 0)
            return ghn_fail(err, GHN_DUPLICATE_NAME, path,
                            "another checkpoint has the id \"%s\" already; rename one of the files",
                            model->id);
    status = ghn_model_load(path, &model->model, err);
    if (status != GHN_OK)
        return status;
    snapshot->n_models++; /* which is freed now, whatever follows */
    model->path = strdup(path);
    return model->path ? GHN_OK : ghn_fail_memory(err);
}

static enum ghn_status load_models(struct ghnd_snapshot *snapshot, size_t n, char **paths,
                                   struct ghn_err *err) {
    snapshot->models = calloc(n, sizeof(*snapshot->models));
    if (!snapshot->models)
        return ghn_fail_memory(err);
    enum ghn_status status = GHN_OK;
    for (size_t i = 0; i < n && status == GHN_OK; i++)
        status = add_model(snapshot, paths[i], err);
    return status;
}

static int find_models(const char *folder, glob_t *ret) {
    char pattern[4300];
    (void)snprintf(pattern, sizeof(pattern), "%s/*.{safetensors,pt}", folder);
    return glob(pattern, GLOB_BRACE, NULL, ret);
}

/* Where the configuration names no hypernetwork: what lies in the state folder, else what this
 * program was installed with. */
static enum ghn_status load_default_models(struct ghnd_snapshot *snapshot, struct ghn_err *err) {
    char folder[4200];
    glob_t found = {0};
    (void)snprintf(folder, sizeof(folder), "%s/checkpoints", snapshot->config.state_dir);
    if (access(folder, F_OK) == 0 && access(folder, R_OK | X_OK) != 0)
        return ghn_fail(err, GHN_IO, folder, "%s", strerror(errno));
    int error = find_models(folder, &found);
    if (error != 0) {
        globfree(&found);
        ghnd_beside("/../share/ghnd/checkpoints", folder, sizeof(folder));
        error = find_models(folder, &found);
    }
    if (error != 0)
        return ghn_fail(err, GHN_MISSING_FIELD, "--checkpoint",
                        "no checkpoint is given and there is none in %s/checkpoints, nor the one "
                        "that comes with ghnd in %s; give --checkpoint FILE, or make an untrained "
                        "one with `ghn new -o FILE`",
                        snapshot->config.state_dir, folder);
    enum ghn_status status = load_models(snapshot, found.gl_pathc, found.gl_pathv, err);
    globfree(&found);
    return status;
}

static enum ghn_status read_token(struct ghnd_snapshot *snapshot, struct ghn_err *err) {
    const char *path = snapshot->config.token_file;
    if (!path)
        return GHN_OK;
    char token[1024];
    FILE *file = fopen(path, "re");
    if (!file)
        return ghn_fail(err, GHN_IO, path, "the token file cannot be read: %s", strerror(errno));
    size_t n = fread(token, 1, sizeof(token) - 1, file);
    (void)fclose(file);
    token[n] = '\0';
    n = strcspn(token, "\r\n");
    token[n] = '\0';
    if (n < 16 || n > 512 ||
        strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                      "0123456789-._~+/=") != n)
        return ghn_fail(err, GHN_OUT_OF_RANGE, path,
                        "the first line must be a token of 16 to 512 letters, digits and "
                        "\"-._~+/=\"");
    snapshot->token = strdup(token);
    return snapshot->token ? GHN_OK : ghn_fail_memory(err);
}

static void derive_limits(struct ghnd_snapshot *snapshot) {
    const struct ghnd_config *config = &snapshot->config;
    snapshot->limits = ghn_limits_default;
    snapshot->limits.max_nodes = (int)config->max_nodes;
    snapshot->limits.max_graph_nodes = (int)config->max_graph_nodes;
    snapshot->limits.max_edges = (int)config->max_edges;
    snapshot->limits.max_params = config->max_parameters;
    snapshot->json_limits = (struct ghn_json_limits){.max_depth = (int)config->max_json_depth,
                                                     .max_tokens = config->max_json_tokens};
}

enum ghn_status ghnd_snapshot_new(struct ghnd_config *config, struct ghnd_snapshot **ret,
                                  struct ghn_err *err) {
    struct ghnd_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot) {
        ghnd_config_done(config);
        return ghn_fail_memory(err);
    }
    atomic_init(&snapshot->references, 1);
    snapshot->config = *config;
    memset(config, 0, sizeof(*config));
    derive_limits(snapshot);
    const struct ghnd_list *files = &snapshot->config.checkpoints;
    enum ghn_status status = files->n ? load_models(snapshot, (size_t)files->n, files->items, err)
                                      : load_default_models(snapshot, err);
    if (status == GHN_OK)
        status = read_token(snapshot, err);
    if (status != GHN_OK) {
        ghnd_snapshot_unref(snapshot);
        return status;
    }
    *ret = snapshot;
    return GHN_OK;
}

struct ghnd_snapshot *ghnd_snapshot_ref(struct ghnd_snapshot *snapshot) {
    atomic_fetch_add(&snapshot->references, 1);
    return snapshot;
}

void ghnd_snapshot_unref(struct ghnd_snapshot *snapshot) {
    if (!snapshot || atomic_fetch_sub(&snapshot->references, 1) != 1)
        return;
    for (int i = 0; i < snapshot->n_models; i++) {
        ghn_model_unref(snapshot->models[i].model);
        free(snapshot->models[i].path);
    }
    free(snapshot->models);
    free(snapshot->token);
    ghnd_config_done(&snapshot->config);
    free(snapshot);
}

const struct ghnd_model *ghnd_snapshot_model(const struct ghnd_snapshot *snapshot, const char *id) {
    for (int i = 0; i < snapshot->n_models; i++)
        if (!id || strcmp(snapshot->models[i].id, id) == 0)
            return &snapshot->models[i];
    return NULL;
}
