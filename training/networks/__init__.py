"""Networks: trunk, head, weights and export. Read `base.py` first.

base.py           a network of one scale
architectures/    the published trunks, folded to one grey channel
heads.py          the heads and their Grad-CAM in closed form
published.py      ImageNet weights that torchvision and timm publish
weights.py        files of weights
receptive_field.py  receptive fields, theoretical and effective
affine.py, rewrite.py   input normalisation and graph rewriting
export.py         export to ONNX; onnx_graph.py: reading such a graph
"""
