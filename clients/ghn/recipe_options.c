#include "recipe_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "train/recipe.h"

/* batch_size becomes batch-size; a switch that is on by default is one for turning it off. */
static void name_option(struct cli_recipe_field *field) {
    (void)snprintf(field->name, sizeof field->name, "%s%s", field->default_flag ? "no-" : "",
                   field->key);
    for (char *c = field->name; *c; c++)
        if (*c == '_')
            *c = '-';
}

enum ghn_status cli_recipe_options_init(struct cli_recipe_options *options, struct ghn_err *err) {
    *options = (struct cli_recipe_options){.defaults = ghn_recipe_to_json(&ghn_recipe_default)};
    /* A recipe has only one of the two, but options are there for both. */
    if (!options->defaults || json_object_set_new(options->defaults, "epochs", json_real(0)) != 0) {
        cli_recipe_options_done(options);
        return ghn_fail_memory(err);
    }
    const char *key;
    json_t *value;
    json_object_foreach(options->defaults, key, value) {
        if (options->n == CLI_RECIPE_FIELDS)
            break;
        struct cli_recipe_field *field = &options->fields[options->n++];
        *field = (struct cli_recipe_field){
            .key = key, .type = json_typeof(value), .default_flag = json_is_true(value)};
        name_option(field);
    }
    return GHN_OK;
}

void cli_recipe_options_done(struct cli_recipe_options *options) {
    json_decref(options->defaults);
    *options = (struct cli_recipe_options){0};
}

static bool is_boolean(const struct cli_recipe_field *field) {
    return field->type == JSON_TRUE || field->type == JSON_FALSE;
}

size_t cli_recipe_options_list(struct cli_recipe_options *options, struct cli_option *ret) {
    for (int i = 0; i < options->n; i++) {
        struct cli_recipe_field *field = &options->fields[i];
        ret[i] = (struct cli_option){.name = field->name};
        if (is_boolean(field))
            ret[i].flag = &field->flag;
        else
            ret[i].text = &field->text;
    }
    return (size_t)options->n;
}

/* The value of a field that was given; NULL if its text is no number. */
static json_t *value_of(const struct cli_recipe_field *field) {
    char *end = NULL;
    errno = 0;
    if (is_boolean(field))
        return json_boolean(!field->default_flag);
    if (field->type == JSON_STRING)
        return cli_text_json(field->text);
    json_t *ret = field->type == JSON_INTEGER ? json_integer(strtoll(field->text, &end, 10))
                                              : json_real(strtod(field->text, &end));
    if (ret && errno == 0 && end != field->text && !*end)
        return ret;
    json_decref(ret);
    return NULL;
}

enum ghn_status cli_recipe_options_json(const struct cli_recipe_options *options, json_t **ret,
                                        struct ghn_err *err) {
    json_t *object = json_object();
    for (int i = 0; i < options->n; i++) {
        const struct cli_recipe_field *field = &options->fields[i];
        if (!(is_boolean(field) ? field->flag : field->text != NULL))
            continue;
        json_t *value = value_of(field);
        if (!value) {
            json_decref(object);
            return ghn_fail(err, GHN_OUT_OF_RANGE, field->key, "'%s' is not %s", field->text,
                            field->type == JSON_INTEGER ? "an integer" : "a number");
        }
        if (json_object_set_new(object, field->key, value) != 0) {
            json_decref(object);
            return ghn_fail_memory(err);
        }
    }
    *ret = object;
    return object ? GHN_OK : ghn_fail_memory(err);
}
