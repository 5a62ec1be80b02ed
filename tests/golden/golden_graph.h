/* The graphs and hypernetworks of golden cases. */
#ifndef GHN_TESTS_GOLDEN_GRAPH_H
#define GHN_TESTS_GOLDEN_GRAPH_H

#include <jansson.h>

#include "ghn/model.h"
#include "graph/graph.h"

/* The graph form of a case, a new reference. */
json_t *golden_graph_form(const json_t *golden);

/* The graph of a case, read from its graph form; fails the test if it is refused. */
struct ghn_graph *golden_graph(const json_t *golden);

/* The hypernetwork of a case, loaded once and kept until golden_models_free; borrowed. */
struct ghn_model *golden_model(const json_t *golden);
void golden_models_free(void);

#endif
