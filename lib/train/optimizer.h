/* Optimisers on flat vectors of parameters: what torch.optim.SGD and torch.optim.AdamW do, with
 * torch.nn.utils.clip_grad_norm_ before. Private to lib/train. */
#ifndef GHN_TRAIN_OPTIMIZER_H
#define GHN_TRAIN_OPTIMIZER_H

#include <stdint.h>

#include "base/status.h"
#include "nn/kernels.h"
#include "nn/params.h"
#include "train/recipe.h"

/* Elements [first, first + n) of the parameters. */
struct ghn__span {
    int64_t first, n;
};

struct ghn__optimizer {
    const struct ghn_recipe *recipe; /* borrowed */
    int64_t n;                       /* of the vectors */
    int64_t steps;                   /* done */
    int n_slots;                     /* vectors that it remembers: 0 to 2 */
    float *slots[2]; /* (n) each: sgd's momentum; adamw's first and second moments */
    int n_spans;
    struct ghn__span *spans; /* what is trained: parameters on the path to the output. As in
                                PyTorch, where those off it have no gradient, the others stay as
                                they are, weight decay or not */
};

/* How many vectors the optimiser of a recipe remembers: 0 to 2. */
int ghn__optimizer_slots(const struct ghn_recipe *recipe);

/* An optimiser as recipe says, which must outlive it, for parameters laid out as params are. The
 * caller frees with ghn__optimizer_free. */
enum ghn_status ghn__optimizer_new(const struct ghn_recipe *recipe, const struct ghn_params *params,
                                   struct ghn__optimizer **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Frees an optimiser; NULL is allowed. */
void ghn__optimizer_free(struct ghn__optimizer *optimizer);

/* The L2 norm of n values; the same for any number of threads. Infinite or NaN if a value is, or if
 * it exceeds f32's range. */
double ghn__norm(const float *values, int64_t n);

/* What a gradient of that norm is multiplied with so that it is `most` at most (0: any), as
 * torch.nn.utils.clip_grad_norm_ does. */
float ghn__clip_scale(double norm, double most);

/* The coefficients of AdamW's step number t, from 1; with weight_decay 0 Adam's. */
struct ghn__adamw ghn__adamw_coefficients(double beta1, double beta2, double eps,
                                          double weight_decay, double lr, double t);

/* One step with learning rate lr: values (n) and what is remembered change, gradient (n) does not.
 * norm is the gradient's L2 norm, by which it is clipped to recipe->clip_norm. */
void ghn__optimizer_step(struct ghn__optimizer *optimizer, float *values, const float *gradient,
                         double norm, double lr);

#endif
