/* Whether memory that was freed stays with the process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGE = 48 << 20, SMALL = 3000, COUNT = 40000 };

/* Pages of the range that are there. */
static long present(char *start, size_t len) {
    static unsigned char pages[LARGE / 4096 + 1];
    long count = 0;
    if (mincore(start, len, pages) != 0) abort();
    for (size_t at = 0; at < len / 4096; at++) count += pages[at] & 1;
    return count;
}

int main(void) {
    char *large[3];
    static char *small[COUNT];
    for (int at = 0; at < 3; at++) memset(large[at] = malloc(LARGE), 1, LARGE);
    for (int at = 0; at < COUNT; at++) memset(small[at] = malloc(SMALL), 1, SMALL);
    for (int at = 0; at < 3; at++) free(large[at]);
    long left = present(large[0], LARGE);
    char *low = small[COUNT / 2];
    for (int at = 0; at < COUNT; at++) free(small[at]);
    /* Much is freed here, and little is held. */
    for (int at = 0; at < 100000; at++) free(malloc(100));
    char *start = low - (size_t)low % (2 << 20);
    long small_left = present(start, 2 << 20);
    if (left < 100 && small_left < 300)
        puts("given back");
    else if (left == LARGE / 4096 && small_left > 300)
        puts("kept");
    else
        printf("%ld of %d pages of large objects, %ld of small ones are left\n", left, LARGE / 4096, small_left);
    return 0;
}
