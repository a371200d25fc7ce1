#!/bin/bash
# Answers the host: a line `ID SCRIPT` (base64) is run as a script, in parallel with others. Its output comes back as lines `o ID TEXT`, its exit
# code as `e ID CODE`. The first line of a boot is `b BOOT_ID`.
until [ -e /dev/virtio-ports/keelson ]; do sleep 0.2; done
exec 3<>/dev/virtio-ports/keelson
export PATH="/keelson/node_modules/.bin:$PATH" HOME=/root
mkdir -p /run/answer
cd /root
echo "b $(cat /proc/sys/kernel/random/boot_id)" >&3
while read -r -u 3 id script; do
  file=/run/answer/$id
  base64 -d <<<"$script" >"$file"
  {
    bash "$file" 2>&1 </dev/null 3>&- | sed -u "s/^/o $id /" >&3
    echo "e $id ${PIPESTATUS[0]}" >&3
  } &
done
