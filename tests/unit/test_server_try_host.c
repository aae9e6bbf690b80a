// The process that starts machines for visitors (server/try_host.h), with a script in rondo's place.

#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "client/instance.h"
#include "server/try_host.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/banned.h"

// What it does follows from the image's name.
static const char script[] = "#!/bin/sh\n"
                             "echo $$ >>\"$RONDO_HOME/processes\"\n"
                             "case ${2##*/} in\n"
                             "told) echo \"$*\"; env | cut -d = -f 1 | sort | tr '\\n' ' '; echo; nice ;;\n"
                             "fails) echo last words; exit 3 ;;\n"
                             "floods) exec yes ;;\n"
                             "deaf) exec sleep 60 ;;\n"
                             "writes) mkdir -p \"$RONDO_HOME/instances/$4\"\n"
                             "  head -c 3000000 /dev/urandom >\"$RONDO_HOME/instances/$4/disk.data\"; exec cat ;;\n"
                             "*) exec cat ;;\n"
                             "esac\n";

static char folder[] = "/tmp/rondo-try-XXXXXX";
static char program[64], state[64];

static int make_program(void **context)
{
    (void)context;
    if (!mkdtemp(folder))
        return -1;
    snprintf(program, sizeof program, "%s/rondo", folder);
    snprintf(state, sizeof state, "%s/state", folder);
    int fd CLEANUP_CLOSE = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    return fd < 0 ? -1 : io_write_full(fd, script, sizeof script - 1, 0);
}

static int remove_folder(void **context)
{
    char command[128];
    (void)context;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return (system)(command);
}

static const struct try_limits usual = {.machines = 2, .idle = 60, .life = 60, .memory = 64 << 20, .disk = 1 << 20};

static void test_limits_as_typed(void **context)
{
    static const char *const form = "--try takes N[,idle=SECONDS]";
    static const struct {
        const char *text, *error;
    } wrong[] = {{"", form},
                 {"0", "--try 0: machines are from 1 to 64"},
                 {"65", "from 1 to 64"},
                 {"x", form},
                 {"2,", form},
                 {"2,idle", form},
                 {"2,idle=", form},
                 {"2,idle=0", "--try idle=0: seconds are from 1 to 604800"},
                 {"2,life=x", form},
                 {"2,memory=", form},
                 {"2,memory=1", "--try memory=1: a machine needs 64.0 MiB at least"},
                 {"2,memory=67108863", "64.0 MiB at least"},
                 {"2,disk=1Q", form},
                 {"2,disk=1023K", "--try disk=1023K: a machine needs 1.0 MiB at least"},
                 {"2,cpus=1", form},
                 {"2,idle=604801", "from 1 to 604800"}};
    struct try_limits limits = {.machines = 77};
    (void)context;
    assert_int_equal(TRY_MEMORY_MINIMUM, INSTANCE_MEMORY_MINIMUM);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct error error = {.text = ""};
        if (try_limits_parse(wrong[i].text, &limits, &error) != -EINVAL || limits.machines != 77 ||
            !strstr(error.text, wrong[i].error))
            fail_msg("%s: %s", wrong[i].text, error.text);
    }
    assert_int_equal(try_limits_parse("3", &limits, NULL), 0);
    assert_int_equal(limits.machines, 3);
    assert_int_equal(limits.idle, TRY_IDLE_SECONDS);
    assert_int_equal(limits.life, TRY_LIFE_SECONDS);
    assert_int_equal(try_limits_parse("64,disk=1M,idle=5,memory=64M,life=7", &limits, NULL), 0);
    assert_int_equal(limits.machines, 64);
    assert_int_equal(limits.idle, 5);
    assert_int_equal(limits.life, 7);
    assert_int_equal(limits.memory, 64 << 20);
    assert_int_equal(limits.disk, 1 << 20);
}

static void test_memory_for_all_of_them(void **context)
{
    struct try_limits limits = {.machines = 3, .memory = UINT64_C(1) << 30};
    struct error error = {.text = ""};
    (void)context;
    assert_int_equal(try_limits_check_memory(&limits, UINT64_C(3) << 30, &error), 0);
    assert_int_equal(try_limits_check_memory(&limits, (UINT64_C(3) << 30) - 1, &error), -EINVAL);
    assert_string_equal(error.text, "--try: 3 machines of 1.0 GiB each are more than the 3.0 GiB of memory that this "
                                    "computer has with its swap: allow fewer, or give them less (3,memory=SIZE)");
    limits = (struct try_limits){.machines = 64, .memory = INT64_MAX}; // more than 64 bits of bytes
    assert_int_equal(try_limits_check_memory(&limits, UINT64_C(1) << 40, NULL), -EINVAL);
}

