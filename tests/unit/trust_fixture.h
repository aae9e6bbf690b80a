// Help for the tests of catalog/trust.h: one user's trust database, and what one site, with one key or another, says to
// it.
#pragma once

#include "catalog_fixture.h"

#include "catalog/trust.h"

#define SITE "http://host/os/"
#define ISSUED INT64_C(1795428000) // 2026-11-23T10:00:00Z
#define DAY INT64_C(86400)

struct world {
    char *folder;
    struct key_secret *key, *other_key;
    struct trust *t;
    struct error error;
};

static inline int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->folder = fixture_folder();
    w->key = fixture_key();
    w->other_key = fixture_key();
    *state = w;
    return trust_open(w->folder, &w->t, &w->error);
}

static inline int tear_down(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    key_free(&w->key);
    key_free(&w->other_key);
    fixture_remove(&w->folder);
    free(w);
    return 0;
}

static inline void reopen(struct world *w)
{
    trust_close(w->t);
    w->t = NULL;
    assert_ok(trust_open(w->folder, &w->t, &w->error), w->error);
}

// One decision about a catalog with this number, at `now`; *change alters the catalog or the request.
static inline int check_with(struct world *w, const struct key_secret *k, uint64_t number, int64_t issued, int64_t now,
                             struct trust_request request, unsigned char id, struct trust_verdict *ret)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    fixture_catalog(k, number, issued, &c);
    memset(c.id, id, sizeof c.id);
    if (!request.site)
        request.site = SITE;
    request.now = now;
    w->error.text[0] = '\0';
    int r = trust_check(w->t, &request, &c, ret, &w->error);
    assert_int_equal(r < 0, w->error.text[0] != '\0');
    assert_true(text_is_printable(slice_of(w->error.text)));
    return r;
}

static inline int check(struct world *w, uint64_t number, int64_t now)
{
    struct trust_verdict verdict;
    return check_with(w, w->key, number, ISSUED, now, (struct trust_request){.site = SITE}, 7, &verdict);
}

static inline int settle(struct world *w, const struct catalog *c, const char *name, uint64_t serial)
{
    return trust_settle(w->t, &(struct trust_request){.site = SITE, .now = ISSUED}, c, name, serial, &w->error);
}

struct listing {
    char text[4096]; // "first-contact catalog:5 …"
    unsigned count;
};

static inline int list_entry(void *context, const struct trust_entry *e)
{
    struct listing *l = context;
    const size_t n = strlen(l->text);
    l->count++;
    if (n < sizeof l->text - 64)
        snprintf(l->text + n, sizeof l->text - n, "%s%s%s%.0llu", n ? " " : "", trust_event_name(e->event),
                 e->has_catalog ? ":" : "", (unsigned long long)e->number);
    return 0;
}

static inline struct listing list_log(struct world *w, const char *site)
{
    struct listing l = {.text = ""};
    assert_ok(trust_list_log(w->t, site, list_entry, &l, &w->error), w->error);
    return l;
}
