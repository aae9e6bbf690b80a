// The ACPI tables: found by their pointers from the RSDP on, each with a right checksum, and all of them accepted by
// ACPICA's disassembler and, disassembled, by its compiler (where acpica-tools is installed).
#include "vmm/acpi.h"

#include "base/cursor.h"
#include "base/io.h"
#include "vmm/acpi_aml.h"
#include "vmm/layout.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

static struct guest_memory memory;

static int setup(void **state)
{
    (void)state;
    return guest_memory_make(LAYOUT_MEMORY_MINIMUM, &memory, NULL);
}

static int teardown(void **state)
{
    (void)state;
    guest_memory_free(&memory);
    return 0;
}

struct table {
    const unsigned char *bytes;
    uint32_t size;
};

static unsigned char sum(const unsigned char *bytes, size_t n)
{
    unsigned char total = 0;
    while (n--)
        total = (unsigned char)(total + *bytes++);
    return total;
}

static struct table table_at(uint64_t address, const char *signature)
{
    const unsigned char *header = guest_memory_slice(&memory, address, 36);
    assert_non_null(header);
    struct table t = {.size = get_le32(header + 4)};
    assert_memory_equal(header, signature, 4);
    assert_true(address >= LAYOUT_ACPI && address + t.size <= LAYOUT_ACPI + LAYOUT_ACPI_SIZE);
    t.bytes = guest_memory_slice(&memory, address, t.size);
    assert_non_null(t.bytes);
    assert_int_equal(sum(t.bytes, t.size), 0);
    return t;
}

static struct table find(unsigned cpus, const char *signature)
{
    uint64_t rsdp = 0;
    assert_int_equal(acpi_build(&memory, cpus, &rsdp, NULL), 0);
    const unsigned char *root = guest_memory_slice(&memory, rsdp, 36);
    assert_non_null(root);
    assert_memory_equal(root, "RSD PTR ", 8);
    assert_int_equal(sum(root, 20), 0);
    assert_int_equal(sum(root, 36), 0);
    struct table xsdt = table_at(get_le64(root + 24), "XSDT");
    if (strcmp(signature, "XSDT") == 0)
        return xsdt;
    for (uint32_t at = 36; at + 8 <= xsdt.size; at += 8) {
        const unsigned char *header = guest_memory_slice(&memory, get_le64(xsdt.bytes + at), 36);
        assert_non_null(header);
        if (strcmp(signature, "DSDT") == 0 && memcmp(header, "FACP", 4) == 0)
            return table_at(get_le64(header + 140), "DSDT");
        if (memcmp(header, signature, 4) == 0)
            return table_at(get_le64(xsdt.bytes + at), signature);
    }
    fail_msg("no table %s", signature);
    return (struct table){0};
}

static void the_sleep_and_reset_registers_are_those_of_the_platform(void **state)
{
    (void)state;
    struct table fadt = find(1, "FACP");
    const unsigned char *b = fadt.bytes;
    assert_int_equal(fadt.size, 276);
    assert_true(get_le32(b + 112) & 1u << 20); // hardware-reduced
    assert_true(get_le32(b + 112) & 1u << 10); // with a reset register
    assert_int_equal(get_le64(b + 120), LAYOUT_PORT_POWER + 2);
    assert_int_equal(b[128], LAYOUT_RESET_VALUE);
    assert_int_equal(get_le64(b + 248), LAYOUT_PORT_POWER);
    assert_int_equal(get_le64(b + 260), LAYOUT_PORT_POWER + 1);
    assert_int_equal(b[116], 1);
    assert_int_equal(b[244], 1);
    assert_int_equal(b[256], 1);
    assert_int_equal(get_le32(b + 40), get_le64(b + 140));
}

static void every_processor_has_a_local_apic(void **state)
{
    (void)state;
    for (unsigned cpus = 1; cpus <= LAYOUT_CPUS_MAXIMUM; cpus++) {
        struct table madt = find(cpus, "APIC");
        unsigned seen = 0, io_apics = 0;
        for (uint32_t at = 44; at < madt.size; at += madt.bytes[at + 1]) {
            assert_true(madt.bytes[at + 1] >= 6);
            if (madt.bytes[at] == 0) {
                assert_int_equal(madt.bytes[at + 2], seen);
                assert_int_equal(madt.bytes[at + 3], seen);
                assert_int_equal(get_le32(madt.bytes + at + 4), 1);
                seen++;
            } else if (madt.bytes[at] == 1) {
                assert_int_equal(get_le32(madt.bytes + at + 4), LAYOUT_IO_APIC);
                io_apics++;
            }
        }
        assert_int_equal(seen, cpus);
        assert_int_equal(io_apics, 1);
    }
}

