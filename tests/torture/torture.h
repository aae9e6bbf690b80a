// Torture: every allocation and every I/O call of the product fails once, in turn, and from there on. Modelled on what
// SQLite and curl do to themselves.
//
// The product is linked with other names for the functions that can fail (tests/torture/calls.c has them all; the
// Makefile renames them in copies of the product's objects), so nothing that the tests call themselves is counted, nor
// what libraries do by themselves, but libcurl's and SQLite's memory and SQLite's files, for which they have hooks.
//
// A scenario is a piece of work with a result that is known. The driver does it once to count the calls, then once for
// each of them, in a process of its own, with that call failing:
//
//   fresh state → act, with the fault ──0──▶ the result must be right
//                     │
//                     └─ -errno ─▶ act again, without it: must succeed, and then the result must be right
//
// 1. No run ends by a signal (a crash, an abort, a hang of TORTURE_HANG_SECONDS) or with a report of AddressSanitizer
//    or UndefinedBehaviorSanitizer.
// 2. No run leaks memory (LeakSanitizer) or a descriptor.
// 3. No run says that it succeeded while a byte is wrong; none fails without a fault.
// 4. What failed can be done again.
// 5. A transfer that is cut short, or interrupted, is no failure at all: the work must succeed.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define TORTURE_HANG_SECONDS 60u

enum torture_kind {
    TORTURE_MEMORY,   // malloc and its relatives, those of libcrypto and other libraries among them; and threads
    TORTURE_LIBRARY,  // what libcurl and SQLite allocate for themselves, often thousands of times
    TORTURE_IO,       // system calls
    TORTURE_TRANSFER, // reads and writes: half of it, and what is not divisible is interrupted
    TORTURE_KINDS
};

struct torture_scenario {
    const char *name;
    void (*set_up)(const char *folder);  // once, in an empty folder: what all runs share and none changes; may be NULL
    void (*prepare)(const char *folder); // before each run, in an empty folder: a fresh state; may be NULL
    int (*act)(void);                    // with the fault: 0 or -errno; TORTURE_WRONG
    int (*again)(void);                  // after a failure; NULL: act
    int (*check)(void);                  // after that: 0, or TORTURE_WRONG; may be NULL
    void (*finish)(void);                // gives back what prepare took; may be NULL
    bool library;                        // it is about a library: all allocations of libraries fail in turn
    const void *data;                    // the scenario's own, by torture_current
};
extern const struct torture_scenario *torture_current;
extern bool torture_disk_is_broken; // every call of the system failed from one on: nothing could be tidied up
extern const struct torture_scenario torture_store[], torture_writer[], torture_overlay[], torture_catalog[],
    torture_client[], torture_verbs[], torture_machine[], torture_server[], torture_site[],
    torture_publish[]; // each ends with no name

// Something is not as it must be: says what (a sentence for the report), and returns TORTURE_WRONG.
#define TORTURE_WRONG 1
int torture_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A step of set_up, prepare or check that cannot fail: ends the run as a finding if it did.
void torture_must(int result, const char *what);
#define MUST(call) torture_must((call), #call)

// For threads of the tests themselves (servers): no call of theirs is counted or fails.
extern _Thread_local bool torture_exempt;

// The plan for the calls. torture_disarm returns the calls of each kind since torture_arm; true if the fault happened.
void torture_calls_start(void); // once, before any library is used
void torture_arm(enum torture_kind kind, unsigned long at, bool persistent);
bool torture_disarm(unsigned long ret_calls[static TORTURE_KINDS]);
void torture_mend(void);       // from here on nothing fails any more; any thread
void *torture_failed_at(void); // the address in the product behind the call that failed first
