// An assembler for the little AML that the DSDT needs (ACPI 6.5, 20.2; resource descriptors: 6.4). Each function
// appends one thing; what has contents is opened and closed, and its length is put in when it is closed:
//
//   aml_open_device(&a, "PWRB");
//   aml_name_string(&a, "_HID", …);
//   aml_close(&a);
//
// A struct of zeros is empty. What does not fit, or is nested too deep, is a programming error (abort): the largest
// machine's code is a quarter of the maximum. Names are of four characters, padded with '_'; paths are as AML writes
// them ("\\_SB_.PWRB" becomes a two-name path).
#pragma once

#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH 8u
#define AML_CODE_MAXIMUM 8192u

struct aml {
    unsigned char code[AML_CODE_MAXIMUM];
    size_t size;
    size_t open[AML_DEPTH]; // where the length of each open thing belongs
    unsigned depth;
};

void aml_close(struct aml *a);
void aml_open_scope(struct aml *a, const char *path);
void aml_open_device(struct aml *a, const char *name);
void aml_open_method(struct aml *a, const char *name, unsigned arguments); // serialized
void aml_open_if(struct aml *a);                                           // its predicate follows, then what it guards
void aml_open_package(struct aml *a, const char *name, unsigned elements); // Name (name, Package () {…})

void aml_integer(struct aml *a, uint64_t value);
void aml_path(struct aml *a, const char *path);
void aml_op(struct aml *a, unsigned op); // one byte of code: an operator, Local0 (0x60), a null name (0)

void aml_name_integer(struct aml *a, const char *name, uint64_t value);
void aml_name_string(struct aml *a, const char *name, const char *text);
void aml_name_eisa_id(struct aml *a, const char *name, const char *id); // "PNP0501"
// A byte of I/O space as a field: OperationRegion (region, SystemIO, port, 1), Field (region, ByteAcc…) {field, 8}.
void aml_port_field(struct aml *a, const char *region, const char *field, unsigned port);

// A resource template, Name (name, ResourceTemplate () {…}): its descriptors follow. The ranges are what the device
// decodes, or (…_window) what a bridge passes on.
void aml_open_resources(struct aml *a, const char *name);
void aml_close_resources(struct aml *a);
void aml_resource_io(struct aml *a, unsigned port, unsigned size);
void aml_resource_memory(struct aml *a, uint32_t address, uint32_t size);
void aml_resource_interrupt(struct aml *a, uint32_t irq); // edge, active high, not shared
void aml_resource_bus_window(struct aml *a, unsigned first, unsigned last);
void aml_resource_io_window(struct aml *a, unsigned first, unsigned last);
void aml_resource_memory_window(struct aml *a, uint32_t first, uint32_t last);
