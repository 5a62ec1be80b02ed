#include "nn/dnnl.h"

#include <pthread.h>
#include <string.h>

#include "nn/dnnl_impl.h"

enum ghn__isa ghn__dnnl_isa(void) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core)
        return GHN__ISA_AVX512;
    return (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2 ? GHN__ISA_AVX2 : GHN__ISA_PLAIN;
}

bool ghn__dnnl_has_bf16(void) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

bool ghn__dnnl_has_amx(void) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
}

/* One engine for all; a stream for every thread, since oneDNN promises nothing for one that several
 * use. Kernels are kept for as many shapes as a training on random architectures meets. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static dnnl_engine_t engine;
static pthread_key_t stream_key;

enum { KERNELS_KEPT = 16384 };

static void destroy_stream(void *stream) {
    (void)dnnl_stream_destroy(stream);
}

static void start(void) {
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success ||
        pthread_key_create(&stream_key, destroy_stream) != 0)
        engine = NULL;
    (void)dnnl_set_primitive_cache_capacity(KERNELS_KEPT);
}

dnnl_engine_t ghn__dnnl_engine(void) {
    pthread_once(&once, start);
    return engine;
}

dnnl_stream_t ghn__dnnl_stream(void) {
    if (!ghn__dnnl_engine())
        return NULL;
    dnnl_stream_t stream = pthread_getspecific(stream_key);
    if (stream)
        return stream;
    if (dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success)
        return NULL;
    if (pthread_setspecific(stream_key, stream) != 0) {
        (void)dnnl_stream_destroy(stream);
        return NULL;
    }
    return stream;
}

enum ghn_status ghn__dnnl_status(dnnl_status_t status, const char *what, struct ghn_err *err) {
    if (status == dnnl_success)
        return GHN_OK;
    if (status == dnnl_out_of_memory)
        return ghn_fail_memory(err);
    return ghn_fail(err, GHN_INTERNAL, NULL, "oneDNN cannot %s (status %d)", what, (int)status);
}

enum ghn_status ghn__primitive_argument(struct ghn__primitive *primitive, int tag,
                                        const dnnl_memory_desc_t *desc, struct ghn_err *err) {
    dnnl_memory_t memory;
    enum ghn_status status =
        ghn__dnnl_status(dnnl_memory_create(&memory, desc, ghn__dnnl_engine(), DNNL_MEMORY_NONE),
                         "describe an argument", err);
    if (status)
        return status;
    primitive->tags[primitive->n] = tag;
    primitive->memories[primitive->n++] = memory;
    return GHN_OK;
}

/* Compiles primitive->desc. */
static enum ghn_status compile(struct ghn__primitive *primitive, struct ghn_err *err) {
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(primitive->desc, dnnl_query_scratchpad_md, 0);
    primitive->scratch_bytes = scratch ? ghn__lines(dnnl_memory_desc_get_size(scratch)) : 0;
    return ghn__dnnl_status(dnnl_primitive_create(&primitive->primitive, primitive->desc),
                            "compile a kernel", err);
}

/* Whether the name of a kernel begins so: "brgconv", "jit_1x1:avx2", "jit". */
static bool is_a(const_dnnl_primitive_desc_t desc, const char *name) {
    const char *found = "";
    return dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, (void *)&found) ==
               dnnl_success &&
           strncmp(found, name, strlen(name)) == 0;
}

static enum ghn_status choose(const_dnnl_op_desc_t op, const_dnnl_primitive_desc_t hint,
                              const_dnnl_primitive_attr_t attr, const struct ghn__avoid *avoid,
                              dnnl_primitive_desc_t *ret, struct ghn_err *err) {
    dnnl_primitive_desc_iterator_t iterator;
    dnnl_status_t made =
        dnnl_primitive_desc_iterator_create(&iterator, op, attr, ghn__dnnl_engine(), hint);
    if (made)
        return ghn__dnnl_status(made, "find a kernel", err);
    dnnl_primitive_desc_t first = dnnl_primitive_desc_iterator_fetch(iterator);
    while (first && avoid && is_a(first, avoid->kernel) &&
           dnnl_primitive_desc_iterator_next(iterator) == dnnl_success) {
        dnnl_primitive_desc_t second = dnnl_primitive_desc_iterator_fetch(iterator);
        if (!second || (!avoid->wrong && !is_a(second, "jit"))) {
            (void)dnnl_primitive_desc_destroy(second);
            break;
        }
        (void)dnnl_primitive_desc_destroy(first);
        first = second;
    }
    dnnl_primitive_desc_iterator_destroy(iterator);
    if (!first)
        return ghn_fail(err, GHN_INTERNAL, NULL, "oneDNN has no kernel");
    *ret = first;
    return GHN_OK;
}

