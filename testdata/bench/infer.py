"""Prints the seconds that onnxruntime for Python takes to run a model.

    python infer.py MODEL INPUT SHAPE CALLS THREADS

INPUT holds float32 values of SHAPE ("1,1,64,64,64"), little-endian.
"""
import sys
import time

import numpy as np
import onnxruntime

model, values, shape, calls, threads = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: np.fromfile(values, "<f4").reshape([int(n) for n in shape.split(",")])}
session.run(None, feed)
begin = time.perf_counter()
for _ in range(int(calls)):
    session.run(None, feed)
print(time.perf_counter() - begin)
