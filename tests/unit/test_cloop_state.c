// fuse-cloop/state.h: the state memfd: slots and the table of versions, kept across adoption, and every damage refused.
#include "fuse-cloop/state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

static struct state *s;
static int fd;

static void put_request(unsigned slot, uint32_t opcode, uint32_t length, uint64_t unique)
{
    struct fuse_in_header header = {.len = length, .opcode = opcode, .unique = unique};
    memcpy(s->slots[slot], &header, sizeof(header));
}

static void keep_init(void)
{
    unsigned char bytes[sizeof(struct fuse_in_header) + sizeof(struct fuse_init_in)] = {0};
    struct fuse_in_header header = {.len = sizeof(bytes), .opcode = FUSE_INIT, .unique = 2};
    memcpy(bytes, &header, sizeof(header));
    assert_int_equal(state_keep_init(s, bytes, sizeof(bytes)), 0);
}

static int set_up(void **context)
{
    struct error error = {.text = ""};
    (void)context;
    int r = state_create(&s, &fd, &error);
    if (r == 0)
        keep_init();
    return r;
}

static int tear_down(void **context)
{
    (void)context;
    state_unmap(s);
    close(fd);
    return 0;
}

static struct sha256 name_of(unsigned char n)
{
    struct sha256 h = {.bytes = {n, 1, 2, 3}};
    return h;
}

static void assert_adopted(void)
{
    struct error error = {.text = ""};
    struct state *other = NULL;
    int r = state_adopt(fd, &other, &error);
    if (r < 0)
        print_message("%s\n", error.text);
    assert_int_equal(r, 0);
    state_unmap(other);
}

static void assert_refused(const char *because)
{
    struct error error = {.text = ""};
    struct state *other = NULL;
    assert_int_equal(state_adopt(fd, &other, &error), -EBADMSG);
    assert_null(other);
    if (!strstr(error.text, because))
        fail_msg("refused because \"%s\", not because of \"%s\"", error.text, because);
}

static void a_new_state_is_sealed_and_has_a_name_of_its_own(void **context)
{
    struct state *other;
    int other_fd;
    struct error error;
    (void)context;
    assert_int_equal(state_create(&other, &other_fd, &error), 0);
    assert_int_equal(strlen(s->session), STATE_SESSION_SIZE - 1);
    assert_string_not_equal(s->session, other->session);
    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(s->slots_offset % 4096, 0);
    state_unmap(other);
    close(other_fd);
}

static void what_was_written_is_there_after_adoption(void **context)
{
    struct state *other;
    struct error error;
    uint64_t first, second;
    struct sha256 one = name_of(1), two = name_of(2);
    (void)context;
    assert_int_equal(state_set_version(s, 0, &one, &first), 0);
    assert_int_equal(state_set_version(s, 1, &two, &second), 0);
    assert_int_not_equal(first, second);
    assert_int_equal(state_add_address(&s->versions[0], "http://a/"), 0);
    assert_int_equal(state_add_address(&s->versions[0], "/a folder"), 0);
    state_slot_begin(s, 7);
    put_request(7, FUSE_READ, 80, 44);
    assert_int_equal(state_adopt(fd, &other, &error), 0);
    assert_string_equal(other->session, s->session);
    assert_int_equal(atomic_load(&other->versions[0].generation), first);
    assert_true(sha256_equal(&other->versions[1].manifest, &two));
    const char *a = state_next_address(&other->versions[0], NULL);
    assert_string_equal(a, "http://a/");
    a = state_next_address(&other->versions[0], a);
    assert_string_equal(a, "/a folder");
    assert_null(state_next_address(&other->versions[0], a));
    assert_null(state_next_address(&other->versions[1], NULL));
    assert_true(state_has_address(&other->versions[0], "/a folder"));
    assert_false(state_has_address(&other->versions[0], "/a"));
    assert_true(state_slot_is_used(other, 7));
    assert_int_equal(state_slot_request(other, 7), 80);
    assert_false(state_slot_is_used(other, 8));
    state_unmap(other);
}

