/* What C, POSIX and glibc promise of each function, odd arguments first of all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHECK(what)                                                         \
    do {                                                                    \
        if (!(what)) {                                                      \
            fprintf(stderr, "line %d: %s, errno %d\n", __LINE__, #what, errno); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

/* Newer than the C library. */
static void (*free_sized)(void *, size_t);
static void (*free_aligned_sized)(void *, size_t, size_t);

static int is_aligned(void *block, size_t align) { return (uintptr_t)block % align == 0; }

static int is_all(const unsigned char *bytes, int value, size_t len) {
    for (size_t at = 0; at < len; at++)
        if (bytes[at] != value) return 0;
    return 1;
}

/* The compiler knows the functions, and that some of these calls are odd. */
static volatile size_t huge = SIZE_MAX - 7, half = (size_t)PTRDIFF_MAX + 1, nothing = 0;

static void sizes_and_alignment(void) {
    for (size_t size = 0; size < 3000; size++) {
        unsigned char *block = malloc(size);
        CHECK(block && is_aligned(block, 16) && malloc_usable_size(block) >= size);
        memset(block, 7, malloc_usable_size(block));
        free_sized(block, size + 5);
    }
    for (size_t size = 3000; size < 40u << 20; size += size / 3) {
        unsigned char *block = malloc(size);
        CHECK(block && is_aligned(block, 16) && malloc_usable_size(block) >= size);
        block[0] = block[malloc_usable_size(block) - 1] = 1;
        free(block);
    }
    void *first = malloc(nothing), *second = malloc(nothing);
    CHECK(first && second && first != second);
    free(first);
    free(second);
    CHECK(malloc_usable_size(NULL) == 0);
    free(NULL);
    free_sized(NULL, 1);
}

/* Large blocks that were freed are kept for the next one of that length, and read as zeros if they are asked to. */
static void large_blocks_again(void) {
    enum { LEN = 3 << 20 };
    unsigned char *block = malloc(LEN);
    CHECK(block && malloc_usable_size(block) == LEN);
    memset(block, 7, LEN);
    free(block);
    unsigned char *again = calloc(1, LEN);
    CHECK(again == block && malloc_usable_size(again) == LEN && is_all(again, 0, LEN));
    memset(again, 8, LEN);
    again = realloc(again, LEN / 2);
    CHECK(again && malloc_usable_size(again) == LEN / 2 && is_all(again, 8, LEN / 2));
    again = realloc(again, 2 * LEN);
    CHECK(again && malloc_usable_size(again) == 2 * LEN && is_all(again, 8, LEN / 2));
    free(again);
}

