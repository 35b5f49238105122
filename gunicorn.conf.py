"""How gunicorn serves the API: make serve, or gunicorn wsgi:app in this folder.

Without a key (ATTRITION_API_KEYS, or what api.keys_env in config.json names) it answers on this machine only.
With one it binds where ATTRITION_BIND says. WEB_CONCURRENCY sets the number of workers. A slow client holds a
thread for some seconds, and there are workers x threads: many are a matter for a proxy, deploy/nginx.conf.
"""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

# before numpy is imported: one request is one thread's work
os.environ.setdefault("OMP_NUM_THREADS", "1")
chdir = str(Path(__file__).resolve().parent)
sys.path.insert(0, chdir)

from attrition import config as configuration  # noqa: E402 - "config" is a setting of gunicorn
from attrition import keys, tallies  # noqa: E402
from attrition.errors import ConfigError  # noqa: E402
from attrition.worker import Worker  # noqa: E402

HERE = "127.0.0.1:8000"


def _is_loopback(address: Any) -> bool:
    """Whether only this machine reaches a socket: a path, a descriptor of systemd's, a loopback address."""
    if not isinstance(address, tuple):
        return True
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return address[0] == "localhost"


def on_starting(server: Any) -> None:
    """The last look before a socket is opened: --bind on the command line comes after this file."""
    if has_keys:
        server.log.info("Answering on %s to whoever has a key of %s.", server.cfg.address, keys_env)
        return
    if not all(_is_loopback(address) for address in server.cfg.address):
        server.log.error(
            "%s is not set: without a key only 127.0.0.1 is served. Set it, or bind there.", keys_env
        )
        raise SystemExit(3)
    server.log.warning("%s is not set: answering to anybody on this machine, and to no other.", keys_env)


def pre_fork(server: Any, worker: Any) -> None:
    """Each living worker counts in a row of its own; a new one goes on where a dead one stopped."""
    taken = {other.row for other in server.WORKERS.values()}
    worker.row = next((row for row in range(tallies.ROWS) if row not in taken), tallies.ROWS - 1)


def post_fork(server: Any, worker: Any) -> None:
    tallies.take(worker.row)


try:
    configured = configuration.load()
except ConfigError as fault:
    raise SystemExit(f"gunicorn.conf.py: {fault}") from None
# wsgi.py reads the same one, though gunicorn changes the folder in between
os.environ["ATTRITION_CONFIG"] = str(configured.path)
keys_env = configured.settings.api.keys_env
has_keys = bool(keys.known(os.environ.get(keys_env, "")))

wsgi_app = "wsgi:app"
bind = os.environ.get("ATTRITION_BIND", HERE)

preload_app = True
worker_class = Worker
workers = int(os.environ.get("WEB_CONCURRENCY") or min(len(os.sched_getaffinity(0)), 8))
threads = 32
# with what else it has open, a worker stays below the usual limit of 1,024 files
worker_connections = 800
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None

timeout = 30
graceful_timeout = 10
keepalive = 5
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190

accesslog = None
errorlog = "-"
# no socket to steer the server by, which would be written into somebody's home
control_socket_disable = True
