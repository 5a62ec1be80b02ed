/* Architectures for tests, from their arch forms. Needs cmocka.h before it. */
#ifndef GHN_TESTS_MAKE_ARCH_H
#define GHN_TESTS_MAKE_ARCH_H

#include "arch/arch.h"

/* The architecture of a form, which is given back; the test fails if it is none. */
static inline struct ghn_arch *arch_of(json_t *form) {
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_non_null(form);
    if (ghn_arch_from_json(form, "", &ghn_limits_default, &arch, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    json_decref(form);
    return arch;
}

#endif
