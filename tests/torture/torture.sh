#!/bin/bash
# time-limit: 14400
# Each allocation and each system call of the product fails in turn, in scenarios over all of it (tests/torture/torture.h); one
# of each kind in each scenario, all with RONDO_TEST_LONG. It needs the build for the sanitizers: make torture, make asan.
[ -n "${RONDO_TEST:-}" ] || exec "$(dirname "$0")/../tap" "$0" "$@"
exec "$BUILD/tests/torture/torture" "$@"
