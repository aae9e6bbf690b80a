// The small parts of a PC that systems expect: the real-time clock with its CMOS bytes (ports 0x70, 0x71; MC146818),
// the reset line of the keyboard controller (0x64, command 0xfe; nothing else of it exists), port 0x92's fast reset,
// the panic port (pvpanic), and the power registers of hardware-reduced ACPI (ACPI 6.5, 4.8.3.7): sleep control, sleep
// status, reset, and which power event is pending.
//
//   LAYOUT_PORT_POWER + 0  sleep control: SLP_EN and SLP_TYP 5 switches off
//                     + 1  sleep status
//                     + 2  reset: 1 restarts
//                     + 3  power events: bit 0 the button was pressed; reading clears (the DSDT's _EVT method does)
#pragma once

#include "base/error.h"
#include "vmm/bus.h"

enum platform_request { PLATFORM_POWER_OFF, PLATFORM_RESET, PLATFORM_PANIC };

struct platform;

struct platform_settings {
    int power_interrupt;                                           // eventfd of LAYOUT_IRQ_POWER; stays the caller's
    void (*request)(void *context, enum platform_request request); // any vCPU's thread
    void *context;
};

int platform_new(const struct platform_settings *settings, struct bus *ports, struct platform **ret,
                 struct error *error);
void platform_free(struct platform *p);
void platform_press_power(struct platform *p); // any thread
