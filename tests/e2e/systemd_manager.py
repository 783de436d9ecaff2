"""Stands in for systemd on a bus of the tests: `systemd_manager.py LOG MOUNT CGROUP`.

The one rule: what it is told it does as systemd would: a directory below CGROUP of the hierarchy at MOUNT for each
unit, the processes moved into it, removed once it is empty; and every call goes to LOG, a JSON text on a line.
"""

import json
import os
import sys
from typing import Any

from jeepney import DBusAddress, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = DBusAddress(PATH, bus_name=NAME, interface=f"{NAME}.Manager")


class Manager:
    """The units that there are, by their object paths."""

    def __init__(self, log: str, mount: str, top: str) -> None:
        self.log, self.mount, self.top = log, mount, top
        self.units: dict[str, str] = {}
        self.jobs = 0
        self.connection = open_dbus_connection("SYSTEM")
        self.connection.send_and_get_reply(message_bus.RequestName(NAME))
        self.write("ready", [])

    def write(self, method: str, body: Any) -> None:
        with open(self.log, "a") as log:
            log.write(json.dumps([method, body], default=list) + "\n")

    def serve(self) -> None:
        while True:
            try:
                message = self.connection.receive(timeout=0.02)
            except TimeoutError:
                self.collect()
                continue
            if message.header.message_type is not MessageType.method_call:
                continue
            method = message.header.fields[3]  # HeaderFields.member
            body = list(message.body)
            self.write(method, body)
            answer = getattr(self, method, None)
            if answer is None:
                self.connection.send(new_error(message, f"{NAME}.Unknown", "s", (f"no method {method}",)))
                continue
            answer(message, *body)

    def collect(self) -> None:
        """Remove the directories of units that nobody is in; one that has somebody cannot be."""
        for path, group in tuple(self.units.items()):
            try:
                os.rmdir(self.mount + group)
            except FileNotFoundError:
                pass
            except OSError:
                continue
            del self.units[path]

    def Subscribe(self, message: Any) -> None:  # noqa: N802
        self.connection.send(new_method_return(message))

    def StartTransientUnit(self, message: Any, unit: str, _mode: str, properties: Any, _aux: Any) -> None:  # noqa: N802
        given = {name: value for name, (_, value) in properties}
        group = self.top + "/" + given["Slice"] + "/" + unit
        path = PATH + "/unit/" + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in unit)
        if os.path.isdir(self.mount + group):
            text = f"Unit {unit} was already loaded or has a fragment file."
            self.connection.send(new_error(message, f"{NAME}.UnitExists", "s", (text,)))
            return
        self.jobs += 1
        job = f"{PATH}/job/{self.jobs}"
        self.connection.send(new_method_return(message, "o", (job,)))
        if "refuse" not in unit:
            os.makedirs(self.mount + group)
            for pid in given["PIDs"]:
                with open(f"{self.mount}{group}/cgroup.procs", "w") as file:
                    file.write(str(pid))
            self.units[path] = group
        result = "failed" if "refuse" in unit else "done"
        self.connection.send(new_signal(MANAGER, "JobRemoved", "uoss", (self.jobs, job, unit, result)))

    def GetUnit(self, message: Any, unit: str) -> None:  # noqa: N802
        path = PATH + "/unit/" + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in unit)
        self.connection.send(new_method_return(message, "o", (path,)))

    def Get(self, message: Any, _interface: str, _name: str) -> None:  # noqa: N802
        group = self.units[message.header.fields[1]]  # HeaderFields.path
        self.connection.send(new_method_return(message, "v", (("s", group),)))

    def SetUnitProperties(self, message: Any, _unit: str, _runtime: bool, _properties: Any) -> None:  # noqa: N802
        self.connection.send(new_method_return(message))


if __name__ == "__main__":
    Manager(*sys.argv[1:]).serve()
