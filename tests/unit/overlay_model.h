// What a disk with snapshots may hold after a crash: the model of test_overlay_crash.c, and the look at what is there.
#pragma once

#include "crash_calls.h"

#include "base/log.h"
#include "overlay_oracle.h"
#include "snapshot_fixture.h"

#define SNAPSHOTS 5u // at once

enum change { NO_CHANGE, TAKE, ROLL_BACK, DELETE };

struct kept {
    char label[OVERLAY_LABEL_SIZE];
    uint64_t contents[ORACLE_SECTORS]; // hashes
};

static struct model {
    struct oracle disk;
    struct kept snapshots[SNAPSHOTS + 1]; // newest first
    unsigned count;
    enum change pending; // was begun, and is not known to be on the disk
    unsigned at;         // the snapshot that it is about
    struct overlay_id top;
    struct kept taken;
    unsigned number;
} model;

// What another thread has written while a flush ran: it is not flushed by that one.
static struct {
    bool happened;
    struct oracle before;
    struct oracle_request request;
} meanwhile;
static struct overlay *served;
static struct random_numbers *numbers;

static bool quiet; // mutants are wrong on purpose

static inline void wrong_because(const char *what)
{
    if (!quiet)
        fprintf(stderr, "# death at call %lu, change %d: %s\n", crash.die_at, model.pending, what);
}

static inline void model_start(void)
{
    model.count = model.number = 0;
    model.pending = NO_CHANGE;
    oracle_start(&model.disk);
}

static inline void drop_kept(unsigned i)
{
    memmove(&model.snapshots[i], &model.snapshots[i + 1], (model.count - i - 1) * sizeof model.snapshots[0]);
    model.count--;
}

// The pending change has happened.
static inline void model_change(void)
{
    switch (model.pending) {
    case TAKE:
        memmove(&model.snapshots[1], &model.snapshots[0], model.count * sizeof model.snapshots[0]);
        model.snapshots[0] = model.taken;
        model.count++;
        oracle_flushed(&model.disk);
        break;
    case ROLL_BACK:
        for (unsigned i = 0; i < model.at; i++)
            drop_kept(0);
        for (unsigned s = 0; s < ORACLE_SECTORS; s++) { // `current` follows when the disk is looked at
            model.disk.sectors[s].allowed[0] = model.snapshots[0].contents[s];
            model.disk.sectors[s].count = 1;
        }
        break;
    case DELETE:
        drop_kept(model.at);
        break;
    case NO_CHANGE:
        break;
    }
    model.pending = NO_CHANGE;
}

static inline bool list_says(const struct overlay_layers *layers)
{
    bool there = false;
    const char *label = model.pending == TAKE ? model.taken.label : model.snapshots[model.at].label;
    for (unsigned i = 0; i < layers->count; i++)
        there = there || (layers->layers[i].kind == OVERLAY_LAYER_SNAPSHOT &&
                          strcmp(layers->layers[i].snapshot.label, label) == 0);
    switch (model.pending) {
    case TAKE:
        return there;
    case ROLL_BACK:
        return !overlay_id_equal(&layers->layers[0].id, &model.top);
    case DELETE:
        return !there;
    case NO_CHANGE:
        break;
    }
    return false;
}

static inline bool read_list(struct overlay_layers *ret)
{
    bool listed;
    return overlay_layers_read(crash.folder.fd, ret, &listed, NULL) == 0;
}

static inline struct overlay *open_from(const struct overlay_layers *layers, unsigned first)
{
    struct overlay_base base = pattern_base(ORACLE_BASE_SIZE);
    struct overlay *o = NULL;
    int lock = overlay_take_lock(crash.folder.fd, NULL);
    if (lock < 0 || overlay_open_layers(crash.folder.fd, lock, layers, first, &some_manifest, &base, &o, NULL) != 0)
        return NULL;
    return o;
}

static inline unsigned look_at_snapshot(const struct overlay_layers *layers, const struct kept *kept)
{
    unsigned at = 0, wrong = 0;
    while (at < layers->count && (layers->layers[at].kind != OVERLAY_LAYER_SNAPSHOT ||
                                  strcmp(layers->layers[at].snapshot.label, kept->label) != 0))
        at++;
    struct overlay *o = at < layers->count ? open_from(layers, at) : NULL;
    if (!o)
        return ORACLE_SECTORS;
    for (unsigned w = 0; w < ORACLE_WINDOWS; w++) {
        for (unsigned i = 0; i < oracle_windows[w].count * 8; i++) {
            unsigned char bytes[SECTOR];
            wrong += overlay_read(o, oracle_windows[w].first * BLOCK + i * SECTOR, bytes, SECTOR) != 0 ||
                     oracle_hash(bytes) != kept->contents[oracle_window_sector(w) + i];
        }
    }
    overlay_close(o, NULL);
    return wrong;
}

// Whether everything is as it may be. With `settle`, what the disk has now is certain.
static inline bool look(bool settle)
{
    struct overlay_layers layers;
    if (!read_list(&layers)) {
        wrong_because("the list of layers is damaged");
        return false;
    }
    bool happened = list_says(&layers);
    static struct model before;
    before = model;
    if (happened)
        model_change();
    else if (settle)
        model.pending = NO_CHANGE;
    unsigned listed = 0;
    for (unsigned i = 0; i < layers.count; i++)
        listed += layers.layers[i].kind == OVERLAY_LAYER_SNAPSHOT;
    if (listed != model.count) {
        wrong_because("snapshots are missing, or too many");
        return false;
    }
    for (unsigned i = 0; i < model.count; i++) {
        if (look_at_snapshot(&layers, &model.snapshots[i]) > 0) {
            wrong_because("a snapshot has changed");
            return false;
        }
    }
    struct overlay *o = open_from(&layers, 0);
    if (!o) {
        wrong_because("the disk cannot be opened");
        return false;
    }
    unsigned wrong = oracle_look(&model.disk, o, settle);
    overlay_close(o, NULL);
    if (wrong > 0)
        wrong_because("the disk holds what it may not");
    if (!settle && happened)
        model = before; // the power may still take it back
    return wrong == 0;
}
