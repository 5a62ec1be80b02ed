#include "sampling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct ghn_net sample(enum ghn_deepnets_split split, uint64_t seed, int64_t index) {
    struct ghn_net net;
    struct ghn_err err = GHN_ERR_INIT;
    memset(&net, 0, sizeof(net));
    if (ghn_sample_net(split, seed, index, &net, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return net;
}

bool has_op(const struct ghn_net *net, enum ghn_cell_op op) {
    for (int i = 0; i < 2 * net->normal.n_steps; i++)
        if (net->normal.op[i] == op || net->reduce.op[i] == op)
            return true;
    return false;
}
