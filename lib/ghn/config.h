/* A hypernetwork's configuration as JSON, and its range checks (private to this folder). */
#ifndef GHN_GHN_CONFIG_H
#define GHN_GHN_CONFIG_H

#include <jansson.h>

#include "ghn/model.h"

/* Bounds of the configuration, wide enough for every published hypernetwork. */
enum {
    GHN__HID_MAX = 1024,
    GHN__CHANNELS_MAX = 1024,
    GHN__SIDE_MAX = 64,
    GHN__CLASSES_MAX = 65536
};

/* GHN_OUT_OF_RANGE, with err->where the entry, unless config is one that this program computes. */
enum ghn_status ghn__config_check(const struct ghn_config *config,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* The configuration of a "config" object: max_shape and num_classes are required, what else is
 * absent has the reference's default for old files (hid 32, "gatedgnn", "conv", all flags off).
 * `where` is the path of json in errors. */
enum ghn_status ghn__config_from_json(const json_t *json, const char *where, struct ghn_config *ret,
                                      struct ghn_err *err) GHN_MUST_CHECK;

/* Its opposite; NULL if there is no memory. */
json_t *ghn__config_to_json(const struct ghn_config *config);

#endif
