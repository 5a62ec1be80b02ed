/* What the daemon knows of its data sets: descriptions, kept until the files change.
 *
 * To describe a folder of pictures is to look at every file of it, which takes seconds where there
 * are a million; whether something has changed is told by the folders alone. */
#ifndef GHND_DATASETS_H
#define GHND_DATASETS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "data/dataset.h"

struct ghnd_description;
struct ghnd_complaint;

/* Thread-safe. */
struct ghnd_datasets {
    pthread_mutex_t lock;
    struct ghnd_description *first; /* the latest first */
    int n;
    uint64_t scans; /* data sets that were looked at whole, for tests */
    struct ghnd_complaint *complaints;
    int n_complaints;
};

void ghnd_datasets_init(struct ghnd_datasets *datasets);
void ghnd_datasets_done(struct ghnd_datasets *datasets);

/* ghn_dataset_describe of the data set of that name, which must be sound. *ret needs no freeing:
 * its name is `name` itself, and it has neither class names nor impl. Errors name "dataset" and the
 * file in it. */
enum ghn_status ghnd_datasets_describe(struct ghnd_datasets *datasets, const char *data_dir,
                                       const char *name, struct ghn_dataset *ret,
                                       struct ghn_err *err) GHN_MUST_CHECK;

/* Notes why what is found under that name is no data set, or with NULL that it is one. true if that
 * is news, and worth a line in the log: a list is asked for again and again. */
bool ghnd_datasets_complain(struct ghnd_datasets *datasets, const char *name, const char *reason);

#endif
