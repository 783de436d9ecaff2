"""What a command line can ask for: the Request record and the tables of verbs and options.

The one rule: data only.  The tables are literals that the compiler folds into constants, so they cost
nothing to import; cli.py reads command lines by them and documents.py writes the help texts from them.
"""

from ._record import Record


class Request(Record):
    """One command line, understood and checked; paths of `root` and `bundle` are absolute."""

    verb: str
    id: str = ""
    args: "tuple[str, ...]" = ()  # what follows the id: the program of exec, the options of ps
    topic: str = ""  # of help: a verb
    argv: "tuple[str, ...]" = ()  # all words as received, without the program's name: for the fallback runtime
    # global options
    root: str = "/run/urunc"
    log: str = ""
    log_format: str = "text"
    debug: bool = False
    no_new_keyring: bool = False
    systemd_cgroup: bool = False
    trace: str = ""
    spans: bool = False  # the steps are OpenTelemetry's too, if the program that embeds us has a use for them
    config: str = "/etc/urunc/config.toml"  # from the environment, no option
    hands_over: bool = True  # False in an embedding program, which must not become the fallback runtime
    # create, run, spec, exec
    bundle: str = ""
    pid_file: str = ""
    pidfd_socket: str = ""
    console_socket: str = ""
    preserve_fds: int = 0
    detach: bool = False
    keep: bool = False
    dry_run: bool = False
    rootless: bool = False  # of spec
    # exec: what differs from the process of the bundle, or all of it in the file `process`
    process: str = ""
    tty: bool = False
    user: str = ""
    cwd: str = ""
    env: "tuple[str, ...]" = ()
    additional_gids: "tuple[str, ...]" = ()
    cap: "tuple[str, ...]" = ()
    apparmor: str = ""
    process_label: str = ""
    no_new_privs: bool = False
    cgroup: "tuple[str, ...]" = ()
    ignore_paused: bool = False
    # kill, delete
    signal: int = 15
    all: bool = False
    force: bool = False
    # list, ps
    format: str = "table"
    quiet: bool = False
    # events
    stats: bool = False
    interval_ms: int = 5000
    # update: None and "" mean unchanged, -1 unlimited; all others are ignored if `resources` ("-" is stdin) is given
    resources: str = ""
    memory_bytes: "int | None" = None
    memory_reservation_bytes: "int | None" = None
    memory_swap_bytes: "int | None" = None
    cpu_quota_us: "int | None" = None
    cpu_period_us: "int | None" = None
    cpu_shares: "int | None" = None
    cpu_burst_us: "int | None" = None
    cpu_idle: "int | None" = None
    cpu_rt_runtime_us: "int | None" = None
    cpu_rt_period_us: "int | None" = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: "int | None" = None
    blkio_weight: "int | None" = None
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""


class Outcome(Record):
    """What a command has to say beside its success: an exit status, and warnings."""

    status: int = 0
    warnings: "tuple[str, ...]" = ()
    hints: "tuple[str, ...]" = ()  # what may come of it, for the log alone
    steps: "tuple[str, ...]" = ()  # what it has done, for --debug


# name: (short name, kind, field of Request, help).  Without a field the option is accepted and not used: it is
# meant for the fallback runtime, which gets `argv`, or asks for what does not exist here.
# Kinds: flag, text, list (text, may be repeated), count (>= 0), number, size (bytes, k m g t p), duration.
GLOBALS = {
    "debug": ("", "flag", "debug", "show more, for instance the traceback of an internal error"),
    "log": ("", "text", "log", "append errors to this file (and write their bare text to stderr)"),
    "log-format": ("", "text", "log_format", "format of errors: text or json (default: text)"),
    "root": ("", "text", "root", "directory of the containers' state, on a tmpfs (default: /run/urunc)"),
    "systemd-cgroup": ("", "flag", "systemd_cgroup", 'take cgroupsPath as "slice:prefix:name"'),
    "trace": ("", "text", "trace", "append the time of every step to this file"),
    "criu": ("", "text", "", "accepted for compatibility, not used"),
    "rootless": ("", "text", "", "accepted for compatibility, not used"),
    "version": ("v", "flag", "version", "print the version"),
    "help": ("h", "flag", "help", "show help"),
}

