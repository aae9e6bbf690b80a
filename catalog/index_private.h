// The index's connection and statements, for index*.c alone.
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/site.h"
#include "catalog/index.h"
#include <sqlite3.h>
#include <sys/types.h>

#define INDEX_STATEMENTS_MAXIMUM 48u
#define INDEX_EXPRESSION_SIZE 1024u // of an FTS5 expression with its NUL byte

struct index {
    sqlite3 *db;
    char *path; // NULL: in memory
    dev_t device;
    ino_t inode;
    uint64_t deadline; // io_monotonic_ns() at which a query gives up; 0: never
    struct {
        const char *sql; // a constant: known again by its address
        sqlite3_stmt *statement;
    } statements[INDEX_STATEMENTS_MAXIMUM];
    unsigned statement_count;
};

// For messages.
const char *index_db_path(const struct index *x);
// What SQLite's result `code` means, with its message.
int index_db_fail(const struct index *x, int code, struct error *error);
// Takes the statement of that text, prepared once for each connection, and binds what follows by `types`: t (const char
// *), i (int64_t), b (const void *, size_t). What is bound must live until index_db_finish. A statement is used by one
// caller at a time.
int index_db_start(struct index *x, sqlite3_stmt **ret, struct error *error, const char *sql, const char *types, ...);
// 1 for a row, 0 at the end.
int index_db_step(struct index *x, sqlite3_stmt *statement, struct error *error);
void index_db_finish(sqlite3_stmt **statement); // for CLEANUP; NULL is fine
// A statement whose rows do not matter, whole.
int index_db_run(struct index *x, struct error *error, const char *sql, const char *types, ...);
// One that gives a number. -EUCLEAN if there is no row.
int index_db_number(struct index *x, int64_t *ret, struct error *error, const char *sql, const char *types, ...);
void index_db_close(struct index *x);

// What is read or written as one; rolled back at the end of its scope unless it was committed.
struct index_transaction {
    struct index *x; // NULL: none is open
};
int index_db_begin(struct index *x, bool writing, struct index_transaction *ret, struct error *error);
int index_db_commit(struct index_transaction *t, struct error *error);
void index_db_end(struct index_transaction *t); // for CLEANUP

// An FTS5 expression that asks for every word of `words`, quoted, the last one as a beginning; "" if none has a letter
// or digit. -EINVAL if the words are too many, or no text (index_words.c).
int index_quote_words(const char *words, char ret[static INDEX_EXPRESSION_SIZE], struct error *error);

// What a version stores, piece by piece, to be summed and compared (index_measure.c).
struct index_pieces {
    struct index_piece *pieces; // sorted, each once; malloc'ed
    size_t count;
};
void index_free_pieces(struct index_pieces *p); // for CLEANUP too
// Reads the version's map from the site's packs. `keys` are the same for all that are to be compared.
int index_measure(struct site *s, const struct manifest *m, const struct sha256_keys *keys, struct index_pieces *ret,
                  struct error *error);
// The bytes of all pieces; of those that `before` (NULL: nothing) does not have.
uint64_t index_sum_pieces(const struct index_pieces *p, const struct index_pieces *before);

// Rows, in the caller's transaction (index_rows.c).

// A version's row as the update needs it again.
struct index_known {
    int64_t id;
    struct sha256 before; // manifest of the version that its new bytes were counted against; zero: none
    bool revoked;
    struct key_public publisher;
    char *tags; // malloc'ed
};
// What of a version does not follow from its manifest.
struct index_facts {
    const struct catalog_image *image;
    const struct sha256 *before; // NULL: none
    const char *tags;
    uint64_t stored, new;
    bool revoked;
};
int index_add_version(struct index *x, const struct manifest *m, const struct index_facts *f, struct error *error);
// The image's own row, its words, and how it is counted: after any of its versions' rows changed. `latest` is what the
// tag names; "" for none. An image without versions is removed.
int index_show_image(struct index *x, const char *name, const char *latest, struct error *error);
// The tags of an image that is shown, sorted. *ret_changed stays as it is where they were there.
int index_put_tags(struct index *x, const char *name, const struct catalog_tag *tags, size_t count, bool *ret_changed,
                   struct error *error);
int index_count_facets(struct index *x, struct error *error);
int index_remove_all(struct index *x, struct error *error);
// `changed`: anything but this row was.
int index_put_site(struct index *x, const struct catalog *c, bool changed, struct error *error);
