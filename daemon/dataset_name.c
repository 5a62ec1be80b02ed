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
