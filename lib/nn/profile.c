#include "nn/profile.h"

#include "nn/run_impl.h"

enum ghn_status ghn__run_profile(struct ghn_run *run, struct ghn_err *err) {
    struct ghn__step_time *times =
        ghn_arena_alloc(&run->arena, (size_t)run->n_steps * sizeof *times);
    if (!times)
        return ghn_fail_memory(err);
    for (int s = 0; s < run->n_steps; s++)
        times[s] = (struct ghn__step_time){.site = &run->steps[s].site};
    run->times = times;
    return GHN_OK;
}

int ghn__run_time(const struct ghn_run *run, int i, struct ghn__step_time *ret) {
    if (ret && run->times)
        *ret = run->times[i];
    return run->times ? run->n_steps : 0;
}
