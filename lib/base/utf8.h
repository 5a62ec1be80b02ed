/* UTF-8 (RFC 3629): checking it and making text safe to print. */
#ifndef GHN_BASE_UTF8_H
#define GHN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the n bytes at s are well-formed UTF-8 (no overlong forms, no surrogates, at most
 * U+10FFFF). */
bool ghn_utf8_valid(const char *s, size_t n);

/* Makes the NUL-terminated text s valid UTF-8 free of control characters, in place and without
 * growing it: every offending byte (also a sequence cut off at the end) becomes '?'. */
void ghn_utf8_sanitise(char *s);

#endif