static void an_entry_that_is_given_anew_begins_anew(void **context)
{
    uint64_t first, second;
    struct sha256 one = name_of(1), two = name_of(2);
    (void)context;
    assert_int_equal(state_set_version(s, 0, &one, &first), 0);
    assert_int_equal(state_add_address(&s->versions[0], "/x"), 0);
    atomic_store(&s->versions[0].open_files, 5);
    assert_int_equal(state_set_version(s, 0, &two, &second), 0);
    assert_true(second > first);
    assert_null(state_next_address(&s->versions[0], NULL));
    assert_int_equal(atomic_load(&s->versions[0].open_files), 0);
    assert_adopted();
}

static void generations_and_addresses_have_an_end(void **context)
{
    char address[1000];
    uint64_t generation;
    struct sha256 one = name_of(1);
    unsigned added = 0;
    (void)context;
    assert_int_equal(state_set_version(s, 0, &one, &generation), 0);
    memset(address, 'a', sizeof(address) - 1);
    address[sizeof(address) - 1] = '\0';
    while (state_add_address(&s->versions[0], address) == 0)
        added++;
    assert_int_equal(added, STATE_ADDRESSES_SIZE / sizeof(address));
    assert_int_equal(state_add_address(&s->versions[0], address), -ENOSPC);
    assert_adopted();
    atomic_store(&s->last_generation, STATE_GENERATION_MAXIMUM);
    assert_int_equal(state_set_version(s, 1, &one, &generation), -EOVERFLOW);
    assert_int_equal(atomic_load(&s->versions[1].generation), 0);
}

static void a_slot_without_a_request_is_none(void **context)
{
    (void)context;
    put_request(9, FUSE_READ, 80, 44); // an old one
    state_slot_begin(s, 9);
    assert_true(state_slot_is_used(s, 9));
    assert_int_equal(state_slot_request(s, 9), 0); // invariant 3
    put_request(9, FUSE_READ, 80, 46);
    assert_int_equal(state_slot_request(s, 9), 80);
    state_slot_end(s, 9);
    assert_int_equal(state_slot_request(s, 9), 0);
}

static void only_an_init_request_is_kept(void **context)
{
    unsigned char bytes[STATE_INIT_MAXIMUM + 1] = {0};
    struct fuse_in_header header = {.len = 104, .opcode = FUSE_LOOKUP};
    (void)context;
    memcpy(bytes, &header, sizeof(header));
    assert_int_equal(state_keep_init(s, bytes, 104), -EBADMSG);
    header.opcode = FUSE_INIT;
    memcpy(bytes, &header, sizeof(header));
    assert_int_equal(state_keep_init(s, bytes, 103), -EBADMSG);
    assert_int_equal(state_keep_init(s, bytes, sizeof(bytes)), -EBADMSG);
    assert_int_equal(state_keep_init(s, bytes, 10), -EBADMSG);
    assert_int_equal(state_keep_init(s, bytes, 104), 0);
}

// --- damage --------------------------------------------------------------------------------------------------------

static void other_layouts_are_refused(void **context)
{
    (void)context;
    s->magic[7]++;
    assert_refused("another version");
    s->magic[7]--;
    s->size++;
    assert_refused("another version");
    s->size--;
    s->slot_count--;
    assert_refused("another version");
    s->slot_count++;
    s->slot_size *= 2;
    assert_refused("another version");
    s->slot_size /= 2;
    assert_adopted();
}

static void a_bad_header_is_refused(void **context)
{
    (void)context;
    s->session[3] = '/';
    assert_refused("session name");
    s->session[3] = '0';
    s->session[STATE_SESSION_SIZE - 1] = '0';
    assert_refused("session name");
    s->session[STATE_SESSION_SIZE - 1] = '\0';
    atomic_store(&s->last_generation, STATE_GENERATION_MAXIMUM + 1);
    assert_refused("last generation");
    atomic_store(&s->last_generation, 0);
    uint32_t size = atomic_load(&s->init_size);
    for (uint32_t wrong = 0; wrong < size; wrong++) {
        atomic_store(&s->init_size, wrong);
        assert_refused("first request");
    }
    atomic_store(&s->init_size, UINT32_MAX);
    assert_refused("first request");
    atomic_store(&s->init_size, size);
    assert_adopted();
}

