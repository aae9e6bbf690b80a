// See metrics.h. Relaxed order everywhere: a number is true by itself, and none is compared with another.
#include "server/metrics.h"

#include "base/cleanup.h"

#include <stdatomic.h>

#include "base/banned.h"

#define STATUSES 600u // RFC 9110, 15: three digits, the first of them 1 to 5

static atomic_uint_fast64_t answers[STATUSES], body_bytes, connections, slow_clients;
static atomic_int_fast64_t open_connections, under_way, started;

static void change(atomic_int_fast64_t *gauge, int64_t by)
{
    atomic_fetch_add_explicit(gauge, by, memory_order_relaxed);
}

static void count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void metrics_count_answer(unsigned status, uint64_t bytes)
{
    count(&answers[status < STATUSES ? status : 0], 1);
    count(&body_bytes, bytes);
}

void metrics_count_connection(void)
{
    count(&connections, 1);
    change(&open_connections, 1);
}

void metrics_end_connection(void)
{
    change(&open_connections, -1);
}

void metrics_change_answers(int by)
{
    change(&under_way, by);
}

void metrics_count_slow_client(void)
{
    count(&slow_clients, 1);
}

void metrics_start(int64_t now)
{
    atomic_store(&started, now);
}

static int write_answers(struct buf *to)
{
    int r = buf_append_format(to, "# HELP rondo_http_answers_total Answers, by status.\n"
                                  "# TYPE rondo_http_answers_total counter\n");

    for (unsigned status = 0; status < STATUSES && r == 0; status++) {
        uint64_t n = atomic_load_explicit(&answers[status], memory_order_relaxed);
        if (n)
            r = buf_append_format(to, "rondo_http_answers_total{code=\"%u\"} %llu\n", status, (unsigned long long)n);
    }
    return r;
}

struct metric {
    const char *name, *type, *help;
    int64_t value;
};

static int write_all(struct buf *to, const struct metric *metrics, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = buf_append_format(to, "# HELP %s %s\n# TYPE %s %s\n%s %lld\n", metrics[i].name, metrics[i].help,
                              metrics[i].name, metrics[i].type, metrics[i].name, (long long)metrics[i].value);
    return r;
}

int metrics_write(struct buf *to, const struct index_site *site)
{
    const struct metric own[] = {
        {"rondo_http_body_bytes_total", "counter", "Bytes of body in answers.", (int64_t)atomic_load(&body_bytes)},
        {"rondo_http_connections_total", "counter", "Connections that came.", (int64_t)atomic_load(&connections)},
        {"rondo_http_connections", "gauge", "Connections that are open.", atomic_load(&open_connections)},
        {"rondo_http_answers_under_way", "gauge", "Requests whose answers are not sent yet.", atomic_load(&under_way)},
        {"rondo_http_slow_clients_total", "counter", "Connections cut since they made no progress.",
         (int64_t)atomic_load(&slow_clients)},
        {"process_start_time_seconds", "gauge", "When the server started, in seconds since 1970.",
         atomic_load(&started)},
    };

    int r = write_answers(to);
    if (r == 0)
        r = write_all(to, own, ARRAY_SIZE(own));
    if (r == 0)
        r = buf_append_format(to, "# HELP rondo_build_info The program's version.\n# TYPE rondo_build_info gauge\n"
                                  "rondo_build_info{version=\"" RONDO_VERSION "\"} 1\n");
    if (r < 0 || !site)
        return r;
    const struct metric catalog[] = {
        {"rondo_catalog_number", "gauge", "The catalog's number: it grows with each publication.",
         (int64_t)site->number},
        {"rondo_catalog_issued_seconds", "gauge", "When the catalog was signed, in seconds since 1970.", site->issued},
        {"rondo_catalog_expires_seconds", "gauge", "When clients refuse the catalog, in seconds since 1970.",
         site->expires},
        {"rondo_catalog_images", "gauge", "Images in the index.", (int64_t)site->images},
        {"rondo_catalog_versions", "gauge", "Versions in the index.", (int64_t)site->versions},
    };
    return write_all(to, catalog, ARRAY_SIZE(catalog));
}
