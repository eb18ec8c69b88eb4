/* Loaded with RTLD_DEEPBIND: its malloc is the C library's. */
#include <stdlib.h>
#include <string.h>

char *make(void) {
    char *block = malloc(100);
    strcpy(block, "from a plugin");
    return block;
}
