// The AML assembler: see acpi_aml.h. Numbers in parentheses are sections of ACPI 6.5.
//
// A length (PkgLength, 20.2.4) may have one to four bytes, which it counts, too. Here it always has three, which are
// left free when a thing is opened and filled when it is closed and its size is known.
#include "vmm/acpi_aml.h"

#include "base/cursor.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

// Opcodes (20.2.3, 20.2.5).
#define AML_NAME 0x08
#define AML_BYTE 0x0a
#define AML_WORD 0x0b
#define AML_DWORD 0x0c
#define AML_STRING 0x0d
#define AML_QWORD 0x0e
#define AML_SCOPE 0x10
#define AML_BUFFER 0x11
#define AML_PACKAGE 0x12
#define AML_METHOD 0x14
#define AML_DUAL_NAME 0x2e
#define AML_EXTENDED 0x5b
#define AML_REGION 0x80 // after AML_EXTENDED
#define AML_FIELD 0x81
#define AML_DEVICE 0x82
#define AML_IF 0xa0

#define LENGTH_SIZE 3u
#define METHOD_SERIALIZED 0x08
#define REGION_SYSTEM_IO 0x01
#define FIELD_BYTE_WRITE_AS_ZEROS 0x41 // byte access, no lock

static void append(struct aml *a, const void *bytes, size_t n)
{
    if (n > sizeof a->code - a->size)
        abort();
    memcpy(a->code + a->size, bytes, n);
    a->size += n;
}

void aml_op(struct aml *a, unsigned op)
{
    unsigned char byte = (unsigned char)op;
    append(a, &byte, 1);
}

static void append_name(struct aml *a, const char *name, size_t n)
{
    char padded[4] = {'_', '_', '_', '_'};
    memcpy(padded, name, n < sizeof padded ? n : sizeof padded);
    append(a, padded, sizeof padded);
}

void aml_path(struct aml *a, const char *path)
{
    const char *dot = strchr(path, '.');
    if (*path == '\\') {
        aml_op(a, '\\');
        path++;
    }
    if (dot) {
        aml_op(a, AML_DUAL_NAME);
        append_name(a, path, (size_t)(dot - path));
        path = dot + 1;
    }
    append_name(a, path, strlen(path));
}

void aml_integer(struct aml *a, uint64_t value)
{
    unsigned char bytes[8];
    put_le64(bytes, value);
    if (value <= 1) { // ZeroOp, OneOp
        aml_op(a, (unsigned)value);
        return;
    }
    unsigned size = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
    aml_op(a, size == 1 ? AML_BYTE : size == 2 ? AML_WORD : size == 4 ? AML_DWORD : AML_QWORD);
    append(a, bytes, size);
}

// --- things with contents -------------------------------------------------------------------------------------------

static void open_length(struct aml *a)
{
    static const unsigned char length[LENGTH_SIZE];
    if (a->depth == AML_DEPTH)
        abort();
    a->open[a->depth++] = a->size;
    append(a, length, sizeof length);
}

void aml_close(struct aml *a)
{
    unsigned char *at = a->code + a->open[--a->depth];
    size_t length = (size_t)(a->code + a->size - at);
    at[0] = (unsigned char)(2 << 6 | (length & 0x0f)); // two more bytes
    at[1] = (unsigned char)(length >> 4);
    at[2] = (unsigned char)(length >> 12);
}

void aml_open_scope(struct aml *a, const char *path)
{
    aml_op(a, AML_SCOPE);
    open_length(a);
    aml_path(a, path);
}

void aml_open_device(struct aml *a, const char *name)
{
    aml_op(a, AML_EXTENDED);
    aml_op(a, AML_DEVICE);
    open_length(a);
    aml_path(a, name);
}

void aml_open_method(struct aml *a, const char *name, unsigned arguments)
{
    aml_op(a, AML_METHOD);
    open_length(a);
    aml_path(a, name);
    aml_op(a, METHOD_SERIALIZED | arguments);
}

void aml_open_if(struct aml *a)
{
    aml_op(a, AML_IF);
    open_length(a);
}

void aml_open_package(struct aml *a, const char *name, unsigned elements)
{
    aml_op(a, AML_NAME);
    aml_path(a, name);
    aml_op(a, AML_PACKAGE);
    open_length(a);
    aml_op(a, elements);
}

// --- named values ---------------------------------------------------------------------------------------------------