OPTIONS = {
    "additional-gids": ("g", "list", "additional_gids", "additional group ids"),
    "all": ("a", "flag", "all", "send the signal to all processes of the container"),
    "apparmor": ("", "text", "apparmor", "AppArmor profile of the process"),
    "auto-dedup": ("", "flag", "", "deduplicate memory images"),
    "blkio-weight": ("", "number", "blkio_weight", "weight of block I/O, 10 to 1000"),
    "bundle": ("b", "text", "bundle", "directory of config.json (default: the working directory)"),
    "cap": ("c", "list", "cap", "add a capability"),
    "cgroup": ("", "list", "cgroup", "run the process in a sub-cgroup"),
    "console-socket": ("", "text", "console_socket", "Unix socket that receives the terminal's master descriptor"),
    "cpu-burst": ("", "number", "cpu_burst_us", "unused cpu time that may be saved up, in microseconds"),
    "cpu-idle": ("", "number", "cpu_idle", "1: cpu time that nobody else wants, 0: its share"),
    "cpu-period": ("", "number", "cpu_period_us", "period of the cpu quota, in microseconds"),
    "cpu-quota": ("", "number", "cpu_quota_us", "cpu time allowed in a period, in microseconds"),
    "cpu-rt-period": ("", "number", "cpu_rt_period_us", "period of the realtime limit, in microseconds"),
    "cpu-rt-runtime": ("", "number", "cpu_rt_runtime_us", "realtime cpu time in a period, in microseconds"),
    "cpu-share": ("", "number", "cpu_shares", "relative weight against other containers"),
    "cpuset-cpus": ("", "text", "cpuset_cpus", "cpus to use"),
    "cpuset-mems": ("", "text", "cpuset_mems", "memory nodes to use"),
    "cwd": ("", "text", "cwd", "working directory of the process"),
    "detach": ("d", "flag", "detach", "do not wait for the container's process"),
    "dry-run": ("", "flag", "dry_run", "print the plan, make nothing"),
    "empty-ns": ("", "list", "", "create a namespace without restoring its properties"),
    "env": ("e", "list", "env", "set an environment variable"),
    "ext-unix-sk": ("", "flag", "", "allow external Unix sockets"),
    "file-locks": ("", "flag", "", "handle file locks"),
    "force": ("f", "flag", "force", "kill the container if it still runs; an unknown id is no error"),
    "format": ("f", "text", "format", "table or json (default: table)"),
    "help": ("h", "flag", "help", "show help"),
    "ignore-paused": ("", "flag", "ignore_paused", "allow exec in a paused container"),
    "image-path": ("", "text", "", "directory of the image files"),
    "interval": ("", "duration", "interval_ms", "time between two statistics, such as 500ms or 5s (default: 5s)"),
    "keep": ("", "flag", "keep", "do not delete the container when it ends"),
    "l3-cache-schema": ("", "text", "l3_cache_schema", "L3 cache schema of Intel RDT"),
    "lazy-pages": ("", "flag", "", "restore memory pages lazily"),
    "leave-running": ("", "flag", "", "leave the process running after the checkpoint"),
    "lsm-mount-context": ("", "text", "", "LSM mount context for the restore"),
    "lsm-profile": ("", "text", "", "LSM profile for the restore, as TYPE:NAME"),
    "manage-cgroups-mode": ("", "text", "", "soft, full or strict"),
    "mem-bw-schema": ("", "text", "mem_bw_schema", "memory bandwidth schema of Intel RDT"),
    "memory": ("", "size", "memory_bytes", "memory limit, in bytes or with k, m, g"),
    "memory-reservation": ("", "size", "memory_reservation_bytes", "soft memory limit"),
    "memory-swap": ("", "size", "memory_swap_bytes", "limit of memory and swap together, -1 for none"),
    "no-new-keyring": ("", "flag", "no_new_keyring", "leave the container the caller's session keyring"),
    "no-new-privs": ("", "flag", "no_new_privs", "set no_new_privs for the process"),
    "no-pivot": ("", "flag", "", "accepted for compatibility, not used"),
    "no-subreaper": ("", "flag", "", "accepted for compatibility, not used"),
    "page-server": ("", "text", "", "ADDRESS:PORT of the page server"),
    "parent-path": ("", "text", "", "directory of the image files of an earlier pre-dump"),
    "pidfd-socket": ("", "text", "pidfd_socket", "Unix socket that receives a pidfd of the process"),
    "pid-file": ("", "text", "pid_file", "write the process id to this file"),
    "pids-limit": ("", "number", "pids_limit", "number of processes allowed"),
    "pre-dump": ("", "flag", "", "dump memory only, leave the container running"),
    "preserve-fds": ("", "count", "preserve_fds", "pass N descriptors, from 3 on, to the container (default: 0)"),
    "process": ("p", "text", "process", "file that describes the process"),
    "process-label": ("", "text", "process_label", "SELinux label of the process"),
    "quiet": ("q", "flag", "quiet", "print ids only"),
    "resources": ("r", "text", "resources", "JSON file of the resources, - is standard input; replaces all others"),
    "rootless": ("", "flag", "rootless", "write a configuration for a rootless container"),
    "shell-job": ("", "flag", "", "allow shell jobs"),
    "stats": ("", "flag", "stats", "print the statistics once"),
    "status-fd": ("", "number", "", "descriptor that is written to when lazy pages are ready"),
    "tcp-established": ("", "flag", "", "allow open TCP connections"),
    "tty": ("t", "flag", "tty", "allocate a terminal"),
    "user": ("u", "text", "user", "uid[:gid] of the process"),
    "work-path": ("", "text", "", "directory of work files and logs"),
}

