// Reads a disk at random places, past the page cache, with a given number of requests in flight: the guest's part of
// bench/vmm_costs.py.
//
//   read_at_depth DISK DEPTH COUNT
//
// Native asynchronous I/O, by the system calls themselves, so that it needs no library and links statically: what
// completes is submitted again in one go, so DEPTH requests of 4 KiB are in flight until COUNT were made. A request
// that fails or is short ends it with 1.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCK = 4096, DEEPEST = 256 };

static int failed(const char *what)
{
    perror(what);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int disk = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
    unsigned long depth = strtoul(argv[2], NULL, 10), count = strtoul(argv[3], NULL, 10);
    uint64_t size = 0;
    if (disk < 0 || ioctl(disk, BLKGETSIZE64, &size) < 0 || size < BLOCK)
        return failed(argv[1]);
    if (depth < 1 || depth > DEEPEST)
        return 2;

    aio_context_t context = 0;
    static struct iocb requests[DEEPEST];
    static struct io_event events[DEEPEST];
    struct iocb *free_ones[DEEPEST];
    unsigned char *memory = aligned_alloc(BLOCK, depth * BLOCK);
    if (!memory || syscall(SYS_io_setup, depth, &context) < 0)
        return failed("io_setup");
    for (unsigned long i = 0; i < depth; i++) {
        requests[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD,
                                    .aio_fildes = (uint32_t)disk,
                                    .aio_buf = (uintptr_t)(memory + i * BLOCK),
                                    .aio_nbytes = BLOCK};
        free_ones[i] = &requests[i];
    }

    unsigned long idle = depth, begun = 0, done = 0;
    uint64_t series = 1;
    while (done < count) {
        unsigned long n = idle < count - begun ? idle : count - begun;
        for (unsigned long i = 0; i < n; i++) {
            series = series * UINT64_C(6364136223846793005) + 1; // Knuth's multiplier; its upper bits are the good ones
            free_ones[i]->aio_offset = (int64_t)((series >> 20) % (size / BLOCK) * BLOCK);
        }
        if (n > 0 && syscall(SYS_io_submit, context, n, free_ones) != (long)n)
            return failed("io_submit");
        begun += n;
        long got = syscall(SYS_io_getevents, context, 1L, (long)depth, events, NULL);
        if (got < 1)
            return failed("io_getevents");
        for (long i = 0; i < got; i++) {
            if (events[i].res != BLOCK)
                return failed("a read");
            free_ones[i] = (struct iocb *)(uintptr_t)events[i].obj;
        }
        done += (unsigned long)got;
        idle = (unsigned long)got; // and nothing else: n of those before are in flight, the rest is not needed any more
    }
    return 0;
}
