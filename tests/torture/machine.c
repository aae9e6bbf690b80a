// Parts of rondo-vmm in torture: loading kernels, the disk with its threads over an overlay and over a file, the loop,
// ACPI tables. A guest's request that met a fault is answered with an error, never with wrong bytes, and all of them
// are answered.
#include "tests/torture/torture.h"

#include "tests/unit/kernel_fixture.h"

#include "blockstore/overlay.h"
#include "vmm/acpi.h"
#include "vmm/block_request.h"
#include "vmm/virtio_block.h"

#include <stdatomic.h>
#include <sys/epoll.h>

// --- kernels ---------------------------------------------------------------------------------------------------------

static struct fixture f;

static void prepare_files(void)
{
    f.request.kernel = fixture_file(f.file, f.size);
    f.request.initrd = fixture_file("an initrd", 9);
}

static void prepare_bzimage(const char *folder)
{
    (void)folder;
    fixture_bzimage(&f);
    prepare_files();
}

static void prepare_elf(const char *folder)
{
    (void)folder;
    fixture_elf(&f);
    prepare_files();
}

static void finish_kernel(void)
{
    cleanup_close(&f.request.kernel);
    fixture_end(&f);
}

static int load(void)
{
    f.error.text[0] = 0;
    int r = load_kernel(&f.memory, &f.request, &f.entry, &f.error);
    return r < 0 && !f.error.text[0] ? torture_wrong("it failed without a word") : r;
}

static int load_bzimage_here(void)
{
    int r = load();
    if (r != 0)
        return r;
    const unsigned char *code = guest_memory_slice(&f.memory, FIXTURE_PREFERRED, f.size - FIXTURE_SETUP);
    return code && memcmp(code, f.file + FIXTURE_SETUP, f.size - FIXTURE_SETUP) == 0
               ? 0
               : torture_wrong("the kernel is another");
}

static int load_elf_here(void)
{
    int r = load();
    if (r != 0)
        return r;
    const unsigned char *code = guest_memory_slice(&f.memory, 0x1000000, 1000);
    return code && memcmp(code, f.file + FIXTURE_CODE, 1000) == 0 ? 0 : torture_wrong("the kernel is another");
}

static int make_memory(void)
{
    struct guest_memory m;
    uint64_t rsdp;
    int r = guest_memory_make(16u << 20, &m, NULL);
    if (r < 0)
        return r;
    r = acpi_build(&m, 2, &rsdp, NULL);
    guest_memory_free(&m);
    return r;
}

// --- disks -----------------------------------------------------------------------------------------------------------

#define QUEUE 64u
#define DESCRIPTORS 0x10000u
#define AVAILABLE 0x20000u
#define USED 0x30000u
#define REQUESTS 0x100000u // one page each: header, status at 16, 512 bytes of data at 1024
#define REQUEST_COUNT 12u
#define DISK_SIZE (1u << 20)
#define SECTOR 512u

static int folder = -1, base = -1;
static bool over_file;
static struct guest_memory memory;
static struct loop loop;
static struct virtio_device *device;

