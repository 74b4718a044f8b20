#!/bin/sh
# Makes the virtual environment: the packages that the tool needs, and nothing that makes environments.
set -e
unset PIP_CERT PIP_FIND_LINKS
P=/opt/tool/lib/python3.11/site-packages
python3 -m venv /opt/tool
/opt/tool/bin/python -m pip install -q --no-index --no-compile --no-cache-dir --find-links /w --require-hashes -r /b/requirements.txt
# What no command reads: NumPy's tests, and its headers for those who compile against it.
find $P/numpy -depth -type d \( -name tests -o -name include \) -exec rm -rf {} +
rm -rf $P/numpy/f2py $P/numpy/_core/lib
rm -rf $P/pip $P/pip-* $P/setuptools $P/setuptools-* $P/pkg_resources $P/_distutils_hack $P/distutils-precedence.pth /opt/tool/bin/pip*
apt-get purge -y -q python3-venv python3-pip-whl python3-setuptools-whl > /dev/null
apt-get autoremove -y -q --purge > /dev/null
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /etc/apt/apt.conf.d/archive /root/.cache /tmp/*
rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/info /usr/share/locale/* /usr/share/lintian
