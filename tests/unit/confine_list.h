// The lines of tests/hostile/*.calls: what a filter allows, and why.
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void confine_list_condition(const struct confine_condition *c, struct buf *to)
{
    static const char *const texts[] = {[CONFINE_OURSELVES] = "this process", [CONFINE_KICK] = "SIGRTMIN"};
    if (c->check != CONFINE_ANY)
        assert_true(buf_append_format(to, " [%s]", c->text ? c->text : texts[c->check]) >= 0);
}

static void confine_list_add(const char *kind, const struct confine_call *c, struct buf *to)
{
    char *name CLEANUP_FREE = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, c->number);
    assert_true(c->why[0] != '\0');
    assert_true(buf_append_format(to, "%s %s", kind, name) >= 0);
    confine_list_condition(&c->first, to);
    confine_list_condition(&c->second, to);
    if (c->refusal)
        assert_true(buf_append_format(to, " fails, %s", strerrorname_np(c->refusal)) >= 0);
    assert_true(buf_append_format(to, ": %s\n", c->why) >= 0);
}

// Tests run in the sources' folder.
static void confine_list_compare(const char *path, struct buf *list)
{
    static char golden[64 << 10];
    memset(golden, 0, sizeof golden);
    int fd CLEANUP_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, golden, sizeof golden - 1) >= 0);
    if (strcmp(golden, buf_text(list)) != 0) {
        (void)fputs(buf_text(list), stdout);
        fail_msg("%s tells another list than this", path);
    }
}
