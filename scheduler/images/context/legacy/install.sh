#!/bin/sh
# Installs the wheels and Theano, and links the libraries under the names that they look for.
set -e
unset PIP_CERT PIP_FIND_LINKS
P=/usr/local/lib/python2.7/dist-packages
L=/usr/lib/x86_64-linux-gnu
options="-q --no-deps --no-compile --no-cache-dir --require-hashes"
python2.7 "$(echo /w/pip-*.whl)/pip" install $options --no-index --find-links /w -r /b/wheels.txt
# Only a Python before 3.12 can download Theano's source; where there was none, it is fetched here.
from="--no-index --find-links /w"
[ -e /w/Theano-1.0.5.tar.gz ] || from="--cert /w/ca.pem"
PIP_CONFIG_FILE=/w/pip.conf python2.7 -m pip install $options $from --no-build-isolation -r /b/sources.txt
# CNTK was linked with OpenMPI 1.10; Theano takes NumPy's own OpenBLAS.
ln -sf libmpi.so.40 $L/libmpi.so.12
ln -sf libmpi_cxx.so.40 $L/libmpi_cxx.so.1
ln -sf libopenblasp-r0-34a18dc3.3.7.so $P/numpy/.libs/libopenblas.so
ldconfig
# Theano takes an operation without properties for one without a version, and compiles it anew in every process:
# matrix products, softmax. Their version is in c_code_cache_version, as everyone's.
sed -i "s/if hasattr(node.op, '__props__'):/if getattr(node.op, '__props__', None):/" $P/theano/gof/cc.py
grep -q "if getattr(node.op, '__props__', None):" $P/theano/gof/cc.py
