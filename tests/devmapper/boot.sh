#!/bin/bash
# Process 1 of the machine (machine.py): `boot.sh DIRECTORY [inside]`.  The machine's root becomes the host's, seen
# through an overlay; then there are a thin pool and a containerd, and the command runs.  Its status goes to a file.
directory=$1
. "$directory/environment"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C

off() {
  echo "$1" >"$directory/status"
  sync
  busybox poweroff -f
  sleep 60
}

die() {
  echo "boot.sh: $*"
  [ ! -f /run/containerd.log ] || tail -n 20 /run/containerd.log
  off 125
}

modules() { modprobe -q -d /run/kernel -a "$@"; }

link_modules() {
  mkdir -p "$1/run/kernel/lib/modules"
  ln -s "$MODULES" "$1/run/kernel/lib/modules/$(uname -r)"
}

# / is the host's root, which must not be written to.
outside() {
  exec >>"$directory/log" 2>&1
  mount -t proc proc /proc && mount -t sysfs sys /sys || die "cannot mount proc and sysfs"
  mount -t tmpfs tmpfs /run
  link_modules ""
  modules overlay loop dm-thin-pool || die "no modules for the kernel of User-Mode Linux"
  mkdir /run/state
  mount -t ext4 -o noatime /dev/ubdc /run/state || die "cannot mount the disk for what is written"
  mkdir -p /run/state/{upper,work,root,containerd}
  root=/run/state/root
  mount -t overlay overlay -o lowerdir=/,upperdir=/run/state/upper,workdir=/run/state/work $root || die "no overlay"
  mkdir -p $root/var/lib/containerd
  mount --bind /run/state/containerd $root/var/lib/containerd
  for moved in /dev /sys /proc; do mount --move $moved $root$moved || die "cannot move $moved"; done
  mount -t tmpfs tmpfs $root/run
  mkdir -p "$root$directory"
  mount --bind "$directory" "$root$directory"
  link_modules $root
  cd $root && mkdir -p run/host && pivot_root . run/host || die "cannot enter the root"
  exec chroot . /bin/bash "$0" "$directory" inside
}

devices() {
  if [ -z "$SYSTEMD" ]; then
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o ptmxmode=666 devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    done
    ln -sfn /proc/self/fd /dev/fd
    for stream in "0 stdin" "1 stdout" "2 stderr"; do ln -sfn /proc/self/fd/$stream; done
  fi
  busybox ip link set lo up
  hostname devmapper
  umount -l /run/host # the host is seen through the overlay only
  modules tun veth bridge sch_ingress cls_u32 act_mirred
}

start_containerd() {
  mkdir -p /run/containerd /var/lib/containerd/devmapper
  cat >/run/containerd.toml <<TOML
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "$CONTAINERD_ADDRESS"
[plugins."io.containerd.snapshotter.v1.devmapper"]
  root_path = "/var/lib/containerd/devmapper"
  pool_name = "$DEVMAPPER_POOL"
  base_image_size = "256MB"
  fs_type = "$FS_TYPE"
  async_remove = false
TOML
  setsid containerd --config /run/containerd.toml >/run/containerd.log 2>&1 </dev/null &
  local pid=$! end=$((SECONDS + 300))
  while [ $SECONDS -lt $end ] && kill -0 $pid; do
    [ -S "$CONTAINERD_ADDRESS" ] && ctr plugins ls >/run/plugins && break
    sleep 0.2
  done 2>/dev/null
  grep -q 'devmapper.*ok' /run/plugins && return
  die "containerd has no devmapper snapshotter"
}

# None of the host's units is started: not what else the host has installed, nor what an ordinary boot waits for.
systemd() {
  local units=/run/systemd/system
  mkdir -p $units/dbus.{service,socket}.d /run/systemd/system-generators
  for unit in service socket; do printf '[Unit]\nDefaultDependencies=no\n' >$units/dbus.$unit.d/alone.conf; done
  for generator in /lib/systemd/system-generators/*; do
    ln -s /dev/null "/run/systemd/system-generators/${generator##*/}"
  done
  cat >$units/command.service <<UNIT
[Unit]
DefaultDependencies=no
Requires=dbus.service
After=dbus.service
[Service]
Type=oneshot
Environment=HOME=$HOME LC_ALL=C
ExecStart=/bin/bash $0 $directory command
UNIT
  rm -f /.dockerenv # which would have systemd take the machine for a container, and not read the kernel's command line
  [ -x /lib/systemd/systemd ] || die "no systemd is installed"
  exec /lib/systemd/systemd </dev/null
}

command() {
  devices
  cd "$CWD" || cd /
  "${COMMAND[@]}" </dev/null >"$directory/out" 2>"$directory/err"
  off $?
}

inside() {
  [ -z "$SYSTEMD" ] || systemd
  devices
  # without a udevd libdevmapper makes the nodes in /dev/mapper itself
  export DM_DISABLE_UDEV=1 DEVMAPPER_POOL=containerd-pool
  export CONTAINERD_ADDRESS=/run/containerd/containerd.sock CONTAINERD_SNAPSHOTTER=devmapper
  dmsetup create "$DEVMAPPER_POOL" \
    --table "0 $(blockdev --getsz /dev/ubda) thin-pool /dev/ubdb /dev/ubda 128 32768 1 skip_block_zeroing" ||
    die "cannot make a thin pool"
  [ -z "$FS_TYPE" ] || start_containerd
  cd "$CWD" || cd /
  "${COMMAND[@]}" </dev/null >"$directory/out" 2>"$directory/err"
  local status=$?
  [ ! -f /run/containerd.log ] || cat /run/containerd.log
  off $status
}

case $2 in
inside | command) $2 ;;
*) outside ;;
esac
