# shellcheck shell=bash
# For tests of what is done with a stopped machine's disk; after lib.sh and sites.sh.
#
#   make_machine NAME IMAGE [OPTION…]   a machine that was on for a second and wrote nothing: sets $folder
#   write_blocks FOLDER FLAT OP…        writes into its overlay as a guest would, and into the flat file the same:
#                                       data:FIRST:COUNT:SEED (random bytes) or zero:FIRST:COUNT (discarded)

make_machine() {
	local name=$1 image=$2
	shift 2
	run_rondo run "$image" --name "$name" --net none --until never --timeout 1 "$@"
	folder=$RONDO_HOME/instances/$name
	[ "$status" -eq 12 ] && [ -e "$folder/disk.map" ] || {
		diag_file "$TMPDIR/run.err"
		bail_out "a machine is made"
	}
}

write_blocks() {
	python3 -c '
import random, sys
folder, flat, ops = sys.argv[1], sys.argv[2], sys.argv[3:]
with open(folder + "/disk.data", "r+b") as data, open(folder + "/disk.map", "r+b") as bits, open(flat, "r+b") as f:
    for op in ops:
        kind, first, count, *seed = op.split(":")
        first, count = int(first), int(count)
        random.seed(int(seed[0]) if seed else 0)
        for block in range(first, first + count):
            content = random.randbytes(4096) if kind == "data" else bytes(4096)
            f.seek(block * 4096)
            f.write(content)
            if kind == "data":
                data.seek(block * 4096)
                data.write(content)
            bits.seek(4096 + block // 4)
            now = bits.read(1)[0] & ~(3 << block % 4 * 2)
            bits.seek(4096 + block // 4)
            bits.write(bytes([now | (1 if kind == "data" else 2) << block % 4 * 2]))' "$@" || bail_out "blocks are written"
}
