// A home for each test of client/instance.h, and machines in it.
#pragma once

#include "tests/unit/folder_fixture.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "client/instance.h"
#include <errno.h>
#include <fcntl.h>

static inline int machines_set_up(void **state)
{
    folder_set_up(state);
    folder_export("RONDO_HOME", "home");
    folder_export("RONDO_RUNTIME", "runtime");
    return 0;
}

static inline struct instance_settings some_settings(void)
{
    struct instance_settings s = {.image = "debian",
                                  .version = "12.5",
                                  .site = "http://host:8080/os/",
                                  .sources = {"http://host:8080/os/", "/a folder/with spaces/"},
                                  .source_count = 2,
                                  .asked = "12",
                                  .disk_size = 1u << 20,
                                  .memory = 512u << 20,
                                  .cpus = 2,
                                  .volumes = {{"/a disk/with spaces", 1u << 20}, {"/dev/sdx", 4096}},
                                  .volume_count = 2};
    s.manifest = sha256_of("manifest", 8);
    return s;
}

static inline void make(const char *name, bool ephemeral)
{
    struct instance i = INSTANCE_NONE;
    struct instance_settings s = some_settings();
    s.ephemeral = ephemeral;
    assert_int_equal(instance_create(name, &s, NULL, &i, NULL), 0);
    instance_close(&i);
}

static inline bool stands(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/home/instances/%s", folder, name);
    return access(path, F_OK) == 0;
}

static inline void write_file(const char *below, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/home/instances/%s", folder, below);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

struct seen {
    unsigned count, damaged;
    char names[256];
};

static inline int note(void *context, struct instance *i, const struct error *damage)
{
    struct seen *seen = context;
    size_t n = strlen(seen->names);
    seen->count++;
    seen->damaged += damage != NULL;
    if (damage)
        assert_non_null(strstr(damage->text, i->name)); // it names what is damaged
    snprintf(seen->names + n, sizeof(seen->names) - n, "%s ", i->name);
    return 0;
}
