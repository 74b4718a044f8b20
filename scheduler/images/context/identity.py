"""Writes the image's identity: its name, the hash of what it was built from, and the versions that are really inside.

Runs in the image's framework interpreter: `identity.py NAME INPUTS PACKAGE...`. Python 2.7 and 3.
"""

from __future__ import print_function

import json
import sys

try:
    from importlib.metadata import version
except ImportError:  # Python 2.7
    from pkg_resources import get_distribution

    def version(name):
        return get_distribution(name).version


versions = {name: str(version(name)) for name in sys.argv[3:]}
versions["python"] = sys.version.split()[0]
with open("/etc/debian_version") as file:
    versions["debian"] = file.read().strip()
told = {"name": sys.argv[1], "inputs": sys.argv[2], "versions": versions}
with open("/etc/cronsemble-image.json", "w") as file:
    file.write(json.dumps(told, sort_keys=True) + "\n")
