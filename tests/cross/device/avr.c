/* The board as an AVR, whose int and pointers have 16 bits. It says what it has to say on its UART, and ends by
 * sleeping with its interrupts off: then the emulator ends, too. */
#include "board.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

#define STACK_BYTES 768 /* what is painted of it */
#define PAINT 0xa5

void board_print(const char *text)
{
    UCSR0B = 1 << TXEN0;
    for (; *text != '\0'; text++) {
        while (!(UCSR0A & 1 << UDRE0)) continue;
        UDR0 = (uint8_t)*text;
    }
}

void board_exit(bool good)
{
    board_print(good ? "END good\n" : "END bad\n");
    cli();
    sleep_mode();
    for (;;) continue;
}

bool board_trap_unaligned(void)
{
    return false; /* nothing has an alignment */
}

static volatile uint8_t *stack_top;

__attribute__((noinline)) void board_paint_stack(void)
{
    stack_top = (volatile uint8_t *)SP;
    for (volatile uint8_t *at = stack_top - STACK_BYTES; at < stack_top; at++) *at = PAINT;
}

__attribute__((noinline)) size_t board_stack_used(void)
{
    volatile uint8_t *at = stack_top - STACK_BYTES;
    while (at < stack_top && *at == PAINT) at++;
    return (size_t)(stack_top - at);
}
