"""Training of pulmonode's two networks: MU-Net finds nodules, MSU-Net outlines and describes them.

`networks` holds the models, `preprocess` the arithmetic that the node repeats bit for bit,
`data` reads nodules and scans, `composites` makes training pictures of them, `train` and
`evaluate` are the two commands, `export` writes the ONNX files the node runs.
"""
