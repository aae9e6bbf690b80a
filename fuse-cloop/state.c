// The state memfd (see state.h). The requests' layout is the kernel's: struct fuse_in_header of <linux/fuse.h>.
#include "fuse-cloop/state.h"
#include "base/cleanup.h"
#include "blockstore/mirrors.h"
#include <fcntl.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/banned.h"

static const char state_magic[8] = "RONDOST1";

#define STATE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(STATE_SLOT_SIZE >= FUSE_MIN_READ_BUFFER, "the kernel refuses smaller reads");

// Every page of the slots is made present and writable now, and kept in memory if we may: the kernel copies a request
// into a slot even while SIGKILL is pending, but only if it need not wait for the page; else the reader gets EIO.
static void prepare_slots(struct state *s)
{
    for (size_t i = 0; i < sizeof(s->slots); i += 4096) {
        volatile unsigned char *page = (unsigned char *)s->slots + i;
        *page = *page;
    }
    (void)mlock(s->slots, sizeof(s->slots)); // without it, only a host that swaps can be late
}

static int map_state(int fd, struct state **ret)
{
    struct state *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (s == MAP_FAILED)
        return -errno;
    *ret = s;
    return 0;
}

static int name_session(char name[static STATE_SESSION_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[(STATE_SESSION_SIZE - 1) / 2];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    for (size_t i = 0; i < sizeof(random); i++) {
        name[2 * i] = digits[random[i] >> 4];
        name[2 * i + 1] = digits[random[i] & 15];
    }
    name[STATE_SESSION_SIZE - 1] = '\0';
    return 0;
}

int state_create(struct state **ret, int *ret_fd, struct error *error)
{
    struct state *s = NULL;
    CLEANUP_CLOSE int fd = memfd_create("rondo-cloop", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, sizeof(*s)) < 0 || fcntl(fd, F_ADD_SEALS, STATE_SEALS) < 0)
        return error_set(error, errno, "cannot make the memory of the session's state: %m");
    int r = map_state(fd, &s);
    if (!s)
        return error_set(error, -r, "cannot map the session's state: %s", strerror(-r));
    r = name_session(s->session);
    if (r < 0) {
        state_unmap(s);
        return error_set(error, -r, "cannot name the session: %s", strerror(-r));
    }
    memcpy(s->magic, state_magic, sizeof(s->magic));
    s->size = sizeof(*s);
    s->slot_count = STATE_SLOTS;
    s->slot_size = STATE_SLOT_SIZE;
    s->used_offset = offsetof(struct state, used);
    s->slots_offset = offsetof(struct state, slots);
    prepare_slots(s);
    *ret = s;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void state_unmap(struct state *s)
{
    if (s)
        munmap(s, sizeof(*s));
}

// --- checking what was handed over ---------------------------------------------------------------------------------

static const char *check_header(const struct state *s)
{
    if (memcmp(s->magic, state_magic, sizeof(s->magic)) != 0 || s->size != sizeof(*s) || s->slot_count != STATE_SLOTS ||
        s->slot_size != STATE_SLOT_SIZE)
        return "another version of rondo-cloop made it";
    for (unsigned i = 0; i < STATE_SESSION_SIZE - 1; i++)
        if (!s->session[i] || !strchr("0123456789abcdef", s->session[i]))
            return "its session name is none";
    if (s->session[STATE_SESSION_SIZE - 1] != '\0')
        return "its session name is none";
    if (atomic_load(&s->last_generation) > STATE_GENERATION_MAXIMUM)
        return "its last generation is too large";
    return NULL;
}

static bool is_init(const void *bytes, size_t n)
{
    struct fuse_in_header header;
    if (n < sizeof(header) + 2 * sizeof(uint32_t) || n > STATE_INIT_MAXIMUM)
        return false;
    memcpy(&header, bytes, sizeof(header));
    return header.opcode == FUSE_INIT && header.len == n;
}

static const char *check_addresses(const struct state_version *v)
{
    uint32_t size = atomic_load(&v->addresses_size);
    if (size > STATE_ADDRESSES_SIZE || (size > 0 && v->addresses[size - 1] != '\0'))
        return "the addresses of a version have no end";
    unsigned count = 0;
    for (const char *a = NULL; (a = state_next_address(v, a));)
        if (!*a || ++count > MIRRORS_MAXIMUM)
            return "a version has an empty address, or too many";
    return NULL;
}

static const char *check_versions(const struct state *s)
{
    uint64_t last = atomic_load(&s->last_generation);
    for (unsigned i = 0; i < state_entry_end(s); i++) {
        const struct state_version *v = &s->versions[i];
        uint64_t generation = atomic_load(&v->generation);
        if (generation == 0)
            continue;
        if (generation > last)
            return "a version's generation was never given";
        for (unsigned k = 0; k < i; k++) {
            uint64_t other = atomic_load(&s->versions[k].generation);
            if (other == generation || (other != 0 && sha256_equal(&s->versions[k].manifest, &v->manifest)))
                return "it holds a version twice";
        }
        const char *wrong = check_addresses(v);
        if (wrong)
            return wrong;
    }
    return NULL;
}

static const char *check_slots(const struct state *s)
{
    for (unsigned i = 0; i < STATE_SLOTS; i++) {
        struct fuse_in_header header;
        uint32_t used = atomic_load(&s->used[i]);
        memcpy(&header, s->slots[i], sizeof(header));
        if (used > 1)
            return "a slot is neither used nor free";
        if (used && header.unique != 0 && (header.len < sizeof(header) || header.len > STATE_SLOT_SIZE))
            return "a request has an impossible length";
    }
    return NULL;
}

int state_adopt(int fd, struct state **ret, struct error *error)
{
    struct stat st;
    struct state *s = NULL;
    if (fstat(fd, &st) < 0)
        return error_set(error, errno, "the session's state cannot be looked at: %m");
    int seals = fcntl(fd, F_GET_SEALS);
    if (st.st_size != (off_t)sizeof(*s) || seals < 0 || (seals & STATE_SEALS) != STATE_SEALS)
        return error_set(error, EBADMSG, "the session's state is not one that this rondo-cloop can go on with");
    int r = map_state(fd, &s);
    if (!s)
        return error_set(error, -r, "the session's state cannot be mapped: %s", strerror(-r));
    const char *wrong = check_header(s);
    if (!wrong && !is_init(s->init, atomic_load(&s->init_size)))
        wrong = "the first request is missing";
    if (!wrong)
        wrong = check_versions(s);
    if (!wrong)
        wrong = check_slots(s);
    if (wrong) {
        state_unmap(s);
        return error_set(error, EBADMSG, "the session's state is of no use: %s", wrong);
    }
    prepare_slots(s);
    *ret = s;
    return 0;
}

// --- changing it ---------------------------------------------------------------------------------------------------

int state_keep_init(struct state *s, const void *bytes, size_t n)
{
    if (!is_init(bytes, n))
        return -EBADMSG;
    memcpy(s->init, bytes, n);
    atomic_store(&s->init_size, (uint32_t)n);
    return 0;
}

unsigned state_entry_end(const struct state *s)
{
    uint64_t given = atomic_load(&s->last_generation);
    return given < STATE_VERSIONS ? (unsigned)given : STATE_VERSIONS;
}

int state_set_version(struct state *s, unsigned i, const struct sha256 *manifest, uint64_t *ret_generation)
{
    struct state_version *v = &s->versions[i];
    uint64_t generation = atomic_load(&s->last_generation) + 1;
    if (generation > STATE_GENERATION_MAXIMUM)
        return -EOVERFLOW;
    atomic_store(&v->generation, 0);
    atomic_store(&s->last_generation, generation);
    atomic_store(&v->open_files, 0);
    atomic_store(&v->addresses_size, 0);
    v->manifest = *manifest;
    atomic_store(&v->generation, generation);
    *ret_generation = generation;
    return 0;
}

int state_add_address(struct state_version *v, const char *address)
{
    size_t length = strlen(address) + 1, size = atomic_load(&v->addresses_size);
    if (length > STATE_ADDRESSES_SIZE - size)
        return -ENOSPC;
    memcpy(v->addresses + size, address, length);
    atomic_store(&v->addresses_size, (uint32_t)(size + length));
    return 0;
}

void state_clear_addresses(struct state_version *v)
{
    atomic_store(&v->addresses_size, 0);
}

const char *state_next_address(const struct state_version *v, const char *previous)
{
    const char *end = v->addresses + atomic_load(&v->addresses_size);
    const char *next = previous ? previous + strlen(previous) + 1 : v->addresses;
    return next < end ? next : NULL;
}

bool state_has_address(const struct state_version *v, const char *address)
{
    for (const char *a = NULL; (a = state_next_address(v, a));)
        if (strcmp(a, address) == 0)
            return true;
    return false;
}

void state_slot_begin(struct state *s, unsigned slot)
{
    memset(s->slots[slot], 0, sizeof(struct fuse_in_header));
    atomic_store(&s->used[slot], 1);
}

void state_slot_end(struct state *s, unsigned slot)
{
    atomic_store(&s->used[slot], 0);
}

bool state_slot_is_used(const struct state *s, unsigned slot)
{
    return atomic_load(&s->used[slot]) != 0;
}

size_t state_slot_request(const struct state *s, unsigned slot)
{
    struct fuse_in_header header;
    memcpy(&header, s->slots[slot], sizeof(header));
    return state_slot_is_used(s, slot) && header.unique != 0 ? header.len : 0;
}
