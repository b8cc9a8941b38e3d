"""`cxrserve models import`: published weights become a bundle that serves.

Nothing is imported here: the command line reads this file.

bundle.py      bundle of imported networks
checkpoint.py  published DenseNet checkpoints in torchvision's layout
command.py     `cxrserve models import`
network.py     an imported body and last layer as a member of a bundle
xrv.py         TorchXRayVision's networks, through its own package
"""
