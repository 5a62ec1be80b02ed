/* A network to train or evaluate here, with the data and the parameters to start from. */
#ifndef GHN_CLIENT_START_H
#define GHN_CLIENT_START_H

#include "base/status.h"
#include "data/dataset.h"
#include "nn/params.h"
#include "request.h"

/* Where parameters come from; what is NULL is not given. */
struct cli_source {
    const char *checkpoint; /* a hypernetwork predicts them */
    const char *parameters; /* a file of tensors */
    uint64_t seed;          /* of what is initialised: all, if there is neither */
};

struct cli_start {
    struct cli_request request; /* owns the arch and the graph */
    struct ghn_dataset *dataset;
    struct ghn_params *params;
    char origin[65]; /* SHA-256 of the file they come from; empty for random ones */
};

/* Reads the network (a request, arch or genotype in a file or "-"), opens the data and makes the
 * parameters. A hypernetwork for another number of classes than the data's leaves the classifier to
 * its initialiser. *ret_next, which starts as NULL, is advice for some errors. The caller frees
 * with cli_start_done, also on failure. */
enum ghn_status cli_start_open(struct cli_start *start, const char *network, const char *data,
                               const struct cli_source *source, const char **ret_next,
                               struct ghn_err *err) GHN_MUST_CHECK;
void cli_start_done(struct cli_start *start);

#endif
