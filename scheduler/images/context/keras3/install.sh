#!/bin/sh
# Makes the virtual environment, deletes what no training reads, and writes byte code that no file time can make stale.
set -e
unset PIP_CERT PIP_FIND_LINKS
P=/opt/keras3/lib/python3.11/site-packages
python3 -m venv /opt/keras3
/opt/keras3/bin/python -m pip install -q --no-index --no-compile --no-cache-dir --find-links /w --require-hashes -r /b/requirements.txt
# Headers for those who compile against TensorFlow, and the C compiler's library that only its own build uses.
rm -rf $P/tensorflow/include $P/clang
find $P/scipy $P/sklearn -depth -type d -name tests -exec rm -rf {} +
# pip stays in the environment, for images made from this one; its installer does not.
apt-get purge -y -q python3-venv python3-pip-whl python3-setuptools-whl > /dev/null
apt-get autoremove -y -q --purge > /dev/null
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /etc/apt/apt.conf.d/archive /root/.cache /tmp/*
rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/info /usr/share/locale/* /usr/share/lintian
find / -xdev -name '*.pyc' -delete
python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3* $P > /dev/null || true
