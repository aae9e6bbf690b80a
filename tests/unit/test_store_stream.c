// The stream of boot packs: what it asks for, what readers get out of it, and what becomes of it when sources fail.

#include "tests/unit/store_server.h"

#include "base/log.h"

#include "base/banned.h"

#define LEAF_CHUNK 67u // the disk's first leaf: behind the 64 chunks of its beginning and 3 at the border
#define NOWHERE 1000u  // no boot line

static struct test_site *site;
static unsigned first_page_pack; // before it: data of the disk's beginning alone

static int setup(void **state)
{
    (void)state;
    unsigned order[SITE_PACKS_MAXIMUM], n = 0;
    site = site_make_usual();
    first_page_pack = site->chunks[LEAF_CHUNK].pack;
    assert_true(first_page_pack >= 3);
    for (unsigned i = site->pack_count; i > first_page_pack; i--) // what the map needs first
        order[n++] = i - 1;
    for (unsigned i = 0; i < first_page_pack; i++)
        order[n++] = i;
    site_list_boot(site, order, n);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    io = &io_table_system;
    site_free(site);
    return 0;
}

// --- a server that sends whole packs as slowly, or as badly, as the test wants -------------------------------------

enum fault { NONE, FLIPPED, SHORT, CUT, ENDLESS, ABSENT, UNAVAILABLE };

struct slow_server {
    struct tiny_http *http;
    atomic_uint hang_line;  // of the boot pack at this line …
    atomic_uint hang_bytes; // … so many bytes are sent, and none of those behind it
    atomic_uint tick_bytes; // 0: as fast as can be; else so many at a time, …
    atomic_uint tick_ms;    // … so far apart
    atomic_int fault;       // of answers with whole packs
    atomic_uint fault_line; // NOWHERE: of all
    atomic_uint faults;     // how many more of them have it
    atomic_bool plain;      // ranges are ignored
    atomic_uint wholes, ranges;
    pthread_mutex_t mutex;
    char order[64][128]; // of whole packs asked for
};

static unsigned line_of(const char *path)
{
    char hex[SHA256_HEX_SIZE];
    for (unsigned i = 0; i < site->boot_count; i++)
        if (strstr(path, sha256_to_hex(&site->boot[i].pack, hex)))
            return i;
    return NOWHERE;
}

static bool await_permission(struct slow_server *s, const struct tiny_request *q, unsigned line, size_t end)
{
    for (;;) {
        unsigned hang = atomic_load(&s->hang_line);
        if (hang == NOWHERE || line == NOWHERE || line < hang || (line == hang && end <= atomic_load(&s->hang_bytes)))
            return true;
        if (atomic_load(&q->server->stopping))
            return false;
        server_sleep(1);
    }
}

static bool take_fault(struct slow_server *s, unsigned line)
{
    unsigned left = atomic_load(&s->faults), where = atomic_load(&s->fault_line);
    if (atomic_load(&s->fault) == NONE || left == 0 || (where != NOWHERE && where != line))
        return false;
    return left == UINT32_MAX || atomic_fetch_sub(&s->faults, 1) > 0;
}

static bool send_whole(struct slow_server *s, struct tiny_request *q, unsigned char *bytes, size_t n)
{
    unsigned line = line_of(q->path);
    enum fault fault = take_fault(s, line) ? (enum fault)atomic_load(&s->fault) : NONE;
    char head[96];
    size_t length = fault == SHORT ? n / 2 : n;
    if (fault == ABSENT)
        return tiny_reply(q, "404 Not Found", "", "", 0);
    if (fault == UNAVAILABLE)
        return tiny_reply(q, "503 Service Unavailable", "", "", 0);
    if (fault == FLIPPED)
        bytes[n / 3] ^= 1;
    if (fault == ENDLESS)
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    else
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", length);
    tiny_text(q->fd, head);
    if (fault == CUT)
        length = n / 2;
    for (size_t at = 0; at < length;) {
        unsigned tick = atomic_load(&s->tick_bytes);
        size_t piece = tick ? tick : 4096, take = length - at < piece ? length - at : piece;
        if (!await_permission(s, q, line, at + take) || atomic_load(&q->server->stopping))
            return false;
        tiny_send(q->fd, bytes + at, take);
        at += take;
        if (tick)
            server_sleep(atomic_load(&s->tick_ms));
    }
    for (unsigned i = 0; fault == ENDLESS && i < 64; i++)
        tiny_send(q->fd, bytes, n < 65536 ? n : 65536);
    return fault != CUT && fault != ENDLESS;
}

