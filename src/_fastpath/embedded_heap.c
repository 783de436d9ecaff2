// SPDX-License-Identifier: Apache-2.0
// malloc of urunc-embedded, in place of libc's: what is taken while the state is prepared lies in that state.
// What libc itself has taken before that is not freed while it is prepared.
//
// The one rule: fast and simple before thrifty.  Classes of sizes, each with a list of what has been freed; nothing
// goes back to the kernel, since the process is short.  One thread: nothing in urunc-embedded starts another.
#define _GNU_SOURCE
#include "embedded_heap.h"

#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    STEP = 16,    /* small classes are multiples of this, up to */
    SMALL = 1024, /* bytes; above, powers of two */
    CLASSES = SMALL / STEP + 1 + 64,
    CHUNK = 256 << 10, /* what the kernel is asked for at a time */
    PAGE = 4096,
};

struct block {
    size_t size;
    struct block *next; /* of a free one; itself: never to be used again */
};
_Static_assert(sizeof(struct block) == STEP, "what follows is aligned");

static char state[FP_STATE_HEAP] __attribute__((aligned(1 << 14)));
static char *at, *end;
static bool is_outside; /* something of the kernel's has been taken: pages, or all that came when the state was full */
static struct block *freed[CLASSES];

static size_t class_of(size_t size)
{
    return size <= SMALL ? size / STEP : SMALL / STEP + 64 - (size_t)__builtin_clzl(size - 1);
}

static size_t rounded(size_t size)
{
    if (size <= SMALL)
        return size ? (size + STEP - 1) & ~(size_t)(STEP - 1) : STEP;
    return (size_t)1 << (64 - __builtin_clzl(size - 1));
}

static char *aligned(char *pointer, size_t alignment)
{
    return (char *)(((uintptr_t)pointer + alignment - 1) & ~(alignment - 1));
}

static char *map(size_t size)
{
    is_outside = true;
    char *begin = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED)
        errno = ENOMEM;
    return begin == MAP_FAILED ? NULL : begin;
}

static bool has_room(size_t size, size_t alignment)
{
    char *begin = aligned(at, alignment);
    return begin < end && size <= (size_t)(end - begin);
}

static bool extend(size_t size)
{
    size_t whole = size < CHUNK ? CHUNK : (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    char *begin = map(whole);
    if (!begin)
        return false;
    at = begin;
    end = begin + whole;
    return true;
}

/* `size` bytes that nobody has had before, zeroes. */
static char *fresh(size_t size, size_t alignment)
{
    if (!has_room(size, alignment) && !extend(size + alignment))
        return NULL;
    char *begin = aligned(at, alignment);
    at = begin + size;
    return begin;
}

/* Whoever takes much at once fills it: all its pages by one call cost less than one by one. */
static void *take(size_t size)
{
    if (size > PTRDIFF_MAX / 2) {
        errno = ENOMEM;
        return NULL;
    }
    size_t wanted = size;
    size = rounded(size);
    struct block **list = &freed[class_of(size)], *block = *list;
    if (block)
        *list = block->next;
    else if (!(block = (struct block *)fresh(sizeof(*block) + size, STEP)))
        return NULL;
    *block = (struct block){.size = size};
    if (size >= CHUNK)
        madvise(aligned((char *)(block + 1), PAGE), wanted & ~(size_t)(PAGE - 1), MADV_POPULATE_WRITE);
    return block + 1;
}

void *malloc(size_t size)
{
    return take(size);
}

void free(void *memory)
{
    struct block *block = (struct block *)memory - 1;
    if (!memory || block->next == block)
        return;
    struct block **list = &freed[class_of(block->size)];
    block->next = *list;
    *list = block;
}

void *calloc(size_t count, size_t size)
{
    size_t whole;
    if (__builtin_mul_overflow(count, size, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    void *memory = take(whole);
    return memory ? memset(memory, 0, whole) : NULL;
}

void *realloc(void *memory, size_t size)
{
    size_t before = memory ? malloc_usable_size(memory) : 0;
    if (memory && size <= before)
        return memory;
    void *larger = malloc(size);
    if (larger && memory) {
        memcpy(larger, memory, before);
        free(memory);
    }
    return larger;
}

size_t malloc_usable_size(void *memory)
{
    return ((struct block *)memory - 1)->size;
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    char *begin = fresh(alignment + size, alignment);
    if (!begin)
        return ENOMEM;
    struct block *block = (struct block *)(begin + alignment) - 1;
    *block = (struct block){.size = size, .next = block};
    *ret = block + 1;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    void *memory;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

void *fp_heap_pages(size_t size)
{
    return has_room(size, PAGE) ? fresh(size, PAGE) : map(size);
}

void fp_heap_begin(void)
{
    memset(freed, 0, sizeof(freed));
    at = state;
    end = state + sizeof(state);
    is_outside = false;
}

bool fp_heap_end(void)
{
    at = end = NULL; /* a page of the kernel's costs less than one of the file that is written to */
    return !is_outside;
}
