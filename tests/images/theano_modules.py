"""Runs in the legacy image: trains and predicts with the built-in models, and tells what Theano compiled meanwhile.

Arguments: the folder of the data and of what is written. Python 2.7.
"""

from __future__ import print_function

import glob
import io
import json
import os
import sys
import time

from jobs.portable import predict, train

folder = sys.argv[1]


def modules():
    import theano

    return set(glob.glob(os.path.join(theano.config.compiledir, "*", "*.so")))


before = None
for model in ("cnn", "mlp"):
    for data_format in ("channels_first", "channels_last"):
        out = os.path.join(folder, model + data_format)
        os.mkdir(out)
        task = {
            "backend": "theano", "threads": 1, "seed": 1, "data_format": data_format, "data": {}, "model": model,
            "hyperparameters": {"epochs": 1, "batch_size": 32, "patience": 1},
        }  # fmt: skip
        with io.open(os.path.join(out, "task.json"), "wb") as file:
            file.write(json.dumps(task).encode("utf-8"))
        data = os.path.join(folder, "data.npz")
        if before is None:
            import keras  # noqa: F401

            before = modules()
        began = time.time()
        arguments = ["--task", os.path.join(out, "task.json"), "--data", data, "--out", out]
        assert train.main(arguments + ["--progress", os.path.join(out, "progress")]) == 0
        assert predict.main(["--model", out, "--data", data, "--out", os.path.join(out, "p.npy")]) == 0
        print(json.dumps({"model": model, "data_format": data_format, "seconds": time.time() - began}))
        print(json.dumps({"baked": len(before), "compiled": sorted(map(os.path.basename, modules() - before))}))
