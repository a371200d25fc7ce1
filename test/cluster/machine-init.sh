#!/bin/sh
# Process 1 of a machine: it has just got network, mount, process, host name and IPC namespaces of its own, and makes of the
# root it inherited the root of a machine of its own. usage: machine-init.sh DIRECTORY HOSTNAME CGROUP
set -eu
directory=$1 hostname=$2 cgroup=$3

mount --make-rprivate /
hostname "$hostname"
ip link set lo up

# What the machine may write: copies over /etc, /opt and /var that keep to its directory, and an empty /run.
for name in etc opt var; do
  mkdir -p "$directory/upper/$name" "$directory/work/$name"
  mount -t overlay -o "lowerdir=/$name,upperdir=$directory/upper/$name,workdir=$directory/work/$name" "$hostname" "/$name"
done
# Overlays and sparse files of loop devices need a file system beneath them, and no overlay.
for name in containerd kubelet keelson; do
  mkdir -p "$directory/disk/$name" "/var/lib/$name"
  mount --bind "$directory/disk/$name" "/var/lib/$name"
done
mkdir -p /etc/cni/net.d /opt/cni/bin
# A name of a pod's namespace that is left mounted beneath the new /run would confuse containerd.
umount -l /run/netns 2>/dev/null || :
mkdir -p "$directory/cgroups"
mount --rbind /sys/fs/cgroup "$directory/cgroups"
mount -t tmpfs -o mode=755 run /run
mount -t proc proc /proc
# Else /sys/class/net would list the interfaces of the machine below.
mount -t sysfs sysfs /sys
mount --rbind "$directory/cgroups" /sys/fs/cgroup
umount -R -l "$directory/cgroups"

# kubelet sets these, and they are of the kernel that all share: it finds them as it wants them and changes nothing.
mkdir -p /run/sysctl
while read -r name value; do
  file=/run/sysctl/$(echo "$name" | tr / .)
  echo "$value" >"$file"
  mount --bind "$file" "/proc/sys/$name"
done <<SYSCTLS
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTLS
# Mounts of a pod with Bidirectional propagation reach the machine and its other pods, as on one that systemd has started.
mount --make-rshared /

# A cgroup in every hierarchy: pods go beneath it, and the machine's own processes into its child.
for hierarchy in /sys/fs/cgroup/*/; do
  for group in "$hierarchy$cgroup" "$hierarchy$cgroup/system"; do
    mkdir -p "$group"
    for file in cpuset.cpus cpuset.mems; do
      if [ -e "$group/$file" ]; then cat "$hierarchy$file" >"$group/$file"; fi
    done
  done
  echo 0 >"$hierarchy$cgroup/system/cgroup.procs"
done

echo 1 >/proc/sys/net/ipv4/ip_forward
echo "$hostname" >/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$hostname" >/etc/hosts
printf '# There is no name server.\n' >/etc/resolv.conf
touch /run/booted
# Children that lost their parent become this process's, which has to wait for them.
while :; do
  sleep 3600 &
  wait
done
