/* Makes an untrained hypernetwork for the tests: make_model FILE SEED [K]. */
#include <stdio.h>
#include <stdlib.h>

#include "ghn/model.h"

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    struct ghn_config config = ghn_config_default;
    if (argc > 3)
        config.num_classes = atoi(argv[3]);
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_model *model = NULL;
    enum ghn_status status = ghn_model_new(&config, (uint64_t)atoll(argv[2]), &model, &err);
    if (status == GHN_OK)
        status = ghn_model_save(model, argv[1], NULL, &err);
    ghn_model_unref(model);
    if (status != GHN_OK)
        (void)fprintf(stderr, "make_model: %s: %s\n", err.where, err.message);
    return status == GHN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
