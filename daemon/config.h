/* Configuration: defaults, then one file, then the command line. */
#ifndef GHND_CONFIG_H
#define GHND_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct ghnd_list {
    int n;
    char **items;
};

/* One member an option of options.def; text is NULL where nothing was said. Times are in
 * milliseconds, sizes in bytes. */
struct ghnd_config {
#define GHND_TEXT(field, name, argument, initial, reload, help) char *field;
#define GHND_LIST(field, name, argument, reload, help) struct ghnd_list field;
#define GHND_NUMBER(field, name, unit, initial, minimum, maximum, reload, help) int64_t field;
#include "options.def"
#undef GHND_TEXT
#undef GHND_LIST
#undef GHND_NUMBER
};

/* What the command line asks for. */
enum ghnd_command { GHND_SERVE, GHND_HELP, GHND_VERSION };

/* Reads the command line and the configuration file into *ret, which the caller frees with
 * ghnd_config_done also after GHN_OK with another command than GHND_SERVE. May be called again with
 * the same arguments, to reload. Errors name the option, or file and line. */
enum ghn_status ghnd_config_read(int argc, char **argv, enum ghnd_command *ret_command,
                                 struct ghnd_config *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Frees what config holds; a zeroed one is allowed. */
void ghnd_config_done(struct ghnd_config *config);

/* Writes the text of --help to standard output. */
void ghnd_config_help(void);

/* Gives every option that does not take effect without a restart the value that it has in `before`.
 * ret_names (n) are those that had another, after commas, "" for none. */
enum ghn_status ghnd_config_keep_fixed(const struct ghnd_config *before, struct ghnd_config *config,
                                       char *ret_names, size_t n,
                                       struct ghn_err *err) GHN_MUST_CHECK;

#endif
