// client/clone_check.c, rules 1 and 2: a child that was taken over by what it read can say, and leave undone, what it
// likes. This program has a child of its own in the place of client/clone_reader.c.
#include "client/clone_private.h"

#include "client/cli.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/banned.h"

#define DISK_SIZE (UINT64_C(1) << 40)

const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static void (*behaviour)(int fd); // of the child

_Noreturn void clone_reader(int fd, uint64_t size)
{
    (void)size;
    behaviour(fd);
    _exit(0);
}

static void say(int fd, const struct clone_message *m)
{
    if (write(fd, m, sizeof *m) != (ssize_t)sizeof *m)
        _exit(1);
}

static int read_zeros(void *context, uint64_t offset, void *to, size_t n)
{
    (void)context;
    assert_true(n <= DISK_SIZE && offset <= DISK_SIZE - n);
    memset(to, 0, n);
    return 0;
}

static int check(void (*child)(int fd), struct clone_findings *ret, struct error *error)
{
    const struct clone_disk disk = {.read = read_zeros, .size = DISK_SIZE};
    behaviour = child;
    alarm(120); // what hangs fails
    int r = clone_check(&disk, ret, error);
    alarm(0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    return r;
}

static void ask_and_never_listen(int fd)
{
    const struct clone_message m = {.type = CLONE_READ, .value = 1};
    for (;;)
        say(fd, &m);
}

static void ask_for_everything(int fd)
{
    static unsigned char answer[4 + CLONE_READ_MAXIMUM];
    const struct clone_message m = {.type = CLONE_READ, .value = CLONE_READ_MAXIMUM};
    for (;;) {
        say(fd, &m);
        if (read(fd, answer, sizeof answer) <= 0)
            _exit(1);
    }
}

static void ask_for_too_much(int fd)
{
    say(fd, &(struct clone_message){.type = CLONE_READ, .value = CLONE_READ_MAXIMUM + 1});
    pause();
}

static void ask_for_nothing(int fd)
{
    say(fd, &(struct clone_message){.type = CLONE_READ});
    pause();
}

static void say_less(int fd)
{
    if (write(fd, "rubbish", 7) == 7)
        pause();
}

static void say_nothing(int fd)
{
    (void)fd;
}

static void find_what_is_none(int fd)
{
    say(fd, &(struct clone_message){.type = CLONE_FOUND, .value = CLONE_KINDS});
    pause();
}

static void say_an_unknown_thing(int fd)
{
    struct clone_message m = {.type = 99};
    memset(m.text, '\033', sizeof m.text); // without an end
    say(fd, &m);
    pause();
}

static void what_is_none_of_ours_ends_the_search(void **state)
{
    static const struct {
        void (*child)(int fd);
        const char *why;
    } table[] = {{ask_and_never_listen, "does not listen"},
                 {ask_for_everything, "too large, or damaged"},
                 {ask_for_too_much, "asks for nonsense"},
                 {ask_for_nothing, "asks for nonsense"},
                 {say_less, "its reader failed"},
                 {say_nothing, "its reader failed"},
                 {find_what_is_none, "its reader found nonsense"},
                 {say_an_unknown_thing, "\\x1b"}};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct clone_findings f;
        struct error error = {.text = ""};
        int r = check(table[i].child, &f, &error);
        if (r != -EPROTO || !strstr(error.text, table[i].why) || strchr(error.text, '\033'))
            fail_msg("row %zu gave %d: %s", i, r, error.text);
    }
}

// Beyond the disk's end it is told so; more of a kind than are named are counted; text is escaped, and cut.
static void say_much(int fd)
{
    struct clone_message m = {.type = CLONE_READ, .value = 2, .offset = DISK_SIZE - 1};
    unsigned char answer[64];
    int32_t code = 0;
    say(fd, &m);
    if (read(fd, answer, sizeof answer) != (ssize_t)sizeof code)
        _exit(1);
    memcpy(&code, answer, sizeof code);
    if (code >= 0)
        _exit(1);
    m = (struct clone_message){.type = CLONE_FOUND, .value = CLONE_LOGS};
    memset(m.text, '\n', sizeof m.text);
    for (unsigned i = 0; i < 1000; i++)
        say(fd, &m);
    say(fd, &(struct clone_message){.type = CLONE_SEARCHED});
}

static void what_it_found_is_bounded(void **state)
{
    struct clone_findings f;
    struct error error = {.text = ""};
    (void)state;
    if (check(say_much, &f, &error) != 0)
        fail_msg("%s", error.text);
    assert_int_equal(f.count, 1);
    assert_true(strlen(f.texts[0]) < CLONE_TEXT_SIZE);
    assert_null(strchr(f.texts[0], '\n'));
    assert_non_null(strstr(f.texts[0], " and 996 more"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_none_of_ours_ends_the_search),
        cmocka_unit_test(what_it_found_is_bounded),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
