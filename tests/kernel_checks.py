"""Kernels of Triton where there is no GPU."""

import os
import subprocess
import sys
from importlib import import_module

import pytest
from helpers import ROOT


def run_interpreted(code):
    """Run Python code for which Triton interprets its kernels; it decides on its import whether it does."""
    pytest.importorskip("triton", reason="torch for CPUs comes without Triton")
    environment = dict(os.environ, TRITON_INTERPRET="1", PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def compile_for_a_gpu(operator, kernels, types, fixed, cache):
    """Compile kernels of `lesionseg.ops.<operator>_kernels` for a GPU that need not be there.

    `types` are those of what they are given by name, all else are integers or `fixed`; Triton writes into `cache`.
    """
    triton = pytest.importorskip("triton", reason="torch for CPUs comes without Triton")
    from triton.backends.compiler import GPUTarget

    module = import_module(f"lesionseg.ops.{operator}_kernels")
    for name in kernels:
        kernel = getattr(module, name)
        signature = {each: "constexpr" if each in fixed else types.get(each, "i32") for each in kernel.arg_names}
        source = triton.compiler.ASTSource(kernel, signature, fixed)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("TRITON_CACHE_DIR", str(cache))
            compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        assert ".target sm_90" in compiled.asm["ptx"]
