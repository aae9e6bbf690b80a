// Random requests at arbitrary byte offsets, compared with a flat copy of the disk in memory; with snapshots that are
// taken, some of them meanwhile, rolled back to and deleted among them; alone, then by many threads that share blocks
// but no bytes. RONDO_TEST_LONG asks for many more: a million of each of the first two.
#include "snapshot_fixture.h"

#include "base/vector.h"

#include <pthread.h>
#include <sys/mman.h>

#define SIZE ((UINT64_C(64) << 20) + 600 * BLOCK) // a whole map page and the beginning of another
#define BASE_SIZE (SIZE - 100 * BLOCK - 777)

static unsigned long times(unsigned long n)
{
    return getenv("RONDO_TEST_LONG") ? n * 10 : n;
}

static int set_up(void **state)
{
    folder_set_up(state);
    make_overlay(&folder, SIZE);
    return 0;
}

static void fill_pattern(uint64_t offset, void *to, size_t n)
{
    const struct iovec whole = {.iov_base = to, .iov_len = n};
    pattern_read(NULL, offset, &whole, 1, n);
}

static unsigned char *make_model(void)
{
    unsigned char *model = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(model != MAP_FAILED);
    fill_pattern(0, model, BASE_SIZE);
    return model;
}

// The bytes as pieces of memory, cut anywhere; sometimes one is empty. Now and then it stays one piece.
static void cut(struct random_numbers *r, unsigned char *bytes, size_t n, struct iovec ret[static VECTOR_MAXIMUM])
{
    unsigned most = (unsigned)random_below(r, VECTOR_MAXIMUM), count = 0;
    for (; count < most && n > 1; count++) {
        size_t piece = (size_t)random_below(r, random_below(r, 4) ? 600 : 2 * BLOCK) * (random_below(r, 9) ? 1 : 8);
        piece = piece < n ? piece : n - 1;
        ret[count] = (struct iovec){.iov_base = bytes, .iov_len = piece};
        bytes += piece;
        n -= piece;
    }
    ret[count] = (struct iovec){.iov_base = bytes, .iov_len = n};
}

static void compare(struct overlay *o, const unsigned char *model, uint64_t offset, uint64_t n)
{
    static unsigned char bytes[1 << 20];
    while (n > 0) {
        size_t piece = n < sizeof bytes ? (size_t)n : sizeof bytes;
        assert_int_equal(overlay_read(o, offset, bytes, piece), 0);
        if (memcmp(bytes, model + offset, piece) != 0) {
            size_t i = 0;
            while (bytes[i] == model[offset + i])
                i++;
            fail_msg("offset %llu reads %d instead of %d", (unsigned long long)(offset + i), bytes[i],
                     model[offset + i]);
        }
        offset += piece;
        n -= piece;
    }
}

// Ranges gather where mistakes would: at the beginning, at the end of the base, around the border of two map pages, and
// at the end; some anywhere.
static void choose_range(struct random_numbers *r, uint64_t *ret_offset, uint64_t *ret_n)
{
    const uint64_t spots[] = {0, BASE_SIZE, UINT64_C(64) << 20, SIZE - 40 * BLOCK, random_below(r, SIZE)};
    uint64_t spot = spots[random_below(r, 5)], reach = 40 * BLOCK;
    uint64_t from = spot > reach ? spot - reach : 0;
    uint64_t offset = from + random_below(r, 2 * reach),
             n = 1 + random_below(r, random_below(r, 8) ? 2 * BLOCK : 64 * BLOCK);
    switch (random_below(r, 4)) {
    case 0:
        offset -= offset % BLOCK;
        n += BLOCK - n % BLOCK;
        break;
    case 1:
        offset -= offset % 512;
        n += 512 - n % 512;
        break;
    default:
        break;
    }
    if (offset >= SIZE)
        offset = SIZE - 1;
    *ret_offset = offset;
    *ret_n = n < SIZE - offset ? n : SIZE - offset;
}

