// See object_copy.h. The sink of a job runs on the transport's thread, its verification, which ends with the object in
// its place, on the caller's; a job's stream is never used by both at once (blockstore/mirrors.h).
#include "blockstore/object_copy.h"
#include "base/io.h"
#include "blockstore/pack.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define SLOW_BYTES_PER_SECOND TRANSPORT_STALL_BYTES // who sends fewer is given up before

struct copy_job {
    struct object_copy *c;
    void *stream;
    struct copy_job *all; // that run beside it, this one included; for progress
    atomic_uint_fast64_t arrived;
    struct whole_object object;
    unsigned count; // of `all`
    int failure;    // of the target
    bool begun;     // this attempt has delivered bytes
    char path[80];
};

static void restart(void *context)
{
    struct copy_job *j = context;
    j->begun = false;
    atomic_store(&j->arrived, 0);
}

static void report(const struct copy_job *j)
{
    uint64_t bytes = j->c->copied_bytes + j->c->had_bytes;
    for (unsigned i = 0; i < j->count; i++)
        bytes += atomic_load(&j->all[i].arrived);
    if (j->c->progress)
        j->c->progress(j->c->context, bytes);
}

static int take(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct copy_job *j = context;
    (void)offset; // the whole is asked for, and comes in order
    int r = j->begun ? 0 : j->c->target.restart(j->stream);
    j->begun = true;
    if (r == 0)
        r = j->c->target.add(j->stream, bytes, n);
    if (r < 0 && r != -EBADMSG)
        j->failure = r;
    atomic_fetch_add(&j->arrived, n);
    report(j);
    return r;
}

static int verify(void *context, struct error *error)
{
    struct copy_job *j = context;
    int r = j->c->target.finish(j->stream);
    if (r == -EBADMSG)
        return error_set(error, EBADMSG, "the bytes do not match the object's name");
    j->failure = r;
    return 0;
}

static int begin_job(struct copy_job *j, struct mirrors_job *ret, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(&j->object.name, hex);
    snprintf(j->path, sizeof(j->path), "objects/%.2s/%s", hex, hex);
    int r = j->c->target.begin(j->c->target.context, &j->object, &j->stream, error);
    if (r < 0)
        return r;
    *ret = (struct mirrors_job){.path = j->path,
                                .maximum = j->object.size ? j->object.size : PACK_SIZE_MAXIMUM,
                                .priority = SOURCE_FILL,
                                .restart = restart,
                                .sink = take,
                                .verify = verify,
                                .context = j,
                                .patience_ns = j->c->wait_seconds * 1000000000ull};
    return 0;
}

// What became of the jobs: counts what is there now, and tells the first failure.
static int settle(struct object_copy *c, const struct copy_job *jobs, const struct mirrors_job *fetches, unsigned count,
                  struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < count; i++) {
        if (fetches[i].result == 0 && jobs[i].failure == 0) {
            c->copied++;
            c->copied_bytes += atomic_load(&jobs[i].arrived);
        } else if (r == 0) {
            r = jobs[i].failure < 0 ? c->target.explain(c->target.context, jobs[i].failure, error)
                                    : error_set(error, -fetches[i].result, "%s", fetches[i].error.text);
        }
    }
    return r;
}

static int run_jobs(struct object_copy *c, struct copy_job *jobs, unsigned count, struct error *error)
{
    struct mirrors_job fetches[OBJECT_COPY_AT_ONCE];
    uint64_t bytes = 0;
    unsigned begun = 0;
    int r = 0;
    for (; begun < count && r == 0; begun += r == 0) {
        jobs[begun].all = jobs;
        jobs[begun].count = count;
        r = begin_job(&jobs[begun], &fetches[begun], error);
        bytes += r == 0 ? fetches[begun].maximum : 0;
    }
    if (r == 0) {
        uint64_t patience = c->wait_seconds * 1000000000ull;
        mirrors_fetch(c->mirrors, fetches, count,
                      io_monotonic_ns() + patience + bytes * 1000000000 / SLOW_BYTES_PER_SECOND);
        r = settle(c, jobs, fetches, count, error);
    }
    for (unsigned i = 0; i < begun; i++)
        c->target.end(jobs[i].stream);
    return r;
}

int object_copy_run(struct object_copy *c, const struct pack_set *objects, size_t first, size_t end,
                    struct error *error)
{
    struct copy_job jobs[OBJECT_COPY_AT_ONCE];
    char hex[SHA256_HEX_SIZE];
    unsigned n = 0;
    int r = 0;
    for (size_t i = first; i < end && r == 0; i++) {
        struct whole_object object = pack_set_get(objects, i);
        if (c->target.has(c->target.context, &object)) {
            c->had++;
            c->had_bytes += object.size;
            if (c->progress)
                c->progress(c->context, c->copied_bytes + c->had_bytes);
            continue;
        }
        if (!c->mirrors)
            return error_set(error, ENOENT, "object %s is not there as a whole, and there is no source to ask",
                             sha256_to_hex(&object.name, hex));
        jobs[n++] = (struct copy_job){.c = c, .object = object};
        if (n == OBJECT_COPY_AT_ONCE) {
            r = run_jobs(c, jobs, n, error);
            n = 0;
        }
    }
    return r < 0 || n == 0 ? r : run_jobs(c, jobs, n, error);
}
