/* The forward and the backward pass over a meta-batch: the parts of them in their order. */
#include <assert.h>
#include <string.h>

#include "base/blas.h"
#include "ghn/tape_impl.h"

struct pass {
    const struct ghn_hypernet *h;
    struct ghn_tape *tape;
};

static void embed_task(void *context, int task) {
    const struct pass *pass = context;
    ghn__tape_embed(pass->h, pass->tape, pass->tape->by_size[task]);
}

static void embed_back_task(void *context, int task) {
    const struct pass *pass = context;
    ghn__tape_embed_back(pass->h, pass->tape, pass->tape->by_size[task]);
}

enum ghn_status ghn_hypernet_forward(const struct ghn_hypernet *h,
                                     const struct ghn_graph *const *graphs, int m,
                                     struct ghn_pool *pool, struct ghn_tape *tape,
                                     struct ghn_err *err) {
    struct pass pass = {h, tape};
    assert(m >= 1);
    enum ghn_status status = ghn__tape_plan(tape, h, graphs, m, err);
    if (status != GHN_OK)
        return status;
    ghn_blas_init();
    ghn_pool_run(pool, m, embed_task, &pass);
    ghn__tape_vectors(h, tape, pool);
    if (h->config.decoder == GHN_DECODER_CONV)
        ghn__tape_conv(h, tape, pool);
    else
        ghn__tape_mlp(h, tape, pool);
    ghn__tape_classes(h, tape);
    return GHN_OK;
}

enum ghn_status ghn_hypernet_backward(struct ghn_hypernet *h, struct ghn_tape *tape,
                                      struct ghn_pool *pool, struct ghn_err *err) {
    struct pass pass = {h, tape};
    size_t n_embedder = (size_t)ghn__hypernet_n_embedder(h);
    bool conv = h->config.decoder == GHN_DECODER_CONV;
    assert(tape->m >= 1 && tape->config.decoder == h->config.decoder);
    enum ghn_status status = ghn__tape_lay_out_back(tape, h, err);
    if (status != GHN_OK)
        return status;
    memset(tape->d_embeddings, 0, tape->n_nodes * (size_t)h->config.hid * sizeof(float));
    if (!conv)
        memset(tape->d_hidden, 0,
               (size_t)tape->n_weights * 2 * (size_t)h->config.hid * sizeof(float));
    ghn__tape_classes_back(h, tape);
    if (conv)
        ghn__tape_conv_back(h, tape, pool);
    else
        ghn__tape_mlp_back(h, tape, pool);
    ghn__tape_vectors_back(h, tape, pool);
    ghn_pool_run(pool, tape->m, embed_back_task, &pass);
    for (int i = 0; i < tape->m; i++)
        for (size_t j = 0; j < n_embedder; j++)
            h->gradient[j] += tape->partial[(size_t)i * n_embedder + j];
    return GHN_OK;
}
