#!/usr/bin/env python3
# Plays a terminal for tests/e2e/console_terminal.sh and others:  console_terminal.py SCRIPT COMMAND…
#
# COMMAND gets a pseudo-terminal of its own (a new session). SCRIPT is a list of steps, one a line:
#   wait TEXT      until the terminal shows it (20 s, or as many as TERMINAL_SECONDS says)
#   type TEXT      as a person would (with \r, \x1d and the like)
#   signal NAME    to the command, such as TERM
#   hangup         the terminal goes away
#   end            the command ends (as long)
# Prints what the terminal showed, then "exit N", and "modes restored" if the terminal is as it was before (or "modes changed").
import fcntl, os, pty, select, signal, sys, termios, time

seconds = int(os.environ.get("TERMINAL_SECONDS", "20"))
script, command = sys.argv[1], sys.argv[2:]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(master)
    os.close(slave)
    os.execvp(command[0], command)
shown = b""


def read(wait):
    global shown
    if select.select([master], [], [], wait)[0]:
        try:
            shown += os.read(master, 65536)
        except OSError:
            pass


def fail(text):
    print(shown.decode(errors="replace"))
    print("failed:", text)
    os.kill(pid, signal.SIGKILL)
    sys.exit(1)


code = None
seen = 0
for step in open(script).read().splitlines():
    word, _, rest = step.partition(" ")
    rest = rest.encode().decode("unicode_escape").encode("latin-1")
    if word == "wait":
        deadline = time.monotonic() + seconds
        while rest not in shown[seen:]:
            if time.monotonic() > deadline:
                fail(step)
            read(0.1)
        seen = shown.index(rest, seen) + len(rest)
    elif word == "type":
        os.write(master, rest)
    elif word == "signal":
        os.kill(pid, getattr(signal, "SIG" + rest.decode()))
    elif word == "hangup":
        os.close(slave)
        os.close(master)
        slave = master = -1
    elif word == "end":
        deadline = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() > deadline:
                fail(step)
            if master >= 0:
                read(0.05)
            else:
                time.sleep(0.05)
if master >= 0:
    read(0)
print(shown.decode(errors="replace"))
print("exit", code)
if slave >= 0:
    print("modes restored" if termios.tcgetattr(slave) == before else "modes changed")