void aml_name_integer(struct aml *a, const char *name, uint64_t value)
{
    aml_op(a, AML_NAME);
    aml_path(a, name);
    aml_integer(a, value);
}

void aml_name_string(struct aml *a, const char *name, const char *text)
{
    aml_op(a, AML_NAME);
    aml_path(a, name);
    aml_op(a, AML_STRING);
    append(a, text, strlen(text) + 1);
}

// Three letters of five bits and four hexadecimal digits, in 32 bits whose bytes are swapped (19.3.4, EISAID).
void aml_name_eisa_id(struct aml *a, const char *name, const char *id)
{
    uint32_t product = (uint32_t)strtoul(id + 3, NULL, 16);
    uint32_t value =
        (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 | (uint32_t)(id[2] - '@') << 16 | product;
    aml_name_integer(a, name, __builtin_bswap32(value));
}

void aml_port_field(struct aml *a, const char *region, const char *field, unsigned port)
{
    aml_op(a, AML_EXTENDED);
    aml_op(a, AML_REGION);
    aml_path(a, region);
    aml_op(a, REGION_SYSTEM_IO);
    aml_integer(a, port);
    aml_integer(a, 1);
    aml_op(a, AML_EXTENDED);
    aml_op(a, AML_FIELD);
    open_length(a);
    aml_path(a, region);
    aml_op(a, FIELD_BYTE_WRITE_AS_ZEROS);
    aml_path(a, field);
    aml_op(a, 8); // bits, as a length
    aml_close(a);
}

// --- resources (6.4) ------------------------------------------------------------------------------------------------

// A buffer; how many bytes it has is a word behind its length.
void aml_open_resources(struct aml *a, const char *name)
{
    static const unsigned char size[] = {AML_WORD, 0, 0};
    aml_op(a, AML_NAME);
    aml_path(a, name);
    aml_op(a, AML_BUFFER);
    open_length(a);
    append(a, size, sizeof size);
}

void aml_close_resources(struct aml *a)
{
    static const unsigned char end_tag[] = {0x79, 0}; // checksum 0: none (6.4.2.9)
    size_t size_at = a->open[a->depth - 1] + LENGTH_SIZE + 1;
    append(a, end_tag, sizeof end_tag);
    put_le16(a->code + size_at, (uint16_t)(a->size - size_at - 2));
    aml_close(a);
}

// Values of `width` bytes, one after the other.
static void add(struct aml *a, unsigned width, const uint32_t *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned char bytes[4];
        put_le32(bytes, values[i]);
        append(a, bytes, width);
    }
}
#define ADD(a, width, ...)                                                                                             \
    add(a, width, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

void aml_resource_io(struct aml *a, unsigned port, unsigned size)
{
    ADD(a, 1, 0x47, 1); // 6.4.2.5: I/O port, 16 bits decoded
    ADD(a, 2, port, port);
    ADD(a, 1, 1, size);
}

void aml_resource_memory(struct aml *a, uint32_t address, uint32_t size)
{
    ADD(a, 1, 0x86, 9, 0, 1); // 6.4.3.4: 32-bit fixed memory, writable
    ADD(a, 4, address, size);
}

void aml_resource_interrupt(struct aml *a, uint32_t irq)
{
    ADD(a, 1, 0x89, 6, 0, 0x03, 1); // 6.4.3.6: consumer, edge, active high, exclusive; one interrupt
    ADD(a, 4, irq);
}

// Address spaces (6.4.3.5): type (0 memory, 1 I/O, 2 bus), both ends fixed, the type's own flags; then granularity,
// first, last, translation, size.
void aml_resource_bus_window(struct aml *a, unsigned first, unsigned last)
{
    ADD(a, 1, 0x88, 13, 0, 2, 0x0c, 0);
    ADD(a, 2, 0, first, last, 0, last - first + 1);
}

void aml_resource_io_window(struct aml *a, unsigned first, unsigned last)
{
    ADD(a, 1, 0x88, 13, 0, 1, 0x0c, 0x03); // the entire range
    ADD(a, 2, 0, first, last, 0, last - first + 1);
}

void aml_resource_memory_window(struct aml *a, uint32_t first, uint32_t last)
{
    ADD(a, 1, 0x87, 23, 0, 0, 0x0c, 0x01); // not cached, writable
    ADD(a, 4, 0, first, last, 0, last - first + 1);
}
