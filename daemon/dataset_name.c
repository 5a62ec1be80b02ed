#include "dataset_name.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_NAME = 64 };

bool ghnd_dataset_name_is_sound(const char *name) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "_.-";
    size_t n = strlen(name);
    return n > 0 && n <= MAX_NAME && strspn(name, allowed) == n && name[0] != '.';
}

void ghnd_dataset_path(const char *data_dir, const char *name, char *path, size_t n) {
    struct stat st;
    (void)snprintf(path, n, "%s/%s", data_dir, name);
    if (strcmp(name, "shapes") == 0 && stat(path, &st) != 0)
        (void)snprintf(path, n, "%s", name);
}

/* Puts the field in the place of a path below path: clients are not told where the data are. */
static void name_field(const char *path, struct ghn_err *err) {
    size_t n = strlen(path);
    struct ghn_err shown = GHN_ERR_INIT;
    if (strncmp(err->where, path, n) != 0 || (err->where[n] != '\0' && err->where[n] != '/'))
        return;
    const char *file = err->where[n] ? err->where + n + 1 : "";
    ghn_record(&shown, err->status, "dataset", "%s%s%s", file, *file ? ": " : "", err->message);
    *err = shown;
}

enum ghn_status ghnd_dataset_describe(const char *data_dir, const char *name,
                                      struct ghn_dataset **ret, struct ghn_err *err) {
    char path[4352];
    ghnd_dataset_path(data_dir, name, path, sizeof(path));
    enum ghn_status status = ghn_dataset_describe(path, ret, err);
    if (status != GHN_OK)
        name_field(path, err);
    return status;
}
