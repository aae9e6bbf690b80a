// The one place that sets threads' attributes.
#include "base/thread.h"

#include "base/banned.h"

int thread_start(pthread_t *ret, size_t stack, void *(*run)(void *context), void *context)
{
    pthread_attr_t attributes;
    pthread_t detached;
    int code = pthread_attr_init(&attributes);
    if (code != 0)
        return -code;
    code = pthread_attr_setstacksize(&attributes, stack);
    if (code == 0 && !ret)
        code = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (code == 0)
        code = pthread_create(ret ? ret : &detached, &attributes, run, context);
    (void)pthread_attr_destroy(&attributes); // frees nothing, and cannot fail for one that was initialised
    return -code;
}
