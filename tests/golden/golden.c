#include "golden.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const char *golden_folder(void) {
    const char *folder = getenv("GHN_GOLDEN");
    if (!folder || !*folder)
        folder = GOLDEN_DEFAULT;
    DIR *dir = opendir(folder);
    if (!dir) {
        (void)printf("skipped: there is no golden data at %s; set GHN_GOLDEN\n", folder);
        return NULL;
    }
    (void)closedir(dir);
    return folder;
}

static int is_case(const struct dirent *entry) {
    size_t n = strlen(entry->d_name);
    return n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

int golden_run(const char *set, void (*test)(void **state)) {
    const char *folder = golden_folder();
    if (!folder)
        return GOLDEN_SKIPPED;
    char path[4096];
    struct dirent **entries = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, set);
    int n = scandir(path, &entries, is_case, alphasort);
    if (n <= 0) {
        (void)printf("there are no cases in %s\n", path);
        return 1;
    }
    struct CMUnitTest *tests = calloc((size_t)n, sizeof(*tests));
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s/%s", folder, set, entries[i]->d_name);
        tests[i] = (struct CMUnitTest){entries[i]->d_name, test, NULL, NULL, strdup(path)};
    }
    int failures = _cmocka_run_group_tests(set, tests, (size_t)n, NULL, NULL);
    for (int i = 0; i < n; i++) {
        free(tests[i].initial_state);
        free(entries[i]);
    }
    free(entries);
    free(tests);
    return failures;
}

json_t *golden_load(const char *path) {
    json_error_t error;
    json_t *golden = json_load_file(path, 0, &error);
    if (!golden)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    return golden;
}

char *golden_checkpoint(const json_t *golden) {
    const char *name = json_string_value(json_object_get(golden, "checkpoint"));
    const char *folder = golden_folder();
    assert_non_null(name);
    assert_non_null(folder);
    size_t n = strlen(folder) + strlen(name) + 32;
    char *path = malloc(n);
    assert_non_null(path);
    (void)snprintf(path, n, "%s/checkpoints/%s.pt", folder, name);
    return path;
}
