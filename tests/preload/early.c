/* Allocates before any constructor has run, when thread-specific data of the first 32 keys is taken; and plugins that are
   bound to the C library's allocator. The second argument says what to do wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *first;

static void before_all(void) {
    for (int at = 0; at < 40; at++) {
        pthread_key_t key;
        if (pthread_key_create(&key, NULL) != 0) abort();
    }
    first = malloc(100);
    strcpy(first, "before all others");
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = before_all;

int main(int count, char **arguments) {
    if (strcmp(first, "before all others") != 0) return 1;
    free(first);
    if (count < 2) return 2;
    void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!plugin) return 3;
    char *(*make)(void) = (char *(*)(void))dlsym(plugin, "make");
    for (int round = 0; round < 1000; round++) {
        char *block = make();
        if (malloc_usable_size(block) < 100) return 4;
        block = realloc(block, round * 7 + 20);
        if (strcmp(block, "from a plugin") != 0) return 5;
        free(block);
        free(make());
    }
    puts("early and foreign blocks are fine");
    fflush(stdout);
    char *volatile large = malloc(1 << 20);
    if (count > 2 && strcmp(arguments[2], "twice") == 0) {
        free(large);
        free(large);
    } else if (count > 2 && strcmp(arguments[2], "inside") == 0) {
        free(large + 4096);
    } else if (count > 2 && strcmp(arguments[2], "nowhere") == 0) {
        free(large + (1ul << 35));
    }
    return 0;
}