static bool handle(struct tiny_request *q, void *context)
{
    struct slow_server *s = context;
    char path[512], manifest[SHA256_HEX_SIZE];
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    snprintf(path, sizeof(path), "%s%s", site->folder, q->path);
    if (io_read_file(AT_FDCWD, path, PACK_SIZE_MAXIMUM, &bytes, &n) < 0)
        return tiny_reply(q, "404 Not Found", "", "", 0);
    if (strstr(q->path, sha256_to_hex(&site->manifest, manifest)))
        return tiny_serve(q, bytes, n);
    if (q->has_range)
        atomic_fetch_add(&s->ranges, 1);
    if (q->has_range && !atomic_load(&s->plain))
        return tiny_serve(q, bytes, n);
    unsigned number = atomic_fetch_add(&s->wholes, 1);
    pthread_mutex_lock(&s->mutex);
    snprintf(s->order[number % 64], sizeof(s->order[0]), "%.127s", q->path);
    pthread_mutex_unlock(&s->mutex);
    return send_whole(s, q, bytes, n);
}

static struct slow_server *slow_start(void)
{
    struct slow_server *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    atomic_store(&s->hang_line, NOWHERE);
    atomic_store(&s->tick_ms, 1);
    atomic_store(&s->fault_line, NOWHERE);
    pthread_mutex_init(&s->mutex, NULL);
    s->http = tiny_http_start(handle, s);
    return s;
}

static void slow_stop(struct slow_server *s)
{
    tiny_http_stop(s->http);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

static void hang(struct slow_server *s, unsigned line, unsigned bytes)
{
    atomic_store(&s->hang_bytes, bytes);
    atomic_store(&s->hang_line, line);
}

static void set_fault(struct slow_server *s, enum fault fault, unsigned times)
{
    atomic_store(&s->faults, times);
    atomic_store(&s->fault, fault);
}

// --- a clock that stands still: whatever the machine does, nothing has stalled, and nothing is late -----------------

static struct io_table table;
static struct timespec standstill;
static atomic_uint ahead_seconds; // of it

static int frozen_clock(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_MONOTONIC)
        return io_table_system.clock_gettime(clock, ret);
    *ret = standstill;
    ret->tv_sec += atomic_load(&ahead_seconds);
    return 0;
}

static void freeze_clock(void) // before any thread starts; teardown undoes it
{
    clock_gettime(CLOCK_MONOTONIC, &standstill);
    atomic_store(&ahead_seconds, 0);
    table = io_table_system;
    table.clock_gettime = frozen_clock;
    io = &table;
}

// --- a client ------------------------------------------------------------------------------------------------------

struct client {
    struct store *store;
    struct version *v;
};

static struct client client_open(const char *const *addresses, unsigned count)
{
    struct client c = {.store = site_open_store(site, true, 0)};
    struct error error = {0};
    if (version_open(c.store, &site->manifest, addresses, count, &c.v, &error) != 0)
        fail_msg("%s", error.text);
    version_stream(c.v);
    return c;
}

static struct client client_start(const struct slow_server *s)
{
    const char *address = s->http->address;
    return client_open(&address, 1);
}

static void client_stop(struct client *c)
{
    version_close(c->v);
    store_free(c->store);
}

static bool is_kept(const struct client *c, unsigned line)
{
    return cache_has_object(store_cache(c->store), &site->boot[line].pack);
}

static void await_kept(const struct client *c, unsigned first, unsigned end)
{
    for (unsigned ms = 0; first < end; ms++) {
        if (ms > 20000)
            fail_msg("boot pack %u did not come", first);
        if (is_kept(c, first))
            first++;
        else
            server_sleep(1);
    }
}

static void await_at_least(atomic_uint *counter, unsigned n)
{
    for (unsigned ms = 0; atomic_load(counter) < n; ms++) {
        if (ms > 20000)
            fail_msg("the server waited for request %u in vain", n);
        server_sleep(1);
    }
}

