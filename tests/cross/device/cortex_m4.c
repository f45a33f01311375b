#include "board.h"

#define STACK_BYTES 4096 /* what is painted of it */
#define PAINT 0x5aa5c33cu

extern uint32_t data_begin[], data_end[], data_source[], bss_begin[], bss_end[], stack_end[];
int main(void);

/* ---- semihosting ------------------------------------------------------------------------------------------------- */

static int32_t ask_host(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

void board_print(const char *text)
{
    ask_host(0x04, text); /* SYS_WRITE0 */
}

void board_exit(bool good)
{
    ask_host(0x18, (const void *)(good ? 0x20026u : 0x20023u)); /* SYS_EXIT: application exit, or run time error */
    for (;;) continue;
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static volatile bool fault_expected, fault_came;

/* frame: r0-r3, r12, lr, pc, xpsr as they were. The instruction that is expected to fault takes four bytes. */
void board_on_fault(uint32_t *frame);
void board_on_fault(uint32_t *frame)
{
    if (!fault_expected) {
        board_print("FAIL a fault\n");
        board_exit(false);
    }
    fault_came = true;
    frame[6] += 4;
}

__attribute__((naked)) static void on_fault(void)
{
    __asm__ volatile("mrs r0, msp\n b board_on_fault");
}

bool board_trap_unaligned(void)
{
    static const uint8_t bytes[8] = {0};
    volatile uint32_t *control = (volatile uint32_t *)0xe000ed14u; /* CCR */
    *control |= 8u;                                                /* UNALIGN_TRP */
    fault_expected = true;
    __asm__ volatile("dsb\n isb" ::: "memory");
    __asm__ volatile("ldr.w r3, [%0]" ::"r"((uintptr_t)bytes | 1) : "r3", "memory");
    fault_expected = false;
    return fault_came;
}

/* ---- the stack --------------------------------------------------------------------------------------------------- */

static uint32_t *stack_top; /* where it was when it was painted */

static inline uint32_t *stack_pointer(void)
{
    uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

/* Both look at the stack of their caller: they have no frame worth naming of their own. */
__attribute__((noinline)) void board_paint_stack(void)
{
    stack_top = stack_pointer();
    for (volatile uint32_t *at = stack_top - STACK_BYTES / 4; at < stack_top; at++) *at = PAINT;
}

__attribute__((noinline)) size_t board_stack_used(void)
{
    volatile uint32_t *at = stack_top - STACK_BYTES / 4;
    while (at < stack_top && *at == PAINT) at++;
    return (size_t)((uintptr_t)stack_top - (uintptr_t)at);
}

/* ---- the beginning ----------------------------------------------------------------------------------------------- */

void board_on_reset(void);
void board_on_reset(void)
{
    const uint32_t *from = data_source;
    for (uint32_t *to = data_begin; to < data_end;) *to++ = *from++;
    for (uint32_t *to = bss_begin; to < bss_end;) *to++ = 0;
    board_exit(main() == 0);
}

struct vectors {
    uint32_t *stack;
    void (*handlers[15])(void);
};
__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    stack_end, {board_on_reset, on_fault, on_fault, on_fault, on_fault, on_fault}};
