#include "beside.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void ghnd_beside(const char *path, char *ret, size_t n) {
    char self[3072];
    ssize_t k = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[k > 0 ? k : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    (void)snprintf(ret, n, "%s%s", self, path);
}
