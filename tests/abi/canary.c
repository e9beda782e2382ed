/* Reads past the end of what it allocated. Under AddressSanitizer and valgrind this must fail; a run in which it does
 * not fail proves nothing about the other programs. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argv;
    volatile char *bytes = malloc(8);
    if (bytes == NULL) {
        return 0;
    }
    bytes[0] = 1;
    printf("%d\n", bytes[8 * argc]);
    free((void *)bytes);
    return 0;
}
