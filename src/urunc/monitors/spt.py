"""solo5-spt: the sandboxed process tender of Solo5, from 0.6 (tenders/spt of its sources).

It virtualizes nothing, so it runs anywhere.  As pid 1 of its namespace it does not see SIGTERM.
"""

from . import TUN, Monitor
from .hvt import argv

MONITOR = Monitor(
    name="spt",
    binaries=("solo5-spt",),
    built_in=True,
    argv=argv,
    kvm="none",
    nodes=(("dev/null", 1, 3),),
    kernels=("solo5-spt",),
    takes_tap="name",
    virtio=False,
    tap_nodes=TUN,
    seccomp=True,
)
