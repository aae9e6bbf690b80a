// The guest's physical address space: every fixed address of the machine, in one place.
//
//   0x00000000  RAM                       0x500  GDT · 0x6000 PVH start info · 0x7000 zero page · 0x9000 page tables
//   0x0009fc00  reserved (EBDA, VGA, BIOS; RAM behind it)      0xe0000 ACPI tables, the RSDP first
//   0x000ffff0  the reset vector: where real mode begins
//   0x00100000  RAM, up to 3 GiB          the kernel, the initrd at the top of it
//   0xc0000000  PCI memory window (BARs)
//   0xe0000000  ECAM, bus 0 (1 MiB)
//   0xfec00000  I/O APIC · 0xfee00000 local APICs · 0xfffbc000 KVM's identity map and TSS
//   0x100000000 RAM, the rest
//
// Sources: Linux Documentation/x86/boot.rst and zero-page.rst; ACPI 6.5, 5.2.5.1 (RSDP in 0xe0000–0xfffff); PCI Express
// Base 3.0, 7.2.2 (ECAM); Linux Documentation/virt/kvm/api.rst, 4.36 and 4.40 (TSS and identity map, Intel only).
#pragma once

#include <stdint.h>

#define LAYOUT_LOW_RAM_END 0xc0000000ull
#define LAYOUT_HIGH_RAM 0x100000000ull
#define LAYOUT_BASE_RAM_END 0x9fc00ull
#define LAYOUT_EXTENDED_RAM 0x100000ull

#define LAYOUT_GDT 0x500ull
#define LAYOUT_GDT_CODE 0x10u // selectors; boot.rst's __BOOT_CS: 64-bit code for a bzImage, 32-bit code for PVH
#define LAYOUT_GDT_DATA 0x18u // __BOOT_DS
#define LAYOUT_GDT_TSS 0x20u  // two entries, as a 64-bit one takes
#define LAYOUT_GDT_SIZE 0x30u // bytes
#define LAYOUT_PVH_START 0x6000ull
#define LAYOUT_ZERO_PAGE 0x7000ull
#define LAYOUT_PAGE_TABLES 0x9000ull // six pages: PML4, PDPT, four PDs of 2 MiB pages; the first 4 GiB, identical
#define LAYOUT_CMDLINE 0x20000ull
#define LAYOUT_CMDLINE_MAXIMUM 4096u // bytes with the NUL: Linux's COMMAND_LINE_SIZE would be 2048
#define LAYOUT_ACPI 0xe0000ull
#define LAYOUT_ACPI_SIZE 0x1fff0ull
#define LAYOUT_RESET_VECTOR 0xffff0ull // 16 bytes

#define LAYOUT_PCI_MEMORY 0xc0000000ull
#define LAYOUT_PCI_MEMORY_SIZE 0x20000000ull
#define LAYOUT_ECAM 0xe0000000ull
#define LAYOUT_ECAM_SIZE 0x100000ull
#define LAYOUT_IO_APIC 0xfec00000ull
#define LAYOUT_LOCAL_APIC 0xfee00000ull
#define LAYOUT_KVM_IDENTITY_MAP 0xfffbc000ull
#define LAYOUT_KVM_TSS 0xfffbd000ull // three pages

// I/O ports.
#define LAYOUT_PORT_RTC 0x70u
#define LAYOUT_PORT_I8042_DATA 0x60u
#define LAYOUT_PORT_I8042_STATUS 0x64u
#define LAYOUT_PORT_COM1 0x3f8u
#define LAYOUT_PORT_PVPANIC 0x505u // qemu's docs/specs/pvpanic
#define LAYOUT_PORT_POWER 0x600u   // sleep control, sleep status, reset, power events: platform.h
#define LAYOUT_SLEEP_TYPE_OFF 5u   // SLP_TYP of _S5
#define LAYOUT_RESET_VALUE 1u
#define LAYOUT_PORT_PCI_ADDRESS 0xcf8u
#define LAYOUT_PORT_PCI_DATA 0xcfcu

// Interrupts of the I/O APIC (GSIs); MSI-X routes come after them.
#define LAYOUT_PIN_PIT 2u // where interrupt 0 arrives at the I/O APIC: the MADT says so, and the route must
#define LAYOUT_IRQ_COM1 4u
#define LAYOUT_IRQ_POWER 9u // the Generic Event Device
#define LAYOUT_IRQ_COUNT 24u

#define LAYOUT_CPUS_MAXIMUM 32u
#define LAYOUT_MEMORY_MINIMUM (16ull << 20)
#define LAYOUT_MEMORY_MAXIMUM (1ull << 40)
