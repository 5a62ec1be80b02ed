#include "base/machine.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PATH = 4096 };

/* Where a hierarchy of control groups is mounted, and what its limit is called there. */
struct hierarchy {
    const char *mount, *file;
};
static const struct hierarchy v2 = {"/sys/fs/cgroup", "memory.max"};
static const struct hierarchy v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"};

/* The number in a file; INT64_MAX if there is none, as where it says "max". */
static int64_t read_limit(const char *path) {
    long long limit = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return INT64_MAX;
    int n = fscanf(file, "%lld", &limit);
    (void)fclose(file);
    return n == 1 && limit >= 0 ? limit : INT64_MAX;
}

/* The least limit of a group and those around it. In a container the path may be one of the world
 * outside: then what is mounted is the group itself, the end of the walk. (A path with "..", of a
 * process outside its namespace, says nothing about what is mounted.) */
static int64_t least_limit(const char *root, const struct hierarchy *hierarchy, char *group) {
    char path[2 * MAX_PATH];
    int64_t least = INT64_MAX;
    if (strstr(group, "/.."))
        return least;
    for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
        *end = '\0';
        (void)snprintf(path, sizeof(path), "%s%s%s/%s", root, hierarchy->mount, group,
                       hierarchy->file);
        int64_t limit = read_limit(path);
        if (limit < least)
            least = limit;
    }
    return least;
}

/* Whether "memory" is among controllers separated by commas. */
static bool has_memory(char *controllers) {
    char *rest = NULL;
    for (char *name = strtok_r(controllers, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        if (strcmp(name, "memory") == 0)
            return true;
    return false;
}

/* A line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH, and v2's has no controllers. */
int64_t ghn__cgroup_memory(const char *root) {
    char line[MAX_PATH];
    int64_t least = INT64_MAX;
    (void)snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    while (file && fgets(line, sizeof(line), file)) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        bool is_v2 = controllers[1] == '\0';
        if (!is_v2 && !has_memory(controllers + 1))
            continue;
        int64_t limit = least_limit(root, is_v2 ? &v2 : &v1, group);
        if (limit < least)
            least = limit;
    }
    if (file)
        (void)fclose(file);
    return least;
}

static int64_t find_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t all = pages > 0 && page > 0 ? (int64_t)pages * page : INT64_MAX;
    int64_t limit = ghn__cgroup_memory("");
    return limit < all ? limit : all;
}

/* Every run of a network asks, and the answer takes several files: they are read once. (Threads
 * that race find the same.) */
int64_t ghn_machine_memory(void) {
    static _Atomic int64_t known;
    int64_t memory = atomic_load(&known);
    if (memory == 0) {
        memory = find_memory();
        atomic_store(&known, memory);
    }
    return memory;
}
