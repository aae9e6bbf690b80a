// ACPI tables built in code (ACPI 6.5): RSDP, XSDT, FADT (hardware-reduced), MADT, MCFG, DSDT. The DSDT's byte code is
// assembled by a few functions of acpi_aml.c; `iasl -d` accepts all of it.
#pragma once

#include "base/error.h"
#include "vmm/guest_memory.h"

// Writes them at LAYOUT_ACPI; *ret_rsdp is the RSDP's address.
int acpi_build(const struct guest_memory *m, unsigned cpus, uint64_t *ret_rsdp, struct error *error);