enum ghn_status ghn__primitive_new(const_dnnl_op_desc_t op, const_dnnl_primitive_desc_t hint,
                                   const_dnnl_primitive_attr_t attr, const struct ghn__avoid *avoid,
                                   struct ghn__primitive *ret, struct ghn_err *err) {
    dnnl_primitive_attr_t own;
    dnnl_status_t made =
        attr ? dnnl_primitive_attr_clone(&own, attr) : dnnl_primitive_attr_create(&own);
    if (made)
        return ghn__dnnl_status(made, "make attributes", err);
    struct ghn__primitive primitive = {0};
    enum ghn_status status =
        ghn__dnnl_status(dnnl_primitive_attr_set_scratchpad_mode(own, dnnl_scratchpad_mode_user),
                         "set attributes", err);
    if (!status)
        status = choose(op, hint, own, avoid, &primitive.desc, err);
    if (!status)
        status = compile(&primitive, err);
    dnnl_primitive_attr_destroy(own);
    if (status) {
        ghn__primitive_done(&primitive);
        return status;
    }
    *ret = primitive;
    return GHN_OK;
}

enum ghn_status ghn__reorder_new(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                                 struct ghn__primitive *ret, struct ghn_err *err) {
    dnnl_primitive_attr_t attr;
    dnnl_status_t made = dnnl_primitive_attr_create(&attr);
    if (made)
        return ghn__dnnl_status(made, "make attributes", err);
    struct ghn__primitive primitive = {0};
    enum ghn_status status =
        ghn__dnnl_status(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
                         "set attributes", err);
    if (!status)
        status = ghn__dnnl_status(dnnl_reorder_primitive_desc_create(&primitive.desc, from,
                                                                     ghn__dnnl_engine(), to,
                                                                     ghn__dnnl_engine(), attr),
                                  "reorder", err);
    if (!status)
        status = compile(&primitive, err);
    if (!status)
        status = ghn__primitive_argument(&primitive, DNNL_ARG_FROM, from, err);
    if (!status)
        status = ghn__primitive_argument(&primitive, DNNL_ARG_TO, to, err);
    dnnl_primitive_attr_destroy(attr);
    if (status) {
        ghn__primitive_done(&primitive);
        return status;
    }
    *ret = primitive;
    return GHN_OK;
}

enum ghn_status ghn__primitive_run(struct ghn__primitive *primitive, void *const *data,
                                   void *scratch, struct ghn_err *err) {
    dnnl_exec_arg_t args[GHN__DNNL_ARGS + 1];
    int n = primitive->n;
    if (primitive->scratch_bytes > 0 && !primitive->memories[n]) {
        const dnnl_memory_desc_t *desc =
            dnnl_primitive_desc_query_md(primitive->desc, dnnl_query_scratchpad_md, 0);
        enum ghn_status status = ghn__primitive_argument(primitive, DNNL_ARG_SCRATCHPAD, desc, err);
        if (status)
            return status;
        primitive->n = n;
    }
    for (int i = 0; i < n + (primitive->scratch_bytes > 0); i++) {
        dnnl_memory_set_data_handle(primitive->memories[i], i < n ? data[i] : scratch);
        args[i] = (dnnl_exec_arg_t){i < n ? primitive->tags[i] : DNNL_ARG_SCRATCHPAD,
                                    primitive->memories[i]};
    }
    dnnl_status_t done = dnnl_primitive_execute(primitive->primitive, ghn__dnnl_stream(),
                                                n + (primitive->scratch_bytes > 0), args);
    if (done == dnnl_success)
        done = dnnl_stream_wait(ghn__dnnl_stream());
    return ghn__dnnl_status(done, "run a kernel", err);
}

void ghn__primitive_done(struct ghn__primitive *primitive) {
    for (int i = 0; i < GHN__DNNL_ARGS + 1; i++)
        dnnl_memory_destroy(primitive->memories[i]);
    if (primitive->primitive)
        dnnl_primitive_destroy(primitive->primitive);
    if (primitive->desc)
        dnnl_primitive_desc_destroy(primitive->desc);
    *primitive = (struct ghn__primitive){0};
}