static struct try_host start_host(const struct try_limits *limits)
{
    struct try_host h = TRY_HOST_NONE;
    struct error error = {.text = ""};
    if (try_host_start("/srv/os", state, program, limits, &h, &error) < 0)
        fail_msg("%s", error.text);
    return h;
}

static struct try_answer wait_for_answer(const struct try_host *h)
{
    struct try_answer answer = {.stream = -EPIPE};
    int r;
    while ((r = try_host_hear(h, &answer)) == 0)
        assert_int_equal(poll(&(struct pollfd){.fd = h->fd, .events = POLLIN}, 1, 20000), 1);
    return r > 0 ? answer : (struct try_answer){.stream = r};
}

// Its stream, or -errno.
static int ask(const struct try_host *h, const char *image)
{
    static uint64_t number = UINT64_MAX - 100;
    int r = try_host_ask(h, ++number, image);
    if (r < 0)
        return r;
    struct try_answer answer = wait_for_answer(h);
    if (answer.stream >= 0)
        assert_true(answer.number == number);
    return answer.stream;
}

static int start_machine(const struct try_host *h, const char *image)
{
    int fd = ask(h, image);
    if (fd < 0)
        fail_msg("%s: %s", image, strerror(-fd));
    return fd;
}

// Until the text is there; or with NULL until the end.
static void hear(int fd, const char *text)
{
    char shown[8192] = "";
    size_t size = 0;
    while (!text || !strstr(shown, text)) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&wait, 1, 20000) == 1 ? recv(fd, shown + size, sizeof shown - 1 - size, 0) : -1;
        if (n == 0 && !text)
            return;
        if (n <= 0)
            fail_msg("not shown: %s; but: %s", text ? text : "the end", shown);
        size += (size_t)n;
        shown[size] = '\0';
    }
}

