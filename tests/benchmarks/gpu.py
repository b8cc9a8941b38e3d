"""Batch curves on a GPU: our engine, torch eager with AMP, torch compiled; and how near the limits they come.

    cxrserve models build BUNDLE
    python -m tests.benchmarks.gpu BUNDLE [--sizes 256,512] [--batches 1,8,64] [--against eager]
                                          [--bandwidth 4.8e12] [--flops 9.9e14] [--seconds 2]

The engines alone, from grey bytes on the host to logits and maps on the host; `pipeline_rate.py` measures
whole answers. Compiling takes a minute or more for each size and batch: ask for a few at a time.

The torch networks are those of the recipe that the bundle names, untrained: the same arithmetic. Limits are
the GPU's data sheet (by default one H200: its memory's bytes/s, its tensor cores' dense FP16 FLOP/s). Work
is counted from the graph: two operations a multiply-add, and each activation of a convolution written and
read once in FP16. Not run on a GPU yet.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import shape_inference

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.base import Engine
from cxrserve.engines.buckets import buckets_of
from cxrserve.engines.select import choose
from training.recipes import recipe as recipe_of
from training.steps.networks import new_network

HALF_BYTES = 2


Work = Callable[[np.ndarray], object]


def main() -> None:
    """Read the command line and measure every size that is asked for."""
    asked = _parser().parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this measures a GPU, and torch sees none")
    choice = choose("auto", "auto")
    taken = choice.load(asked.bundle)
    members = load_bundle(asked.bundle).models
    recipe = recipe_of(taken.contract.lineage.recipe)
    names = [*asked.against, "ours"]
    print(f"{torch.cuda.get_device_name()}; {choice.name} {choice.version}, torch {torch.__version__}\n")
    print(f"| size | batch | {' | '.join(names)} | arithmetic | memory |")
    print("|---:" * (len(names) + 4) + "|")
    seconds_an_image = dict.fromkeys(names, 0.0)
    sizes = [size for size in taken.models if size in (asked.sizes or taken.models)]
    for size in sizes:
        variant = taken.variants[size].precision if size in taken.variants else None
        engine = choice.build(taken.models[size], size=size, threads=1, variant=variant)
        network = (
            new_network(recipe, size, 0, start=False).eval().cuda().to(memory_format=torch.channels_last)
        )
        flops, traffic = work_of(members[size], size)
        best = dict.fromkeys(names, np.inf)
        for batch in asked.batches or buckets_of(size):
            found = _rates(names, engine, network, size, batch, asked.seconds)
            for name, images_a_second in found.items():
                best[name] = min(best[name], 1 / images_a_second)
            print(
                f"| {size} | {batch} | {' | '.join(f'{each:.0f}' for each in found.values())} | "
                f"{found['ours'] * flops / asked.flops:.0%} | "
                f"{found['ours'] * traffic / asked.bandwidth:.0%} |",
                flush=True,
            )
        for name, seconds in best.items():
            seconds_an_image[name] += seconds
    rates = ", ".join(f"{name} {1 / seconds:.1f}" for name, seconds in seconds_an_image.items())
    print(f"\nengines alone, {'/'.join(map(str, sizes))} of one image in turn, images a second: {rates}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--sizes", type=_numbers, help="Of the bundle, with commas between; by default all.")
    parser.add_argument("--batches", type=_numbers, help="Images a run; by default every bucket of the size.")
    parser.add_argument(
        "--against",
        type=lambda text: [name for name in text.split(",") if name],
        default=["eager", "compiled"],
        help="eager, compiled, both with a comma between, or nothing.",
    )
    parser.add_argument("--bandwidth", type=float, default=4.8e12, help="Bytes a second of the GPU's memory.")
    parser.add_argument("--flops", type=float, default=9.9e14, help="FP16 operations a second, dense.")
    parser.add_argument("--seconds", type=float, default=2.0, help="Time of each measurement.")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _rates(
    names: list[str], engine: Engine, network: torch.nn.Module, size: int, batch: int, seconds: float
) -> dict[str, float]:
    """Images a second of each of `names`, for batches of `batch`."""
    images = np.random.default_rng(0).integers(0, 256, (batch, 1, size, size)).astype(np.uint8)
    works: dict[str, Work] = {"ours": engine.run, "eager": lambda images: _torch(network, images)}
    if "compiled" in names:
        torch.compiler.reset()  # it is compiled for this very shape, not for any
        compiled = torch.compile(network, mode="max-autotune", dynamic=False)
        works["compiled"] = lambda images: _torch(compiled, images)
    return {name: rate(lambda work=works[name]: work(images), batch, seconds) for name in names}  # type: ignore[misc]


def rate(work: Callable[[], object], batch: int, seconds: float) -> float:
    """Images a second of `work`, which runs `batch` of them and waits for the answer."""
    for _ in range(3):
        work()
    runs, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or runs < 3:
        work()
        runs += 1
    return batch * runs / elapsed


def _torch(network: Callable[..., object], images: np.ndarray) -> object:
    """From uint8 on the host to logits and maps on the host, as our engine is asked."""
    with torch.inference_mode(), torch.autocast("cuda", torch.float16):
        answers = network(torch.from_numpy(images).cuda(non_blocking=True))
    assert isinstance(answers, tuple)
    return [answer.float().cpu() for answer in answers]


def work_of(model: bytes, size: int) -> tuple[float, float]:
    """Operations, and bytes through the memory, of one image of `size` in the ONNX graph `model`."""
    graph = onnx.load_from_string(model)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del graph.graph.value_info[:]
    inferred = shape_inference.infer_shapes(graph, data_prop=True).graph
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    weights = {each.name: list(each.dims) for each in inferred.initializer}
    flops = traffic = 0.0
    for node in inferred.node:
        if node.op_type != "Conv":
            continue
        kernel, out = weights[node.input[1]], shapes[node.output[0]]
        flops += 2 * np.prod(kernel) * out[2] * out[3]
        traffic += HALF_BYTES * (np.prod(shapes[node.input[0]]) + np.prod(out) + np.prod(kernel))
    return float(flops), float(traffic)


if __name__ == "__main__":
    main()
