// Threads with a stack of their own choosing: the C library's default of 8 MiB would make many threads cost address
// space, and hides how much stack they need.
#pragma once

#include <pthread.h>
#include <stddef.h>

// Starts a thread that runs `run(context)`. `stack` is in bytes, a multiple of the page size, at least
// PTHREAD_STACK_MIN. With `ret` NULL the thread is detached; otherwise the caller joins it. 0 or -errno (-EAGAIN: no
// more threads).
int thread_start(pthread_t *ret, size_t stack, void *(*run)(void *context), void *context);