static struct store_counts counts_of(const struct client *c)
{
    struct store_counts n;
    store_count(c->store, &n);
    return n;
}

static uint64_t bytes_of_lines(unsigned first, unsigned end)
{
    uint64_t sum = 0;
    for (unsigned i = first; i < end; i++)
        sum += site->boot[i].size;
    return sum;
}

static unsigned map_lines(void) // boot lines before the packs of the disk's beginning
{
    return site->boot_count - first_page_pack;
}

struct reading {
    struct version *v;
    uint64_t offset;
    size_t n;
    atomic_bool over;
    int result;
};

static void *read_one(void *context)
{
    struct reading *r = context;
    struct error error = {0};
    r->result = site_check(site, r->v, DISK, r->offset, r->n, &error);
    atomic_store(&r->over, true);
    return NULL;
}

static void await_over(struct reading *r)
{
    for (unsigned ms = 0; !atomic_load(&r->over); ms++) {
        if (ms > 20000)
            fail_msg("a read did not end");
        server_sleep(1);
    }
}

// --- the stream ----------------------------------------------------------------------------------------------------

static bool was_asked_for(const struct slow_server *s, unsigned place, unsigned line)
{
    char hex[SHA256_HEX_SIZE];
    return place < site->boot_count && strstr(s->order[place], sha256_to_hex(&site->boot[line].pack, hex));
}

static void boot_packs_come_whole_and_in_order(void **state)
{
    (void)state;
    struct slow_server *server = slow_start();
    struct client c = client_start(server);
    await_kept(&c, 0, site->boot_count);
    assert_int_equal(atomic_load(&server->ranges), 0);
    assert_int_equal(atomic_load(&server->wholes), site->boot_count);
    for (unsigned i = 0; i < site->boot_count; i++) {
        unsigned place = i < 2 ? 0 : i - 2, last = i + 2; // up to three that are small are asked for side by side
        while (place < last && !was_asked_for(server, place, i))
            place++;
        assert_true(was_asked_for(server, place, i));
    }
    client_stop(&c);
    slow_stop(server);
}

static void boot_packs_of_two_versions_come_once(void **state)
{
    (void)state;
    struct slow_server *server = slow_start();
    struct client c = client_start(server), other = {.store = c.store};
    other.v = site_open_version(site, c.store, server->http->address); // a second opening of the same packs
    version_stream(other.v);
    version_stream(other.v); // twice is once
    await_kept(&c, 0, site->boot_count);
    site_must_read_all(site, c.v);
    assert_int_equal(atomic_load(&server->ranges), 0);
    assert_int_equal(atomic_load(&server->wholes), site->boot_count);
    assert_int_equal(counts_of(&c).stream_bytes, bytes_of_lines(0, site->boot_count));
    assert_int_equal(counts_of(&c).stream_wasted, 0);
    version_close(other.v);
    client_stop(&c);

    c = client_start(server); // all is there
    site_must_read_all(site, c.v);
    client_stop(&c);
    assert_int_equal(atomic_load(&server->wholes), site->boot_count);
    slow_stop(server);
}

