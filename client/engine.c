// The choice of an engine (see engine.h). kvm is not among this version's engines, and that is said, not hidden.
#include "client/engine.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

int engine_choose(const char *choice, const struct engine **ret, char *ret_reason, size_t capacity, struct error *error)
{
    ret_reason[0] = '\0';
    if (strcmp(choice, "kvm") == 0)
        return error_set(error, EOPNOTSUPP, "this version of Rondo has no kvm engine; use --engine qemu");
    if (strcmp(choice, "qemu") != 0 && strcmp(choice, "auto") != 0)
        return error_set(error, EINVAL, "no engine \"%s\": choose auto, kvm or qemu", choice);
    int r = engine_qemu.probe(error);
    if (r < 0)
        return r;
    if (strcmp(choice, "auto") == 0)
        snprintf(ret_reason, capacity, "engine qemu: software emulation, because this version has no kvm engine");
    *ret = &engine_qemu;
    return 0;
}
