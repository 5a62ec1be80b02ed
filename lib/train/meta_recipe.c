/* Recipes of meta-training. */
#include <math.h>
#include <string.h>

#include "deepnets/sample.h"
#include "train/meta_impl.h"

const struct ghn_meta_recipe ghn_meta_recipe_paper = {
    .steps = 100000,
    .meta_batch = 8,
    .max_nodes = 2200,
    .side = 32,
    .widths = true,
    .batch_size = 64,
    .lr = 1e-3,
    .weight_decay = 1e-5,
    .beta1 = 0.9,
    .beta2 = 0.999,
    .eps = 1e-8,
    .clip_norm = 5,
    .precision = GHN_PRECISION_AUTO,
    .augment = true,
};

/* What made training cheaper; deploy/models tells what was tried, and what it gave. */
const struct ghn_meta_recipe ghn_meta_recipe_frugal = {
    .steps = 100000,
    .meta_batch = 8,
    .max_nodes = 2200,
    .side = 32,
    .widths = true,
    .batch_size = 32,
    .own_images = true,
    .lr = 1e-3,
    .warmup_steps = 100,
    .decay_steps = GHN_META_ALL_STEPS,
    .optimizer = GHN_META_MUON,
    .weight_decay = 1e-5,
    .beta1 = 0.95,
    .beta2 = 0.98,
    .eps = 1e-8,
    .ema_decay = 0.99,
    .clip_norm = 5,
    .clip_network = 5,
    .precision = GHN_PRECISION_AUTO,
    .augment = true,
};

static const char *const optimizers[] = {"adam", "adamw", "muon"};

const char *ghn_meta_optimizer_name(enum ghn_meta_optimizer optimizer) {
    return optimizers[optimizer];
}

bool ghn_meta_optimizer_parse(const char *name, enum ghn_meta_optimizer *ret) {
    for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++)
        if (strcmp(name, optimizers[i]) == 0) {
            *ret = (enum ghn_meta_optimizer)i;
            return true;
        }
    return false;
}

static enum ghn_status check(const char *field, double value, double min, double max,
                             struct ghn_err *err) {
    if (value >= min && value <= max)
        return GHN_OK;
    return ghn_fail(err, GHN_OUT_OF_RANGE, field, "%g; expected %g to %g", value, min, max);
}

enum ghn_status ghn__meta_recipe_check(const struct ghn_meta_recipe *recipe, struct ghn_err *err) {
    const struct {
        const char *field;
        double value, min, max;
    } ranges[] = {
        {"steps", (double)recipe->steps, 1, 1e9},
        {"meta_batch", recipe->meta_batch, 1, GHN__META_BATCH_MAX},
        {"max_nodes", recipe->max_nodes, 0, 1e6},
        {"pool", (double)recipe->pool, 0, 1e9},
        {"max_flops", (double)recipe->max_flops, 0, 1e15},
        {"side", recipe->side, 8, 224},
        {"wide", recipe->wide, 0, 1},
        {"batch_size", recipe->batch_size, 1, 4096},
        {"optimizer", recipe->optimizer, GHN_META_ADAM, GHN_META_MUON},
        {"lr", recipe->lr, 0, 1e3},
        {"warmup_steps", (double)recipe->warmup_steps, 0, 1e9},
        {"decay_steps", (double)recipe->decay_steps, 0, 1e9},
        {"weight_decay", recipe->weight_decay, 0, 1e3},
        {"beta1", recipe->beta1, 0, 0.999999},
        {"beta2", recipe->beta2, 0, 0.9999999},
        {"ema_decay", recipe->ema_decay, 0, 0.9999999},
        {"eps", recipe->eps, 1e-16, 1},
        {"clip_norm", recipe->clip_norm, 0, 1e9},
        {"clip_network", recipe->clip_network, 0, 1e9},
        {"label_smoothing", recipe->label_smoothing, 0, 0.999},
        {"first", (double)recipe->first, 0, 1e12},
        {"images", (double)recipe->images, 0, 1e12},
    };
    enum ghn_status status = GHN_OK;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && status == GHN_OK; i++)
        status = check(ranges[i].field, ranges[i].value, ranges[i].min, ranges[i].max, err);
    if (status == GHN_OK && !ghn_deepnets_side_is_valid(recipe->side))
        return ghn_fail(err, GHN_OUT_OF_RANGE, "side",
                        "%d; expected 8, 16, 24, ... 64, or 96, 128, 160, 192 or 224",
                        recipe->side);
    if (status == GHN_OK && recipe->seed > INT64_MAX)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "seed", "%llu; expected 0 to 2^63 - 1",
                        (unsigned long long)recipe->seed);
    return status == GHN_OK ? ghn_precision_check(recipe->precision, "precision", err) : status;
}

json_t *ghn__meta_recipe_identity(const struct ghn_meta_recipe *r) {
    return json_pack(
        "{s:i, s:i, s:I, s:I, s:i, s:b, s:f, s:i, s:b, s:f, s:I, s:s, s:f, s:f, s:f, s:f, s:f, "
        "s:f, s:f, s:f, s:s, s:I, s:I, s:I, s:b}",
        "meta_batch", r->meta_batch, "max_nodes", r->max_nodes, "pool", (json_int_t)r->pool,
        "max_flops", (json_int_t)r->max_flops, "side", r->side, "widths", r->widths, "wide",
        r->wide, "batch_size", r->batch_size, "own_images", r->own_images, "lr", r->lr,
        "warmup_steps", (json_int_t)r->warmup_steps, "optimizer",
        ghn_meta_optimizer_name(r->optimizer), "weight_decay", r->weight_decay, "beta1", r->beta1,
        "beta2", r->beta2, "eps", r->eps, "ema_decay", r->ema_decay, "clip_norm", r->clip_norm,
        "clip_network", r->clip_network, "label_smoothing", r->label_smoothing, "precision",
        ghn_precision_name(r->precision), "seed", (json_int_t)r->seed, "first",
        (json_int_t)r->first, "images", (json_int_t)r->images, "augment", r->augment);
}

int ghn__meta_images(const struct ghn_meta_recipe *recipe) {
    return recipe->batch_size * (recipe->own_images ? recipe->meta_batch : 1);
}

int64_t ghn__meta_decay_steps(const struct ghn_meta_recipe *recipe) {
    return recipe->decay_steps < recipe->steps ? recipe->decay_steps : recipe->steps;
}

double ghn__meta_lr(const struct ghn_meta_recipe *recipe, int64_t step) {
    double lr = recipe->lr;
    if (step < recipe->warmup_steps)
        lr *= (double)(step + 1) / (double)recipe->warmup_steps;
    int64_t left = recipe->steps - step, decay = ghn__meta_decay_steps(recipe);
    if (left < decay)
        lr *= fmax(0.01, (double)left / (double)decay);
    return lr;
}

static json_t *real(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *ghn_meta_progress_to_json(const struct ghn_meta_progress *p) {
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "step",
                     (json_int_t)p->step, "steps", (json_int_t)p->steps, "loss", real(p->loss),
                     "accuracy", real(p->accuracy), "gradient_norm", real(p->gradient_norm), "lr",
                     real(p->lr), "architectures_per_second", real(p->architectures_per_second),
                     "seconds", real(p->seconds), "seconds_left", real(p->seconds_left),
                     "not_finite", (json_int_t)p->not_finite, "skipped", (json_int_t)p->skipped,
                     "validation", real(p->validation));
}
