#!/bin/sh
# Prints a folder in memory for the servers of the tests, where there is one with room that runs
# programs: on a disk half of the time of a test goes into the files of its database.
folder=/dev/shm
[ -w "$folder" ] || exit 0
free=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
[ "${free:-0}" -gt 4194304 ] || exit 0
probe=$(mktemp "$folder/probe.XXXXXX") || exit 0
cp /bin/true "$probe" && chmod +x "$probe" && "$probe" && echo "$folder"
rm -f "$probe"
