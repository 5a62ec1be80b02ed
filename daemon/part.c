#include "part.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Whether a list of entity tags has etag, if `weak` also with W/ before it, or is "*". */
static bool lists(const char *list, const char *etag, bool weak) {
    size_t n = strlen(etag);
    list += strspn(list, " \t");
    if (strcmp(list, "*") == 0)
        return true;
    while (*list) {
        if (weak && strncmp(list, "W/", 2) == 0)
            list += 2;
        if (strncmp(list, etag, n) == 0)
            return true;
        list += strcspn(list, ",");
        list += strspn(list, ", \t");
    }
    return false;
}

/* A number at *text, which moves behind it, INT64_MAX for larger ones; -1 if there is none. */
static int64_t read_number(const char **text) {
    int64_t number = -1;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        int digit = **text - '0';
        if (number < 0)
            number = digit;
        else
            number = number > (INT64_MAX - digit) / 10 ? INT64_MAX : 10 * number + digit;
    }
    return number;
}

/* The one range of "bytes=FIRST-LAST", "bytes=FIRST-" or "bytes=-LENGTH". */
static enum ghnd_part read_range(const char *range, int64_t size, int64_t *ret_first,
                                 int64_t *ret_n) {
    static const char unit[] = "bytes=";
    if (strncasecmp(range, unit, strlen(unit)) != 0)
        return GHND_PART_ALL;
    range += strlen(unit);
    int64_t first = read_number(&range);
    if (*range++ != '-')
        return GHND_PART_ALL;
    int64_t last = read_number(&range);
    if (*range != '\0' || (first < 0 && last < 0) || (first >= 0 && last >= 0 && last < first))
        return GHND_PART_ALL;
    if (first < 0) { /* the last so many bytes */
        first = last < size ? size - last : 0;
        last = -1;
    }
    if (first >= size)
        return GHND_PART_BEHIND;
    *ret_first = first;
    *ret_n = (last < 0 || last >= size ? size : last + 1) - first;
    return GHND_PART_SOME;
}

enum ghnd_part ghnd_part_wanted(const struct ghnd_condition *condition, const char *etag,
                                int64_t size, int64_t *ret_first, int64_t *ret_n) {
    if (condition->if_match && !lists(condition->if_match, etag, false))
        return GHND_PART_ANOTHER;
    if (condition->if_none_match && lists(condition->if_none_match, etag, true))
        return GHND_PART_UNCHANGED;
    if (!condition->range || (condition->if_range && strcmp(condition->if_range, etag) != 0))
        return GHND_PART_ALL;
    return read_range(condition->range, size, ret_first, ret_n);
}
