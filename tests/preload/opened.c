/* The library loaded by dlopen, used through dlsym beside the C library's allocator, and closed while it is in use. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *(*sal_malloc)(size_t);
static void *(*sal_calloc)(size_t, size_t);
static void *(*sal_realloc)(void *, size_t);
static void (*sal_free)(void *);
static size_t (*sal_size)(void *);
static pthread_barrier_t barrier;

#define CHECK(what)                                                      \
    do {                                                                 \
        if (!(what)) {                                                   \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what);           \
            exit(1);                                                     \
        }                                                                \
    } while (0)

static void *work(void *unused) {
    char *blocks[500];
    /* Threads that were there before the library, and have come to it now. */
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < 20; round++) {
        for (int at = 0; at < 500; at++) {
            size_t len = at * 13 % 4000 + 1;
            blocks[at] = at % 3 ? sal_malloc(len) : sal_calloc(len, 1);
            memset(blocks[at], at, len);
        }
        for (int at = 0; at < 500; at++) {
            blocks[at] = sal_realloc(blocks[at], at * 29 % 9000 + 1);
            CHECK(blocks[at] && blocks[at][0] == (char)at);
            sal_free(blocks[at]);
        }
    }
    pthread_barrier_wait(&barrier);
    /* The main thread closes the library here; then these threads end, and its hooks run. */
    pthread_barrier_wait(&barrier);
    return unused;
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    /* Thread-specific data of the library's thread hook then needs memory of its own. */
    for (int at = 0; at < 40; at++) {
        pthread_key_t key;
        CHECK(pthread_key_create(&key, NULL) == 0);
    }
    pthread_t threads[4];
    pthread_barrier_init(&barrier, NULL, 5);
    for (int at = 0; at < 4; at++) CHECK(pthread_create(&threads[at], NULL, work, NULL) == 0);
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "%s\n", dlerror());
    CHECK(library);
    sal_malloc = dlsym(library, "malloc");
    sal_calloc = dlsym(library, "calloc");
    sal_realloc = dlsym(library, "realloc");
    sal_free = dlsym(library, "free");
    sal_size = dlsym(library, "malloc_usable_size");
    CHECK(sal_malloc && sal_malloc != malloc && sal_calloc && sal_realloc && sal_free && sal_size);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);

    /* Blocks of the C library's own allocator are passed on to it. */
    void *foreign = malloc(1000);
    CHECK(sal_size(foreign) >= 1000);
    sal_free(foreign);
    foreign = strdup("a string of the C library");
    char *ours = sal_realloc(foreign, 5000);
    CHECK(strcmp(ours, "a string of the C library") == 0 && sal_size(ours) >= 5000);
    sal_free(ours);

    void *kept = sal_malloc(100);
    dlclose(library);
    pthread_barrier_wait(&barrier);
    for (int at = 0; at < 4; at++) CHECK(pthread_join(threads[at], NULL) == 0);
    sal_free(kept);
    pid_t child = fork();
    if (child == 0) {
        sal_free(sal_malloc(100));
        _exit(7);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    puts("opened and closed");
    return 0;
}
