#!/bin/busybox sh
# The first and only process of the guest. What the command prints goes out by the second serial
# line, the file /result by the third, the exit status by the fourth; the first is the console.
export PATH=/usr/local/bin:/bin HOME=/tmp
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
mount -t tmpfs none /run
mount -t bpf none /sys/fs/bpf
mkdir /run/netns
ulimit -l unlimited
for line in 1 2 3; do
  stty -F /dev/ttyS$line raw -echo
done
ip link set lo up
while read -r module; do
  insmod "/modules/$module" > /dev/ttyS1 2>&1 || poweroff -f
done < /modules/order
sh /command > /dev/ttyS1 2>&1 < /dev/null
status=$?
[ ! -e /result ] || cat /result > /dev/ttyS2
echo "exit $status" > /dev/ttyS3
poweroff -f
