#!/bin/sh
# Puts the tool's own packages into the environment, and writes byte code that no file time can make stale.
set -e
P=/opt/tool/lib/python3.11/site-packages
cp -r /b/source/. $P/
version=$(/opt/tool/bin/python -c 'import scheduler; print(scheduler.VERSION)')
mkdir $P/cronsemble-$version.dist-info
printf 'Metadata-Version: 2.1\nName: cronsemble\nVersion: %s\n' "$version" > $P/cronsemble-$version.dist-info/METADATA
printf '#!/opt/tool/bin/python\nfrom scheduler.cli import main\n\nmain()\n' > /opt/tool/bin/cronsemble
chmod 755 /opt/tool/bin/cronsemble
/opt/tool/bin/python /b/identity.py tool "$1" cronsemble numpy msgspec jinja2 prometheus-client
rm -rf /b
find / -xdev -name '*.pyc' -delete
python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3* $P > /dev/null || true
