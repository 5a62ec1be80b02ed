/* The plain twin of a hypernetwork's training passes (ghn/hypernet.h): one graph, one node and one
 * edge after another, in double, as ghn2-spec C has the formulas. For tests; slow. */
#ifndef GHN_GHN_REFERENCE_H
#define GHN_GHN_REFERENCE_H

#include <stdint.h>

#include "base/status.h"
#include "ghn/model.h"
#include "graph/graph.h"

/* The elements of all predicted tensors of graph, which the functions below take one after another
 * in the order of graph->slots, each in full and row-major. */
int64_t ghn__reference_n(const struct ghn_config *config, const struct ghn_graph *graph);

/* ret (ghn__reference_n) = the prediction of a hypernetwork with those values, laid out as
 * ghn_hypernet_values. *ret_pattern becomes a hash of which ReLUs were on: between two sets of
 * values with different patterns the prediction has a kink. GHN_NO_MEMORY. */
enum ghn_status ghn__reference_forward(const struct ghn_config *config, const double *values,
                                       const struct ghn_graph *graph, double *ret,
                                       uint64_t *ret_pattern, struct ghn_err *err) GHN_MUST_CHECK;

/* Adds to gradient (as long as values) d loss / d values, where d (ghn__reference_n) is d loss / d
 * prediction. GHN_NO_MEMORY; the gradient is untouched then. */
enum ghn_status ghn__reference_backward(const struct ghn_config *config, const double *values,
                                        const struct ghn_graph *graph, const double *d,
                                        double *gradient, struct ghn_err *err) GHN_MUST_CHECK;

#endif
