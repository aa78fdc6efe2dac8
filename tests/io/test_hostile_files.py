"""Files that are not sound, by chance or by intent: an error each, in the form of all others; nothing runs, and nothing is
reserved for what a file only claims."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import mutations
import numpy as np
import pytest
from mutations import call, name, pickled, tensor, torch_file

import pydiff as pd
from pydiff import _core

FORM = re.compile(r"^\[load\] .+; got .+; try .+", re.S)
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "socket.", "shutil.", "os.remove", "os.rename", "os.mkdir",
             "ctypes.", "pickle.find_class")  # fmt: skip

_watched = []
_watching = False


def _audit(event, args):
    # The compiler's thread opens its cache now and then.
    if (
        _watching
        and threading.current_thread() is threading.main_thread()
        and (event.startswith(FORBIDDEN) or event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"))
    ):
        _watched.append((event, args))


sys.addaudithook(_audit)


def tried(data):
    """The error of loading, or None where the file is sound after all. Nothing may run meanwhile."""
    global _watching
    _watching = True
    try:
        pd.load(io.BytesIO(data))
    except ValueError as error:
        assert FORM.match(str(error)), str(error)
        assert "do not fit" not in str(error), str(error)  # not foreseen
        return str(error)
    finally:
        _watching = False
        seen, _watched[:] = list(_watched), []
        assert not seen, seen
    return None


def header(entries, data=b"", length=None, metadata=None):
    text = (
        entries
        if isinstance(entries, bytes)
        else json.dumps({**({"__metadata__": metadata} if metadata else {}), **entries}).encode()
    )
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def tree(tree, data=b"", **entries):
    return header(entries, data, metadata={"pydiff": json.dumps({"version": 1, "tree": tree})})


EIGHT = bytes(8)
SAFETENSORS = {
    "nothing": (b"", "too short for a header"),
    "no header": (bytes(7), "too short for a header"),
    "header cut off": (header({"a": entry()}, EIGHT)[:30], "longer than the file"),
    "a header of 2**63 bytes": (header({}, length=2**63), "try a file that save, torch.save or safetensors wrote"),
    "a header of 90 MB": (header({}, length=90_000_000), "longer than the file"),
    "no JSON": (header(b"{nonsense"), "not JSON"),
    "no UTF-8": (header(b'{"\xff": 1}'), "not JSON"),
    "a list": (header(b"[]"), "no JSON object"),
    "nested": (header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not JSON"),
    "a number of 5,000 digits": (header(b'{"a":' + b"9" * 5000 + b"}"), "not JSON"),
    "NaN": (header(b'{"a": NaN}'), "not JSON"),
    "a name twice": (header(b'{"a": 1, "a": 2}'), "a name stands twice"),
    "metadata of numbers": (header({"__metadata__": {"a": 1}}), "maps strings to strings"),
    "no offsets": (header({"a": {"dtype": "F32", "shape": [2]}}, EIGHT), "no dtype, shape and data_offsets"),
    "an unknown dtype": (header({"a": entry("F128")}, EIGHT), "the dtype of a is unknown"),
    "a dtype of another kind": (header({"a": entry(["F32"])}, EIGHT), "the dtype of a is unknown"),
    "float8": (header({"a": entry("F8_E4M3", (8,))}, EIGHT), "no counterpart; got F8_E4M3"),
    "half a byte": (header({"a": entry("F4", (3,), (0, 1))}, b"\0"), "another size than its shape"),
    "a negative size": (header({"a": entry(shape=(-2,))}, EIGHT), "no list of at most 64 sizes"),
    "a size that is a bool": (header({"a": entry(shape=(True, 2))}, EIGHT), "no list of at most 64 sizes"),
    "a size that is no whole number": (header({"a": entry(shape=(2.0,))}, EIGHT), "no list of at most 64 sizes"),
    "100 axes": (header({"a": entry(shape=(1,) * 100)}, EIGHT), "no list of at most 64 sizes"),
    "sizes whose product wraps around": (header({"a": entry(shape=(2**62, 4, 2))}, EIGHT), "another size than its shape"),
    "no element in a shape that wraps around": (header({"a": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}), "another size than its shape"),
    "a terabyte": (header({"a": entry(shape=(2**38,), offsets=(0, 2**40))}, EIGHT), "outside the file"),
    "a shape of a terabyte": (header({"a": entry(shape=(2**38,))}, EIGHT), "another size than its shape"),
    "another dtype": (header({"a": entry("F64")}, EIGHT), "another size than its shape"),
    "offsets backwards": (header({"a": entry(offsets=(8, 0))}, EIGHT), "outside the file"),
    "a negative offset": (header({"a": entry(offsets=(-8, 0))}, EIGHT), "no two numbers"),
    "three offsets": (header({"a": entry(offsets=(0, 8, 8))}, EIGHT), "no two numbers"),
    "overlap": (header({"a": entry(), "b": entry(offsets=(4, 12))}, EIGHT + EIGHT), "bytes overlap"),
    "the same bytes twice": (header({"a": entry(), "b": entry()}, EIGHT), "bytes overlap"),
    "a hole": (header({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), "leave a hole"),
    "more bytes than tensors": (header({"a": entry()}, bytes(9)), "do not fill the file"),
    "fewer bytes than tensors": (header({"a": entry()}, bytes(7)), "outside the file"),
    "a bare pickle": (pickle.dumps({"a": 1}), "a bare pickle is not read"),
    # ---- the description of an object
    "a description that is no JSON": (header({}, metadata={"pydiff": "{"}), "not JSON"),
    "a description that is a list": (header({}, metadata={"pydiff": "[]"}), "is not sound"),
    "checksums that are a list": (header({}, metadata={"pydiff": '{"crc32": []}'}), "is not sound"),
    "of a newer version": (header({}, metadata={"pydiff": '{"version": 2}'}), "of a newer version"),
    "an unknown kind": (tree({"object": "os.system"}), "is not sound; got object"),
    "two keys": (tree({"tuple": [], "list": []}), "is not sound"),
    "a tensor that is not there": (tree({"tensor": "b"}, EIGHT, a=entry()), "names a tensor that is not there; got b"),
    "a tensor with a number for a name": (tree({"tensor": 1}), "names a tensor that is not there"),
    "a field that is code": (tree({"namedtuple": ["A", ["x=print(1)"], [1]]}), "is not sound"),
    "a name that is code": (tree({"namedtuple": ["A(print(1))", ["x"], [1]]}), "is not sound"),
    "a key that is a list": (tree({"dict": [[[1], 2]]}), "is not sound"),
    "bytes that are none": (tree({"bytes": "!"}), "is not sound"),
    "a number that is none": (tree({"float": "1e999"}), "is not sound"),
    "an unknown device": (tree({"device": "tpu"}), "is not sound"),
    "an unknown NumPy type": (tree({"scalar": ["object", 1]}), "is not sound"),
    "a deep description": (tree(json.loads("[" * 900 + "]" * 900)), "is not sound"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(SAFETENSORS))
def test_safetensors(case):
    data, what = SAFETENSORS[case]
    said = tried(data)
    assert said is not None and what in said, said


ONE = {"0": bytes(8)}


def ops(*parts):
    """A pickle of opcodes, in an archive."""
    return torch_file(b"\x80\x02" + b"".join(parts), ONE)


def of(value, protocol=2, **options):
    return torch_file(pickled(value, protocol), ONE, **options)


def grown(levels):
    """A pickle of lists of ten references to the list before: 10**levels when walked."""
    out = b"\x80\x02]q\x00"
    for k in range(levels):
        out += b"](" + bytes(b for _ in range(10) for b in (ord("h"), k)) + b"eq" + bytes([k + 1])
    return out + b"."


def hashed(levels):
    """A tuple of two of the tuple before …, as a key: 2**levels when hashed."""
    out = b"\x80\x02}K\x01\x85q\x00"
    for k in range(levels):
        out += b"0h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1])
    return out + b"K\x01s."


def encoded(times):
    """One text of 1,000 characters made into bytes again and again."""
    out = b"\x80\x02]X" + (1000).to_bytes(4, "little") + b"a" * 1000 + b"q\x00"
    return out + b"c_codecs\nencode\nh\x00\x85R" * times + b"."


TORCH = {
    "os.system": (of(call("os.system", "echo")), "got os.system in"),
    "posix.system": (of(call("posix.system", "echo")), "got posix.system in"),
    "builtins.eval": (of(call("builtins.eval", "1")), "got builtins.eval in"),
    "builtins.getattr": (of({"a": call("builtins.getattr", name("torch.float32"), "name")}), "got builtins.getattr in"),
    "operator.attrgetter": (of(call("operator.attrgetter", "a")), "got operator.attrgetter in"),
    "subprocess.Popen in a tensor's place": (of([call("torch._utils._rebuild_tensor_v2", call("subprocess.Popen", "echo"), 0, (1,), (1,))]), "got subprocess.Popen in"),
    "a reduce within a reduce": (of(call("collections.OrderedDict", call("builtins.list", (call("os.getcwd"),)))), "got builtins.list in"),
    "numpy": (of(call("numpy.core.multiarray._reconstruct", 1)), "got numpy.core.multiarray._reconstruct in"),
    "a global by the stack": (of(call("os.system", "echo"), 4), "got os.system in"),
    "STACK_GLOBAL of names with dots": (ops(b"\x8c\x05torch\x8c\x0dfloat16.numpy\x93."), "got torch.float16.numpy in"),
    "a dunder": (ops(b"ctorch\n__builtins__\n."), "got torch.__builtins__ in"),
    "a module of text with a line break": (ops(b"\x8c\x03os\n\x8c\x06system\x93."), "have Python import"),
    "calling a dtype": (ops(b"ctorch\nfloat32\n)R."), "only what makes tensors and containers is called"),
    "calling text": (ops(b"U\x01a)R."), "only what makes tensors"),
    "arguments that are a list": (ops(b"ccollections\nOrderedDict\n]R."), "only what makes tensors"),
    "the state of a tensor type": (ops(b"ctorch\nfloat32\n}b."), "only plain containers have a state"),
    "NEWOBJ": (ops(b"ctorch\nSize\n)\x81."), "does what is not admitted; got opcode 0x81"),
    "INST": (ops(b"(ios\nsystem\n."), "opcode 0x69"),
    "OBJ": (ops(b"(cos\nsystem\no."), "got os.system"),
    "EXT": (ops(b"\x82\x01."), "opcode 0x82"),
    "a text number": (ops(b"I1" + b"0" * 100 + b"\n."), "opcode 0x49"),
    "a bytearray of 2**62 bytes": (ops(b"\x96" + (2**62).to_bytes(8, "little") + b"."), "opcode 0x96"),
    "text of 2**62 bytes": (ops(b"\x8d" + (2**62).to_bytes(8, "little") + b"a."), "is not sound"),
    "text of 4 GB": (ops(b"X\xff\xff\xff\xff" + b"a."), "is not sound"),
    "a number of 4 GB": (ops(b"\x8b\xff\xff\xff\xff" + b"a."), "is not sound"),
    "a memo of 2**32": (ops(b"Nr\xff\xff\xff\xff0."), "is not sound"),
    "a frame of 2**60": (ops(b"\x95" + (2**60).to_bytes(8, "little") + b"N."), "is not sound"),
    "no stop": (ops(b"N"), "is not sound"),
    "nothing on the stack": (ops(b"."), "is not sound"),
    "no mark": (ops(b"t."), "is not sound"),
    "a memo that is not there": (ops(b"h\x09."), "is not sound"),
    "protocol 9": (torch_file(b"\x80\x09N.", ONE), "protocols 2 to 5 are read; got 9"),
    "no UTF-8": (ops(b"X\x01\x00\x00\x00\xff."), "is not sound"),
    "a global without an end": (ops(b"cos"), "is not sound"),
    "appending to a tuple": (ops(b")Na."), "only lists are appended to; got tuple"),
    "items of a list": (ops(b"]NNs."), "only dicts take items; got list"),
    "a key that is a dict": (ops(b"}}Ns."), "keys are text or numbers; got dict"),
    "a key without a value": (ops(b"}(NNNu."), "is not sound"),
    "2**60 when hashed": (torch_file(hashed(60), ONE), "keys are text or numbers"),
    "bytes made of one text 5,000 times": (torch_file(encoded(5000), ONE), "makes more than it holds"),
    "an OrderedDict of text": (of(call("collections.OrderedDict", "ab")), "is not sound"),
    # ---- tensors
    "a storage that is not there": (of(tensor("9", "Float", 2)), "a record is missing in the archive; got data/9"),
    "a storage elsewhere": (of(tensor("../data.pkl", "Byte", 2)), "a record is missing"),
    "more than the storage": (of(tensor("0", "Float", 2, 0, (3,))), "reaches past its storage"),
    "behind the storage": (of(tensor("0", "Float", 2, 2, (1,))), "reaches past its storage"),
    "a negative offset": (of(tensor("0", "Float", 2, -1, (1,))), "has an offset, sizes and strides"),
    "a negative stride": (of(tensor("0", "Float", 2, 1, (2,), (-1,))), "sizes are whole numbers"),
    "a storage of 2**60": (of(tensor("0", "Float", 2**60)), "another size than its record"),
    "a negative count": (of(tensor("0", "Float", -2)), "another size than its record"),
    "a stride of 2**60": (of(tensor("0", "Float", 2, 0, (2, 2), (2**60, 1))), "reaches past its storage"),
    "sizes of 2**60 without strides": (of(tensor("0", "Float", 2, 0, (2**60, 2**60), (0, 0))), "more elements than there are numbers"),
    "no element of 2**60 by 2**60": (of(tensor("0", "Float", 2, 0, (0, 2**60, 2**60), (1, 1, 1))), "more elements than there are numbers"),
    "windows that overlap": (torch_file(pickled(tensor("0", "Byte", 1000, 0, (500, 500), (1, 1))), {"0": bytes(1000)}), "overlaps itself"),
    "100 axes": (of(tensor("0", "Float", 2, 0, (1,) * 100, (1,) * 100)), "has an offset, sizes and strides"),
    "a size for a stride": (of(tensor("0", "Float", 2, 0, (2, 1), (1,))), "has an offset, sizes and strides"),
    "quantised": (of(tensor("0", "QInt8", 8)), "got torch.QInt8Storage in"),
    "a tensor of nothing": (of(call("torch._utils._rebuild_tensor_v2", None, 0, (1,), (1,), False, None)), "is made of a storage"),
    "too few arguments": (of(call("torch._utils._rebuild_tensor_v2", 1)), "is not sound"),
    "a parameter of a number": (of(call("torch._utils._rebuild_parameter", 1, True, None)), "a parameter is made of a tensor"),
    "a persistent id that is text": (ops(b"U\x01aQ."), "a storage is not described"),
    # ---- the archive
    "compressed": (of({"a": 1}, compress=True), "stored as they are"),
    "a zip bomb": (torch_file(pickled(tensor("0", "Byte", 10**7)), {"0": bytes(10**7)}, compress=True), "stored as they are"),
    "names that lead out": (of({}, prefix="../archive"), "leads out of the archive"),
    "absolute names": (of({}, prefix="/etc"), "leads out of the archive"),
    "an unknown byte order": (of({}, order="middle"), "little or big"),
    "no directory": (of({})[:-30], "archive is not sound"),
    "half": (of({"a": 1})[:100], "archive is not sound"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(TORCH))
def test_torch(case):
    data, what = TORCH[case]
    said = tried(data)
    assert said is not None and what in said, said


def test_references_are_not_walked():
    """10**100 lists, which are a hundred."""
    found = pd.load(io.BytesIO(torch_file(grown(100), ONE)))
    assert len(found) == 10 and found[0] is found[9]


def test_what_is_repeated_takes_no_memory():
    found = pd.load(io.BytesIO(of(tensor("0", "Float", 2, 0, (2**20, 2), (0, 1)))))
    assert found.shape == (2**20, 2) and found[7].tolist() == [0, 0]
    many = [tensor("0", "Float", 2, k % 2, (2**20 - k,), (0,)) for k in range(40)]
    assert "repeat their elements too often" in tried(of(many))
    assert "repeat their elements too often" in tried(of(tensor("0", "Float", 2, 0, (2**40, 2), (0, 1))))


def test_archives_with_records_twice_or_two_checkpoints():
    out = io.BytesIO(of({}))
    with pytest.warns(UserWarning), zipfile.ZipFile(out, "a") as archive:
        archive.writestr("archive/version", "4")
    assert "stands twice" in tried(out.getvalue())
    with zipfile.ZipFile(out := io.BytesIO(of({})), "a") as archive:
        archive.writestr("other/data.pkl", "4")
    assert "no checkpoint of PyTorch's; got 2 records" in tried(out.getvalue())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "text")
    assert "no checkpoint of PyTorch's; got 0 records" in tried(out.getvalue())


INDICES = {
    "no JSON": ("{", "the index is not JSON"),
    "a list": ("[]", "has no weight_map"),
    "no map": ("{}", "has no weight_map"),
    "a path upwards": ('{"weight_map": {"a": "../secret.safetensors"}}', "a shard is a file beside the index"),
    "an absolute path": ('{"weight_map": {"a": "/etc/passwd"}}', "a shard is a file beside the index"),
    "a number": ('{"weight_map": {"a": 1}}', "a shard is a file beside the index"),
    "a drive": ('{"weight_map": {"a": "c:x"}}', "a shard is a file beside the index"),
    "another file's tensor": ('{"weight_map": {"b": "x.safetensors"}}', "lacks a tensor that the index names; got b"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(INDICES))
def test_indices(case, tmp_path):
    text, what = INDICES[case]
    pd.save({"a": pd.ones(1)}, tmp_path / "x.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError) as caught:
        pd.load(tmp_path)
    assert FORM.match(str(caught.value)) and what in str(caught.value)


def test_a_shard_that_is_missing(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"^\[load\] a shard is missing; got x\.safetensors, named by .*; try"):
        pd.load(tmp_path)


def test_good_files_are_good():
    for which, data in mutations.good_files().items():
        assert tried(data) is None, which


def test_mutations(nightly, seed, capsys):
    """Each of many bad files: sound after all, or one error. Memory stays in proportion to the file."""
    count = 10_000 if nightly else 1_500
    refused, most = 0, 0
    core = _core._C
    tracemalloc.start()
    try:
        for which, data in mutations.mutants(count, seed):
            tracemalloc.reset_peak()
            core.reset_peak()
            before, live = tracemalloc.get_traced_memory()[0], core.memory_stats()["live"]
            try:
                refused += tried(data) is not None
            except Exception as error:
                error.add_note(f"made of {which!r}, of {len(data)} bytes: {data!r}")
                raise
            peak = tracemalloc.get_traced_memory()[1] - before
            most = max(most, peak)
            assert peak < 40 * len(data) + (1 << 20), (which, peak, data)
            assert core.memory_stats()["peak"] - live < 1 << 20, (which, data)  # the core's own memory
    finally:
        tracemalloc.stop()
    with capsys.disabled():
        print(f"\n{count} bad files: {refused} refused, {count - refused} sound; at most {most >> 10} KB for one", end=" ")
    assert count // 2 < refused < count


def test_claims_of_gigabytes_under_a_limit_of_memory(tmp_path):
    """A process that may not have 256 MB more reads every crafted file: never a MemoryError."""
    for k, (data, _) in enumerate([*SAFETENSORS.values(), *TORCH.values()]):
        (tmp_path / str(k)).write_bytes(data)
    code = f"""if True:
        import os, resource
        import pydiff as pd, pydiff.io, pydiff.nn, ml_dtypes
        size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE") + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        folder, said = {str(tmp_path)!r}, 0
        for name in os.listdir(folder):
            try:
                pd.load(os.path.join(folder, name))
            except ValueError as error:
                said += str(error).startswith("[load] ")
        print(said)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(os.listdir(tmp_path)), done.stderr


def test_random_numbers_as_bytes(rng):
    for _ in range(200):
        tried(rng.integers(0, 256, rng.integers(0, 100), dtype=np.uint8).tobytes())
