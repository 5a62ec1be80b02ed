/* Running out of memory at every place in turn. */
#ifndef GHN_TESTS_TORTURE_H
#define GHN_TESTS_TORTURE_H

#include "base/status.h"

/* Calls run(context, err) with allocation 1, 2, 3 ... failing, and again with all from that one on,
 * until it does without: first the library's own allocations, then jansson's as well. Every failure
 * must be GHN_NO_MEMORY, recorded in err, and success must come in the end; fails the test
 * otherwise. jansson's parser takes some failed allocations for bad syntax; `misread` is what may
 * then be said of it (GHN_NO_MEMORY where nothing is parsed). Returns the number of the library's
 * allocations. */
long torture(enum ghn_status (*run)(void *context, struct ghn_err *err), void *context,
             enum ghn_status misread);

#endif