static void no_processors_and_too_many_are_refused(void **state)
{
    (void)state;
    uint64_t rsdp = 7;
    struct error error = {0};
    assert_int_equal(acpi_build(&memory, 0, &rsdp, &error), -EINVAL);
    assert_int_equal(acpi_build(&memory, LAYOUT_CPUS_MAXIMUM + 1, &rsdp, &error), -EINVAL);
    assert_non_null(strstr(error.text, "33"));
    assert_int_equal(rsdp, 7);
}

static void lengths_count_themselves_and_what_follows(void **state)
{
    (void)state;
    static const size_t contents[] = {0, 12, 13, 62, 63, 64, 4091, 4092, 4093, 4094, 4095, 5000};
    for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
        struct aml a = {.size = 0};
        aml_open_if(&a);
        for (size_t n = 0; n < contents[i]; n++)
            aml_op(&a, 0xa3);
        aml_close(&a);
        const unsigned char *b = a.code + 1;
        assert_int_equal(b[0] & 0xf0, 0x80);
        assert_int_equal((b[0] & 0x0f) | b[1] << 4 | b[2] << 12, 3 + contents[i]);
        assert_int_equal(a.size, 1 + 3 + contents[i]);
        assert_int_equal(a.code[a.size - 1], contents[i] ? 0xa3 : b[2]);
    }
}

// --- what ACPICA says of them ---------------------------------------------------------------------------------------

static int run(const char *folder, char *const *arguments)
{
    pid_t child = fork();
    if (child == 0) {
        int out = chdir(folder) == 0 ? open("log", O_CREAT | O_WRONLY | O_APPEND, 0600) : -1;
        if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
            _exit(126);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

static char *read_text(const char *folder, const char *name)
{
    char path[300];
    void *bytes = NULL;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(io_read_file(AT_FDCWD, path, 4 << 20, &bytes, &size), 0);
    return bytes;
}

static void check_with_acpica(const char *folder, const char *signature, unsigned cpus)
{
    char path[300], aml[32], dsl[32];
    struct table t = find(cpus, signature);
    snprintf(aml, sizeof aml, "%s.aml", signature);
    snprintf(dsl, sizeof dsl, "%s.dsl", signature);
    snprintf(path, sizeof path, "%s/%s", folder, aml);
    int fd = io_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, t.bytes, t.size, 0), 0);
    assert_int_equal(io_close(fd), 0);

    char *disassemble[] = {"iasl", "-d", aml, NULL};
    char *compile[] = {"iasl", "-we", "-p", "again", dsl, NULL}; // warnings are errors
    char *const *steps[] = {disassemble, compile};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        snprintf(path, sizeof path, "%s/log", folder);
        unlink(path);
        int code = run(folder, steps[i]);
        char *log CLEANUP_FREE = read_text(folder, "log");
        if (code != 0 || (i == 0 && (strstr(log, "Warning") || strstr(log, "Could not") || strstr(log, "Error"))))
            fail_msg("%s, %u processors, step %zu: %d\n%s", signature, cpus, i, code, log);
    }
    char *text CLEANUP_FREE = read_text(folder, dsl);
    for (const char *word = "Warning\0ACPI Error\0Unknown\0Invalid\0"; *word; word += strlen(word) + 1)
        if (strstr(text, word))
            fail_msg("%s: the disassembler says \"%s\":\n%s", signature, word, text);
    if (strcmp(signature, "DSDT") == 0) {
        assert_non_null(strstr(text, "Notify (\\_SB.PWRB, 0x80)"));
        assert_non_null(strstr(text, "EisaId (\"PNP0A08\")"));
        assert_non_null(strstr(text, "Device (C000)"));
        assert_int_equal(strstr(text, "Device (C01F)") != NULL, cpus == 32);
    }
}

static void acpica_accepts_every_table(void **state)
{
    (void)state;
    static const char *const signatures[] = {"FACP", "APIC", "MCFG", "DSDT", "XSDT"};
    char folder[] = "/tmp/rondo-acpi-XXXXXX";
    char *version[] = {"iasl", "-v", NULL};
    char *remove[] = {"rm", "-rf", folder, NULL};
    assert_non_null(mkdtemp(folder));
    bool there = run(folder, version) != 127;
    for (size_t i = 0; there && i < ARRAY_SIZE(signatures); i++) {
        check_with_acpica(folder, signatures[i], 1);
        check_with_acpica(folder, signatures[i], 32);
    }
    assert_int_equal(run(folder, remove), 0);
    if (!there) {
        print_message("iasl is missing (package acpica-tools)\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sleep_and_reset_registers_are_those_of_the_platform),
        cmocka_unit_test(every_processor_has_a_local_apic),
        cmocka_unit_test(no_processors_and_too_many_are_refused),
        cmocka_unit_test(lengths_count_themselves_and_what_follows),
        cmocka_unit_test(acpica_accepts_every_table),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
