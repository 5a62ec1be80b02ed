#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A countdown for tests; per thread so that a test disturbs nobody else. */
static _Thread_local long fail_countdown;
static _Thread_local int fail_sticky;

void ghn_mem_fail_at(long n, int sticky) {
    fail_countdown = n;
    fail_sticky = sticky;
}

static int must_fail(void) {
    if (fail_countdown == 0)
        return 0;
    if (fail_countdown > 1) {
        fail_countdown--;
        return 0;
    }
    if (!fail_sticky)
        fail_countdown = 0;
    return 1;
}

/* Blocks from LARGE bytes on lie on huge pages, where the system has them: every small page of new
 * memory costs a fault, which for the activations of a network seen once takes as long as training
 * it. */
enum { HUGE_PAGE = 1 << 21, LARGE = 1 << 22 };

static void *allocate_large(size_t n) {
    size_t rounded = (n + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *p = aligned_alloc(HUGE_PAGE, rounded);
    if (p)
        (void)madvise(p, rounded, MADV_HUGEPAGE);
    return p;
}

void *ghn_malloc(size_t n) {
    if (must_fail() || n > SIZE_MAX - HUGE_PAGE)
        return NULL;
    if (n >= LARGE)
        return allocate_large(n);
    size_t rounded = (n + GHN_ALIGN - 1) / GHN_ALIGN * GHN_ALIGN;
    return aligned_alloc(GHN_ALIGN, rounded ? rounded : GHN_ALIGN);
}

void *ghn_calloc(size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    void *p = ghn_malloc(n);
    if (p)
        memset(p, 0, n);
    return p;
}

void *ghn_realloc(void *p, size_t old_size, size_t new_size) {
    void *q = ghn_malloc(new_size);
    if (!q)
        return NULL;
    if (p)
        memcpy(q, p, old_size < new_size ? old_size : new_size);
    ghn_free(p);
    return q;
}

void ghn_free(void *p) {
    free(p);
}

struct ghn_arena_chunk {
    struct ghn_arena_chunk *next;
    size_t size; /* bytes of data */
    max_align_t data[];
};

enum { ARENA_STEP = 16, CHUNK_MIN = 4096, CHUNK_MAX = 1 << 20 };

/* Chunks double, so that a small arena stays small and a large one has few chunks. */
static int add_chunk(struct ghn_arena *arena, size_t n) {
    size_t size = arena->total < CHUNK_MIN ? CHUNK_MIN : arena->total;
    if (size > CHUNK_MAX)
        size = CHUNK_MAX;
    if (size < n)
        size = n;
    if (size > SIZE_MAX - sizeof(struct ghn_arena_chunk))
        return 0;
    struct ghn_arena_chunk *chunk = ghn_malloc(sizeof(*chunk) + size);
    if (!chunk)
        return 0;
    chunk->next = arena->chunks;
    chunk->size = size;
    arena->chunks = chunk;
    arena->used = 0;
    arena->total += size;
    return 1;
}

void *ghn_arena_alloc(struct ghn_arena *arena, size_t n) {
    if (n > SIZE_MAX - ARENA_STEP)
        return NULL;
    size_t rounded = (n + ARENA_STEP - 1) / ARENA_STEP * ARENA_STEP;
    if (!arena->chunks || arena->chunks->size - arena->used < rounded)
        if (!add_chunk(arena, rounded))
            return NULL;
    char *p = (char *)arena->chunks->data + arena->used;
    arena->used += rounded;
    memset(p, 0, rounded);
    return p;
}

void *ghn_arena_array(struct ghn_arena *arena, size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    return ghn_arena_alloc(arena, n);
}

char *ghn_arena_strdup(struct ghn_arena *arena, const char *s) {
    return ghn_arena_strndup(arena, s, strlen(s));
}

char *ghn_arena_strndup(struct ghn_arena *arena, const char *s, size_t n) {
    char *copy = ghn_arena_alloc(arena, n + 1);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

char *ghn_arena_printf(struct ghn_arena *arena, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : ghn_arena_alloc(arena, (size_t)n + 1);
    if (text)
        (void)vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

void ghn_arena_done(struct ghn_arena *arena) {
    while (arena->chunks) {
        struct ghn_arena_chunk *next = arena->chunks->next;
        ghn_free(arena->chunks);
        arena->chunks = next;
    }
    arena->used = 0;
    arena->total = 0;
}
