#!/usr/bin/env python3
"""make_dump.py PROFILE FILE: one profile of gen_dump.py from a scratch Redis 7.0, which is stopped afterwards."""
import os
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "tests", "generate"))
from redis_process import Server  # noqa: E402

profile, out = sys.argv[1:]
# Beside the target, so that the dump is moved and not copied; the limit is for the strings of 1 GiB.
with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(out))) as directory:
    with Server("redis-7.0", ["--proto-max-bulk-len", "2gb"], directory) as server:
        sys.exit(subprocess.call([sys.executable, os.path.join(here, "gen_dump.py"), "--port", str(server.port),
                                  "--profile", profile, "--out", out]))
