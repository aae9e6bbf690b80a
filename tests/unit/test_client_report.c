// client/report.h: reports and lists, as lines and as JSON; one that becomes too long fails, and a list stays JSON.
#include "client/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

static char said[4096]; // on standard output
static int kept, file;

static void listen_to_output(void)
{
    char path[] = "/dev/shm/rondo-test-report.XXXXXX";
    kept = dup(STDOUT_FILENO);
    file = mkstemp(path);
    assert_true(kept >= 0 && file >= 0);
    unlink(path);
    assert_int_equal(fflush(NULL), 0);
    assert_int_equal(dup2(file, STDOUT_FILENO), STDOUT_FILENO);
}

static void listen_no_more(void)
{
    assert_int_equal(fflush(NULL), 0);
    ssize_t n = pread(file, said, sizeof(said) - 1, 0);
    assert_true(n >= 0);
    said[n] = '\0';
    assert_int_equal(dup2(kept, STDOUT_FILENO), STDOUT_FILENO);
    close(kept);
    close(file);
}

static void a_report_is_lines_or_an_object(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        struct report p = REPORT_EMPTY;
        p.json = json;
        listen_to_output();
        report_text(&p, "name", "a \"b\"");
        report_number(&p, "size", 7);
        report_bool(&p, "whole", true);
        assert_int_equal(report_end(&p, 0, NULL), 0);
        listen_no_more();
        assert_string_equal(said,
                            json ? "{\"name\": \"a \\\"b\\\"\", \"size\": 7, \"whole\": true}\n"
                                 : "name                   a \"b\"\nsize                   7\nwhole                 "
                                   " yes\n");
    }
    struct report p = REPORT_EMPTY;
    p.json = true;
    listen_to_output();
    report_text(&p, "name", "a");
    assert_int_equal(report_end(&p, -ENOENT, NULL), -ENOENT);
    listen_no_more();
    assert_string_equal(said, ""); // nothing that looks like an answer
}

static void a_list_is_an_array_of_objects(void **state)
{
    (void)state;
    for (unsigned rows = 0; rows < 3; rows++) {
        static const char *const wanted[] = {"[]\n", "[\n  {\"n\": 0}\n]\n", "[\n  {\"n\": 0},\n  {\"n\": 1}\n]\n"};
        struct report p = REPORT_EMPTY;
        p.json = true;
        listen_to_output();
        report_begin_list(&p);
        for (unsigned i = 0; i < rows; i++) {
            report_number(&p, "n", i);
            assert_int_equal(report_end_row(&p), 0);
        }
        assert_int_equal(report_end_list(&p, 0, NULL), 0);
        listen_no_more();
        assert_string_equal(said, wanted[rows]);
    }
    struct report p = REPORT_EMPTY; // for people: the verb's own table alone
    listen_to_output();
    report_begin_list(&p);
    assert_int_equal(report_end_row(&p), 0);
    assert_int_equal(report_end_list(&p, 0, NULL), 0);
    listen_no_more();
    assert_string_equal(said, "");
}

static void a_list_that_fails_is_still_json(void **state)
{
    (void)state;
    struct report p = REPORT_EMPTY;
    struct error error = {.text = ""};
    char *large = calloc(1, (300u << 10) + 1);
    assert_non_null(large);
    memset(large, 'x', 300u << 10);
    p.json = true;
    listen_to_output();
    report_begin_list(&p);
    report_number(&p, "n", 0);
    assert_int_equal(report_end_row(&p), 0);
    report_text(&p, "large", large);
    int r = report_end_row(&p);
    assert_true(r < 0);
    report_number(&p, "n", 2);
    assert_int_equal(report_end_row(&p), r); // none behind it
    assert_int_equal(report_end_list(&p, r, &error), r);
    listen_no_more();
    assert_string_equal(said, "[\n  {\"n\": 0}\n]\n");
    assert_non_null(strstr(error.text, "too long"));
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_is_lines_or_an_object),
        cmocka_unit_test(a_list_is_an_array_of_objects),
        cmocka_unit_test(a_list_that_fails_is_still_json),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("client/report", tests, NULL, NULL);
}