static void type(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void test_what_is_started(void **context)
{
    (void)context;
    setenv("http_proxy", "http://proxy.example/", 1);
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    int fd CLEANUP_CLOSE = start_machine(&h, "told");
    hear(fd, "\n10\n"); // its niceness
    close(TAKE_FD(fd));
    fd = start_machine(&h, "told");
    hear(fd, "run /srv/os/told --name try-");
    close(TAKE_FD(fd));
    int third CLEANUP_CLOSE = -1;
    while ((third = ask(&h, "told")) == -EBUSY)
        poll(NULL, 0, 10);
    hear(third, " --ephemeral --input --net none --cpus 1 --memory 67108864 --timeout 120\n");
}

static void test_environment(void **context)
{
    static const char *const kept = "PATH PWD RONDO_CACHE RONDO_HOME RONDO_RUNTIME ";
    (void)context;
    setenv("http_proxy", "http://proxy.example/", 1);
    unsetenv("TMPDIR");
    unsetenv("RONDO_LOG");
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    int fd CLEANUP_CLOSE = start_machine(&h, "told");
    hear(fd, kept);
}

static void test_names_of_images_only(void **context)
{
    static const char *const names[] = {"",      "a b",        "../x", "a/b", "a:1", "--help", "a@sha256:00",
                                        "a#key", "a\nstart b", "A",    ".",   "x\t", "stop"};
    (void)context;
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    for (size_t i = 0; i < ARRAY_SIZE(names) - 1; i++)
        assert_int_equal(ask(&h, names[i]), -EINVAL);
    assert_return_code(close(start_machine(&h, names[ARRAY_SIZE(names) - 1])), errno); // a name like any other
}

static void test_typed_and_shown(void **context)
{
    (void)context;
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    int fd CLEANUP_CLOSE = start_machine(&h, "echo");
    type(fd, "one\x1dtwo\n");
    hear(fd, "one\x1dtwo\n");
}

static void test_no_more_machines_than_allowed(void **context)
{
    (void)context;
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    int first CLEANUP_CLOSE = start_machine(&h, "floods"), second CLEANUP_CLOSE = start_machine(&h, "echo");
    assert_int_equal(ask(&h, "echo"), -EBUSY);
    type(second, "while another floods\n");
    hear(second, "while another floods\n");
    close(TAKE_FD(first)); // it ends with its visitor
    int third;
    while ((third = ask(&h, "echo")) == -EBUSY)
        poll(NULL, 0, 10);
    assert_true(third >= 0);
    close(third);
}

static void test_answers_say_to_whom(void **context)
{
    (void)context;
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    struct try_answer answer = {.number = 7};
    kill(h.pid, SIGSTOP);
    assert_int_equal(try_host_ask(&h, 11, "floods"), 0); // nobody waits for it
    assert_int_equal(try_host_ask(&h, 5, "no name"), 0);
    assert_int_equal(try_host_ask(&h, 12, "echo"), 0);
    assert_int_equal(try_host_hear(&h, &answer), 0);
    assert_int_equal(answer.number, 7);
    int r, asked = 0;
    while ((r = try_host_ask(&h, 13, "echo")) == 0)
        assert_true(++asked < 100000);
    assert_int_equal(r, -EAGAIN); // nor for room
    kill(h.pid, SIGCONT);
    struct try_answer first = wait_for_answer(&h), second = wait_for_answer(&h), third = wait_for_answer(&h);
    int floods CLEANUP_CLOSE = first.stream, echo CLEANUP_CLOSE = third.stream;
    assert_int_equal(first.number, 11);
    hear(floods, "y\n");
    assert_int_equal(second.number, 5);
    assert_int_equal(second.stream, -EINVAL);
    assert_int_equal(third.number, 12);
    type(echo, "x\n");
    hear(echo, "x\n");
    while (asked-- > 0) {
        struct try_answer more = wait_for_answer(&h);
        assert_int_equal(more.number, 13);
        assert_int_equal(more.stream, -EBUSY);
    }
}

static void test_last_words(void **context)
{
    (void)context;
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    int fails CLEANUP_CLOSE = start_machine(&h, "fails"), ends CLEANUP_CLOSE = start_machine(&h, "told");
    hear(fails, "last words\n\r\n[the machine could not be started, or has failed]\r\n");
    hear(fails, NULL);
    hear(ends, "\r\n[the machine has been switched off]\r\n");
    hear(ends, NULL);
}

static void test_limits(void **context)
{
    struct try_limits limits = usual;
    (void)context;
    limits.idle = 1;
    struct try_host h CLEANUP(try_host_end) = start_host(&limits);
    int idle CLEANUP_CLOSE = start_machine(&h, "echo");
    int deaf CLEANUP_CLOSE = start_machine(&h, "deaf");
    while (poll(&(struct pollfd){.fd = deaf, .events = POLLOUT}, 1, 200) == 1)
        type(deaf, "somebody is there");
    hear(idle, "\r\n[switched off: nothing was typed for 1 second]\r\n");
    hear(deaf, "\r\n[switched off: it has taken nothing of what was typed for 1 second]\r\n");
    hear(idle, NULL);
    try_host_end(&h);

    limits.idle = 60;
    limits.life = 1;
    struct try_host another CLEANUP(try_host_end) = start_host(&limits);
    int old CLEANUP_CLOSE = start_machine(&another, "echo");
    hear(old, "\r\n[switched off: machines live 1 second here]\r\n");
    try_host_end(&another);

    struct try_host third CLEANUP(try_host_end) = start_host(&usual);
    int writes CLEANUP_CLOSE = start_machine(&third, "writes");
    hear(writes, "\r\n[switched off: it has written more than 1.0 MiB]\r\n");
}

// All that the script has noted.
static unsigned count_processes(void)
{
    char path[128], line[32];
    unsigned alive = 0;
    snprintf(path, sizeof path, "%s/home/processes", state);
    FILE *f CLEANUP_FCLOSE = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        alive += kill((pid_t)strtol(line, NULL, 10), 0) == 0;
    return alive;
}

static void test_all_end_with_the_host(void **context)
{
    (void)context;
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    int first CLEANUP_CLOSE = start_machine(&h, "echo"), second CLEANUP_CLOSE = start_machine(&h, "floods");
    type(first, "x\n");
    hear(first, "x\n");
    hear(second, "y\n"); // it has noted itself, too
    assert_int_equal(count_processes(), 2);
    try_host_end(&h);
    assert_int_equal(count_processes(), 0);
    hear(first, "[the server stops]");
    assert_int_equal(ask(&h, "echo"), -EBADF);
}

static void test_killed_host(void **context)
{
    (void)context;
    struct try_host h CLEANUP(try_host_end) = start_host(&usual);
    int fd CLEANUP_CLOSE = start_machine(&h, "echo");
    type(fd, "x\n");
    hear(fd, "x\n");
    kill(h.pid, SIGKILL);
    hear(fd, NULL);
    for (unsigned i = 0; count_processes() > 0; i++) {
        assert_true(i < 1000);
        poll(NULL, 0, 10);
    }
    assert_true(ask(&h, "echo") < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_as_typed),
        cmocka_unit_test(test_memory_for_all_of_them),
        cmocka_unit_test(test_what_is_started),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_names_of_images_only),
        cmocka_unit_test(test_typed_and_shown),
        cmocka_unit_test(test_no_more_machines_than_allowed),
        cmocka_unit_test(test_answers_say_to_whom),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_all_end_with_the_host),
        cmocka_unit_test(test_killed_host),
    };
    return cmocka_run_group_tests(tests, make_program, remove_folder);
}