static void make_file(const char *path, const char *name, unsigned char byte)
{
    char full[300];
    static unsigned char bytes[DISK_SIZE];
    snprintf(full, sizeof(full), "%s/%s", path, name);
    base = open(full, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    memset(bytes, byte, sizeof(bytes));
    MUST(base < 0 ? -errno : io_write_full(base, bytes, sizeof(bytes), 0));
}

static void prepare_overlay(const char *path)
{
    static const struct sha256 manifest = {.bytes = {1}};
    over_file = false;
    make_file(path, "base", 0x55);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(overlay_create(folder, DISK_SIZE, &manifest, NULL));
}

static void prepare_file(const char *path)
{
    over_file = true;
    make_file(path, "file", 0x55);
}

static void finish_disk(void)
{
    close(base);
    cleanup_close(&folder);
}

static int open_backend(struct block_backend **ret, struct error *error)
{
    int copy = fcntl(base, F_DUPFD_CLOEXEC, 3); // it is taken over
    if (over_file)
        return block_file_new(copy, "file", false, -1, ret, error);
    const struct block_overlay_settings settings = {.folder = folder,
                                                    .base = copy,
                                                    .folder_name = "folder",
                                                    .manifest = {.bytes = {1}},
                                                    .control = -1,
                                                    .pass_outage = true,
                                                    .outage_after_seconds = 1,
                                                    .record = -1};
    return block_overlay_new(&settings, ret, error);
}

static void no_interrupt(struct virtio_transport *t, unsigned queue)
{
    (void)t, (void)queue;
}

static void no_config_interrupt(struct virtio_transport *t)
{
    (void)t;
}

static void ring(struct virtio_transport *t, unsigned queue)
{
    (void)t;
    virtio_kicked(device, queue);
}

static const struct virtio_transport_operations transport = {no_interrupt, no_config_interrupt, ring,
                                                             no_config_interrupt};

static void end_loop(void *context, uint32_t events)
{
    (void)context, (void)events;
    loop_end(&loop);
}

static void *run_loop(void *context)
{
    (void)context;
    return (void *)(intptr_t)loop_run(&loop);
}

static void write_status(uint8_t status)
{
    pthread_mutex_lock(&device->lock);
    virtio_write_status(device, status);
    pthread_mutex_unlock(&device->lock);
}

static void start_driver(void)
{
    write_status(1);
    write_status(3);
    pthread_mutex_lock(&device->lock);
    uint64_t features = device->offered & ~VIRTIO_F_EVENT_INDEX;
    virtio_write_features(device, 0, (uint32_t)features);
    virtio_write_features(device, 1, (uint32_t)(features >> 32));
    device->settings[0] = (struct virtio_queue_settings){
        .size = QUEUE, .enabled = true, .descriptors = DESCRIPTORS, .available = AVAILABLE, .used = USED};
    pthread_mutex_unlock(&device->lock);
    write_status(11);
    write_status(15);
}

static void put_descriptor(unsigned i, uint64_t address, uint32_t n, uint16_t flags, uint16_t next)
{
    unsigned char *d = guest_memory_slice(&memory, DESCRIPTORS + 16ull * i, 16);
    put_le64(d, address);
    put_le32(d + 8, n);
    put_le16(d + 12, flags);
    put_le16(d + 14, next);
}

static unsigned char *request_page(unsigned i)
{
    return guest_memory_slice(&memory, REQUESTS + i * 4096ull, 4096);
}

// Writes (type 1) and reads (type 0) in turn, of the same sector: 0 and 1, 2 and 3 …; the last is a flush.
static void offer(unsigned i)
{
    unsigned char *page = request_page(i), *available = guest_memory_slice(&memory, AVAILABLE, 4096);
    uint32_t type = i + 1 == REQUEST_COUNT ? 4 : i % 2 == 0 ? 1 : 0;
    uint64_t at = REQUESTS + i * 4096ull;
    memset(page, 0xee, 4096);
    memset(page, 0, 16);
    put_le32(page, type);
    put_le64(page + 8, type == 4 ? 0 : i / 2 * 8);
    memset(page + 1024, type == 1 ? (int)i + 1 : 0xee, SECTOR);
    put_descriptor(3 * i, at, 16, 1, (uint16_t)(type == 4 ? 3 * i + 2 : 3 * i + 1));
    put_descriptor(3 * i + 1, at + 1024, SECTOR, 1 | (type == 0 ? 2 : 0), (uint16_t)(3 * i + 2));
    put_descriptor(3 * i + 2, at + 16, 1, 2, 0);
    put_le16(available + 4 + 2u * i, (uint16_t)(3 * i));
    __atomic_store_n((uint16_t *)(void *)(available + 2), (uint16_t)(i + 1), __ATOMIC_RELEASE);
    pthread_mutex_lock(&device->lock);
    virtio_kicked(device, 0);
    pthread_mutex_unlock(&device->lock);
}

static bool answered_within(unsigned i, unsigned seconds)
{
    const uint16_t *used = guest_memory_slice(&memory, USED + 2, 2);
    for (uint64_t end = io_monotonic_ns() + seconds * 1000000000ull; io_monotonic_ns() < end;) {
        if (__atomic_load_n(used, __ATOMIC_ACQUIRE) > i)
            return true;
        usleep(100);
    }
    return false;
}

static int do_requests(void)
{
    int r = 0;
    for (unsigned i = 0; i < REQUEST_COUNT; i++) {
        offer(i);
        // No space is waited for: the machine would be paused now. Then there is some.
        if (torture_disk_is_broken && !answered_within(i, 1))
            torture_mend();
        if (!answered_within(i, 30))
            return torture_wrong("request %u is not answered", i);
        const unsigned char *page = request_page(i);
        if (page[16] != 0)
            r = -EIO;
        unsigned char wanted = i % 2 == 0 ? page[1024] : (unsigned char)i;
        if (i + 1 < REQUEST_COUNT && i % 2 == 1 && page[16] == 0 && request_page(i - 1)[16] == 0 &&
            (page[1024] != wanted || page[1024 + SECTOR - 1] != wanted))
            return torture_wrong("request %u read %u, not %u", i, page[1024], wanted);
    }
    return r;
}

static int with_device(struct error *error)
{
    struct loop_source *source;
    pthread_t thread;
    int end[2]; // a pipe: what tells the loop to end needs no call that can fail
    MUST(pipe(end));
    start_driver();
    int r = loop_add(&loop, end[0], EPOLLIN, end_loop, NULL, &source);
    if (r == 0) {
        void *result;
        MUST(pthread_create(&thread, NULL, run_loop, NULL));
        r = do_requests();
        MUST(write(end[1], "x", 1) == 1 ? 0 : -EIO);
        pthread_join(thread, &result);
        if (r == 0)
            r = (int)(intptr_t)result;
    }
    close(end[0]);
    close(end[1]);
    int ended = device->operations->end(device, error);
    virtio_free(device);
    return r == 0 ? ended : r;
}

static int use_disk(void)
{
    struct block_backend *backend;
    struct error error = {""};
    int r = loop_init(&loop, &error);
    if (r < 0)
        return r;
    r = guest_memory_make(16u << 20, &memory, &error);
    if (r == 0) {
        r = open_backend(&backend, &error);
        if (r == 0) {
            const struct virtio_block_settings settings = {.backend = backend, .serial = "test", .loop = &loop};
            r = virtio_block_new(&settings, &memory, &device, &error);
            if (r == 0) {
                device->transport_operations = &transport;
                r = with_device(&error);
            }
        }
        guest_memory_free(&memory);
    }
    loop_destroy(&loop);
    return r;
}

const struct torture_scenario torture_machine[] = {
    {.name = "load a bzImage", .prepare = prepare_bzimage, .act = load_bzimage_here, .finish = finish_kernel},
    {.name = "load an ELF kernel", .prepare = prepare_elf, .act = load_elf_here, .finish = finish_kernel},
    {.name = "make a guest's memory", .act = make_memory},
    {.name = "a guest's disk over an overlay", .prepare = prepare_overlay, .act = use_disk, .finish = finish_disk},
    {.name = "a guest's disk over a file", .prepare = prepare_file, .act = use_disk, .finish = finish_disk},
    {.name = NULL},
};
