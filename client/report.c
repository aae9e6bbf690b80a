// Reports (see report.h).
#include "client/report.h"
#include "client/json.h"
#include <stdio.h>

#include "base/banned.h"

// True if a field may be appended to the object.
static bool begin_field(struct report *p)
{
    if (p->failed == 0 && p->object.size == 0)
        p->failed = buf_append(&p->object, "{", 1);
    return p->failed == 0;
}

void report_text(struct report *p, const char *key, const char *text)
{
    if (!p->json)
        printf("%-22s %s\n", key, text);
    else if (begin_field(p))
        p->failed = json_append_text(&p->object, key, text);
}

void report_number(struct report *p, const char *key, unsigned long long number)
{
    if (!p->json)
        printf("%-22s %llu\n", key, number);
    else if (begin_field(p))
        p->failed = json_append_number(&p->object, key, number);
}

void report_bool(struct report *p, const char *key, bool yes)
{
    if (!p->json)
        printf("%-22s %s\n", key, yes ? "yes" : "no");
    else if (begin_field(p))
        p->failed = json_append_bool(&p->object, key, yes);
}

static int finish(struct report *p, int result, struct error *error)
{
    buf_free(&p->object);
    if (p->failed < 0 && (result >= 0 || result == p->failed)) // a row's failure may have come back as the list's
        return error_set(error, -p->failed, "the report is too long");
    return result < 0 ? result : 0;
}

int report_end(struct report *p, int result, struct error *error)
{
    if (p->json && p->failed == 0 && result >= 0)
        printf("%s}\n", buf_text(&p->object));
    return finish(p, result, error);
}

void report_begin_list(const struct report *p)
{
    if (p->json)
        fputs("[", stdout);
}

int report_end_row(struct report *p)
{
    if (p->json && p->failed == 0)
        printf("%s\n  %s}", p->rows++ ? "," : "", buf_text(&p->object));
    buf_clear(&p->object);
    return p->failed;
}

int report_end_list(struct report *p, int result, struct error *error)
{
    if (p->json)
        fputs(p->rows ? "\n]\n" : "]\n", stdout);
    return finish(p, result, error);
}