static void bad_versions_are_refused(void **context)
{
    uint64_t generation;
    struct sha256 one = name_of(1), two = name_of(2);
    struct state_version *v = &s->versions[0];
    (void)context;
    assert_int_equal(state_set_version(s, 0, &one, &generation), 0);
    assert_int_equal(state_set_version(s, 1, &two, &generation), 0);
    assert_int_equal(state_add_address(v, "/a"), 0);
    atomic_store(&v->generation, generation + 1);
    assert_refused("never given");
    atomic_store(&v->generation, generation);
    assert_refused("twice");
    atomic_store(&v->generation, generation - 1);
    v->manifest = two;
    assert_refused("twice");
    v->manifest = one;
    atomic_store(&v->addresses_size, STATE_ADDRESSES_SIZE + 1);
    assert_refused("no end");
    atomic_store(&v->addresses_size, UINT32_MAX);
    assert_refused("no end");
    atomic_store(&v->addresses_size, 2);
    assert_refused("no end");
    memset(v->addresses, 0, sizeof(v->addresses));
    atomic_store(&v->addresses_size, 3);
    assert_refused("empty address");
    atomic_store(&v->addresses_size, 0);
    for (int i = 0; i < 17; i++)
        assert_int_equal(state_add_address(v, "/a"), 0);
    assert_refused("too many");
    atomic_store(&v->generation, 0); // a free entry may hold anything
    assert_adopted();
}

static void bad_slots_are_refused(void **context)
{
    (void)context;
    state_slot_begin(s, 255);
    put_request(255, FUSE_READ, STATE_SLOT_SIZE + 1, 44);
    assert_refused("impossible length");
    put_request(255, FUSE_READ, (uint32_t)sizeof(struct fuse_in_header) - 1, 44);
    assert_refused("impossible length");
    put_request(255, FUSE_READ, UINT32_MAX, 0); // nothing was read into it yet
    assert_adopted();
    put_request(255, FUSE_READ, STATE_SLOT_SIZE, 44);
    assert_adopted();
    atomic_store(&s->used[0], 2);
    assert_refused("neither used nor free");
}

static void other_descriptors_are_refused(void **context)
{
    struct state *other = NULL;
    struct error error;
    (void)context;
    int small = memfd_create("small", MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(small, 4096), 0);
    assert_int_equal(state_adopt(small, &other, &error), -EBADMSG);
    // Of the right size and contents, but somebody could still cut it off under us.
    int open_ended = memfd_create("open", MFD_ALLOW_SEALING);
    assert_int_equal(write(open_ended, s, sizeof(*s)), sizeof(*s));
    assert_int_equal(state_adopt(open_ended, &other, &error), -EBADMSG);
    assert_int_equal(fcntl(open_ended, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    assert_int_equal(state_adopt(open_ended, &other, &error), 0);
    state_unmap(other);
    other = NULL;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(state_adopt(pipes[0], &other, &error), -EBADMSG);
    assert_int_equal(state_adopt(-1, &other, &error), -EBADF);
    assert_null(other);
    close(pipes[0]);
    close(pipes[1]);
    close(open_ended);
    close(small);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_new_state_is_sealed_and_has_a_name_of_its_own),
        TEST(what_was_written_is_there_after_adoption),
        TEST(an_entry_that_is_given_anew_begins_anew),
        TEST(generations_and_addresses_have_an_end),
        TEST(a_slot_without_a_request_is_none),
        TEST(only_an_init_request_is_kept),
        TEST(other_layouts_are_refused),
        TEST(a_bad_header_is_refused),
        TEST(bad_versions_are_refused),
        TEST(bad_slots_are_refused),
        TEST(other_descriptors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
