#include "torture.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

/* One round; returns the number of allocations. */
static long round_of(enum ghn_status (*run)(void *context, struct ghn_err *err), void *context,
                     enum ghn_status also, int sticky) {
    enum ghn_status status = GHN_NO_MEMORY;
    long n = 0;
    while (status != GHN_OK) {
        struct ghn_err err = GHN_ERR_INIT;
        assert_true(++n < 100000);
        ghn_mem_fail_at(n, sticky);
        status = run(context, &err);
        ghn_mem_fail_at(0, 0);
        if (err.status != status || (status != GHN_OK && status != GHN_NO_MEMORY && status != also))
            fail_msg("allocation %ld%s failed: %s: %s", n, sticky ? " and all after it" : "",
                     ghn_status_code(status), err.message);
    }
    return n - 1;
}

long torture(enum ghn_status (*run)(void *context, struct ghn_err *err), void *context,
             enum ghn_status misread) {
    long n = round_of(run, context, GHN_NO_MEMORY, 0);
    assert_int_equal(round_of(run, context, GHN_NO_MEMORY, 1), n);
    json_set_alloc_funcs(ghn_malloc, ghn_free);
    long both = round_of(run, context, misread, 0);
    assert_true(both >= n);
    (void)round_of(run, context, misread, 1);
    json_set_alloc_funcs(malloc, free);
    return n;
}
