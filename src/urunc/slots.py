"""Which slot of a plan holds what: the numbers by which operations share descriptors (FP_SLOT_COUNT of plan.h).

The one rule: every fixed slot stands here, and no two are the same.  The files of the guest, the monitor's tree and the
terminal have those from 1 on.
"""

FIRST_FIXED_SLOT = 23
DENIED_SLOT = 23  # FP_SLOT_DENIED: what the companion notes a denied system call in
SNAPSHOT_SLOT = 24  # of the device that holds the rootfs, opened exclusively
LISTENING_SLOT, CONNECTED_SLOT = 25, 26  # of virtiofsd and of the monitor
TIME_SLOT = 27  # FP_SLOT_TIME: of a time namespace to join
SELINUX_SLOT, APPARMOR_SLOT = 28, 29
CONTROL_SLOT = 30  # of the listening end of the power button
QMP_SLOT = 31  # of the monitor's end of a connection with its companion: QMP, or its events
ROOTFS_SLOT = 32  # of the container's rootfs, for startContainer hooks
SOURCE_SLOT, SOURCE_SLOTS = 44, 17  # of the same container, for what its mounts bind
CONSOLE_SLOT = 61  # FP_SLOT_CONSOLE: a connection with who takes the master of a terminal
LISTENER_SLOT = 62  # FP_SLOT_LISTENER: of a seccomp filter that asks an agent
MOUNT_SLOT = 63  # of the mount namespace to be in, or of the root there, of a container of the process monitor
NIC_SLOT, NIC_SLOTS = 33, 11  # the first of those for taps, a slot for each queue, and behind all for /dev/vhost-net
SHARE_SLOT = 44  # the first of those for what is shared