static void do_one(struct overlay *o, unsigned char *model, struct random_numbers *r)
{
    static unsigned char bytes[65 * BLOCK];
    struct iovec pieces[VECTOR_MAXIMUM];
    uint64_t offset, n;
    choose_range(r, &offset, &n);
    switch (random_below(r, 8)) {
    case 0:
        assert_int_equal(overlay_write_zeroes(o, offset, n), 0);
        memset(model + offset, 0, n);
        break;
    case 1: {
        assert_int_equal(overlay_discard(o, offset, n), 0);
        uint64_t first = (offset + BLOCK - 1) / BLOCK, end = (offset + n) / BLOCK;
        if (first < end)
            memset(model + first * BLOCK, 0, (end - first) * BLOCK);
        break;
    }
    case 2:
        if (random_below(r, 4) == 0)
            assert_int_equal(overlay_flush(o), 0);
        break;
    case 3:
        compare(o, model, offset, n);
        break;
    case 4:
        cut(r, bytes, n, pieces);
        assert_int_equal(overlay_readv(o, offset, pieces, n), 0);
        assert_memory_equal(bytes, model + offset, n);
        break;
    default:
        for (uint64_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)random_next(r);
        cut(r, bytes, n, pieces);
        assert_int_equal(overlay_writev(o, offset, pieces, n), 0);
        memcpy(model + offset, bytes, n);
    }
}

// Snapshots, newest first, each with a flat copy of its own.
#define SNAPSHOTS 4u
static struct {
    char label[OVERLAY_LABEL_SIZE];
    unsigned char *model;
} kept[SNAPSHOTS + 1];
static unsigned kept_count;

static void forget_snapshot(unsigned i)
{
    munmap(kept[i].model, SIZE);
    memmove(&kept[i], &kept[i + 1], (kept_count - i - 1) * sizeof kept[0]);
    kept_count--;
}

// `o` NULL: it is closed.
static void keep_snapshot(const unsigned char *model, struct overlay *o)
{
    memmove(&kept[1], &kept[0], kept_count * sizeof kept[0]);
    int r = o ? take_live(&folder, o, NULL, kept[0].label, NULL)
              : overlay_snapshot_take(folder.fd, NULL, 0, kept[0].label, NULL);
    assert_int_equal(r, 0);
    kept[0].model = make_model();
    memcpy(kept[0].model, model, SIZE);
    kept_count++;
}

// Of an overlay that is closed.
static void change_layers(unsigned char *model, struct random_numbers *r)
{
    unsigned at = kept_count > 0 ? (unsigned)random_below(r, kept_count) : 0;
    uint64_t what = kept_count == 0 ? 0 : random_below(r, 3);
    if (what == 0 && kept_count < SNAPSHOTS) {
        keep_snapshot(model, NULL);
    } else if (what == 1) {
        assert_int_equal(roll_back(&folder, kept[at].label, true, NULL), 0);
        while (at-- > 0)
            forget_snapshot(0);
        memcpy(model, kept[0].model, SIZE);
    } else {
        assert_int_equal(overlay_snapshot_delete(folder.fd, kept[at].label, NULL, NULL), 0);
        forget_snapshot(at);
    }
    for (unsigned i = 0; i < kept_count; i++) {
        struct overlay *o = open_snapshot(&folder, kept[i].label, BASE_SIZE);
        compare(o, kept[i].model, 0, SIZE);
        close_overlay(o);
    }
}

static void compare_random_requests(unsigned long count, unsigned long looks, bool with_snapshots)
{
    struct random_numbers r = {.state = test_seed(with_snapshots ? "requests and snapshots" : "requests")};
    unsigned char *model = make_model();
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    for (unsigned long i = 1; i <= count; i++) {
        do_one(o, model, &r);
        if (with_snapshots && kept_count < SNAPSHOTS && i % (count / looks) == count / looks / 2)
            keep_snapshot(model, o);
        if (i % (count / looks) == 0) {
            compare(o, model, 0, SIZE);
            close_overlay(o);
            if (with_snapshots)
                change_layers(model, &r);
            o = open_overlay(&folder, BASE_SIZE);
            compare(o, model, 0, SIZE);
        }
    }
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_true(with_snapshots || (counts.data_blocks > 100 && counts.zero_blocks > 50));
    close_overlay(o);
    munmap(model, SIZE);
}

static void random_requests_equal_a_flat_disk(void **state)
{
    (void)state;
    compare_random_requests(getenv("RONDO_TEST_LONG") ? 1000000 : 30000, 8, false);
}

