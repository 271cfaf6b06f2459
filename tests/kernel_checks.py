"""Kernels of Triton where there is no GPU."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT


def run_interpreted(code):
    """Run Python code for which Triton interprets its kernels; it decides on its import whether it does."""
    pytest.importorskip("triton", reason="torch for CPUs comes without Triton")
    environment = dict(os.environ, TRITON_INTERPRET="1", PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def compile_for_a_gpu(kernel, types, fixed):
    """PTX of a kernel: `types` are those of what it is given by name, the others are integers or `fixed`."""
    import triton
    from triton.backends.compiler import GPUTarget

    signature = {name: "constexpr" if name in fixed else types.get(name, "i32") for name in kernel.arg_names}
    source = triton.compiler.ASTSource(kernel, signature, fixed)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
