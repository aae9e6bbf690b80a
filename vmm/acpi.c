// The ACPI tables (numbers in parentheses are sections of ACPI 6.5):
//
//   RSDP ─▶ XSDT ─▶ FADT ─▶ DSDT: \_SB.PCI0, CPUs, COM1, clock, panic port, power button and its event
//                ├▶ MADT: one local APIC a CPU, the I/O APIC
//                └▶ MCFG: where the configuration space of bus 0 lies
//
// The machine is of the hardware-reduced kind (4.1): no power-management timer, no fixed events, no SCI. It is switched
// off and restarted by two byte registers (platform.h), and the power button is a Generic Event Device (5.6.9): its
// interrupt runs _EVT, which reads and so clears the pending events and notifies the button. Systems that know the kind
// use neither the two 8259s nor the PIT then; both exist for those that do not.
//
// 1. Tables lie one after the other from LAYOUT_ACPI on, each on 64 bytes, within LAYOUT_ACPI_SIZE.
// 2. Every table's bytes sum to 0 (5.2.6); the RSDP's first 20 do also (5.2.5.3).
#include "vmm/acpi.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "vmm/acpi_aml.h"
#include "vmm/layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define ALIGNMENT 64u
#define HEADER_SIZE 36u // of every table but the RSDP (5.2.6)
#define RSDP_SIZE 36u
#define FADT_SIZE 276u

#define OEM "RONDO "
#define OEM_TABLE "RONDOVMM"

struct tables {
    const struct guest_memory *memory;
    uint64_t next; // where the next table goes
    int failed;    // 0 or -errno
};

// Without the NUL.
static void put_text(unsigned char *to, const char *text)
{
    while (*text)
        *to++ = (unsigned char)*text++;
}

static unsigned char checksum(const unsigned char *bytes, size_t n)
{
    unsigned char sum = 0;
    while (n--)
        sum = (unsigned char)(sum + *bytes++);
    return (unsigned char)-sum;
}

