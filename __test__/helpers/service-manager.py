"""A service manager as far as the protocols of systemd go: it passes sockets (sd_listen_fds), is notified (sd_notify), and
keeps descriptors (FDSTORE). The one argument is JSON: program, env, notify, listen and pid. It is told what to do by
lines on stdin, and tells what has happened by lines of JSON on stdout."""

import array
import fcntl
import json
import os
import select
import signal
import socket
import sys

config = json.loads(sys.argv[1])
store = []  # (name, descriptor)


def tell(**what):
    print(json.dumps(what), flush=True)


def listen(place):
    if place["kind"] == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(place["path"])
    else:
        family = socket.AF_INET6 if ":" in place["host"] else socket.AF_INET
        kind = socket.SOCK_DGRAM if place["kind"] == "udp" else socket.SOCK_STREAM
        sock = socket.socket(family, kind)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place.get("only", False)))
        # As systemd does: earlier connections may linger.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((place["host"], place.get("port", 0)))
    if place["kind"] != "udp":
        sock.listen(128)
    return sock


def run():
    passed = [(place.get("name", "app.socket"), sock.fileno()) for place, sock in zip(config["listen"], sockets)]
    passed += store
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    # The manager uses standard output itself.
    os.dup2(2, 1)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for _, fd in passed]
    for number, fd in enumerate(high, 3):
        os.dup2(fd, number, inheritable=True)
    os.closerange(3 + len(high), 4096)
    env = {**config["env"], "NOTIFY_SOCKET": config["notify"]}
    if passed:
        env["LISTEN_FDS"] = str(len(passed))
        env["LISTEN_PID"] = str(config.get("pid") or os.getpid())
        env["LISTEN_FDNAMES"] = ":".join(name for name, _ in passed)
    os.execvpe(config["program"][0], config["program"], env)


def on_notified():
    text, control, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    lines = text.decode().split("\n")
    fields = dict(line.split("=", 1) for line in lines)
    name = fields.get("FDNAME", "stored")
    if fields.get("FDSTORE") == "1":
        store.extend((name, fd) for fd in fds)
    if fields.get("FDSTOREREMOVE") == "1":
        for kept in [kept for kept in store if kept[0] == name]:
            os.close(kept[1])
            store.remove(kept)
    tell(notified=fields, descriptors=len(fds), stored=[name for name, _ in store])


manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(config["notify"])
sockets = [listen(place) for place in config["listen"]]
tell(
    listening=[
        {"port": None if sock.family == socket.AF_UNIX else sock.getsockname()[1], "inode": os.fstat(sock.fileno()).st_ino}
        for sock in sockets
    ]
)
service = None
watched = None
pending = ""
while True:
    readable, _, _ = select.select([0, manager] + ([watched] if watched is not None else []), [], [])
    if manager in readable:
        on_notified()
    if watched in readable:
        # Messages that it sent before its end come first.
        while select.select([manager], [], [], 0)[0]:
            on_notified()
        _, status = os.waitpid(service, 0)
        os.close(watched)
        service = watched = None
        tell(ended=os.waitstatus_to_exitcode(status))
    if 0 in readable:
        piece = os.read(0, 65536)
        if not piece:
            if service is not None:
                os.killpg(service, signal.SIGKILL)
            sys.exit(0)
        pending += piece.decode()
        *lines, pending = pending.split("\n")
        for line in lines:
            if line == "start":
                service = run()
                watched = os.pidfd_open(service)
                tell(started=service)
            elif line.startswith("env "):
                config["env"].update(json.loads(line[4:]))
            else:
                os.kill(service, getattr(signal, line))
