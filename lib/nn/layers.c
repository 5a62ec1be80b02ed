/* The table from operations to their layers. */
#include <string.h>

#include "arch/op.h"
#include "nn/layer.h"

const struct ghn__layer *ghn__layer_of(const struct ghn_op *op) {
    static const struct {
        const char *name;
        const struct ghn__layer *layer;
    } layers[] = {
#define GHN_OP(symbol, name) {name, &ghn__layer_##symbol},
#include "arch/ops.def"
#undef GHN_OP
    };
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        if (strcmp(layers[i].name, op->name) == 0)
            return layers[i].layer;
    return NULL;
}
