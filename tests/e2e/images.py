"""Images for tests, packed from this machine's static busybox."""

from __future__ import annotations

from pathlib import Path

from pilothouse.main.runtime.images import File, ImageConfig, pack

BUSYBOX = Path("/bin/busybox")
WEB = "pilothouse.test/web:1"
WEB_2 = "pilothouse.test/web:2"
PORT = 8080
"""Where the image answers HTTP with its host name."""

_APPLETS = """
awk cat chmod cp cut date dd df echo env expr false grep head hostname httpd id kill ln ls mkdir mktemp mv nc nslookup printf ps pwd
readlink rm sed seq sh sleep sort stat sync tail tar test timeout touch tr true uniq wc wget whoami xargs
"""
_SERVE = f"""
mkdir -p /www; hostname > /www/index.html; echo ok > /www/healthy
trap 'echo stopping; exit 0' TERM
httpd -f -p {PORT} -h /www &
echo serving as $(hostname)
wait $!
"""


def web() -> bytes:
    """The archive of an image that serves its host name; known as two versions."""
    files = {"bin/busybox": File(BUSYBOX.read_bytes(), 0o755), "tmp": File(mode=0o1777)}
    files |= {f"bin/{applet}": File(link="busybox") for applet in _APPLETS.split()}
    files["etc/passwd"] = File(b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    files["etc/group"] = File(b"root:x:0:\nuser:x:1000:\n")
    return pack([WEB, WEB_2], files, ImageConfig(command=["/bin/sh", "-c", _SERVE], exposed_ports=[f"{PORT}/tcp"]))
