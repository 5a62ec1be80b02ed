/* Which part of a file a request asks for: Range, If-Range, If-Match and If-None-Match (RFC 9110,
 * sections 13 and 14). Knows nothing of HTTP's library, so that tests can call it. */
#ifndef GHND_PART_H
#define GHND_PART_H

#include <stdint.h>

/* Values of the header fields, NULL where absent. */
struct ghnd_condition {
    const char *range, *if_range, *if_none_match, *if_match;
};

enum ghnd_part {
    GHND_PART_ALL,
    GHND_PART_SOME,      /* n > 0 bytes from `first` on */
    GHND_PART_ANOTHER,   /* it asks for another file than this one */
    GHND_PART_UNCHANGED, /* the client has this file already */
    GHND_PART_BEHIND,    /* all that it asks for lies behind the end */
};

/* What of a file of size bytes, whose entity tag is etag ("..." with its quotes), is asked for;
 * *ret_first and *ret_n are set for GHND_PART_SOME only. Several ranges, other units and ranges
 * that are none are not looked at, as they may be: the answer is the whole. */
enum ghnd_part ghnd_part_wanted(const struct ghnd_condition *condition, const char *etag,
                                int64_t size, int64_t *ret_first, int64_t *ret_n);

#endif