// Fills the header of the table in `b`, of which the first HEADER_SIZE bytes were left for it, and puts it into memory:
// its address.
static uint64_t place(struct tables *t, const char *signature, unsigned revision, unsigned char *bytes, size_t size)
{
    uint64_t at = t->next;
    put_text(bytes, signature);
    put_le32(bytes + 4, (uint32_t)size);
    bytes[8] = (unsigned char)revision;
    bytes[9] = 0;
    put_text(bytes + 10, OEM);
    put_text(bytes + 16, OEM_TABLE);
    put_le32(bytes + 24, 1);      // OEM revision
    put_text(bytes + 28, "RNDO"); // who assembled it
    put_le32(bytes + 32, 1);
    bytes[9] = checksum(bytes, size);
    if (t->failed == 0 && size > LAYOUT_ACPI + LAYOUT_ACPI_SIZE - at)
        t->failed = -ENOSPC;
    if (t->failed == 0)
        t->failed = guest_memory_write(t->memory, at, bytes, size);
    t->next = (at + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

// --- DSDT -----------------------------------------------------------------------------------------------------------

static void describe_pci(struct aml *a)
{
    aml_open_device(a, "PCI0");
    aml_name_eisa_id(a, "_HID", "PNP0A08"); // PCI Express, and for older systems PCI
    aml_name_eisa_id(a, "_CID", "PNP0A03");
    aml_name_integer(a, "_UID", 0);
    aml_name_integer(a, "_SEG", 0);
    aml_name_integer(a, "_BBN", 0);
    aml_open_resources(a, "_CRS");
    aml_resource_bus_window(a, 0, 0);
    aml_resource_io(a, LAYOUT_PORT_PCI_ADDRESS, 8);
    aml_resource_io_window(a, 0, LAYOUT_PORT_PCI_ADDRESS - 1);
    aml_resource_io_window(a, LAYOUT_PORT_PCI_DATA + 4, 0xffff);
    aml_resource_memory_window(a, LAYOUT_PCI_MEMORY, LAYOUT_PCI_MEMORY + LAYOUT_PCI_MEMORY_SIZE - 1);
    aml_close_resources(a);
    aml_open_package(a, "_PRT", 0); // no function has an interrupt pin
    aml_close(a);
    aml_close(a);

    // A system uses the ECAM of the MCFG only if somebody has reserved it (PCI Firmware 3.0, 4.1.2).
    aml_open_device(a, "RSVD");
    aml_name_eisa_id(a, "_HID", "PNP0C02");
    aml_name_integer(a, "_UID", 0);
    aml_open_resources(a, "_CRS");
    aml_resource_memory(a, LAYOUT_ECAM, LAYOUT_ECAM_SIZE);
    aml_resource_io(a, LAYOUT_PORT_POWER, 4);
    aml_close_resources(a);
    aml_close(a);
}

static void describe_ports(struct aml *a)
{
    aml_open_device(a, "COM1");
    aml_name_eisa_id(a, "_HID", "PNP0501");
    aml_name_integer(a, "_UID", 1);
    aml_open_resources(a, "_CRS");
    aml_resource_io(a, LAYOUT_PORT_COM1, 8);
    aml_resource_interrupt(a, LAYOUT_IRQ_COM1);
    aml_close_resources(a);
    aml_close(a);

    aml_open_device(a, "RTC_");
    aml_name_eisa_id(a, "_HID", "PNP0B00");
    aml_open_resources(a, "_CRS");
    aml_resource_io(a, LAYOUT_PORT_RTC, 2); // without an interrupt: it has no alarm
    aml_close_resources(a);
    aml_close(a);

    aml_open_device(a, "PEVT");
    aml_name_string(a, "_HID", "QEMU0001");
    aml_open_resources(a, "_CRS");
    aml_resource_io(a, LAYOUT_PORT_PVPANIC, 1);
    aml_close_resources(a);
    aml_name_integer(a, "_STA", 0x0f);
    aml_close(a);
}

static void describe_power(struct aml *a)
{
    aml_open_device(a, "PWRB");
    aml_name_eisa_id(a, "_HID", "PNP0C0C");
    aml_close(a);

    aml_open_device(a, "GED_");
    aml_name_string(a, "_HID", "ACPI0013");
    aml_name_integer(a, "_UID", 0);
    aml_open_resources(a, "_CRS");
    aml_resource_interrupt(a, LAYOUT_IRQ_POWER);
    aml_close_resources(a);
    aml_port_field(a, "PWEV", "EVTS", LAYOUT_PORT_POWER + 3);
    aml_open_method(a, "_EVT", 1);
    aml_op(a, 0x70); // Store (EVTS, Local0): reading clears
    aml_path(a, "EVTS");
    aml_op(a, 0x60);
    aml_open_if(a);
    aml_op(a, 0x7b); // And (Local0, 1)
    aml_op(a, 0x60);
    aml_integer(a, 1);
    aml_op(a, 0);
    aml_op(a, 0x86); // Notify (\_SB.PWRB, 0x80): pressed (5.6.6)
    aml_path(a, "\\_SB_.PWRB");
    aml_integer(a, 0x80);
    aml_close(a);
    aml_close(a);
    aml_close(a);
}

static void describe_cpus(struct aml *a, unsigned cpus)
{
    for (unsigned i = 0; i < cpus; i++) {
        char name[8];
        snprintf(name, sizeof name, "C%03X", i & 0xfffu);
        aml_open_device(a, name);
        aml_name_string(a, "_HID", "ACPI0007");
        aml_name_integer(a, "_UID", i); // as in the MADT
        aml_close(a);
    }
}

static void assemble_dsdt(struct aml *a, unsigned cpus)
{
    a->size = HEADER_SIZE; // place fills it
    aml_open_scope(a, "\\_SB_");
    describe_pci(a);
    describe_ports(a);
    describe_power(a);
    describe_cpus(a, cpus);
    aml_close(a);
    aml_open_package(a, "\\_S5_", 1); // off: what goes into the sleep control's SLP_TYP
    aml_integer(a, LAYOUT_SLEEP_TYPE_OFF);
    aml_close(a);
}

// --- the other tables -----------------------------------------------------------------------------------------------

// A Generic Address Structure (5.2.3.2): one byte in I/O space.
static void put_register(unsigned char *to, unsigned port)
{
    static const unsigned char io_byte[4] = {1, 8, 0, 1};
    memcpy(to, io_byte, sizeof io_byte);
    put_le64(to + 4, port);
}

// 5.2.9; what is not set does not exist in hardware-reduced ACPI.
static uint64_t place_fadt(struct tables *t, uint64_t dsdt)
{
    enum { // flags, 5.2.9
        WBINVD = 1 << 0,
        PROC_C1 = 1 << 2,
        PWR_BUTTON = 1 << 4, // not a fixed event: the device PWRB
        SLP_BUTTON = 1 << 5, // none
        RESET_REG_SUP = 1 << 10,
        HEADLESS = 1 << 12,
        HW_REDUCED_ACPI = 1 << 20,
    };
    enum {                       // IA-PC boot architecture, 5.2.9.3; neither 8042 (bit 1) nor "no CMOS clock" (bit 5)
        LEGACY_DEVICES = 1 << 0, // COM1
        NO_VGA = 1 << 2,
        NO_ASPM = 1 << 4,
    };
    unsigned char b[FADT_SIZE] = {0};
    put_le32(b + 40, (uint32_t)dsdt);
    b[45] = 4;     // preferred profile: enterprise server
    b[108] = 0x32; // the CMOS byte that holds the century
    put_le16(b + 109, LEGACY_DEVICES | NO_VGA | NO_ASPM);
    put_le32(b + 112, WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HEADLESS | HW_REDUCED_ACPI);
    put_register(b + 116, LAYOUT_PORT_POWER + 2);
    b[128] = LAYOUT_RESET_VALUE;
    b[131] = 5; // version 6.5
    put_le64(b + 140, dsdt);
    put_register(b + 244, LAYOUT_PORT_POWER);
    put_register(b + 256, LAYOUT_PORT_POWER + 1);
    put_text(b + 268, OEM_TABLE); // the hypervisor's name
    return place(t, "FACP", 6, b, sizeof b);
}

// 5.2.12.
static uint64_t place_madt(struct tables *t, unsigned cpus)
{
    unsigned char b[HEADER_SIZE + 8 + 8 * LAYOUT_CPUS_MAXIMUM + 12 + 10 + 6] = {0};
    unsigned char *at = b + HEADER_SIZE;
    put_le32(at, (uint32_t)LAYOUT_LOCAL_APIC);
    put_le32(at + 4, 1); // the two 8259s exist
    at += 8;
    for (unsigned i = 0; i < cpus; i++, at += 8) { // local APIC: processor's _UID, APIC id, enabled
        const unsigned char local[8] = {0, 8, (unsigned char)i, (unsigned char)i, 1};
        memcpy(at, local, sizeof local);
    }
    at[0] = 1; // I/O APIC 0, its first interrupt is 0
    at[1] = 12;
    put_le32(at + 4, (uint32_t)LAYOUT_IO_APIC);
    at += 12;
    const unsigned char pit[10] = {2, 10, 0, 0, LAYOUT_PIN_PIT}; // interrupt 0 of the ISA bus arrives at that pin
    memcpy(at, pit, sizeof pit);
    at += sizeof pit;
    const unsigned char nmi[6] = {4, 6, 0xff, 0, 0, 1}; // NMI: LINT1 of every processor
    memcpy(at, nmi, sizeof nmi);
    at += sizeof nmi;
    return place(t, "APIC", 5, b, (size_t)(at - b));
}

// PCI Firmware 3.0, 4.1.2: bus 0 of segment 0.
static uint64_t place_mcfg(struct tables *t)
{
    unsigned char b[HEADER_SIZE + 8 + 16] = {0};
    put_le64(b + HEADER_SIZE + 8, LAYOUT_ECAM);
    return place(t, "MCFG", 1, b, sizeof b);
}

static uint64_t place_xsdt(struct tables *t, const uint64_t *addresses, unsigned count)
{
    unsigned char b[HEADER_SIZE + 8 * 8] = {0};
    for (unsigned i = 0; i < count && i < 8; i++)
        put_le64(b + HEADER_SIZE + 8 * i, addresses[i]);
    return place(t, "XSDT", 1, b, HEADER_SIZE + 8 * count);
}

// 5.2.5.3.
static int write_rsdp(const struct tables *t, uint64_t xsdt)
{
    unsigned char b[RSDP_SIZE] = {0};
    put_text(b, "RSD PTR ");
    put_text(b + 9, OEM);
    b[15] = 2; // revision: ACPI 2.0 and later
    put_le32(b + 20, sizeof b);
    put_le64(b + 24, xsdt);
    b[8] = checksum(b, 20);
    b[32] = checksum(b, sizeof b);
    return guest_memory_write(t->memory, LAYOUT_ACPI, b, sizeof b);
}

int acpi_build(const struct guest_memory *m, unsigned cpus, uint64_t *ret_rsdp, struct error *error)
{
    struct tables t = {.memory = m, .next = LAYOUT_ACPI + ALIGNMENT};
    struct aml dsdt = {.size = 0};
    uint64_t parts[3], xsdt;
    if (cpus == 0 || cpus > LAYOUT_CPUS_MAXIMUM)
        return error_set(error, EINVAL, "a machine has 1 to %u processors, not %u", LAYOUT_CPUS_MAXIMUM, cpus);
    assemble_dsdt(&dsdt, cpus);
    parts[0] = place_fadt(&t, place(&t, "DSDT", 2, dsdt.code, dsdt.size));
    parts[1] = place_madt(&t, cpus);
    parts[2] = place_mcfg(&t);
    xsdt = place_xsdt(&t, parts, ARRAY_SIZE(parts));
    int r = t.failed < 0 ? t.failed : write_rsdp(&t, xsdt);
    if (r < 0)
        return error_set(error, -r, "cannot write the ACPI tables: %s", strerror(-r));
    *ret_rsdp = LAYOUT_ACPI;
    return 0;
}
