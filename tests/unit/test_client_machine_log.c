// client/machine_log.c: machine.log begins anew before it fills the disk, and its end stays in machine.log.1.
#include "client/machine.h"

#include "base/io.h"
#include "client/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/folder_fixture.h"

#include "base/banned.h"

const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static struct machine *m;
static struct instance instance;

static int setup(void **state)
{
    folder_set_up(state);
    instance = (struct instance)INSTANCE_NONE;
    snprintf(instance.folder, sizeof(instance.folder), "%s", folder);
    instance.folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    m = calloc(1, sizeof(*m));
    assert_true(m && instance.folder_fd >= 0);
    m->instance = &instance;
    return machine_log_open(m);
}

static int teardown(void **state)
{
    io = &io_table_system;
    close(m->machine_log);
    free(m);
    instance_close(&instance);
    return folder_tear_down(state);
}

static void say(int fd, char what, size_t n)
{
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, what, n);
    assert_int_equal(write(fd, bytes, n), n);
    free(bytes);
}

static uint64_t size_of(const char *name)
{
    struct stat st;
    return fstatat(instance.folder_fd, name, &st, 0) < 0 ? UINT64_MAX : (uint64_t)st.st_size;
}

static void a_long_log_begins_anew(void **state)
{
    (void)state;
    unsigned char last[8];
    int program = dup(m->machine_log); // that has it open, too
    say(program, 'a', MACHINE_LOG_MAXIMUM);
    machine_log_look(m);
    assert_int_equal(size_of("machine.log"), MACHINE_LOG_MAXIMUM); // so much it may have
    assert_int_equal(size_of("machine.log.1"), UINT64_MAX);
    say(program, 'b', 4);
    machine_log_look(m);
    assert_int_equal(size_of("machine.log"), 0);
    assert_int_equal(size_of("machine.log.1"), MACHINE_LOG_MAXIMUM);
    int older = openat(instance.folder_fd, "machine.log.1", O_RDONLY);
    assert_int_equal(pread(older, last, sizeof(last), MACHINE_LOG_MAXIMUM - sizeof(last)), sizeof(last));
    assert_memory_equal(last, "aaaabbbb", sizeof(last)); // its end
    close(older);
    say(program, 'c', 10);
    assert_int_equal(size_of("machine.log"), 10); // whoever had it open goes on in it
    say(program, 'd', 3 * MACHINE_LOG_MAXIMUM);
    machine_log_look(m);
    assert_int_equal(size_of("machine.log"), 0);
    assert_int_equal(size_of("machine.log.1"), MACHINE_LOG_MAXIMUM);
    close(program);
    assert_true(m->timers[TIMER_LOG] > 0); // it is looked at again

    close(m->machine_log);
    assert_int_equal(machine_log_open(m), 0); // the next run
    assert_int_equal(size_of("machine.log.1"), UINT64_MAX);
}

static int no_space(void)
{
    errno = ENOSPC;
    return -1;
}

static ssize_t pwrite_nothing(int fd, const void *from, size_t n, off_t offset)
{
    (void)fd, (void)from, (void)n, (void)offset;
    return no_space();
}

static void a_full_disk_loses_what_was_said_but_becomes_no_fuller(void **state)
{
    (void)state;
    struct io_table full = io_table_system;
    full.pwrite = pwrite_nothing;
    say(m->machine_log, 'a', MACHINE_LOG_MAXIMUM + 1);
    io = &full;
    machine_log_look(m);
    io = &io_table_system;
    assert_int_equal(size_of("machine.log"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_long_log_begins_anew),
        TEST(a_full_disk_loses_what_was_said_but_becomes_no_fuller),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("client/machine_log", tests, NULL, NULL);
}
