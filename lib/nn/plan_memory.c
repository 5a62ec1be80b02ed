/* Where everything lies: two blocks share a place if none of the steps that need the one lies
 * between the first and the last step that need the other. Time runs through the steps forward and
 * then back. */
#include <stdlib.h>

#include "base/machine.h"
#include "nn/run_impl.h"

#define GIB (1024.0 * 1024 * 1024)

static void need(struct ghn_run *run, int block, int time) {
    if (block < 0)
        return;
    struct ghn__block *b = &run->blocks[block];
    if (b->birth > b->death) {
        b->birth = b->death = time;
        return;
    }
    b->birth = time < b->birth ? time : b->birth;
    b->death = time > b->death ? time : b->death;
}

static void need_step(struct ghn_run *run, int s) {
    const struct ghn__step *step = &run->steps[s];
    int forward = s, backward = 2 * run->n_steps - 1 - s;
    for (int i = 0; i < step->site.n_inputs; i++)
        need(run, ghn__data_of(run, step->inputs[i]), forward);
    need(run, ghn__data_of(run, step->output), forward);
    need(run, step->saved, forward);
    need(run, step->scratch[0], forward);
    if (!step->backward)
        return;
    for (int i = 0; i < step->site.n_inputs; i++) {
        if (step->site.keeps_input && !(i == 1 && step->site.residual))
            need(run, ghn__data_of(run, step->inputs[i]), backward);
        need(run, ghn__gradient_of(run, step->inputs[i]), backward);
    }
    if (step->site.keeps_output)
        need(run, ghn__data_of(run, step->output), backward);
    need(run, ghn__gradient_of(run, step->output), backward);
    need(run, step->saved, backward);
    need(run, step->scratch[1], backward);
    need(run, step->spare, backward);
}

static int by_size(const void *a, const void *b) {
    const struct ghn__block *x = *(struct ghn__block *const *)a,
                            *y = *(struct ghn__block *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->birth != y->birth ? (x->birth > y->birth) - (x->birth < y->birth) : (x > y) - (x < y);
}

/* The lowest place that no placed block of an overlapping life takes. `placed` is in order of
 * offsets. */
static size_t lowest(struct ghn__block *const *placed, int n, const struct ghn__block *block) {
    size_t offset = 0;
    for (int i = 0; i < n; i++) {
        const struct ghn__block *other = placed[i];
        if (other->death < block->birth || block->death < other->birth ||
            other->offset + other->bytes <= offset)
            continue;
        if (other->offset >= offset + block->bytes)
            break;
        offset = other->offset + other->bytes;
    }
    return offset;
}

/* Largest first, each at the lowest free place (as TensorFlow Lite's greedy planner). */
static enum ghn_status place_all(struct ghn_run *run, struct ghn_err *err) {
    struct ghn__block **order = ghn_arena_array(&run->arena, (size_t)run->n_blocks, sizeof *order);
    struct ghn__block **placed =
        ghn_arena_array(&run->arena, (size_t)run->n_blocks, sizeof *placed);
    if (!order || !placed)
        return ghn_fail_memory(err);
    int n = 0, n_placed = 0;
    for (int i = 0; i < run->n_blocks; i++)
        if (run->blocks[i].birth <= run->blocks[i].death && run->blocks[i].bytes > 0)
            order[n++] = &run->blocks[i];
    qsort(order, (size_t)n, sizeof(struct ghn__block *), by_size);
    for (int i = 0; i < n; i++) {
        struct ghn__block *block = order[i];
        block->offset = lowest(placed, n_placed, block);
        int at = n_placed++;
        for (; at > 0 && placed[at - 1]->offset > block->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = block;
        if (block->offset + block->bytes > run->bytes)
            run->bytes = block->offset + block->bytes;
    }
    return GHN_OK;
}

enum ghn_status ghn__plan_memory(struct ghn_run *run, struct ghn_err *err) {
    need(run, ghn__data_of(run, run->input), 0);
    need(run, ghn__data_of(run, run->output), run->n_steps - 1);
    for (int s = 0; s < run->n_steps; s++)
        need_step(run, s);
    /* The loss stands between the passes: the output is read and its gradient written there. */
    need(run, ghn__data_of(run, run->output), run->n_steps);
    need(run, ghn__gradient_of(run, run->output), run->n_steps - 1);
    enum ghn_status status = place_all(run, err);
    if (status)
        return status;
    /* Beyond what there is a run would not fail but be killed. */
    int sharing = run->options.sharing > 1 ? run->options.sharing : 1;
    int64_t have = ghn_machine_memory() / sharing;
    if (run->bytes > (size_t)have)
        return ghn_fail(err, GHN_TOO_LARGE, NULL,
                        "running the network for a batch of %d images takes %.3g GiB of memory; "
                        "there are %.3g",
                        run->options.batch, (double)run->bytes / GIB, (double)have / GIB);
    return GHN_OK;
}
