// The supervisor's own state, shared by supervisor.c (life cycle) and machine_clients.c (control socket and console).
#pragma once

#include "client/supervisor.h"
#include <poll.h>
#include <time.h>

#define CLIENTS_MAXIMUM 16u
#define CONSOLE_RING_SIZE (64u << 10)
#define CLIENT_BUFFER_MAXIMUM (1u << 20)
#define CONSOLE_LOG_MAXIMUM (16u << 20)

struct keeper;
enum machine_state { MACHINE_STARTING, MACHINE_RUNNING, MACHINE_PAUSED, MACHINE_STOPPING, MACHINE_ENDED };

// Why the guest does not run, one bit each: it goes on when none is left.
enum machine_hold { HOLD_USER = 1, HOLD_OUTAGE = 2, HOLD_NO_SPACE = 4 };

struct machine_client {
    int fd;          // its connection; -1: free
    int console;     // our end of its console stream; -1: not attached
    bool owner;      // takes the machine down with it
    bool silent;     // its side of the console has ended
    struct buf late; // console bytes that it was too slow to take
};

struct machine {
    struct supervisor_options *options;
    struct instance *instance;
    enum machine_state state;
    unsigned holds; // machine_hold bits
    struct engine_process engine;
    pid_t overlay_pid, passt_pid; // 0: not running
    int overlay;                  // control connection to rondo-overlay; -1: none
    int listener, signals, console_log, machine_log;
    uint64_t console_logged;
    struct keeper *keeper;           // of rondo-cloop (machine_cloop.c); NULL: not there
    int base_wanted;                 // eventfd: rondo-overlay is to get the base disk anew; -1: none
    uint64_t off_at_ns, start_by_ns; // 0: not set; times of io_monotonic_ns
    bool started;                    // the engine takes commands
    struct machine_client clients[CLIENTS_MAXIMUM];
    unsigned char ring[CONSOLE_RING_SIZE]; // the last bytes that the console showed
    uint64_t ring_written;
    struct buf input; // for the guest's console, not yet taken by the engine
    int exit_code;
    char exit_text[ERROR_TEXT_SIZE];
    char paused_why[ERROR_TEXT_SIZE];
    int64_t since; // seconds since 1970
};

// supervisor.c
void machine_say(struct machine *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
void machine_hold(struct machine *m, enum machine_hold why, const char *text);
void machine_release(struct machine *m, enum machine_hold why);
void machine_stop(struct machine *m, unsigned seconds); // 0: off at once
// rondo-cloop's and rondo-overlay's counts, as text.
void machine_counts(struct machine *m, char *ret_text, size_t capacity);

// machine_clients.c
int machine_listen(struct machine *m, struct error *error);
void machine_clients_init(struct machine *m);
// Adds what the clients wait for to `polls` (room for 2 × CLIENTS_MAXIMUM + 1); returns how many.
unsigned machine_clients_poll(struct machine *m, struct pollfd *polls);
void machine_clients_serve(struct machine *m, const struct pollfd *polls, unsigned count);
void machine_clients_console(struct machine *m, const void *bytes, size_t n); // the guest wrote this
void machine_clients_tell(struct machine *m, const char *message);            // to all that are attached
void machine_clients_close(struct machine *m);

// machine_parts.c: the programs beside the engine. Each leaves what it started in *m.
int machine_start_overlay(struct machine *m, char ret_disk[static PATH_TEXT_SIZE], struct error *error);
int machine_send_base(struct machine *m, struct error *error); // the base file, opened anew, to rondo-overlay
int machine_start_passt(struct machine *m, int *ret_network, struct error *error);

// machine_cloop.c: the thread that replaces a rondo-cloop that ended. From keep to leave it alone uses options->cloop.
int machine_keep_cloop(struct machine *m, struct error *error);
bool machine_leave_cloop(struct machine *m); // false if it is busy: then it uses *m until the process ends
void machine_cloop_counts(struct machine *m, char *ret_text, size_t capacity);
