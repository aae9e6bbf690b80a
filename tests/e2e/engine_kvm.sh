#!/bin/bash
# The kvm engine around its guest: which engine is chosen and why; restarts, ends and failures; what the machine says of its disk.
# (rondo-vmm itself, with real guests, is tested in tests/lab.)
# time-limit: 600
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq passt
need_fuse
publish_fake 1
fake=$url/fake

# The choice.
run_rondo run "$fake" --ephemeral --net none --append 'print=qemu%0a exit=0'
status_is 0 "where KVM cannot serve, auto takes qemu"
is "$(grep -c 'engine qemu: software emulation, because this test has no KVM$' "$TMPDIR/run.err")" 1 "and one line says why"
run_rondo run "$fake" --ephemeral --net none --engine kvm --append off
status_is 9 "asked for, kvm is exit code 9 there"
like "$err" "this test has no KVM; --engine qemu does without" "with the reason and what to do"
run_rondo doctor
like "$out" "limited +kvm +.*this test has no KVM" "doctor says so, too"
export FAKE_VMM_PROBE=
run_rondo doctor
like "$out" "ok +kvm " "or that it can"

# From here on KVM "serves".
run_rondo run "$fake" --ephemeral --net none --append 'print=hello off'
status_is 0 "a guest that switches itself off is exit code 0"
like "$out" "hello start 1" "its console is shown"
unlike "$err" "engine qemu" "and auto has taken kvm without a word"
ok "nothing of it is left" wait_until 5 no_machine_left
run_rondo run "$fake" --ephemeral --net none --append 'print=boot resets=3 off'
status_is 0 "a guest may restart itself"
is "$(grep -c 'boot start' "$TMPDIR/run.out")" 4 "and begins again each time"
run_rondo run "$fake" --ephemeral --net none --append 'print=boot resets=1 linger=1 off'
status_is 0 "nor is it begun again before the one before has ended"
run_rondo run "$fake" --ephemeral --append 'print=boot resets=2 off' --port "$(free_port):80"
status_is 0 "with its network and ports, too"
is "$(grep -c 'boot start' "$TMPDIR/run.out")" 3 "and passt does not hold it up"
unlike "$err" "no network" "nor is it missed in between"
run_rondo run "$fake" --ephemeral --net none --append panic
status_is 1 "a kernel's panic is exit code 1"
like "$err" "the kernel of fake-[0-9a-f]+ panicked" "and is said"
run_rondo run "$fake" --ephemeral --net none --append triple
status_is 1 "a triple fault at the very beginning is exit code 1"
like "$err" "triple fault" "and is said, not repeated for ever"
run_rondo run "$fake" --ephemeral --net none --append exit=7
status_is 1 "an engine that fails is exit code 1"
like "$err" "engine kvm ended by exit code 7" "and how is said"
run_rondo run "$fake" --ephemeral --net none --append 'say=broken%20KVM%20cannot exit=1'
status_is 1 "and one that KVM cannot run on"
like "$err" "fake-[0-9a-f]+ broke down: KVM cannot" "with the reason"
unlike "$err" "the disk" "for which the disk is not to blame"
run_rondo run "$fake" --ephemeral --net none --append 'print=login:' --until login: --timeout 30
status_is 0 "--until works as with any engine"
ok "nothing of all that is left" wait_until 5 no_machine_left

# An image without a kernel of its own boots by its disk, which takes firmware.
rondo publish --name bare --version 1 --key "$TMPDIR/key" --to "$TMPDIR/site" --disk "$TMPDIR/fake.disk" --memory 64M >"$TMPDIR/publish.out" 2>&1 ||
	bail_out "publish bare"
run_rondo run "$url/bare" --net none --engine kvm
status_is 9 "without a kernel in the image, kvm cannot serve"
like "$err" "no kernel of its own, which the kvm engine needs; --engine qemu does without" "which is said with what to do"
run_rondo run "$url/bare" --net none --detach
status_is 0 "auto then takes qemu"
is "$(grep -c 'engine qemu: software emulation, because the image has no kernel of its own$' "$TMPDIR/run.err")" 1 "and one line says why"
run_rondo ps --json
is "$(jq -r '.[0].engine' <<<"$out")" qemu "it runs there"
run_rondo stop bare
status_is 0 "and is switched off"
run_rondo rm bare
status_is 0 "and removed"

# A machine that goes on.
run_rondo run "$fake" --net none --detach --append 'print=up'
status_is 0 "a machine runs detached"
run_rondo ps --json
is "$(jq -r '.[0].engine + " " + .[0].state' <<<"$out")" "kvm running" "ps knows its engine"
run_rondo inspect fake --json
is "$(jq -r '."exits.port", ."block.reads"' <<<"$out" | tr '\n' ' ')" "12 34 " "inspect shows what the engine counts"
run_rondo run "$fake" --net none
status_is 10 "it runs once"
rondo_cloop=$(cloop_pid)
kill -KILL "$rondo_cloop"
ok "a new rondo-cloop's disk is handed to it" wait_until 20 eval 'timeout -s INT 1 rondo console fake 2>/dev/null | grep -q "base 262144 bytes"'
run_rondo snapshot fake live
is "$status $out" "0 live" "a snapshot is taken of it as it runs"
ok "it goes on with a new layer" wait_until 20 eval 'timeout -s INT 1 rondo console fake 2>/dev/null | grep -q "snapshot taken"'
run_rondo snapshot fake live
status_is 1 "a label is given once"
like "$err" "rondo snapshot fake --list" "and the message says where to look"
run_rondo rollback fake
status_is 10 "it is not rolled back as it runs"
like "$err" "rondo stop fake" "and the message says what to do"
run_rondo stop fake
status_is 0 "the power button switches it off"
run_rondo run "$fake" --net none --detach --append 'nosnapshot=the%20disk%20is%20full'
run_rondo snapshot fake more
status_is 1 "a disk that cannot be flushed"
like "$err" "machine fake: the disk is full" "says why there is no snapshot"
is "$(rondo ps --json | jq -r '.[0].state')" running "and goes on"
run_rondo stop fake
run_rondo run "$fake" --net none --detach --append 'diesnapshot'
run_rondo snapshot fake more
status_is 10 "nor is there one of a guest that restarts meanwhile"
like "$err" "give the command again" "which is said"
is "$(rondo snapshot fake --list --json | jq -c 'map(.label)') $(find "$RONDO_HOME/instances/fake" -name 'layer-*' | wc -l)" '["live"] 2' "nothing is left of either"
run_rondo stop fake
run_rondo run "$fake" --net none --detach --append 'nobutton say=outage%20the%20network%20is%20gone'
ok "an outage pauses it" wait_until 10 eval '[ "$(machine_state fake)" = paused ]'
like "$(machine_reason fake)" "the network is gone" "for the reason that it gave"
run_rondo stop fake --timeout 1
status_is 0 "a machine that does not hear the button is switched off"
run_rondo run "$fake" --net none --append 'say=failed%20the%20disk%20broke'
status_is 1 "a disk that fails ends it with exit code 1"
like "$err" "the disk broke; what was written last may be lost" "and is said"
run_rondo run "$fake" --net none --detach --append 'resets=1000000'
sleep 1
run_rondo stop fake --timeout 1
status_is 0 "a guest that restarts for ever can be stopped"
run_rondo rm fake
status_is 0 "and removed"
ok "nothing is left" wait_until 5 no_machine_left
done_testing
