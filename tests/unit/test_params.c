/* lib/nn/params.h: a network's parameters to tensors and back, and tensors that do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "make_arch.h"
#include "nn/params.h"

/* A convolution with batch norm, and a linear layer that the output does not depend on. */
static struct ghn_arch *make_arch(void) {
    static const char form[] =
        "{\"format\": \"ghn-arch/1\", \"input\": {\"name\": \"x\", \"shape\": [3, 4, 4]},"
        " \"nodes\": [{\"name\": \"c\", \"op\": \"conv2d\", \"inputs\": [\"x\"],"
        " \"attrs\": {\"out_channels\": 5, \"kernel\": 3}},"
        " {\"name\": \"bn\", \"op\": \"batch_norm2d\", \"inputs\": [\"c\"]},"
        " {\"name\": \"f\", \"op\": \"flatten\", \"inputs\": [\"bn\"]},"
        " {\"name\": \"idle\", \"op\": \"linear\", \"inputs\": [\"f\"],"
        " \"attrs\": {\"out_features\": 2}}], \"output\": \"f\"}";
    return arch_of(json_loads(form, 0, NULL));
}

struct fixture {
    struct ghn_arch *arch;
    struct ghn_params *params, *fresh;
    struct ghn_arena arena;
    struct ghn_tensor *items;
    int n;
};

static void setup(struct fixture *f) {
    *f = (struct fixture){.arch = make_arch(), .arena = GHN_ARENA_INIT};
    assert_int_equal(ghn_params_new(f->arch, &f->params, NULL), GHN_OK);
    assert_int_equal(ghn_params_new(f->arch, &f->fresh, NULL), GHN_OK);
    for (int64_t i = 0; i < f->params->n; i++)
        f->params->values[i] = (float)ghn_rng_normal(1, 2, (uint64_t)i);
    for (int64_t i = 0; i < f->params->n_statistics; i++)
        f->params->statistics[i] = (float)i;
    f->params->batches_tracked = 42;
    assert_int_equal(ghn_params_tensors(f->params, &f->arena, &f->items, &f->n, NULL), GHN_OK);
    assert_int_equal(f->n, 9); /* two a layer, and the statistics' three */
}

static void teardown(struct fixture *f) {
    ghn_free(f->items);
    ghn_arena_done(&f->arena);
    ghn_params_free(f->params);
    ghn_params_free(f->fresh);
    ghn_arch_free(f->arch);
}

/* Puts `name` last and counts it out. */
static void drop(struct fixture *f, const char *name) {
    int i = 0;
    while (strcmp(f->items[i].name, name) != 0)
        i++;
    struct ghn_tensor item = f->items[i];
    f->items[i] = f->items[f->n - 1];
    f->items[--f->n] = item;
}

/* Loads the items into the fresh parameters, through the bytes of a file. */
static enum ghn_status load(struct fixture *f, struct ghn_err *err) {
    char *header = NULL;
    size_t size = 0, bytes = 0;
    assert_int_equal(ghn_safetensors_header(f->items, f->n, NULL, &header, &size, NULL), GHN_OK);
    static char file[1 << 16];
    memcpy(file, header, size);
    for (int i = 0; i < f->n; i++) {
        memcpy(file + size + bytes, f->items[i].data, f->items[i].n_bytes);
        bytes += f->items[i].n_bytes;
    }
    ghn_free(header);
    struct ghn_tensors *tensors = NULL;
    assert_int_equal(ghn_tensors_parse(file, size + bytes, "file", &tensors, NULL), GHN_OK);
    *err = (struct ghn_err)GHN_ERR_INIT;
    enum ghn_status status = ghn_params_load(f->fresh, tensors, err);
    ghn_tensors_free(tensors);
    return status;
}

static void there_and_back(void **state) {
    (void)state;
    struct fixture f;
    struct ghn_err err;
    setup(&f);
    assert_int_equal(load(&f, &err), GHN_OK);
    assert_memory_equal(f.fresh->values, f.params->values, (size_t)f.params->n * sizeof(float));
    assert_memory_equal(f.fresh->statistics, f.params->statistics, 10 * sizeof(float));
    assert_int_equal(f.fresh->batches_tracked, 42);
    teardown(&f);
}

/* Statistics may be absent, or come without a count; what is off the path may be absent. */
static void what_may_be_absent(void **state) {
    (void)state;
    struct fixture f;
    struct ghn_err err;
    setup(&f);
    drop(&f, "bn.num_batches_tracked");
    drop(&f, "idle.weight");
    assert_int_equal(load(&f, &err), GHN_OK);
    assert_int_equal(f.fresh->batches_tracked, 1);
    teardown(&f);
    setup(&f);
    drop(&f, "bn.running_mean");
    drop(&f, "bn.running_var");
    assert_int_equal(load(&f, &err), GHN_OK);
    assert_int_equal(f.fresh->batches_tracked, 0);
    assert_true(f.fresh->statistics[0] == 0 && f.fresh->statistics[9] == 1);
    teardown(&f);
}

static void what_does_not_fit_leaves_no_trace(void **state) {
    (void)state;
    struct fixture f;
    struct ghn_err err;
    for (int k = 0; k < 4; k++) {
        setup(&f);
        int i = 0;
        while (strcmp(f.items[i].name, k % 2 ? "bn.running_var" : "bn.bias") != 0)
            i++;
        const char *name = f.items[i].name;
        if (k < 2) {
            drop(&f, name);
        } else {
            f.items[i].shape = (struct ghn_shape){1, {4}};
            f.items[i].n_bytes = 16;
        }
        assert_int_equal(load(&f, &err), k < 2 ? GHN_MISSING_FIELD : GHN_SHAPE_MISMATCH);
        assert_string_equal(err.where, name);
        for (int64_t j = 0; j < f.fresh->n; j++)
            assert_true(f.fresh->values[j] == 0);
        assert_int_equal(f.fresh->batches_tracked, 0);
        teardown(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_may_be_absent),
        cmocka_unit_test(what_does_not_fit_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
