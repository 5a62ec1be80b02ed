/* What a training comes to, before there is one. */
#include <math.h>

#include "train/finetune.h"
#include "train/optimizer.h"

enum ghn_status ghn_finetune_fits(const struct ghn_arch *arch, const struct ghn_dataset *dataset,
                                  struct ghn_err *err) {
    const struct ghn_shape *input = &arch->nodes[0].shape,
                           *output = &arch->nodes[arch->output].shape;
    char text[GHN_SHAPE_TEXT];
    if (input->ndim != 3)
        return ghn_fail(err, GHN_SHAPE_MISMATCH, arch->nodes[0].name,
                        "the network's input is %s; images are [channels, height, width]",
                        ghn_shape_text(input, text, sizeof text));
    if (output->ndim != 1 || output->dim[0] != dataset->n_classes)
        return ghn_fail(err, GHN_SHAPE_MISMATCH, arch->nodes[arch->output].name,
                        "the network's output is %s; the data set %s has %d classes and needs [%d]",
                        ghn_shape_text(output, text, sizeof text), dataset->name,
                        dataset->n_classes, dataset->n_classes);
    return ghn_dataset_fits(dataset, input->dim, err);
}

int64_t ghn_finetune_steps(const struct ghn_recipe *recipe, int64_t images, int *ret_batch) {
    int64_t batch = recipe->batch_size < images ? recipe->batch_size : images;
    if (batch < 1)
        batch = 1;
    *ret_batch = (int)batch;
    if (recipe->epochs <= 0)
        return recipe->steps;
    double steps = ceil(recipe->epochs * (double)images / (double)batch);
    return steps < 1 ? 1 : (int64_t)steps;
}

int64_t ghn_finetune_bytes(const struct ghn_arch *arch, const struct ghn_recipe *recipe) {
    int in_state = 1 + ghn__optimizer_slots(recipe);
    return (1 + 2 * in_state) * (int64_t)sizeof(float) * arch->n_parameters;
}
