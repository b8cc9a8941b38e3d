"""Inference engines, one small file for each, behind one interface.

An engine takes the bytes of one level of the pyramid. Normalisation is in the graph, and runs where the
engine does. The pyramid does not: it is made once, in the decode workers, for training, CPUs and GPUs alike.
Of its 16 ms of a core for a native film, all but 0.2 are the one resize to the largest level, whose filter is
OpenCV's to the last rounding; a GPU's would be another one, and members were trained on this. The 2×2 means
below it could be had on a GPU to the byte, (a + b + c + d + 2) >> 2, for a quarter of the copies. But then
every scale would wait for the largest to be there, and early decisions, which mostly do without, with them.

base.py            the engine protocol
buckets.py         batches of fixed sizes for a GPU
build.py           building engines ahead, each through its gate
cuda.py            the little of the CUDA runtime that an engine needs
engine_cache.py    cache folder of built engines
gate.py            the gate for engines on a GPU
onnxruntime.py     ONNX Runtime
openvino.py        OpenVINO on the CPU
select.py          selection of the engine, and the reason
tensorrt.py        TensorRT on a GPU
tensorrt_build.py  building with TensorRT
torch.py           torch, on a GPU or a CPU
torch_build.py     building torch's packages
torch_graph.py     a member's graph run by torch
torch_operators.py operators of ONNX in torch
torch_package.py   packages that torch compiled ahead
"""
