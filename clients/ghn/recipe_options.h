/* The fields of a recipe as options of the command line: batch_size is --batch-size, and so on, for
 * every field there is. */
#ifndef GHN_CLIENT_RECIPE_OPTIONS_H
#define GHN_CLIENT_RECIPE_OPTIONS_H

#include <jansson.h>
#include <stddef.h>

#include "cli.h"

enum { CLI_RECIPE_FIELDS = 40, CLI_RECIPE_NAME = 32 };

struct cli_recipe_field {
    const char *key;            /* of the recipe */
    json_type type;             /* of its value */
    bool default_flag;          /* of a boolean */
    char name[CLI_RECIPE_NAME]; /* of the option; a boolean that is true has no-NAME */
    const char *text;           /* what was given; NULL: nothing */
    bool flag;                  /* a boolean's option was given */
};

struct cli_recipe_options {
    json_t *defaults; /* owns the keys */
    int n;
    struct cli_recipe_field fields[CLI_RECIPE_FIELDS];
};

/* Prepares; GHN_NO_MEMORY. The caller frees with cli_recipe_options_done. */
enum ghn_status cli_recipe_options_init(struct cli_recipe_options *options,
                                        struct ghn_err *err) GHN_MUST_CHECK;
void cli_recipe_options_done(struct cli_recipe_options *options);

/* Writes an option for every field to ret, which has room for CLI_RECIPE_FIELDS; returns how many.
 */
size_t cli_recipe_options_list(struct cli_recipe_options *options, struct cli_option *ret);

/* The fields that were given, as a JSON object (a new reference), for ghn_recipe_from_json or a
 * request. GHN_OUT_OF_RANGE for what is no number. */
enum ghn_status cli_recipe_options_json(const struct cli_recipe_options *options, json_t **ret,
                                        struct ghn_err *err) GHN_MUST_CHECK;

#endif
