/* The start of a program on a Cortex-M4F that QEMU loads: RAM is loaded too. */

#include <stdint.h>
#include <stdlib.h>

extern uint32_t __stack[];
extern void initialise_monitor_handles(void);
extern int main(void);

/* What newlib calls for C++, which there is none of. */
void _init(void) {}
void _fini(void) {}

void reset(void) {
    /* Access to the floating-point unit. */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    initialise_monitor_handles();
    exit(main());
}

__attribute__((section(".vectors"), used)) static void *const vectors[] = {__stack, (void *)reset};