static void with_snapshots_among_them_all_equal_flat_disks(void **state)
{
    (void)state;
    compare_random_requests(getenv("RONDO_TEST_LONG") ? 1000000 : 20000, times(10), true);
    while (kept_count > 0)
        forget_snapshot(0);
}

// Each thread owns a stretch of bytes that begins and ends within blocks of its neighbours. The shared blocks are most
// at risk while they are new; so the threads go on to fresh stretches often.
#define THREADS 8
#define STRETCH (2 * BLOCK + 1000)
#define ROUND_REQUESTS 12

struct worker {
    pthread_t thread;
    struct overlay *overlay;
    struct random_numbers numbers;
    uint64_t begin;
    unsigned long requests;
    unsigned char model[STRETCH];
    const char *failure;
};

static atomic_bool stop_readers;

static void *work(void *context)
{
    struct worker *w = context;
    unsigned char bytes[STRETCH];
    struct random_numbers *r = &w->numbers;
    for (unsigned long i = 0; i < w->requests && !w->failure; i++) {
        uint64_t at = random_below(r, STRETCH), n = 1 + random_below(r, STRETCH - at), offset = w->begin + at;
        int result = 0;
        switch (random_below(r, 6)) {
        case 0:
            result = overlay_write_zeroes(w->overlay, offset, n);
            memset(w->model + at, 0, n);
            break;
        case 1:
            result = overlay_discard(w->overlay, offset, n);
            uint64_t first = (offset + BLOCK - 1) / BLOCK, end = (offset + n) / BLOCK;
            if (first < end)
                memset(w->model + (first * BLOCK - w->begin), 0, (end - first) * BLOCK);
            break;
        case 2:
            result = overlay_read(w->overlay, offset, bytes, n);
            if (result == 0 && memcmp(bytes, w->model + at, n) != 0)
                w->failure = "a thread's own bytes changed";
            break;
        case 3:
            result = random_below(r, 8) ? 0 : overlay_flush(w->overlay);
            break;
        default:
            memset(w->model + at, (int)random_next(r), n);
            result = overlay_write(w->overlay, offset, w->model + at, n);
        }
        if (result != 0)
            w->failure = "a request failed";
    }
    return NULL;
}

static void *read_everywhere(void *context)
{
    struct worker *w = context;
    unsigned char bytes[STRETCH];
    while (!stop_readers && !w->failure)
        if (overlay_read(w->overlay, random_below(&w->numbers, SIZE - STRETCH), bytes, sizeof bytes) != 0)
            w->failure = "a read failed";
    return NULL;
}

static void run_round(struct overlay *o, struct worker *workers, uint64_t seed, uint64_t begin)
{
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){
            .overlay = o, .numbers = {seed + i * 2}, .begin = begin + i * STRETCH, .requests = ROUND_REQUESTS};
        fill_pattern(workers[i].begin, workers[i].model, STRETCH);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        unsigned char bytes[STRETCH];
        assert_null(workers[i].failure);
        assert_int_equal(overlay_read(o, workers[i].begin, bytes, STRETCH), 0);
        assert_memory_equal(bytes, workers[i].model, STRETCH);
    }
}

static void threads_that_share_blocks_keep_their_bytes(void **state)
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    uint64_t seed = test_seed("threads");
    static struct worker workers[THREADS], readers[2];
    stop_readers = false;
    for (unsigned i = 0; i < 2; i++) {
        readers[i] = (struct worker){.overlay = o, .numbers = {seed + 100 + i}};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_everywhere, &readers[i]), 0);
    }
    uint64_t rounds = times(60), begin = 1;
    for (uint64_t round = 0; round < rounds; round++, begin += THREADS * STRETCH)
        run_round(o, workers, seed + round * 1000, begin);
    stop_readers = true;
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_null(readers[i].failure);
    }
    close_overlay(o);
    o = open_overlay(&folder, BASE_SIZE);
    unsigned char bytes[STRETCH];
    for (unsigned i = 0; i < THREADS; i++) { // of the last round
        assert_int_equal(overlay_read(o, workers[i].begin, bytes, STRETCH), 0);
        assert_memory_equal(bytes, workers[i].model, STRETCH);
    }
    close_overlay(o);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(random_requests_equal_a_flat_disk),
        TEST(with_snapshots_among_them_all_equal_flat_disks),
        TEST(threads_that_share_blocks_keep_their_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
