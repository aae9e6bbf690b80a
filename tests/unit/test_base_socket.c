// base/socket.h: listening in place of the dead and not of the living.
#include "socket_fixture.h"

#include "base/banned.h"

static char folder[PATH_TEXT_SIZE]; // removed by the runner
static char path[PATH_TEXT_SIZE];

static int set_up(void **state)
{
    (void)state;
    const char *parent = getenv("TMPDIR");
    if (path_format(folder, sizeof folder, "%s/rondo-socket.XXXXXX", parent ? parent : "/tmp") < 0 || !mkdtemp(folder))
        return -1;
    return path_format(path, sizeof path, "%s/s", folder);
}

static void listen_connect_accept(void **state)
{
    (void)state;
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    int client CLEANUP_CLOSE = socket_connect(path, NULL);
    assert_true(client >= 0);
    int server CLEANUP_CLOSE = socket_accept(listener);
    assert_true(server >= 0);
    assert_int_equal(fcntl(server, F_GETFD) & fcntl(client, F_GETFD) & fcntl(listener, F_GETFD) & FD_CLOEXEC,
                     FD_CLOEXEC);
    char text[SOCKET_LINE_MAXIMUM];
    assert_int_equal(socket_send(client, "hello\n", NULL, 0), 0);
    assert_int_equal(socket_receive(server, 1000, text, NULL, NULL), 6);
    assert_string_equal(text, "hello\n");
    assert_int_equal(unlink(path), 0);
}

static void living_listeners_are_not_replaced(void **state)
{
    (void)state;
    struct error e = {0};
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    assert_int_equal(socket_listen(path, &e), -EBUSY);
    assert_non_null(strstr(e.text, path));
    int client CLEANUP_CLOSE = socket_connect(path, NULL);
    assert_true(client >= 0); // still the first one's
    assert_int_equal(unlink(path), 0);
}

static void dead_sockets_are_replaced(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(socket_connect(path, &e), -ENOENT);
    int dead = socket_listen(path, NULL);
    assert_true(dead >= 0);
    close(dead);
    assert_int_equal(socket_connect(path, &e), -ECONNREFUSED);
    assert_non_null(strstr(e.text, path));
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    int client CLEANUP_CLOSE = socket_connect(path, NULL);
    assert_true(client >= 0);
    assert_int_equal(unlink(path), 0);
}

static void other_files_are_not_replaced(void **state)
{
    (void)state;
    struct error e = {0};
    struct stat st;
    assert_int_equal(io_replace_file(AT_FDCWD, path, "precious", 8, 0600), 0);
    assert_int_equal(socket_listen(path, &e), -EEXIST);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 8);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_int_equal(socket_listen(path, &e), -EEXIST);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(socket_listen("/nowhere/at/all/s", &e), -ENOENT);
    assert_int_equal(socket_listen("/tmp/", &e), -EINVAL);
}

// Of many that start at once beside a dead socket exactly one listens.
static void *listen_in_thread(void *argument)
{
    *(int *)argument = socket_listen(path, NULL);
    return NULL;
}

static void one_of_many_starters_wins(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        int dead = socket_listen(path, NULL);
        assert_true(dead >= 0);
        close(dead);
        pthread_t threads[8];
        int results[ARRAY_SIZE(threads)];
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
            assert_int_equal(pthread_create(&threads[i], NULL, listen_in_thread, &results[i]), 0);
        int winner = -1;
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            if (results[i] >= 0) {
                assert_int_equal(winner, -1);
                winner = results[i];
            } else {
                assert_int_equal(results[i], -EBUSY);
            }
        }
        assert_true(winner >= 0);
        int client CLEANUP_CLOSE = socket_connect(path, NULL);
        assert_true(client >= 0);
        close(winner);
    }
    assert_int_equal(unlink(path), 0);
}

static void long_paths_work(void **state)
{
    (void)state;
    char deep[PATH_TEXT_SIZE];
    assert_int_equal(path_format(deep, sizeof deep, "%s/%0100d/%0100d", folder, 0, 0), 0);
    assert_int_equal(io_make_folders(AT_FDCWD, deep, 0700), 0);
    assert_int_equal(path_format(deep, sizeof deep, "%s/s", deep), 0);
    int listener CLEANUP_CLOSE = socket_listen(deep, NULL);
    assert_true(listener >= 0);
    int client CLEANUP_CLOSE = socket_connect(deep, NULL);
    assert_true(client >= 0);
    char long_name[PATH_TEXT_SIZE];
    assert_int_equal(path_format(long_name, sizeof long_name, "%s/%0200d", folder, 0), 0);
    assert_int_equal(socket_listen(long_name, NULL), -ENAMETOOLONG);
}

static void other_users_are_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        SKIP("only root can become another user");
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    struct timeval limit = {.tv_sec = 10};
    assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(chmod(path, 0666), 0); // so that only the check itself is between them
    char *parent CLEANUP_FREE = strdup(folder);
    for (char *slash = strrchr(parent, '/'); slash && slash != parent; slash = strrchr(parent, '/')) {
        chmod(parent, 0711);
        *slash = '\0';
        if (strcmp(parent, "/tmp") == 0)
            break;
    }
    pid_t child = fork();
    if (child == 0) {
        if (setresuid(54321, 54321, 54321) != 0)
            _exit(99);
        _exit(-socket_connect(path, NULL)); // the listener runs as another user
    }
    assert_int_equal(socket_accept(listener), -EPERM);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), EPERM);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_connect_accept),     cmocka_unit_test(living_listeners_are_not_replaced),
        cmocka_unit_test(dead_sockets_are_replaced), cmocka_unit_test(other_files_are_not_replaced),
        cmocka_unit_test(one_of_many_starters_wins), cmocka_unit_test(long_paths_work),
        cmocka_unit_test(other_users_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
