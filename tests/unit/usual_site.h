// The usual site (store_fixture.h), anew for each test of a file.
#pragma once

#include "tests/unit/store_fixture.h"

static struct test_site *site;

static inline int usual_site_set_up(void **state)
{
    (void)state;
    site = site_make_usual();
    return 0;
}

static inline int usual_site_tear_down(void **state)
{
    (void)state;
    site_free(site);
    return 0;
}
