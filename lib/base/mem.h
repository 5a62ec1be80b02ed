/* Memory: allocation that a test can make fail, and an arena for things that die together. */
#ifndef GHN_BASE_MEM_H
#define GHN_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Alignment in bytes of everything these functions return: a cache line, and an AVX-512 register.
 */
enum { GHN_ALIGN = 64 };

/* n bytes, aligned to GHN_ALIGN, contents undefined; NULL if there is no memory. n = 0 gives a
 * pointer that may be freed. The caller frees with ghn_free. */
void *ghn_malloc(size_t n) __attribute__((malloc, warn_unused_result));

/* count elements of size bytes each, zeroed; NULL if there is no memory or count * size overflows.
 */
void *ghn_calloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* p, of old_size bytes, moved to new_size bytes; p stays valid if NULL comes back. p may be NULL.
 */
void *ghn_realloc(void *p, size_t old_size, size_t new_size) __attribute__((warn_unused_result));

/* Frees what the functions above returned; NULL is allowed. */
void ghn_free(void *p);

/* For tests: the allocation number n from now (1 is the next one) on this thread fails, and with
 * sticky every later one as well; n = 0 ends it. */
void ghn_mem_fail_at(long n, int sticky);

/* An arena hands out memory that is freed all at once. Not thread-safe. */
struct ghn_arena {
    struct ghn_arena_chunk *chunks; /* newest first */
    size_t used;                    /* bytes taken from the newest chunk */
    size_t total;                   /* bytes of all chunks */
};

/* An arena in its starting state; nothing is allocated until the first request. */
#define GHN_ARENA_INIT                                                                             \
    { NULL, 0, 0 }

/* n bytes from the arena, aligned to 16 and zeroed; NULL if there is no memory. Lives until
 * ghn_arena_done. */
void *ghn_arena_alloc(struct ghn_arena *arena, size_t n) __attribute__((warn_unused_result));

/* As ghn_arena_alloc, count elements of size bytes; NULL also if the product overflows. */
void *ghn_arena_array(struct ghn_arena *arena, size_t count, size_t size)
    __attribute__((warn_unused_result));

/* A NUL-terminated copy in the arena of the text s, or of its first n bytes. */
char *ghn_arena_strdup(struct ghn_arena *arena, const char *s) __attribute__((warn_unused_result));
char *ghn_arena_strndup(struct ghn_arena *arena, const char *s, size_t n)
    __attribute__((warn_unused_result));

/* Formatted text in the arena, as printf has it; NULL if there is no memory. */
char *ghn_arena_printf(struct ghn_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

/* Frees everything that came from the arena and puts it in its starting state. */
void ghn_arena_done(struct ghn_arena *arena);

#endif
