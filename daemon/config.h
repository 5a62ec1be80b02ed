/* Configuration: defaults, then one file, then the command line. */
#ifndef GHND_CONFIG_H
#define GHND_CONFIG_H

#include <stdbool.h>
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

/* Name of an option that differs between the two and does not take effect without a restart; NULL
 * if there is none. */
const char *ghnd_config_fixed_change(const struct ghnd_config *before,
                                     const struct ghnd_config *after);

#endif
