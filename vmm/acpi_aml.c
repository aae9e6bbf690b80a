// The AML assembler: see acpi_aml.h. Numbers in parentheses are sections of ACPI 6.5.
//
// A length (PkgLength, 20.2.4) counts its own one to four bytes, so it is put in when the thing is closed and its size
// is known: what was written meanwhile moves up.
#include "vmm/acpi_aml.h"

#include "base/cursor.h"

#include <errno.h>
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

#define METHOD_SERIALIZED 0x08
#define REGION_SYSTEM_IO 0x01
#define FIELD_BYTE_WRITE_AS_ZEROS 0x41 // byte access, no lock

static void append(struct aml *a, const void *bytes, size_t n)
{
    if (a->failed == 0)
        a->failed = buf_append(&a->code, bytes, n);
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
    if (a->failed == 0 && a->depth == AML_DEPTH)
        a->failed = -EOVERFLOW;
    if (a->failed == 0)
        a->open[a->depth++] = a->code.size;
}

static unsigned encode_length(unsigned char to[4], size_t contents)
{
    unsigned extra = contents + 1 <= 0x3f ? 0 : contents + 2 <= 0xfff ? 1 : contents + 3 <= 0xfffff ? 2 : 3;
    size_t length = contents + 1 + extra;
    if (extra == 0) {
        to[0] = (unsigned char)length;
        return 1;
    }
    to[0] = (unsigned char)(extra << 6 | (length & 0x0f));
    for (unsigned i = 1; i <= extra; i++)
        to[i] = (unsigned char)(length >> (8 * i - 4));
    return 1 + extra;
}

void aml_close(struct aml *a)
{
    unsigned char length[4], *end;
    if (a->failed == 0 && a->depth == 0)
        a->failed = -EINVAL;
    if (a->failed < 0)
        return;
    size_t start = a->open[--a->depth], contents = a->code.size - start;
    unsigned size = encode_length(length, contents);
    a->failed = buf_reserve(&a->code, size, &end);
    if (a->failed < 0)
        return;
    memmove(a->code.data + start + size, a->code.data + start, contents);
    memcpy(a->code.data + start, length, size);
    a->code.size += size;
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

void aml_name_resources(struct aml *a, const char *name, const struct aml_resources *r)
{
    static const unsigned char end_tag[] = {0x79, 0}; // checksum 0: none (6.4.2.9)
    aml_op(a, AML_NAME);
    aml_path(a, name);
    aml_op(a, AML_BUFFER);
    open_length(a);
    aml_integer(a, r->size + sizeof end_tag);
    append(a, r->bytes, r->size);
    append(a, end_tag, sizeof end_tag);
    aml_close(a);
}

// --- resource descriptors (6.4) -------------------------------------------------------------------------------------

// Values of `width` bytes, one after the other. What does not fit is a programming error that the tests would see.
static void add(struct aml_resources *r, unsigned width, const uint32_t *values, unsigned count)
{
    if (count * width > sizeof r->bytes - r->size)
        abort();
    for (unsigned i = 0; i < count; i++)
        for (unsigned byte = 0; byte < width; byte++)
            r->bytes[r->size++] = (unsigned char)(values[i] >> (8 * byte));
}
#define ADD(r, width, ...)                                                                                             \
    add(r, width, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

void aml_resource_io(struct aml_resources *r, unsigned port, unsigned size)
{
    ADD(r, 1, 0x47, 1); // 6.4.2.5: I/O port, 16 bits decoded
    ADD(r, 2, port, port);
    ADD(r, 1, 1, size);
}

void aml_resource_memory(struct aml_resources *r, uint32_t address, uint32_t size)
{
    ADD(r, 1, 0x86, 9, 0, 1); // 6.4.3.4: 32-bit fixed memory, writable
    ADD(r, 4, address, size);
}

void aml_resource_interrupt(struct aml_resources *r, uint32_t irq)
{
    ADD(r, 1, 0x89, 6, 0, 0x03, 1); // 6.4.3.6: consumer, edge, active high, exclusive; one interrupt
    ADD(r, 4, irq);
}

// Address spaces (6.4.3.5): type (0 memory, 1 I/O, 2 bus), both ends fixed, the type's own flags; then granularity,
// first, last, translation, size.
void aml_resource_bus_window(struct aml_resources *r, unsigned first, unsigned last)
{
    ADD(r, 1, 0x88, 13, 0, 2, 0x0c, 0);
    ADD(r, 2, 0, first, last, 0, last - first + 1);
}

void aml_resource_io_window(struct aml_resources *r, unsigned first, unsigned last)
{
    ADD(r, 1, 0x88, 13, 0, 1, 0x0c, 0x03); // the entire range
    ADD(r, 2, 0, first, last, 0, last - first + 1);
}

void aml_resource_memory_window(struct aml_resources *r, uint32_t first, uint32_t last)
{
    ADD(r, 1, 0x87, 23, 0, 0, 0x0c, 0x01); // not cached, writable
    ADD(r, 4, 0, first, last, 0, last - first + 1);
}
