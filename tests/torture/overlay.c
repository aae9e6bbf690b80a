// The overlay in torture: made, opened, written, snapshots taken (of one that is open, too), rolled back, deleted.
// What was flushed is there afterwards, what was not is old or new (tests/unit/overlay_oracle.h).
#include "tests/torture/torture.h"

#include "tests/unit/overlay_oracle.h"
#include "tests/unit/snapshot_fixture.h"

#include "base/cleanup.h"
#include "blockstore/overlay_check.h"

static struct folder folder;
static struct oracle oracle;

static void prepare_folder(const char *path)
{
    folder.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(folder.path, sizeof(folder.path), "%s", path);
}

static void finish(void)
{
    close(folder.fd);
}

// --- making and opening ----------------------------------------------------------------------------------------------

static int create(void)
{
    return overlay_create(folder.fd, ORACLE_DISK_SIZE, &some_manifest, NULL);
}

static int create_again(void)
{
    int r = create();
    return r == -EEXIST ? 0 : r;
}

static int open_here(struct overlay **ret)
{
    struct overlay_base base = pattern_base(ORACLE_BASE_SIZE);
    return overlay_open(folder.fd, &some_manifest, &base, ret, NULL);
}

static int check_fresh(void)
{
    struct overlay *o;
    oracle_start(&oracle);
    MUST(open_here(&o));
    unsigned wrong = oracle_check(&oracle, o);
    close_overlay(o);
    return wrong ? torture_wrong("%u sectors are wrong", wrong) : 0;
}

static void prepare_overlay(const char *path)
{
    prepare_folder(path);
    MUST(create());
    oracle_start(&oracle);
}

// --- requests --------------------------------------------------------------------------------------------------------

// A request that fails is made again; when that fails, too, the guest stops.
static int run_requests(struct overlay *o)
{
    struct random_numbers random = {.state = 12345};
    static struct oracle_request q;
    int first = 0;
    for (int i = 0; i < 60; i++) {
        oracle_choose(&random, &q);
        if (!oracle_expect(&oracle, &q))
            break;
        int r = oracle_perform(o, &q);
        if (first == 0)
            first = r;
        if (r < 0)
            r = oracle_perform(o, &q);
        if (r < 0)
            break;
        if (q.kind == ORACLE_FLUSH)
            oracle_flushed(&oracle);
    }
    return first;
}

static int work(void)
{
    struct overlay *o;
    int r = open_here(&o);
    if (r < 0)
        return r;
    r = run_requests(o);
    int closed = overlay_close(o, NULL);
    return r < 0 ? r : closed;
}

static int open_and_close(void)
{
    struct overlay *o;
    int r = open_here(&o);
    return r < 0 ? r : overlay_close(o, NULL);
}

static int check_oracle(void)
{
    struct overlay *o;
    MUST(open_here(&o));
    unsigned wrong = oracle_look(&oracle, o, false);
    close_overlay(o);
    return wrong ? torture_wrong("%u sectors are wrong", wrong) : 0;
}

// --- snapshots -------------------------------------------------------------------------------------------------------

// Each step of the history writes its number to a block of its own, and to block 0.
static void write_step(struct overlay *o, unsigned step)
{
    unsigned char bytes[BLOCK];
    memset(bytes, (int)step, sizeof(bytes));
    MUST(overlay_write(o, step * 100ull * BLOCK, bytes, BLOCK));
    MUST(overlay_write(o, 0, bytes, BLOCK));
    MUST(overlay_flush(o));
}

static void do_step(unsigned step)
{
    struct overlay *o;
    MUST(open_here(&o));
    write_step(o, step);
    close_overlay(o);
}

static void prepare_history(const char *path)
{
    prepare_folder(path);
    MUST(create());
    do_step(1);
    MUST(take_snapshot(&folder, "one", NULL));
    do_step(2);
    MUST(take_snapshot(&folder, "two", NULL));
    do_step(3);
}

