#!/bin/sh
# The lab's part of bench/vmm_costs.py: boots the same guest in each VMM, the same way, and prints lines of "VMM KEY VALUE…".
#
#   vmm_lab.sh VMM…      rondo-vmm, kvmtool, q35, microvm
#
# memory, own KIB                after the reads, beside the guest's memory (mappings of 64 MiB and more): its share of what is
#                                resident (PSS), program and libraries included, and what is in no file (anonymous)
# requests N, calls N, call NUMBER N
#                                requests that the guest's disk has made with 32 in flight, system calls of all threads of the
#                                VMM meanwhile, and how many of each
# startup NS                     processor time of all threads before the first instruction of a tiny guest: qemu waits there (-S),
#                                in rondo-vmm the guest halts at once; startup-bare: without its sandbox
# failed WHAT                    what the guest did not reach
set -u
calls=/sys/kernel/tracing/events/raw_syscalls/sys_enter
by=hist:keys=common_pid,id:size=16384

# Takes the process over. The guest is $kernel with $initrd.
become() { # VMM CMDLINE [OPTION…]
	vmm=$1 cmdline=$2
	shift 2
	case $vmm in
	rondo-vmm) exec rondo-vmm --kernel $kernel --initrd $initrd --memory 256M --disk /tmp/disk,ro --cmdline "$cmdline" "$@" ;;
	kvmtool) exec lkvm run --name bench -k $kernel -i $initrd -c 1 -m 256 --disk /tmp/disk,ro --console serial -n mode=none -p "$cmdline" ;;
	q35) set -- -M q35 "$@" ;;
	microvm) set -- -M microvm,acpi=on,pcie=on,rtc=on "$@" ;;
	esac
	exec qemu-system-x86_64 -nodefaults -no-user-config -display none -accel kvm -cpu host -m 256 -smp 1 "$@" \
		-kernel $kernel -initrd $initrd -append "$cmdline" -chardev stdio,id=c,signal=off -serial chardev:c \
		-drive if=none,id=d,file=/tmp/disk,format=raw,readonly=on -device virtio-blk-pci,drive=d
}

# The guest's input is a pipe that stays open; each start gets a new one.
start() { # VMM CMDLINE [OPTION…]
	rm -f /tmp/keys
	mkfifo /tmp/keys
	exec 3<>/tmp/keys
	become "$@" <&3 >/tmp/guest 2>&1 &
	guest=$!
}

end() {
	kill -KILL "$guest" 2>/dev/null
	wait "$guest" 2>/dev/null
}

said() { # TEXT SECONDS
	tries=0
	until grep -qaF "$1" /tmp/guest; do
		tries=$((tries + 1))
		if [ $tries -gt $(($2 * 5)) ] || ! kill -0 "$guest" 2>/dev/null; then
			echo "$vmm failed $1"
			cp /tmp/guest "/results/$vmm.failed"
			return 1
		fi
		sleep 0.2
	done
}

read_disk() {
	said "ready to read" 200 || return
	echo $by >$calls/trigger || return
	echo >&3
	said "at the end" 200 || return
	cat $calls/hist >/tmp/calls
	echo "!$by" >$calls/trigger
	{
		ls "/proc/$guest/task"
		cat /tmp/calls
	} | awk -v vmm="$vmm" '
		NF == 1 && /^[0-9]+$/ { ours[$1] = 1 }
		/^[{]/ { gsub(/[{}:,]/, " "); if ($2 in ours) { all += $6; by[$4] += $6 } }
		END { print vmm, "calls", all + 0; for (id in by) print vmm, "call", id, by[id] }'
	tr -d '\r' </tmp/guest | sed -n "s/^requests /$vmm requests /p"
	awk -v vmm="$vmm" '/^[0-9a-f]+-[0-9a-f]+ / { large = 0 }
		$1 == "Size:" { large = $2 >= 65536 }
		$1 == "Pss:" && !large { memory += $2 }
		$1 == "Anonymous:" && !large { own += $2 }
		END { print vmm, "memory", memory; print vmm, "own", own }' "/proc/$guest/smaps"
}

# A machine that is made and has hardly begun. Threads that wait take no time, so it does not matter how long this waits.
measure_startup() { # VMM KEY OPTION…
	vmm=$1 key=$2
	shift 2
	start "$vmm" h "$@"
	sleep 4
	cat "/proc/$guest"/task/*/schedstat | awk -v vmm="$vmm" -v key="$key" '{ ns += $1 } END { printf "%s %s %.0f\n", vmm, key, ns }'
	end
}

truncate -s 64M /tmp/disk
tr '\0' x </tmp/disk | dd of=/tmp/disk bs=1M conv=notrunc iflag=fullblock 2>/dev/null # no holes
echo nothing >/guest/nothing
cat /sys/devices/system/clocksource/clocksource0/current_clocksource >/results/clock
for vmm in "$@"; do
	kernel=/guest/kernel initrd=/guest/initrd
	start "$vmm" "console=ttyS0 quiet panic=-1"
	read_disk
	end
	kernel=/guest/tiny initrd=/guest/nothing
	case $vmm in
	rondo-vmm)
		measure_startup "$vmm" startup
		measure_startup "$vmm" startup-bare --no-sandbox
		;;
	q35 | microvm) measure_startup "$vmm" startup -S ;;
	esac
done
exit 0