_CREATE = "bundle console-socket pid-file pidfd-socket no-pivot no-new-keyring preserve-fds"
_EXEC_WORDS = "<container-id> [command [arguments...]]"
_EXEC = (
    "console-socket cwd env tty user additional-gids process detach pid-file process-label apparmor no-new-privs"
    " cap preserve-fds cgroup ignore-paused pidfd-socket"
)
_CRIU = (
    " image-path work-path tcp-established ext-unix-sk shell-job file-locks manage-cgroups-mode empty-ns auto-dedup"
    " lazy-pages"
)
_CHECKPOINT = "parent-path leave-running status-fd page-server pre-dump" + _CRIU
_RESTORE = "console-socket bundle detach pid-file no-subreaper no-pivot lsm-profile lsm-mount-context" + _CRIU
_UPDATE = (
    "resources memory memory-reservation memory-swap cpu-quota cpu-period cpu-share cpu-rt-runtime cpu-rt-period"
    " cpu-burst cpu-idle cpuset-cpus cpuset-mems pids-limit blkio-weight l3-cache-schema mem-bw-schema"
)
# verb: (what it does, what follows the options, least and greatest (-1: any) number of arguments, options)
VERBS = {
    "checkpoint": ("checkpoint a container of the fallback runtime", "<container-id>", 1, 1, _CHECKPOINT),
    "create": ("create a container", "<container-id>", 1, 1, _CREATE),
    "delete": ("delete what a container holds", "<container-id>", 1, 1, "force"),
    "events": ("print a container's statistics", "<container-id>", 1, 1, "interval stats"),
    "exec": ("execute a process in a container that is no unikernel", _EXEC_WORDS, 1, -1, _EXEC),
    "features": ("print what this runtime can do, as JSON", "", 0, 0, ""),
    "help": ("print the list of commands or the help of one", "[command]", 0, 1, ""),
    "kill": ("send a signal to a container (default: TERM)", "<container-id> [signal]", 1, 2, "all"),
    "list": ("list the containers under --root", "", 0, 0, "format quiet"),
    "pause": ("pause a container", "<container-id>", 1, 1, ""),
    "planner": ("stay, and plan what create makes: create then needs no interpreter", "", 0, 0, ""),
    "ps": ("list the processes of a container", "<container-id> [ps options]", 1, -1, "format"),
    "restore": ("restore a container of the fallback runtime", "<container-id>", 1, 1, _RESTORE),
    "resume": ("resume a paused container", "<container-id>", 1, 1, ""),
    "run": ("create and start a container", "<container-id>", 1, 1, _CREATE + " detach keep no-subreaper dry-run"),
    "spec": ("write a config.json to start from", "", 0, 0, "bundle rootless"),
    "start": ("start the program of a created container", "<container-id>", 1, 1, ""),
    "state": ("print the state of a container as JSON", "<container-id>", 1, 1, ""),
    "update": ("change the resource limits of a container", "<container-id>", 1, 1, _UPDATE),
}
