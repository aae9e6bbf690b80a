#!/bin/bash
# time-limit: 600
# What a clone must not carry is warned of before a version is signed; with --generalize its machines make themselves anew, once.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
PATH=$PATH:/usr/sbin:/sbin
need qemu-system-x86_64 debugfs jq
need_fuse
image=$("$ROOT/tests/images.sh" tiny) || skip_all "the appliance tiny cannot be built here"

publish_appliance tiny "$TMPDIR/site"
unlike "$(cat "$TMPDIR/publish.err")" 'warning' "what the recipe makes has nothing to warn of"
run_rondo publish --name raw --version 1 --disk "$image/kernel" --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 0 "a disk without a file system that we know is published"
like "$err" 'the disk has no ext2, ext3 or ext4 file system .* was not searched' "and it is said that nobody looked"

# In this machine's place: keys, a machine-id, a history; and a program that makes host keys.
appliance_disk=$TMPDIR/disk
cp --sparse=always "$image/disk" "$appliance_disk"
echo secret >"$TMPDIR/secret"
printf '%032d\n' 7 >"$TMPDIR/machine-id"
printf '#!/bin/sh\necho new >/etc/ssh/ssh_host_new_key\necho "$0 $*"\n' >"$TMPDIR/ssh-keygen"
debugfs -w -f /dev/stdin "$appliance_disk" >"$TMPDIR/debugfs.log" 2>&1 <<END
mkdir /etc/ssh
write $TMPDIR/secret /etc/ssh/ssh_host_rsa_key
write $TMPDIR/machine-id /etc/machine-id
write $TMPDIR/secret /root/.ash_history
mkdir /root/.ssh
write $TMPDIR/secret /root/.ssh/authorized_keys
write $TMPDIR/ssh-keygen /bin/ssh-keygen
set_inode_field /bin/ssh-keygen mode 0100755
END
publish_appliance tiny "$TMPDIR/site" --version dirty
said=$(cat "$TMPDIR/publish.err")
for line in 'ssh host keys: /etc/ssh/ssh_host_rsa_key' 'machine-id: /etc/machine-id' 'histories: /root/.ash_history' \
	'authorised ssh keys: /root/.ssh/authorized_keys'; do
	like "$said" "warning: +$line" "publish warns of $line"
done
like "$said" 'rondo-generalize clean.*--generalize' "and says what to do"

publish_appliance tiny "$TMPDIR/site" --version anew --generalize
like "$(cat "$TMPDIR/publish.err")" 'warning: .*/etc/ssh/ssh_host_rsa_key' "--generalize does not hide what everybody can read"
like "$(rondo inspect "$TMPDIR/site/tiny:anew" --json | jq -r .cmdline)" \
	' rondo.generalize=[0-9a-f]{16} init=/usr/sbin/rondo-generalize$' "it is a word of the version's signed command line"
shown='ls -d /etc/ssh/* /root/.ash_history /root/.ssh/*; wc -c </etc/machine-id; wc -c </var/lib/rondo/generalized'
boot() { # the console's lines, without the kernel's
	run_rondo run "$TMPDIR/site/tiny:anew" --name clone --net none --timeout 150 --append "$(guest_command "($shown) 2>/dev/null; echo $1 >>/root/.ash_history; poweroff -f")"
	out=$(tr -d '\r' <<<"$out" | grep -vE '^\[')
}
boot first
status_is 0 "a machine of it starts"
like "$out" 'made itself anew
/etc/ssh/ssh_host_new_key
0
17' "the first time it makes itself anew: no old keys, no history, no machine-id"
like "$out" 'ssh-keygen -A' "and makes host keys"
boot second
unlike "$out" 'made itself anew' "the second time it does not"
like "$out" '/root/.ash_history' "and keeps what is its own"

run_rondo commit clone --name tiny --version next --generalize --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 0 "the machine is committed"
like "$err" 'warning: +ssh host keys: /etc/ssh/ssh_host_new_key
.*warning: +histories: /root/.ash_history' "with a warning, too"
is "$(rondo inspect "$TMPDIR/site/tiny:next" --json | jq -r .cmdline | grep -o 'generalize=' | wc -l)" 1 "and a token in place of the other"
older=$(rondo inspect "$TMPDIR/site/tiny:anew" --json | jq -r .cmdline)
not_ok "which is a new one" [ "$(rondo inspect "$TMPDIR/site/tiny:next" --json | jq -r .cmdline)" = "$older" ]

# In two pieces: the command line itself must not look like what is searched for.
run_rondo run "$TMPDIR/site/tiny:anew" --name clone --net none --timeout 150 \
	--append "rw $(guest_command 'for i in 1 2 3 4; do echo pri""vate-words >>/root/.ash_history; done; sync; rondo-generalize clean')"
status_is 0 "rondo-generalize clean switches the machine off"
unlike "$out" 'could not be freed' "after giving back what the removed files took"
run_rondo commit clone --name tiny --version cleaned --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 0 "which is committed"
unlike "$err" warning "there is nothing to warn of any more"
mkdir "$TMPDIR/mounted"
rondo mount "$TMPDIR/site/tiny:cleaned" "$TMPDIR/mounted" 2>/dev/null
not_ok "nor are the bytes that were removed in what is published" grep -c private-words "$TMPDIR/mounted/disk"
ok "which has others" grep -q BusyBox "$TMPDIR/mounted/disk"
rondo umount "$TMPDIR/mounted"

debugfs -w -R 'rm /bin/rondo-generalize' "$appliance_disk" >"$TMPDIR/debugfs.log" 2>&1
run_rondo publish --name tiny --version never --disk "$appliance_disk" --kernel "$image/kernel" --generalize --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 2 "an image that cannot make itself anew is refused with --generalize"
like "$err" 'has no /usr/sbin/rondo-generalize.*appliances/README.md' "and told what it lacks"
run_rondo publish --name raw --version never --disk "$image/kernel" --kernel "$image/kernel" --generalize --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 2 "so is one that cannot be looked into"
run_rondo publish --name raw --version never --disk "$image/kernel" --generalize --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 2 "and one without a command line"
run_rondo ls "$TMPDIR/site" --json
unlike "$out" never "none of them is there"
done_testing
