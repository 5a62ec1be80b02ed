/* A hypernetwork for tests of its training: seconds matter there. */
#ifndef SMALL_HYPERNET_H
#define SMALL_HYPERNET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "ghn/config.h"

static struct ghn_err err;

static const struct ghn_config config = {.hid = 8,
                                         .max_shape = {16, 16, 3, 3},
                                         .num_classes = 10,
                                         .hypernet = GHN_GATED_GNN,
                                         .decoder = GHN_DECODER_CONV,
                                         .weight_norm = true,
                                         .ve = true,
                                         .layernorm = true};

/* Fails, with what err says, unless status is GHN_OK. */
static void ok(enum ghn_status status) {
    if (status != GHN_OK)
        fail_msg("%s: %s: %s", ghn_status_code(status), err.where, err.message);
}

#endif
