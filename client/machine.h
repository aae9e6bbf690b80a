// The supervisor's own state, shared by the files machine_*.c; one file for each thing that may happen to a machine:
//
//   supervisor.c        the poll loop, and the first and the last steps
//   machine_life.c      starting ─▶ running ─▶ stopping ─▶ ended, pausing, and all deadlines
//   machine_events.c    what the engine, rondo-overlay, the console and the children have to say
//   machine_parts.c     starting rondo-overlay, the engine and passt
//   machine_mount.c     rondo-cloop and its mount, through a helper process
//   machine_clients.c   the control socket
//   machine_snapshot.c  snapshots of its disk
//   machine_measure.c   the log of what it was given
//   machine_log.c       what it and its programs say
//
// 1. Nothing waits but the poll loop, and, for a snapshot, the sync of a few small files. Above all the supervisor
// itself never touches a file in rondo-cloop's mount: if
//    rondo-cloop died, such a call would wait for the very successor that the supervisor has to start.
// 2. A process of ours that has ended has its pid set to 0 in the same round.
// 3. The first failure decides the exit code and the sentence that goes with it.
#pragma once

#include "blockstore/overlay_snapshot.h"
#include "client/supervisor.h"
#include <poll.h>
#include <time.h>

#define CLIENTS_MAXIMUM 16u
#define CONSOLE_RING_SIZE (64u << 10)
#define CLIENT_BUFFER_MAXIMUM (4u << 20)
#define MACHINE_LOG_MAXIMUM (1u << 20) // of machine.log, and of machine.log.1

enum machine_state { MACHINE_STARTING, MACHINE_RUNNING, MACHINE_STOPPING, MACHINE_ENDED };

// Why the guest does not run: it goes on when no reason is left.
enum machine_hold { HOLD_USER, HOLD_OUTAGE, HOLD_NO_SPACE, HOLDS };

enum machine_timer {
    TIMER_OVERLAY_READY, // starting: rondo-overlay has not said that it is ready
    TIMER_ENGINE_READY,
    TIMER_OFF,         // stopping: the next, harder means to end the engine
    TIMER_OVERLAY_END, // stopping: rondo-overlay has not ended
    TIMER_PASST_END,
    TIMER_MOUNT,  // try again to reach rondo-cloop
    TIMER_ACCEPT, // take connections again
    TIMER_SPACE,  // look whether a volume has space again
    TIMER_READER, // look again whether a reader of the console is only slow
    TIMER_LOG,    // look how long machine.log is
    TIMERS
};

// What is answered later than it is asked.
enum machine_question { ASKED_NOTHING, ASKED_STATISTICS, ASKED_SNAPSHOT };

struct machine_client {
    int fd;                      // its connection; -1: free
    int console;                 // our end of its console stream; -1: not attached
    bool owner;                  // takes the machine down with it
    bool silent;                 // its side of the console has ended
    enum machine_question asked; // the answer has not come yet
    struct buf late;             // console bytes that it was too slow to take
    uint64_t took_ns;            // when it last took some; io_monotonic_ns
};

struct machine {
    struct supervisor_options *options;
    struct instance *instance;
    enum machine_state state;
    bool held[HOLDS];
    char why_held[HOLDS][ERROR_TEXT_SIZE];
    unsigned full_volume;    // with TIMER_SPACE: which one
    uint64_t timers[TIMERS]; // io_monotonic_ns() when it is due; 0: not set
    struct engine_process engine;
    bool engine_runs;                         // it said so
    bool engine_ends;                         // it said that the guest is off
    int base;                                 // the base disk, for an engine that opens it; -1: none
    bool restarting;                          // the guest restarted itself, and the engine is started again
    uint64_t engine_started;                  // io_monotonic_ns()
    unsigned off_means;                       // how many means to end it were tried
    pid_t overlay_pid, passt_pid, helper_pid; // 0: not running
    int overlay;                              // control connection to rondo-overlay; -1: none
    bool overlay_told;                        // to end
    int helper;                               // connection to the helper process of machine_mount.c; -1: none
    unsigned mount_failures;                  // while starting
    int listener, signals, console_log, machine_log;
    uint64_t console_logged;
    int reads;                     // where the reads of the base are noted; -1: nowhere
    int own_reads;                 // the same, if it is ours to close
    int measure;                   // connection to the measuring process; -1: none
    pid_t measure_pid;             // 0: not running
    struct overlay_taking *taking; // a snapshot; NULL: none is being taken
    struct machine_client clients[CLIENTS_MAXIMUM];
    unsigned char ring[CONSOLE_RING_SIZE]; // the last bytes that the console showed
    uint64_t ring_written;
    struct buf input; // for the guest's console, not yet taken by the engine
    int result;       // of starting: 0, or -errno and the sentence:
    struct error why;
    int exit_code;
    char exit_text[ERROR_TEXT_SIZE];
    int64_t since; // seconds since 1970
};

