// What the server counts, and how Prometheus reads it (server/metrics.h): from several threads nothing is lost.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "server/metrics.h"

#include <pthread.h>

#include "base/banned.h"

#define THREADS 4
#define TIMES 20000

static void expect_line(const struct buf *text, const char *line)
{
    const char *at = strstr(buf_text(text), line);

    if (!at || (at != buf_text(text) && at[-1] != '\n') || at[strlen(line)] != '\n')
        fail_msg("no line \"%s\" in:\n%s", line, buf_text(text));
}

static void *count(void *context)
{
    for (int i = 0; i < TIMES; i++) {
        metrics_change_answers(1);
        metrics_count_answer(206, 3);
        metrics_change_answers(-1);
    }
    metrics_count_connection();
    return context;
}

static void several_threads_count_at_once(void **state)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 << 10);
    pthread_t threads[THREADS];

    (void)state;
    metrics_start(1700000000);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    metrics_end_connection();
    metrics_change_answers(1);
    metrics_count_answer(404, 10);
    metrics_count_answer(77777, 0); // none of ours: it must not be written behind the last one
    metrics_count_slow_client();
    assert_int_equal(metrics_write(&text, NULL), 0);
    expect_line(&text, "# TYPE rondo_http_answers_total counter");
    expect_line(&text, "rondo_http_answers_total{code=\"206\"} 80000");
    expect_line(&text, "rondo_http_answers_total{code=\"404\"} 1");
    expect_line(&text, "rondo_http_answers_total{code=\"0\"} 1");
    assert_null(strstr(buf_text(&text), "code=\"200\""));
    expect_line(&text, "rondo_http_body_bytes_total 240010");
    expect_line(&text, "rondo_http_connections_total 4");
    expect_line(&text, "# TYPE rondo_http_connections gauge");
    expect_line(&text, "rondo_http_connections 3");
    expect_line(&text, "rondo_http_answers_under_way 1");
    expect_line(&text, "rondo_http_slow_clients_total 1");
    expect_line(&text, "process_start_time_seconds 1700000000");
    assert_null(strstr(buf_text(&text), "rondo_catalog"));
}

static void the_catalog_is_told_where_there_is_an_index(void **state)
{
    const struct index_site site = {
        .number = 7, .issued = 1700000000, .expires = 1800000000, .images = 3, .versions = 5};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 << 10), small CLEANUP(buf_free) = BUF_WITH_MAXIMUM(100);

    (void)state;
    assert_int_equal(metrics_write(&text, &site), 0);
    expect_line(&text, "rondo_catalog_number 7");
    expect_line(&text, "rondo_catalog_expires_seconds 1800000000");
    expect_line(&text, "rondo_catalog_images 3");
    expect_line(&text, "rondo_catalog_versions 5");
    assert_int_equal(metrics_write(&small, &site), -E2BIG);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_threads_count_at_once),
        cmocka_unit_test(the_catalog_is_told_where_there_is_an_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
