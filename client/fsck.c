// rondo fsck: looks over what is stored, and with --repair mends what can be mended. What is wrong is a line each on
// stdout; exit code 5 while anything stays so.
#include "client/fsck.h"
#include "base/cleanup.h"
#include "client/cli.h"
#include "client/json.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

void fsck_tell(struct fsck *f, const char *object, const char *what, const char *next, bool mended)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16u << 10);
    char escaped[512];
    if (f->quiet) {
        f->untold++;
        return;
    }
    text_escape(slice_of(object), escaped, sizeof(escaped)); // a file's name may be anything
    cli_progress_end();
    if (!f->json)
        printf("%s: %s%s%s%s\n", escaped, what, next ? "; " : "", next ? next : "", mended ? " (mended)" : "");
    int r = f->json ? buf_append_format(&b, "%s\n    {", f->problems ? "," : "{\n  \"problems\": [") : 0;
    if (f->json && r == 0)
        r = json_append_text(&b, "object", escaped);
    if (f->json && r == 0)
        r = json_append_text(&b, "problem", what);
    if (f->json && r == 0)
        r = json_append_text(&b, "next", next ? next : "");
    if (f->json && r == 0)
        r = json_append_bool(&b, "mended", mended);
    if (f->json && r == 0)
        printf("%s}", buf_text(&b));
    if (r < 0)
        error_set(&f->broken, ENOMEM, "out of memory");
    f->problems++;
    f->mended += mended;
}

void fsck_end_list(struct fsck *f, bool whole)
{
    if (f->problems == 0)
        fputs("{\n  \"problems\": [", stdout);
    fputs(whole ? "\n  ],\n" : "\n  ]\n}\n", stdout);
    f->ended = true;
}

int fsck_progress(const char *what, uint64_t done, uint64_t all)
{
    char done_text[32], all_text[32];
    cli_progress("%s: %s of %s", what, text_format_size(done, done_text), text_format_size(all, all_text));
    return cli_interrupted() ? -ECANCELED : 0;
}

int verb_fsck(int argc, char **argv)
{
    struct fsck f = {.problems = 0};
    const struct option options[] = {{"repair", OPTION_FLAG, &f.repair},
                                     {"json", OPTION_FLAG, &f.json},
                                     {"offline", OPTION_FLAG, &f.offline},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_catch_signals(); // what is being mended is mended to its end
    r = operands ? fsck_site(&f, argv[1], &error) : fsck_cache(&f, &error);
    cli_progress_end();
    if (r < 0 && f.json && f.problems > 0 && !f.ended)
        fsck_end_list(&f, false);
    if (f.broken.text[0])
        r = error_set(&error, ENOMEM, "%s", f.broken.text);
    if (r < 0)
        return cli_fail(r, &error);
    if (f.problems > f.mended && !f.repair)
        fprintf(stderr, "rondo: %s wrong; rondo fsck%s%s --repair mends what can be mended\n",
                TEXT_COUNT(f.problems - f.mended, "thing"), operands ? " " : "", operands ? argv[1] : "");
    else if (f.problems > f.mended)
        fprintf(stderr, "rondo: %s left wrong\n", TEXT_COUNT(f.problems - f.mended, "thing"));
    r = cli_finish_output(EXIT_CODE_OK);
    return r == EXIT_CODE_OK && f.problems > f.mended ? EXIT_CODE_VERIFICATION : r;
}
