// The choice of an engine (see engine.h): kvm where it can serve, qemu where it cannot.
#include "client/engine.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static int choose_any(const struct engine **ret, char *ret_reason, size_t capacity, struct error *error)
{
    struct error why = {.text = ""};
    if (engine_kvm.probe(&why) == 0) {
        *ret = &engine_kvm;
        return 0;
    }
    int r = engine_qemu.probe(error);
    if (r < 0)
        return error_prefix(error, r, "no engine can serve here: kvm: %.300s; qemu", why.text);
    why.text[strcspn(why.text, ";")] = '\0'; // behind it is what to do, which is done here
    snprintf(ret_reason, capacity, "engine qemu: software emulation, because %s", why.text);
    *ret = &engine_qemu;
    return 0;
}

int engine_choose_without_kernel(const char *choice, const struct engine **engine, char *ret_reason, size_t capacity,
                                 struct error *error)
{
    if (!(*engine)->needs_kernel)
        return 0;
    if (strcmp(choice, "auto") != 0)
        return error_set(error, EOPNOTSUPP,
                         "the image has no kernel of its own, which the %s engine needs; --engine qemu does without",
                         (*engine)->name);
    int r = engine_qemu.probe(error);
    if (r < 0)
        return error_prefix(error, r, "the image has no kernel of its own, so only qemu can serve");
    snprintf(ret_reason, capacity, "engine qemu: software emulation, because the image has no kernel of its own");
    *engine = &engine_qemu;
    return 0;
}

int engine_choose(const char *choice, const struct engine **ret, char *ret_reason, size_t capacity, struct error *error)
{
    static const struct engine *const engines[] = {&engine_kvm, &engine_qemu};
    ret_reason[0] = '\0';
    if (strcmp(choice, "auto") == 0)
        return choose_any(ret, ret_reason, capacity, error);
    for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++) {
        if (strcmp(choice, engines[i]->name) != 0)
            continue;
        int r = engines[i]->probe(error);
        if (r == 0)
            *ret = engines[i];
        return r < 0 ? error_prefix(error, r, "engine %s cannot serve here", choice) : 0;
    }
    return error_set(error, EINVAL, "no engine \"%s\": choose auto, kvm or qemu", choice);
}
