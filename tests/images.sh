#!/bin/bash
# Prints a directory that holds the built appliance NAME: `tests/images.sh NAME`.
#
# It is built once, under a lock, into $RONDO_TEST_IMAGES/NAME (default: $BUILD/images, and BUILD: build), and used
# again for as long as its recipe stays the same: NAME.stamp beside it has the hash of the files that made it.
# Users must not change the files; boot a copy, or with an overlay. Exit codes: those of appliances/build.
set -euo pipefail

if [ $# -ne 1 ]; then
	echo "usage: tests/images.sh NAME" >&2
	exit 2
fi
name=$1
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
images=$(realpath -m -- "${RONDO_TEST_IMAGES:-${BUILD:-build}/images}")
mkdir -p "$images"

exec 3>"$images/$name.lock"
if ! flock --nonblock 3; then
	echo "images: waiting for another build of $name" >&2
	flock 3
fi

stamp=$(find appliances/build appliances/lib.sh appliances/rondo-generalize appliances/settings "appliances/$name" -type f -printf '%m %p\0' | LC_ALL=C sort -z |
	while read -r -d '' mode file; do
		echo "$mode $(sha256sum "$file")"
	done | sha256sum)
if [ ! -f "$images/$name/appliance.conf" ] || [ "$stamp" != "$(cat "$images/$name.stamp" 2>/dev/null)" ]; then
	# What a killed build has left: nobody else builds here while we hold the lock.
	rm -rf --one-file-system -- "$images/$name".partial.*
	rm -f "$images/$name.stamp"
	appliances/build "$name" "$images/$name" >&2 3>&-
	echo "$stamp" >"$images/$name.stamp"
fi
echo "$images/$name"