static void without_boot_packs_a_cache_or_sources_there_is_no_stream(void **state)
{
    (void)state;
    struct slow_server *server = slow_start();
    struct store *store = site_open_store(site, false, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    version_stream(v);
    site_must_read(site, v, DISK, 0, 100000);
    version_close(v);
    store_free(store);
    assert_int_equal(atomic_load(&server->wholes), 0);

    store = site_open_store(site, true, 0);
    v = site_open_version(site, store, server->http->address); // now its manifest is in the cache
    version_close(v);
    v = site_open_version(site, store, NULL);
    version_stream(v);
    struct error error;
    assert_int_equal(site_check(site, v, DISK, 0, 1, &error), -ENOENT);
    version_close(v);
    site_list_boot(site, NULL, 0);
    v = site_open_version(site, store, server->http->address);
    version_stream(v);
    site_must_read(site, v, DISK, 0, 100000);
    version_close(v);
    store_free(store);
    assert_int_equal(atomic_load(&server->wholes), 0);
    slow_stop(server);
}

static void a_chunk_is_read_before_its_pack_has_ended(void **state)
{
    (void)state;
    freeze_clock();
    unsigned line = map_lines();
    const struct chunk_reference *second = &site->chunks[1].ref; // of the pack at this line
    struct slow_server *server = slow_start();
    hang(server, line, second->offset + second->length + 4096);
    struct client c = client_start(server);
    site_must_read(site, c.v, DISK, 0, 64 * BLOCK_SIZE);
    assert_false(is_kept(&c, line));
    assert_int_equal(atomic_load(&server->ranges), 0);
    assert_int_equal(counts_of(&c).chunks_fetched, 0);
    assert_true(counts_of(&c).chunks_stream >= 2);
    hang(server, NOWHERE, 0);
    await_kept(&c, 0, site->boot_count);
    client_stop(&c);
    slow_stop(server);
}

static void a_read_waits_for_what_comes_soon(void **state)
{
    (void)state;
    freeze_clock();
    struct slow_server *server = slow_start();
    hang(server, 0, 0);
    struct client c = client_start(server);
    struct reading r = {.v = c.v, .offset = 0, .n = 64 * BLOCK_SIZE};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_one, &r), 0);
    server_sleep(50);
    assert_false(atomic_load(&r.over));
    hang(server, NOWHERE, 0);
    pthread_join(thread, NULL);
    assert_int_equal(r.result, 0);
    await_kept(&c, 0, site->boot_count);
    assert_int_equal(counts_of(&c).chunks_fetched, 0);
    assert_int_equal(atomic_load(&server->ranges), 0);
    client_stop(&c);
    slow_stop(server);
}

static void a_read_overtakes_what_comes_late(void **state)
{
    (void)state;
    struct slow_server *server = slow_start();
    atomic_store(&server->tick_bytes, 512); // less than 500 KB a second, for some MB
    struct client c = client_start(server);
    await_kept(&c, 0, map_lines());
    const struct chunk_reference *late = &site->chunks[63].ref; // of the last boot pack
    assert_true(sha256_equal(&late->pack.name, &site->boot[site->boot_count - 1].pack));
    site_must_read(site, c.v, DISK, 63ull * CHUNK_BYTES_MAXIMUM, CHUNK_BYTES_MAXIMUM);
    assert_false(is_kept(&c, site->boot_count - 1));
    assert_int_equal(atomic_load(&server->ranges), 1);
    assert_int_equal(counts_of(&c).chunks_overtaken, 1);
    client_stop(&c); // in the middle of it
    slow_stop(server);
}

static void a_stalled_stream_keeps_no_reader(void **state)
{
    (void)state;
    unsigned line = map_lines();
    struct slow_server *server = slow_start();
    hang(server, line, 70000);
    struct client c = client_start(server);
    await_kept(&c, 0, line);
    site_must_read(site, c.v, DISK, 8ull * CHUNK_BYTES_MAXIMUM, CHUNK_BYTES_MAXIMUM);  // of the pack that hangs
    site_must_read(site, c.v, DISK, 60ull * CHUNK_BYTES_MAXIMUM, CHUNK_BYTES_MAXIMUM); // of one behind it
    assert_int_equal(atomic_load(&server->ranges), 2);
    assert_false(is_kept(&c, line));
    client_stop(&c);
    slow_stop(server);
}

static void a_stream_that_waits_for_anothers_pack_keeps_no_reader(void **state)
{
    (void)state;
    freeze_clock();
    struct slow_server *silent = slow_start(), *server = slow_start();
    hang(silent, 0, 0);
    struct client c = client_start(silent), other = {.store = c.store};
    await_at_least(&silent->wholes, 1);
    store_set_wait(c.store, 30);
    other.v = site_open_version(site, c.store, server->http->address);
    version_stream(other.v);
    struct reading r = {.v = other.v, .offset = 63ull * CHUNK_BYTES_MAXIMUM, .n = CHUNK_BYTES_MAXIMUM};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_one, &r), 0);
    server_sleep(50);
    assert_false(atomic_load(&r.over));
    atomic_store(&ahead_seconds, 2); // less than a read waits for a stream that might go on
    await_over(&r);
    pthread_join(thread, NULL);
    assert_int_equal(r.result, 0);
    assert_int_equal(atomic_load(&server->wholes), 0);
    version_close(other.v);
    client_stop(&c);
    slow_stop(silent);
    slow_stop(server);
}

