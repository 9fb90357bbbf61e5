"""Prints the seconds that onnxruntime for Python takes to run stage 1 on cubes.

    python infer.py MODEL CUBES THREADS
"""
import sys
import time

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
cube = np.linspace(0, 1, 64**3, dtype=np.float32).reshape(1, 1, 64, 64, 64)
session.run(None, {"cube": cube})
begin = time.perf_counter()
for _ in range(int(sys.argv[2])):
    session.run(None, {"cube": cube})
print(time.perf_counter() - begin)
