// The same work for many things, by as many threads as there are processors.
#pragma once

#include <stddef.h>

#define PARALLEL_THREADS_MAXIMUM 16u

// Calls work(context, i) for every i below `count`, from several threads at once and in no fixed order. `tick` (or
// NULL) is called by the caller's own thread, ten times a second and at the end, and never at the same time as itself.
// What either returns ends the work if it is not 0 (what has begun is finished), and the first such value is returned.
int parallel_each(size_t count, int (*work)(void *context, size_t i), int (*tick)(void *context), void *context);
