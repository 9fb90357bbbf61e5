"""Lets the torch of PyPI run without the 4 GB of CUDA libraries that it is linked against.

    python nocuda.py            (in the environment that torch was installed into with --no-deps)

For Linux PyPI has one torch. On a machine without a GPU none of these libraries does anything, but
without them it does not load. Each gets a stand-in whose functions say that there is no device.
"""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

LIBRARY = re.compile(r"lib(?:cu|nccl|nvrtc|nvshmem)[^\]]*")
FUNCTION = re.compile(r"(__)?(cu|nccl|nvrtc|nvshmem)")
NO_DEVICE = 100  # cudaErrorNoDevice


def stand_in(name: str) -> str:
    if name.endswith(("ErrorString", "ErrorName", "StatusString")):
        return f'const char *{name}(void) {{ return "no CUDA"; }}'
    return f"long {name}(void) {{ return {NO_DEVICE}; }}"


def main() -> None:
    torch = Path(sysconfig.get_path("platlib")) / "torch"
    if not (torch / "lib" / "libtorch_cuda.so").exists():
        return  # a torch without CUDA
    if missing := [tool for tool in ("cc", "nm", "readelf") if not shutil.which(tool)]:
        sys.exit(f"not installed: {', '.join(missing)} (sudo apt-get install gcc binutils), or install all of CUDA: make CUDA=1 ...")
    # An earlier call's stand-ins are not torch's own.
    files = [str(f) for f in sorted([*torch.glob("lib/*.so*"), *torch.glob("*.so")]) if not LIBRARY.match(f.name)]

    def read(*words: str) -> str:
        return subprocess.run([*words, *files], capture_output=True, text=True, check=True).stdout

    libraries = set(re.findall(rf"\[({LIBRARY.pattern})\]", read("readelf", "-dW")))
    symbols = read("nm", "-D")
    own = set(re.findall(r" [TWVDB] (\w+)", symbols))
    wanted = {(name, version) for name, version in re.findall(r" U (\w+)(?:@+(\S+))?", symbols)
              if FUNCTION.match(name) and name not in own}
    with tempfile.TemporaryDirectory() as folder:
        for library in sorted(libraries):
            # A function is asked for by its library's version where the library has one.
            version = "NVSHMEM" if "nvshmem" in library else library
            names = sorted(name for name, v in wanted if v == version)
            script = Path(folder) / "version"
            script.write_text(f"{version} {{ *; }};" if names else "{ global: *; };")
            names = names or sorted(name for name, v in wanted if not v)
            subprocess.run(["cc", "-shared", "-fPIC", "-w", "-fno-builtin", "-x", "c", "-", f"-Wl,-soname={library}",
                            f"-Wl,--version-script={script}", "-o", str(torch / "lib" / library)],
                           input="\n".join(map(stand_in, names)), text=True, check=True)


if __name__ == "__main__":
    main()
