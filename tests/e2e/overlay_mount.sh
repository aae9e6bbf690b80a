#!/bin/bash
# time-limit: 600
# rondo-overlay with a supervisor made for the test: what it serves, what survives, what it says. TAP comes from Python.
exec python3 "$(dirname "$0")/overlay_mount.py"
