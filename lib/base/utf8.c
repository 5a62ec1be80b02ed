#include "base/utf8.h"

#include <string.h>

/* The length in bytes of the well-formed sequence that starts at s, of which n bytes may be read; 0
 * if there is none. The ranges of the second byte are Table 3-7 of the Unicode standard. */
static size_t sequence_length(const unsigned char *s, size_t n) {
    if (n == 0)
        return 0;
    unsigned char c = s[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    size_t length = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n < length)
        return 0;
    unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

bool ghn_utf8_valid(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;
    while (n > 0) {
        size_t length = sequence_length(p, n);
        if (length == 0)
            return false;
        p += length;
        n -= length;
    }
    return true;
}

void ghn_utf8_sanitise(char *s) {
    unsigned char *p = (unsigned char *)s;
    size_t n = strlen(s);
    while (n > 0) {
        size_t length = sequence_length(p, n);
        /* C0 controls, DEL, and the C1 controls (C2 80 to C2 9F). */
        bool control =
            length == 1 ? *p < 0x20 || *p == 0x7F : length == 2 && *p == 0xC2 && p[1] < 0xA0;
        if (length == 0 || control) {
            length = length ? length : 1;
            memset(p, '?', length);
        }
        p += length;
        n -= length;
    }
}
