/* GET /datasets: what there is to train on. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataset_name.h"
#include "request.h"

static json_t *size_json(int size) {
    return size > 0 ? json_integer(size) : json_null();
}

static json_t *dataset_json(const char *name, const struct ghn_dataset *dataset) {
    return json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:I, s:I}", "name", name, "kind",
                     ghn_dataset_kind_name(dataset->kind), "classes", dataset->n_classes,
                     "channels", dataset->channels, "height", size_json(dataset->height), "width",
                     size_json(dataset->width), "train_images",
                     (json_int_t)dataset->n[GHN_SPLIT_TRAIN], "test_images",
                     (json_int_t)dataset->n[GHN_SPLIT_TEST]);
}

/* Tells the log why what lies there is left out, or with NULL that it is not. */
static void explain(struct ghnd_request *request, const char *name, const char *reason) {
    struct ghnd_line line;
    if (!ghnd_datasets_complain(&request->app->datasets, name, reason))
        return;
    ghnd_line_begin(&line, &request->app->log, GHND_WARNING, "not a data set");
    ghnd_line_text(&line, "name", name);
    ghnd_line_text(&line, "detail", reason);
    ghnd_line_end(&line);
}

/* Adds the data set of that name; what is none is left out. */
static void add(struct ghnd_request *request, json_t *list, const char *name) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_dataset dataset;
    if (!ghnd_dataset_name_is_sound(name)) {
        explain(request, name, "a name has " GHND_DATASET_RULE "; rename it");
        return;
    }
    bool ok = ghnd_datasets_describe(&request->app->datasets, request->snapshot->config.data_dir,
                                     name, &dataset, &err) == GHN_OK;
    explain(request, name, ok ? NULL : err.message);
    if (ok)
        (void)json_array_append_new(list, dataset_json(name, &dataset));
}

/* What is hidden is nobody's data set. */
static int keep(const struct dirent *entry) {
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "shapes") != 0;
}

void ghnd_h_datasets(struct ghnd_request *request) {
    struct dirent **entries = NULL;
    json_t *list = json_array();
    int n = scandir(request->snapshot->config.data_dir, &entries, keep, alphasort);
    explain(request, "", n < 0 && errno != ENOENT ? strerror(errno) : NULL); /* the whole folder */
    for (int i = 0; i < n; i++) {
        if (list)
            add(request, list, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (list)
        add(request, list, "shapes");
    ghnd_reply_json(request, json_pack("{s:o}", "datasets", list));
}
