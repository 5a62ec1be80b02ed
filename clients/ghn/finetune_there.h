/* ghn finetune --server: training as a job. */
#ifndef GHN_CLIENT_FINETUNE_THERE_H
#define GHN_CLIENT_FINETUNE_THERE_H

#include <jansson.h>
#include <stdbool.h>

#include "job.h"

struct cli_submission {
    struct cli_link link;
    const char *network;    /* file of a request, or "-" */
    const char *data;       /* name of one of the server's data sets */
    const char *model;      /* NULL: the server's first */
    const char *parameters; /* file to start from; NULL: what the recipe says */
    json_t *fields;         /* of the recipe that are not at their defaults; borrowed */
    const char *output;     /* where the parameters go in the end; NULL: nowhere */
    bool wait;              /* until the job ends; else only its id is printed */
};

/* Submits, follows and fetches; returns an exit code. */
int cli_finetune_there(const struct cli_submission *submission);

#endif
