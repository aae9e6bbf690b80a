// The trust database's connection and statements, for trust*.c alone.
#pragma once

#include "catalog/trust.h"
#include <sqlite3.h>

struct trust {
    sqlite3 *db;
    char *path; // of the database, for messages
};

// What SQLite's result `code` means, with its message.
int trust_db_fail(const struct trust *t, int code, struct error *error);
// Prepares a statement and binds what follows by `types`: t (const char *), i (int64_t), b (const void *, size_t).
// Blobs and texts must live until the statement is finished.
int trust_db_start(struct trust *t, sqlite3_stmt **ret, struct error *error, const char *sql, const char *types, ...);
// 1 for a row, 0 at the end.
int trust_db_step(struct trust *t, sqlite3_stmt *statement, struct error *error);
void trust_db_finish(sqlite3_stmt **statement); // for CLEANUP; NULL is fine
// A statement without rows, whole.
int trust_db_run(struct trust *t, struct error *error, const char *sql, const char *types, ...);
// Copies a column that must be a blob of exactly `n` bytes; false if it is not.
bool trust_db_take_blob(sqlite3_stmt *statement, int column, void *ret, size_t n);
// The row holds what we never write.
int trust_db_complain(struct trust *t, struct error *error);

// A transaction that is rolled back at the end of its scope unless it was committed.
struct trust_transaction {
    struct trust *t; // NULL: none is open
};
int trust_db_begin(struct trust *t, struct trust_transaction *ret, struct error *error);
int trust_db_commit(struct trust_transaction *x, struct error *error);
void trust_db_end(struct trust_transaction *x); // for CLEANUP

// The log (trust_log.c). In the caller's transaction:
int trust_log_key(struct trust *t, int64_t time, const char *address, enum trust_event event,
                  const struct key_public *key, struct error *error);
// Unless it is there already.
int trust_log_catalog(struct trust *t, int64_t time, const char *address, enum trust_event event,
                      const struct catalog *c, struct error *error);
// The same for an accepted one; warns if another text is known under its number.
int trust_log_accepted(struct trust *t, int64_t time, const char *address, const struct catalog *c,
                       struct error *error);
// In a transaction of its own; never fails.
void trust_log_refusal(struct trust *t, int64_t time, const char *address, enum trust_event event,
                       const struct catalog *c);

// What is known of an address (trust_sites.c).
struct known_site {
    bool known;
    struct key_public key;
    bool pinned;
    bool has_last; // a catalog of it was accepted
    unsigned char id[CATALOG_ID_SIZE];
    int64_t issued;
};
int trust_load_site(struct trust *t, const char *address, struct known_site *ret, struct error *error);

// The site's keys (trust_roots.c): rule 1 of trust.c.
struct root_change {
    bool advanced;     // a root is to be remembered that was not known before
    bool pin_led;      // the pin is one of the site's keys, by a chain of its own: to be remembered, too
    unsigned verified; // the first of the request's roots that was: all from there on were
    struct root root;  // the newest one; root 1 where there is no other
};
// Is the catalog signed with a key that may sign for this address? -EKEYREJECTED, -ESTALE, -EBADMSG, -ENETUNREACH.
int trust_check_key(struct trust *t, const struct trust_request *request, const struct known_site *site,
                    const struct catalog *c, struct root_change *ret, struct error *error);
// In the caller's transaction, if one of the first two is true.
int trust_remember_root(struct trust *t, const struct trust_request *request, const struct known_site *site,
                        const struct catalog *c, const struct root_change *change, struct error *error);
// Is it one of the keys that the site has or had by its roots?
int trust_is_vouched(struct trust *t, const char *address, const struct key_public *key, bool *ret,
                     struct error *error);
