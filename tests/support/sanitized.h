/* Whether a sanitizer watches this build. A pass takes ten times as long then, and what it computes
 * is what it computes without: tests that measure the same again and again do so less often. */
#ifndef GHN_TEST_SANITIZED_H
#define GHN_TEST_SANITIZED_H

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
