// Reads parts of a file and prints how many seconds that took: the readers of hot.py.
//
//   hot_reads sequential RANGES FILE          each range in its order, 1 MiB at a time, through the page cache
//   hot_reads random     RANGES FILE COUNT SEED    COUNT blocks of 4 KiB of the ranges, past the page cache
//
// RANGES is a text: a line "OFFSET LENGTH" for each range, in bytes. Opening the file, and reading RANGES, do not
// count.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, PIECE = 1 << 20, RANGES_MAXIMUM = 1 << 16 };

static struct range {
    uint64_t offset, length, blocks_before;
} ranges[RANGES_MAXIMUM];
static unsigned count;

static int read_ranges(const char *path)
{
    unsigned long long offset, length;
    uint64_t blocks = 0;
    FILE *text = fopen(path, "re");
    if (!text)
        return -1;
    while (count < RANGES_MAXIMUM && fscanf(text, "%llu %llu", &offset, &length) == 2) {
        ranges[count++] = (struct range){.offset = offset, .length = length, .blocks_before = blocks};
        blocks += length / BLOCK;
    }
    (void)fclose(text);
    return count > 0 && blocks > 0 ? 0 : -1;
}

static int read_sequentially(int fd, void *to)
{
    for (unsigned i = 0; i < count; i++)
        for (uint64_t at = 0; at < ranges[i].length;) {
            uint64_t left = ranges[i].length - at;
            ssize_t n = pread(fd, to, left < PIECE ? left : PIECE, (off_t)(ranges[i].offset + at));
            if (n <= 0)
                return -1;
            at += (uint64_t)n;
        }
    return 0;
}

static uint64_t place_of(uint64_t block)
{
    unsigned low = 0, high = count; // the range that it is in: low ≤ it < high
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (ranges[middle].blocks_before <= block)
            low = middle;
        else
            high = middle;
    }
    return ranges[low].offset + (block - ranges[low].blocks_before) * BLOCK;
}

static int read_randomly(int fd, void *to, unsigned long reads, uint64_t series)
{
    uint64_t blocks = ranges[count - 1].blocks_before + ranges[count - 1].length / BLOCK;
    while (reads-- > 0) {
        series = series * UINT64_C(6364136223846793005) + 1; // Knuth's multiplier; its upper bits are the good ones
        if (pread(fd, to, BLOCK, (off_t)place_of((series >> 20) % blocks)) != BLOCK)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int random = argc == 6 && strcmp(argv[1], "random") == 0;
    if (!random && (argc != 4 || strcmp(argv[1], "sequential") != 0))
        return 2;
    int fd = open(argv[3], O_RDONLY | O_CLOEXEC | (random ? O_DIRECT : 0));
    void *to = aligned_alloc(BLOCK, PIECE);
    if (fd < 0 || !to || read_ranges(argv[2]) < 0) {
        perror(argv[3]);
        return 1;
    }
    memset(to, 0, PIECE);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if ((random ? read_randomly(fd, to, strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10))
                : read_sequentially(fd, to)) < 0) {
        perror("a read");
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f\n", (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}