// machine_life.c
void machine_base_came(struct machine *m, int base); // the base disk, opened; stays the caller's
void machine_overlay_came(struct machine *m);        // rondo-overlay is ready
void machine_restart(struct machine *m);             // the guest wants to begin again, and its engine has ended
void machine_engine_came(struct machine *m);         // the guest runs
void machine_fail_start(struct machine *m, int result, const struct error *error);
// Something went wrong for good: exit code 1 and this sentence, said aloud.
void machine_fail(struct machine *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
void machine_say(struct machine *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
void machine_hold(struct machine *m, enum machine_hold why, const char *text);
void machine_release(struct machine *m, enum machine_hold why);
const char *machine_why_held(const struct machine *m);  // "" if it is not
void machine_stop(struct machine *m, unsigned seconds); // 0: off at once
void machine_step(struct machine *m);                   // does what is due; called once a round
void machine_set_timer(struct machine *m, enum machine_timer t, unsigned seconds);
int machine_next_timeout(const struct machine *m); // for poll

// machine_events.c: each is called when its descriptor is ready.
void machine_hear_overlay(struct machine *m);
void machine_hear_console(struct machine *m);
void machine_feed_console(struct machine *m);
void machine_hear_engine(struct machine *m);
void machine_hear_signals(struct machine *m);
void machine_look_for_space(struct machine *m); // TIMER_SPACE

// machine_parts.c: the programs. Each leaves what it started in *m.
int machine_start_overlay(struct machine *m, int base, struct error *error);
int machine_start_engine(struct machine *m, struct error *error);
int machine_start_passt(struct machine *m, int *ret_network, struct error *error);
// What the end of one of Rondo's programs that did not start means (waitpid's status): a positive errno.
int machine_errno_of(int status);

// machine_mount.c
// For the base disk, and a connection to rondo-cloop if there is none; machine_base_came follows.
void machine_mount_ask(struct machine *m);
void machine_mount_lost(struct machine *m); // rondo-cloop's connection has ended
void machine_mount_hear(struct machine *m); // the helper has something to say
void machine_mount_stop(struct machine *m);
// rondo-cloop's counts, as text.
void machine_mount_counts(struct machine *m, char *ret_text, size_t capacity);

// machine_snapshot.c
// Begins to take one; label NULL: the next number. 0: those who asked for it are answered when it is taken, or is not.
int machine_snapshot_begin(struct machine *m, const char *label, struct error *error);
void machine_snapshot_hear(struct machine *m, struct slice said); // whoever has the disk open, behind "snapshot"
void machine_snapshot_look(struct machine *m);                    // nobody may have it open any more
void machine_snapshot_stop(struct machine *m);

// machine_measure.c: all but the first do nothing for a machine that is not measured.
int machine_measure_start(struct machine *m, struct error *error); // before anything is given to it
void machine_measure_given(struct machine *m);                     // the engine was started
void machine_measure_ended(struct machine *m, int status);         // the measuring process (waitpid's status)
void machine_measure_end(struct machine *m);                       // everything has ended; the last line

// machine_log.c
int machine_log_open(struct machine *m);  // 0 or -errno
void machine_log_look(struct machine *m); // TIMER_LOG

// machine_clients.c
void machine_clients_init(struct machine *m);
// Takes over a connection that exists already, as an owner's, and its console's stream (or -1).
void machine_clients_adopt(struct machine *m, int fd, int console);
// Adds what the clients wait for to `polls` (room for 2 × CLIENTS_MAXIMUM + 1); returns how many.
unsigned machine_clients_poll(struct machine *m, struct pollfd *polls);
// Whether the console is to be left unread at this moment: who reads it slowly, but reads, is to miss nothing.
bool machine_clients_lag(struct machine *m);
void machine_clients_serve(struct machine *m, const struct pollfd *polls, unsigned count);
void machine_clients_console(struct machine *m, const void *bytes, size_t n); // the guest wrote this
void machine_clients_answer(struct machine *m, enum machine_question question, const char *text); // who asked that
void machine_clients_tell(struct machine *m, const char *message); // to all that are attached, and the owner
// Gives slow readers of the console a moment for its last bytes, then ends all connections.
void machine_clients_close(struct machine *m);