static void a_stream_that_trickles_takes_a_part_of_a_reads_time(void **state)
{
    (void)state;
    site_list_boot(site, (const unsigned[]){0}, 1);
    struct slow_server *server = slow_start();
    atomic_store(&server->tick_bytes, 1000); // a pack in three minutes, in pieces that tell no rate
    atomic_store(&server->tick_ms, 150);
    struct client c = client_start(server);
    store_set_wait(c.store, 2);
    site_must_read(site, c.v, DISK, 0, 8ull * CHUNK_BYTES_MAXIMUM);
    assert_true(atomic_load(&server->ranges) > 0);
    client_stop(&c);
    slow_stop(server);
}

static void closing_or_cancelling_ends_a_stream_at_once(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        struct slow_server *server = slow_start();
        hang(server, 2, 5000);
        struct client c = client_start(server);
        await_at_least(&server->wholes, 3);
        if (cancel)
            version_cancel(c.v);
        uint64_t before = io_monotonic_ns();
        client_stop(&c);
        assert_true(io_monotonic_ns() - before < 5000000000ull); // far from any of its waiting times
        slow_stop(server);
        site_empty_cache(site);
    }
}

// --- sources that fail ---------------------------------------------------------------------------------------------

static void wrong_bytes_are_never_kept_and_the_other_source_is_asked(void **state)
{
    (void)state;
    struct slow_server *liar = slow_start(), *honest = slow_start();
    set_fault(liar, FLIPPED, UINT32_MAX);
    const char *addresses[] = {liar->http->address, honest->http->address};
    struct client c = client_open(addresses, 2);
    site_must_read_all(site, c.v);
    await_kept(&c, 0, site->boot_count);
    assert_true(counts_of(&c).wrong > 0);
    assert_true(counts_of(&c).stream_wasted > 0);
    assert_true(atomic_load(&liar->wholes) <= 3); // those that were asked for before it was known
    site_must_read_all(site, c.v);
    client_stop(&c);
    slow_stop(liar);
    slow_stop(honest);
}

static void wrong_bytes_of_the_only_source_reach_nobody(void **state)
{
    (void)state;
    struct slow_server *liar = slow_start();
    set_fault(liar, FLIPPED, UINT32_MAX);
    struct client c = client_start(liar);
    site_must_read_all(site, c.v); // by requests of its own, which are answered rightly
    await_at_least(&liar->wholes, site->boot_count);
    assert_true(counts_of(&c).wrong > 0);
    version_close(c.v);
    assert_true(counts_of(&c).stream_bytes > 0);
    assert_int_equal(counts_of(&c).stream_wasted, counts_of(&c).stream_bytes);
    store_free(c.store);
    slow_stop(liar);
}

// What readers need comes by requests of their own, whatever the stream gets; nothing of it is kept.
static void check_fault(enum fault fault)
{
    struct slow_server *server = slow_start();
    set_fault(server, fault, UINT32_MAX);
    struct client c = client_start(server);
    site_must_read_all(site, c.v);
    await_at_least(&server->wholes, 2);
    assert_true(atomic_load(&server->ranges) > 0);
    client_stop(&c);
    slow_stop(server);
    site_empty_cache(site);
}

static void packs_that_are_short_cut_off_endless_or_absent_cost_readers_nothing(void **state)
{
    (void)state;
    check_fault(SHORT);
    check_fault(CUT);
    check_fault(ENDLESS);
    check_fault(ABSENT);
}

static void a_stream_goes_on_after_an_outage(void **state)
{
    (void)state;
    static const enum fault faults[] = {UNAVAILABLE, CUT};
    for (unsigned i = 0; i < 2; i++) {
        struct slow_server *server = slow_start();
        set_fault(server, faults[i], 3);
        struct client c = client_start(server);
        await_kept(&c, 0, site->boot_count);
        client_stop(&c);
        slow_stop(server);
        site_empty_cache(site);
    }
}

static void one_absent_pack_does_not_stop_the_others(void **state)
{
    (void)state;
    struct slow_server *server = slow_start();
    set_fault(server, ABSENT, 1);
    atomic_store(&server->fault_line, 0);
    struct client c = client_start(server);
    await_kept(&c, 1, site->boot_count);
    assert_false(is_kept(&c, 0));
    site_must_read_all(site, c.v);
    client_stop(&c);
    slow_stop(server);
}

