#!/usr/bin/env python3
"""Compiles the .cu files of this folder to .ptx with NVRTC (pip install nvidia-cuda-nvrtc). No GPU is needed."""

import ctypes
import pathlib
import sys


def library():
    import nvidia

    for root in nvidia.__path__:
        for path in sorted(pathlib.Path(root).glob("**/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    sys.exit("NVRTC was not found: pip install nvidia-cuda-nvrtc")


def text(size, get, program):
    length = ctypes.c_size_t()
    size(program, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    get(program, buffer)
    return buffer.value.decode()


def compile_file(nvrtc, path):
    program = ctypes.c_void_p()
    source = path.read_bytes()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, path.name.encode(), 0, None, None)
    options = [b"--gpu-architecture=compute_80", b"-default-device"]
    status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    if status != 0:
        sys.exit(text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program))
    ptx = text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
    path.with_suffix(".ptx").write_text(ptx.rstrip() + "\n")


if __name__ == "__main__":
    nvrtc = library()
    for path in sorted(pathlib.Path(__file__).parent.glob("*.cu")):
        compile_file(nvrtc, path)
        print(path.with_suffix(".ptx").name)