// The disk, or a snapshot of it, holds exactly the steps up to `last`.
static int check_steps(struct overlay *o, unsigned last)
{
    unsigned char bytes[BLOCK];
    int r = 0;
    for (unsigned step = 0; step <= 4; step++) {
        MUST(overlay_read(o, step * 100ull * BLOCK, bytes, BLOCK));
        unsigned char wanted = step == 0      ? (unsigned char)last
                               : step <= last ? (unsigned char)step
                                              : fresh_at(ORACLE_BASE_SIZE, step * 100ull * BLOCK);
        if (bytes[0] != wanted)
            r = torture_wrong("block %u is %u, not %u", step * 100, bytes[0], wanted);
    }
    close_overlay(o);
    return r;
}

static int check_disk(unsigned last)
{
    struct overlay *o;
    MUST(open_here(&o));
    return check_steps(o, last);
}

static int check_snapshot(const char *label, unsigned last)
{
    return check_steps(open_snapshot(&folder, label, ORACLE_BASE_SIZE), last);
}

static void complain(void *context, bool whole, const char *text)
{
    (void)context, (void)whole;
    torture_wrong("%s", text);
}

static int check_sound(void)
{
    overlay_check(folder.fd, &some_manifest, complain, NULL);
    return 0;
}

static int take(void)
{
    return take_snapshot(&folder, "three", NULL);
}

static int take_again(void)
{
    int r = take();
    return r == -EEXIST ? 0 : r;
}

static int check_taken(void)
{
    check_sound();
    return check_disk(3) | check_snapshot("one", 1) | check_snapshot("two", 2) | check_snapshot("three", 3);
}

static int take_open(void)
{
    char label[OVERLAY_LABEL_SIZE];
    struct overlay *o;
    int r = open_here(&o);
    if (r < 0)
        return r;
    r = take_live(&folder, o, "three", label, NULL);
    int closed = overlay_close(o, NULL);
    return r < 0 ? r : closed;
}

static int take_open_again(void)
{
    int r = take_open();
    return r == -EEXIST ? 0 : r;
}

static int roll_back_one(void)
{
    return roll_back(&folder, "one", true, NULL);
}

static int check_rolled_back(void)
{
    check_sound();
    return check_disk(1) | check_snapshot("one", 1);
}

static int delete_two(void)
{
    return overlay_snapshot_delete(folder.fd, "two", NULL, NULL);
}

static int delete_again(void)
{
    int r = delete_two();
    return r == -ENOENT ? 0 : r;
}

static int check_deleted(void)
{
    check_sound();
    return check_disk(3) | check_snapshot("one", 1);
}

static int read_history(void)
{
    struct overlay_history history;
    int r = overlay_history_read(folder.fd, &history, NULL);
    return r < 0 ? r : history.count == 2 ? 0 : torture_wrong("there are %u snapshots", history.count);
}

const struct torture_scenario torture_overlay[] = {
    {.name = "make an overlay",
     .prepare = prepare_folder,
     .act = create,
     .again = create_again,
     .check = check_fresh,
     .finish = finish},
    {.name = "open an overlay",
     .prepare = prepare_overlay,
     .act = open_and_close,
     .check = check_fresh,
     .finish = finish},
    {.name = "write an overlay",
     .prepare = prepare_overlay,
     .act = work,
     .again = open_and_close,
     .check = check_oracle,
     .finish = finish},
    {.name = "take a snapshot",
     .prepare = prepare_history,
     .act = take,
     .again = take_again,
     .check = check_taken,
     .finish = finish},
    {.name = "take a snapshot of an open overlay",
     .prepare = prepare_history,
     .act = take_open,
     .again = take_open_again,
     .check = check_taken,
     .finish = finish},
    {.name = "roll back",
     .prepare = prepare_history,
     .act = roll_back_one,
     .check = check_rolled_back,
     .finish = finish},
    {.name = "delete a snapshot",
     .prepare = prepare_history,
     .act = delete_two,
     .again = delete_again,
     .check = check_deleted,
     .finish = finish},
    {.name = "read a history", .prepare = prepare_history, .act = read_history, .check = check_sound, .finish = finish},
    {.name = NULL},
};