static void a_source_without_ranges_is_not_asked_for_packs_twice(void **state)
{
    (void)state;
    freeze_clock();
    struct slow_server *server = slow_start();
    atomic_store(&server->plain, true);
    struct client c = client_start(server);
    site_must_read_all(site, c.v);
    await_kept(&c, 0, site->boot_count);
    assert_int_equal(atomic_load(&server->wholes), site->boot_count);
    client_stop(&c);
    slow_stop(server);
}

static void a_folder_is_streamed_too(void **state)
{
    (void)state;
    const char *address = site->folder;
    struct client c = client_open(&address, 1);
    await_kept(&c, 0, site->boot_count);
    site_must_read_all(site, c.v);
    client_stop(&c);
}

static void a_pack_of_hostile_size_is_passed_over(void **state)
{
    (void)state;
    site->boot[0].size = PACK_SIZE_MAXIMUM;
    site->boot[1].size--; // not what the pack has
    site_write_manifest(site);
    struct slow_server *server = slow_start();
    struct client c = client_start(server);
    await_kept(&c, 2, site->boot_count);
    assert_false(is_kept(&c, 0));
    assert_false(is_kept(&c, 1));
    assert_int_equal(atomic_load(&server->wholes), site->boot_count - 1);
    site_must_read_all(site, c.v);
    client_stop(&c);
    slow_stop(server);
}

// --- a disk that keeps nothing -------------------------------------------------------------------------------------

static ssize_t full_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    (void)fd;
    (void)from;
    (void)n;
    (void)offset;
    errno = ENOSPC;
    return -1;
}

static void a_full_disk_ends_the_stream_and_no_read(void **state)
{
    (void)state;
    table = io_table_system;
    table.pwrite = full_pwrite;
    io = &table;
    struct slow_server *server = slow_start();
    struct client c = client_start(server);
    site_must_read_all(site, c.v);
    client_stop(&c);
    assert_true(atomic_load(&server->wholes) <= 3); // what was on its way when that was found out
    slow_stop(server);
}

// --- the rest, at leisure ------------------------------------------------------------------------------------------

static void *fill(void *context)
{
    struct reading *r = context;
    struct sha256 *objects = NULL;
    struct error error = {0};
    size_t count;
    r->result = version_fill(r->v, 0, NULL, NULL, &objects, &count, &error);
    if (r->result < 0)
        print_message("%s\n", error.text);
    free(objects);
    atomic_store(&r->over, true);
    return NULL;
}

static void what_is_kept_comes_behind_the_stream(void **state)
{
    (void)state;
    struct slow_server *server = slow_start();
    hang(server, 3, 5000);
    site_list_boot(site, (const unsigned[]){7, 6, 5, 4}, 4); // what remains: the disk's beginning
    struct client c = client_start(server);
    struct reading r = {.v = site_open_version(site, c.store, server->http->address)};
    pthread_t thread;
    await_at_least(&server->wholes, 4);
    assert_int_equal(pthread_create(&thread, NULL, fill, &r), 0);
    server_sleep(300);
    assert_int_equal(atomic_load(&server->wholes), 4);
    assert_int_equal(atomic_load(&server->ranges), 0);
    hang(server, NOWHERE, 0);
    pthread_join(thread, NULL);
    assert_int_equal(r.result, 0);
    unsigned requests = atomic_load(&server->wholes) + atomic_load(&server->ranges);
    site_must_read_all(site, c.v);
    assert_int_equal(atomic_load(&server->wholes) + atomic_load(&server->ranges), requests);
    version_close(r.v);
    client_stop(&c);
    slow_stop(server);
}

// While what is kept is looked for on the disk, the stream begins.
static struct client *late_stream;
static atomic_bool looked;

static ssize_t pread_before_the_stream(int fd, void *to, size_t n, off_t offset)
{
    const struct chunk_reference *first = &site->chunks[0].ref;
    if (n == first->length && offset == (off_t)first->offset && !atomic_exchange(&looked, true)) {
        version_stream(late_stream->v);
        while (counts_of(late_stream).stream_bytes + 8192 < first->pack.size)
            server_sleep(1);
    }
    return io_table_system.pread(fd, to, n, offset);
}

