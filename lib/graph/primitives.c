#include <stddef.h>

#include "graph/graph.h"

static const char *const names[GHN_N_PRIMITIVES] = {
#define GHN_PRIMITIVE(symbol, row, name) [row] = (name),
#include "graph/primitives.def"
#undef GHN_PRIMITIVE
};

const char *ghn_primitive_name(enum ghn_primitive primitive) {
    return (unsigned)primitive < GHN_N_PRIMITIVES ? names[primitive] : "?";
}
