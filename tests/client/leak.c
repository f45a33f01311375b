/* Loses memory, for those who look whether that would be seen. */
#include <stdlib.h>

int main(void)
{
    void *volatile lost = malloc(100);
    lost = NULL;
    return lost != NULL;
}
