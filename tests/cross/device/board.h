/* The board that the program runs on, in an emulator: its output, its stack, and its faults. */
#ifndef CORTEX_M_BOARD_H
#define CORTEX_M_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void board_print(const char *text);
void board_exit(bool good);

/* From now on every access that is not aligned is a fault. False: the emulator does not do that. */
bool board_trap_unaligned(void);

/* How deep a call goes, in bytes below the stack as it is here: paint, call, measure, all in one function. */
void board_paint_stack(void);
size_t board_stack_used(void);

#endif