static void no_memory(void) {
    void *block = malloc(100);
    size_t sizes[] = {huge, half, half - 1};
    for (int i = 0; i < 3; i++) {
        errno = 0;
        CHECK(!malloc(sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!calloc(sizes[i], 1) && errno == ENOMEM);
        errno = 0;
        CHECK(!realloc(block, sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!memalign(64, sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!aligned_alloc(4096, sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!valloc(sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!pvalloc(sizes[i]) && errno == ENOMEM);
        void *place = &sizes;
        errno = 3;
        CHECK(posix_memalign(&place, 64, sizes[i]) == ENOMEM && errno == 3 && place == &sizes);
    }
    errno = 0;
    CHECK(!calloc(half / 2, 5) && errno == ENOMEM);
    errno = 0;
    CHECK(!calloc(huge, huge) && errno == ENOMEM);
    errno = 0;
    CHECK(!reallocarray(block, huge / 2, 3) && errno == ENOMEM);
    free(block);
}

static void zeros(void) {
    size_t sizes[] = {1, 16, 100, 1000, 5000, 16000, 17000, 70000, 250000, 270000, 3 << 20};
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 11; i++) {
            unsigned char *blocks[40];
            for (int at = 0; at < 40; at++) {
                blocks[at] = at % 2 ? calloc(sizes[i], 1) : calloc(1, sizes[i]);
                CHECK(blocks[at] && is_aligned(blocks[at], 16) && is_all(blocks[at], 0, sizes[i]));
                memset(blocks[at], 0xAA, malloc_usable_size(blocks[at]));
            }
            for (int at = 0; at < 40; at++) free(blocks[(at * 7) % 40]);
        }
    unsigned char *none = calloc(nothing, 100);
    CHECK(none);
    free(none);
}

static void resizing(void) {
    unsigned char *block = realloc(NULL, 10);
    size_t len = 10;
    memset(block, 1, len);
    for (size_t size = 11; size < 6u << 20; size += 1 + size / 5) {
        block = realloc(block, size);
        CHECK(block && is_all(block, 1, len));
        memset(block, 1, len = size);
    }
    while (len > 10) {
        len -= 1 + len / 4;
        block = realloc(block, len);
        CHECK(block && malloc_usable_size(block) >= len && is_all(block, 1, len));
    }
    CHECK(malloc_usable_size(block) < 100);
    /* Within what it has, a block stays where it is. */
    void *before = block;
    block = realloc(block, malloc_usable_size(block));
    CHECK(block == before);
    block = reallocarray(block, 100, 20);
    CHECK(block && malloc_usable_size(block) >= 2000);
    CHECK(!realloc(block, nothing));
    block = reallocarray(NULL, 3, 5);
    free(block);
    /* A large block grows where it is, as long as nothing is in the way; in memory it moves at most once. */
    int in_file = !strcmp(getenv("SAL_BACKING"), "file"), moved = 0;
    block = malloc(1 << 20);
    memset(block, 1, 1 << 20);
    for (size_t size = 2 << 20; size <= (in_file ? 2u << 20 : 64u << 20); size *= 2) {
        before = block;
        block = realloc(block, size);
        moved += block != before;
        CHECK(block && moved <= !in_file && is_all(block, 1, 1 << 20) && malloc_usable_size(block) >= size);
    }
    free(block);
}

static void alignments(void) {
    for (size_t align = 1; align <= 4u << 20; align *= 2)
        for (size_t size = 0; size < 3 * align + 100; size += 1 + size / 2 + align / 3) {
            void *blocks[4] = {memalign(align, size), aligned_alloc(align, size), NULL, NULL};
            CHECK(posix_memalign(&blocks[2], align < 8 ? 8 : align, size) == 0);
            /* Rounded up. */
            blocks[3] = memalign(align / 2 + 1, size);
            for (int i = 0; i < 4; i++) {
                CHECK(blocks[i] && is_aligned(blocks[i], align) && malloc_usable_size(blocks[i]) >= size);
                memset(blocks[i], i, size);
            }
            for (int i = 0; i < 4; i++) CHECK(is_all(blocks[i], i, size));
            blocks[0] = realloc(blocks[0], size + 1);
            CHECK(blocks[0] && is_all(blocks[0], 0, size));
            free(blocks[0]);
            free(blocks[1]);
            free_aligned_sized(blocks[2], align * 2, size / 2);
            free(blocks[3]);
        }
    volatile size_t odd[] = {0, 3, 24, 48, 100};
    for (int i = 0; i < 5; i++) {
        errno = 0;
        CHECK(!aligned_alloc(odd[i], 100) && errno == EINVAL);
        void *place = NULL;
        errno = 0;
        CHECK(posix_memalign(&place, odd[i], 100) == EINVAL && errno == 0 && !place);
    }
    void *place = NULL;
    for (volatile size_t align = 1; align < sizeof(void *); align *= 2)
        CHECK(posix_memalign(&place, align, 100) == EINVAL);
    errno = 0;
    CHECK(!memalign(huge, 1) && errno == EINVAL);
    errno = 0;
    CHECK(!aligned_alloc(8u << 20, 1) && errno == ENOMEM);
    void *page = valloc(5), *pages = pvalloc(4097), *one = pvalloc(nothing);
    CHECK(is_aligned(page, 4096) && is_aligned(pages, 4096) && is_aligned(one, 4096));
    CHECK(malloc_usable_size(pages) >= 8192 && malloc_usable_size(one) >= 4096);
    free(page);
    free(pages);
    free(one);
}

static void errno_is_kept(void) {
    enum { COUNT = 3000 };
    static void *blocks[COUNT];
    for (size_t size = 8; size < 1u << 20; size *= 8) {
        int count = size > 40000 ? 100 : COUNT;
        for (int at = 0; at < count; at++) blocks[at] = malloc(size);
        for (int at = 0; at < count; at++) {
            errno = 1234;
            free(blocks[at]);
            CHECK(errno == 1234);
        }
    }
    malloc_trim(0);
    /* Memory that is locked cannot be given back, which may be tried here. */
    char *locked = malloc(8 << 20);
    if (mlock(locked, 4096) == 0) {
        locked[5 << 20] = 1;
        errno = 1234;
        free(locked);
        CHECK(errno == 1234);
    }
}

static void other_names(void) {
    const char *pairs[][2] = {{"malloc", "__libc_malloc"}, {"free", "__libc_free"}};
    Dl_info one, other;
    for (int i = 0; i < 2; i++) {
        CHECK(dladdr(dlsym(RTLD_DEFAULT, pairs[i][0]), &one) && dladdr(dlsym(RTLD_DEFAULT, pairs[i][1]), &other));
        CHECK(one.dli_fbase == other.dli_fbase && strstr(one.dli_fname, "libsal"));
    }
    free_sized = dlsym(RTLD_DEFAULT, "free_sized");
    free_aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    CHECK(free_sized && free_aligned_sized);
}

int main(void) {
    other_names();
    sizes_and_alignment();
    large_blocks_again();
    no_memory();
    zeros();
    resizing();
    alignments();
    errno_is_kept();
    puts("all as promised");
    return 0;
}
