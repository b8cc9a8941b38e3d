"""FastAPI + torch eager, as a first version is written: `python fastapi_torch.py BUNDLE PORT`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
import uvicorn
from fastapi import FastAPI, Request

try:
    from tests.benchmarks.peers.ensemble import decode
except ImportError:
    from ensemble import decode  # type: ignore[no-redef,import-not-found]

SIZES = (256, 512, 1024, 2048)
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

app = FastAPI()
networks = {size: torchvision.models.densenet121(num_classes=14).eval() for size in SIZES}


@app.get("/ready")
def ready() -> str:
    """Answers once the networks are there."""
    return "ready"


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Four forward passes; the mean of the probabilities."""
    grey_HW = decode(await request.body())
    total = torch.zeros(14)
    with torch.inference_mode():
        for size, network in networks.items():
            level = torch.from_numpy(cv2.resize(grey_HW, (size, size), interpolation=cv2.INTER_AREA))
            image = ((level[..., None].expand(-1, -1, 3) / 255 - MEAN) / DEVIATION).permute(2, 0, 1)[None]
            total += network(image)[0].sigmoid() / len(networks)
    return {"probabilities": np.asarray(total).tolist()}


if __name__ == "__main__":
    Path(sys.argv[1]).resolve(strict=True)
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