static void what_is_kept_may_arrive_in_the_stream_meanwhile(void **state)
{
    (void)state;
    struct slow_server *server = slow_start();
    site_list_boot(site, (const unsigned[]){0}, 1);
    hang(server, 0, site->boot[0].size - 4096);
    struct client c = {.store = site_open_store(site, true, 0)};
    c.v = site_open_version(site, c.store, server->http->address);
    site_must_read(site, c.v, DISK, 0, 8ull * CHUNK_BYTES_MAXIMUM); // so that single chunks are missing
    late_stream = &c;
    table = io_table_system;
    table.pread = pread_before_the_stream;
    atomic_store(&looked, false);
    io = &table;
    struct reading r = {.v = site_open_version(site, c.store, server->http->address)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fill, &r), 0);
    while (counts_of(&c).chunks_stream == 0 && !atomic_load(&r.over))
        server_sleep(1);
    hang(server, NOWHERE, 0);
    pthread_join(thread, NULL);
    assert_int_equal(r.result, 0);
    assert_true(counts_of(&c).chunks_stream > 0);
    version_close(r.v);
    client_stop(&c);
    slow_stop(server);
}

// --- all at once ---------------------------------------------------------------------------------------------------

static void *read_all(void *context)
{
    struct reading *r = context;
    struct error error = {0};
    for (uint64_t block = 0; block < FIRST_BLOCKS && r->result == 0; block += 40)
        r->result =
            site_check(site, r->v, DISK, (block + r->offset) % FIRST_BLOCKS * BLOCK_SIZE, 40 * BLOCK_SIZE, &error);
    if (r->result < 0)
        print_message("%s\n", error.text);
    return NULL;
}

static void many_readers_get_right_bytes_from_a_bad_stream(void **state)
{
    (void)state;
    struct slow_server *one = slow_start(), *two = slow_start();
    atomic_store(&one->tick_bytes, 20000);
    set_fault(one, FLIPPED, 1);
    set_fault(two, CUT, 2);
    const char *addresses[] = {one->http->address, two->http->address};
    struct client c = client_open(addresses, 2);
    struct reading readings[8] = {{.result = 0}};
    pthread_t threads[8];
    for (unsigned i = 0; i < 8; i++) {
        readings[i] = (struct reading){.v = c.v, .offset = i * 251};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readings[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readings[i].result, 0);
    }
    await_kept(&c, 0, site->boot_count);
    client_stop(&c);
    slow_stop(one);
    slow_stop(two);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_store_stream");
    const struct CMUnitTest tests[] = {
        TEST(boot_packs_come_whole_and_in_order),
        TEST(boot_packs_of_two_versions_come_once),
        TEST(without_boot_packs_a_cache_or_sources_there_is_no_stream),
        TEST(a_chunk_is_read_before_its_pack_has_ended),
        TEST(a_read_waits_for_what_comes_soon),
        TEST(a_read_overtakes_what_comes_late),
        TEST(a_stalled_stream_keeps_no_reader),
        TEST(a_stream_that_waits_for_anothers_pack_keeps_no_reader),
        TEST(a_stream_that_trickles_takes_a_part_of_a_reads_time),
        TEST(closing_or_cancelling_ends_a_stream_at_once),
        TEST(wrong_bytes_are_never_kept_and_the_other_source_is_asked),
        TEST(wrong_bytes_of_the_only_source_reach_nobody),
        TEST(packs_that_are_short_cut_off_endless_or_absent_cost_readers_nothing),
        TEST(a_stream_goes_on_after_an_outage),
        TEST(one_absent_pack_does_not_stop_the_others),
        TEST(a_source_without_ranges_is_not_asked_for_packs_twice),
        TEST(a_folder_is_streamed_too),
        TEST(a_pack_of_hostile_size_is_passed_over),
        TEST(a_full_disk_ends_the_stream_and_no_read),
        TEST(what_is_kept_comes_behind_the_stream),
        TEST(what_is_kept_may_arrive_in_the_stream_meanwhile),
        TEST(many_readers_get_right_bytes_from_a_bad_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
