#!/bin/bash
# What a boot profile names can be read from the boot packs alone, over HTTP; the next version inherits it, and stores and costs
# what changed.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse

make_disk "$TMPDIR/disk" 24 1
head -c 3000001 /dev/urandom >"$TMPDIR/kernel"
head -c 1500000 /dev/urandom >"$TMPDIR/initrd"
# Kernel and initrd whole, then 300 short runs of the disk, in no order.
python3 - "$TMPDIR" >"$TMPDIR/profile" <<'PYTHON'
import os, random, sys
random.seed(7)
size = {name: os.path.getsize(f"{sys.argv[1]}/{name}") for name in ("kernel", "initrd", "disk")}
print("rondo-profile 1", *(f"member {name} {bytes}" for name, bytes in size.items()), sep="\n")
print(f"read kernel 0 {(size['kernel'] + 4095) // 4096}", f"read initrd 0 {(size['initrd'] + 4095) // 4096}", sep="\n")
for first in random.sample(range(0, size["disk"] // 4096 - 8, 20), 300):
    print(f"read disk {first} {random.randint(1, 6)}")
PYTHON
read_boot() { # FOLDER: reads what the profile says from its members, and compares it with the sources
	python3 - "$TMPDIR" "$1" <<'PYTHON'
import os, sys
files = {}
for line in open(f"{sys.argv[1]}/profile"):
    word, name, *numbers = line.split()
    if word != "read":
        continue
    if name not in files:
        files[name] = [os.open(f"{folder}/{name}", os.O_RDONLY) for folder in sys.argv[1:]]
        for fd in files[name]:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # the kernel reads nothing ahead
    first, blocks = map(int, numbers)
    wanted, got = (os.pread(fd, blocks * 4096, first * 4096) for fd in files[name])
    if wanted != got:
        sys.exit(f"{line.strip()}: other bytes")
PYTHON
}
boot_packs() { # of the manifest in $out
	sed -n 's/^boot \([0-9a-f]*\) .*/\1/p' "$site/objects/${1:0:2}/$1"
}

publish machine 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd" --cmdline x --profile "$TMPDIR/profile"
status_is 0 "publish with a boot profile"
like "$err" 'the boot reads [0-9]+ blocks: .* in [0-9]+ packs?' "it says what the boot reads"
first=$out
ok "the site is whole" check_site "$site"
boot_packs "$first" | sort >"$TMPDIR/boot.1"
run_rondo inspect "$site/machine" --json
is "$(json boot_packs)" "$(wc -l <"$TMPDIR/boot.1")" "inspect: so many boot packs as the manifest lists"
is "$(json kernel_boot_bytes) $(json initrd_boot_bytes)" "$(json kernel_mapped_bytes) $(json initrd_mapped_bytes)" "kernel and initrd whole"
boot_bytes=$(json boot_stored_bytes)
is "$boot_bytes" "$(while read -r name; do stat -c %s "$site/objects/${name:0:2}/$name"; done <"$TMPDIR/boot.1" | paste -sd+ | bc)" "and their bytes"
ok "of the disk a small part ($(json disk_boot_bytes) bytes)" \
	[ "$(json disk_boot_bytes)" -gt 1000000 -a "$(json disk_boot_bytes)" -lt $((24 * 1048576 / 3)) ]

# The same input gives the same packs.
first_site=$site
site=$TMPDIR/again
publish machine 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd" --cmdline x --profile "$TMPDIR/profile"
is "$(boot_packs "$out" | sort)" "$(cat "$TMPDIR/boot.1")" "published again elsewhere: the same boot packs"
site=$first_site

attack
server=$process
mount_image "${url}machine"
status_is 0 "mount"
ok "what a boot reads is right" read_boot "$TMPDIR/mounted"
sed -n 's,.*/objects/../\([0-9a-f]*\).*,\1,p' "$requests" | sort -u >"$TMPDIR/asked"
is "$(comm -23 "$TMPDIR/asked" <(sort "$TMPDIR/boot.1" - <<<"$first"))" "" "nothing was asked for but the manifest and boot packs"
asked=$(requests)
ok "in $asked requests, catalog and manifest included" [ "$asked" -le $(($(wc -l <"$TMPDIR/boot.1") + 4)) ]
for member in disk kernel initrd; do
	ok "$member is what was published" cmp "$TMPDIR/mounted/$member" "$TMPDIR/$member"
done
unmount_image
status_is 0 "umount"

# The next version: a few blocks of the boot change in place, a few others too; the kernel is another one.
cp --sparse=always "$TMPDIR/disk" "$TMPDIR/old.disk"
block=$(sed -n 's/^read disk \([0-9]*\) .*/\1/p' "$TMPDIR/profile" | head -n 1)
change_disk "$TMPDIR/disk" $((block * 4096)) 4096
change_disk "$TMPDIR/disk" 10000000 50000
size_before=$(du -sb --apparent-size "$site/objects" | cut -f1)
publish machine 2 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd" --cmdline x
status_is 0 "a second version, without a profile"
second=$out
like "$err" 'the boot reads [0-9]+ blocks' "it has a boot all the same"
boot_packs "$second" | sort >"$TMPDIR/boot.2"
grown=$(($(du -sb --apparent-size "$site/objects" | cut -f1) - size_before))
ok "54,096 new bytes are stored as less than 160 KiB ($grown)" [ "$grown" -lt 163840 ]
ok "most boot packs are the old ones" [ "$(comm -12 "$TMPDIR/boot.1" "$TMPDIR/boot.2" | wc -l)" -ge 3 ]
ok "the site is whole" check_site "$site"

run_rondo diff "$site/machine:1" "$site/machine:2" --json
status_is 0 "diff"
is "$(json from) $(json to)" "$first $second" "of these two"
fetch=$(json fetch_bytes)
ok "so many bytes are to be fetched ($fetch) as were stored, tables and manifest aside" [ "$fetch" -le "$grown" -a "$fetch" -gt 54096 ]
is "$(json kernel_changed_blocks) $(json initrd_changed_blocks)" "0 0" "kernel and initrd did not change"
ok "of the disk $(json disk_changed_blocks) blocks" [ "$(json disk_changed_blocks)" -ge 14 -a "$(json disk_changed_blocks)" -lt 40 ]
run_rondo diff "$site/machine" "$site/machine" --json
is "$status $(json fetch_bytes) $(json disk_changed_blocks) $(json boot_packs)" "0 0 0 0" "a version does not differ from itself"

# Whoever holds the first fetches just that.
forget
run_rondo pull "${url}machine:1"
status_is 0 "pull of the first version"
rules
run_rondo diff "${url}machine:1" "${url}machine:2" --json
is "$status $(json fetch_bytes)" "0 $fetch" "diff over HTTP says the same"
is "$(comm -23 <(sed -n 's,.*/objects/../\([0-9a-f]*\).*,\1,p' "$requests" | sort -u) <(sort "$TMPDIR/boot.2" - <<<"$second"))" "" \
	"and asked for the manifest and pages alone"
rules
run_rondo pull "${url}machine:2"
status_is 0 "pull of the second"
fetched=$(python3 -c '
import os, sys
print(sum(os.path.getsize(f"{sys.argv[1]}/objects/{name[:2]}/{name}") for name in {line.strip() for line in sys.stdin}))' "$site" \
	< <(sed -n 's,.*/objects/../\([0-9a-f]*\).*,\1,p' "$requests"))
ok "it asked for packs of $fetched bytes in all: those that are new" [ "$fetched" -le "$grown" ]
stop_process "$server"
run_rondo diff --offline "${url}machine:1" "${url}machine:2" --json
is "$status $(json fetch_bytes)" "0 $fetch" "diff works offline with what is there"
forget
run_rondo diff "${url}machine:1" "${url}machine:2"
status_is 4 "without network and cache: exit code 4"
run_rondo diff "$site/machine:1" "$site/machine:3"
status_is 3 "a version that is not there: exit code 3"
run_rondo diff "$site/machine:1"
status_is 2 "one image: exit code 2"

# No boot is wanted; another image's is no use.
publish machine 3 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd" --cmdline x --profile none
status_is 0 "--profile none"
is "$(boot_packs "$out")" "" "has no boot packs"
like "$err" ' 0 blocks new ' "and stores no block again"

# Two older versions, of which each has something.
cat "$TMPDIR/disk" "$TMPDIR/kernel" >"$TMPDIR/both"
publish other 1 "$TMPDIR/both" --profile none --parent "$site/machine:1" --parent "$site/machine:2"
status_is 0 "two parents"
blocks=$(sed -n 's/.* \([0-9]*\) blocks new .*/\1/p' <<<"$err")
ok "what either holds is not stored again ($blocks blocks new)" [ "$blocks" -le 1 ]
like "$(cat "$site/objects/${out:0:2}/$out")" "parent $first" "the first is the parent"
done_testing
