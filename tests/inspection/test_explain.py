"""`.explain()`: numbers of kernels, what they move, compute and take, and how that is written."""

from __future__ import annotations

import dataclasses
import re
from html import unescape

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import inspection, lax, nn
from graphad.backends.cuda import toolkit
from graphad.backends.cuda.runtime.runtimes import allocator
from graphad.backends.loops.explanation import format_bytes, format_count
from graphad.config import config
from graphad.device import parse
from graphad.errors import LoweringError
from tests.cuda.programs import programs

ROWS = np.ones((64, 48), np.float32)
HAS_ASSEMBLER = toolkit.version_of("nvidia-nvjitlink") is not None and toolkit.version_of("cuda-bindings") is not None


def explained(name, device="cuda", **options):
    """A program of `tests.cuda.programs`."""
    function, args = programs()[name]
    return graphad.jit(function).explain(*args, device=device, **options)


@pytest.fixture
def no_assembler(monkeypatch):
    def missing():
        toolkit.unavailable("The assembler")

    monkeypatch.setattr(toolkit, "nvjitlink", missing)


# --- how much there is


@pytest.mark.parametrize(
    ("name", "kernels"),
    [("gelu", 1), ("gelu_gradient", 1), ("softmax", 1), ("layer_norm_gradient", 1), ("cross_entropy_gradient", 3)],
)
def test_number_of_kernels(name, kernels):
    found = explained(name)
    assert found.count("kernel") == len(found.steps) <= kernels


def test_a_step_of_the_mlp():
    found = explained("mlp_gradient")
    assert found.count("matrix product") == 5
    assert len(found.steps) - 5 <= 4


def test_kernels_side_by_side():
    def f(x, y, z):
        return x * 2, y.sum(0), z + 1

    args = np.ones(1000, np.float32), np.ones((40, 50), np.float32), np.ones(3, np.float32)
    found = graphad.jit(f).explain(*args, device="cuda")
    (step,) = found.steps
    assert (step.kind, step.parts, step.group, step.lanes) == ("kernel", 3, 1, 1)
    assert step.blocks == 2 + 13 + 1
    assert step.read_bytes == sum(a.nbytes for a in args)
    assert "3 kernels side by side" in str(found)
    assert found.count("kernel") == 1


@pytest.mark.parametrize(
    "name", ["gelu", "gelu_gradient", "softmax", "layer_norm", "layer_norm_gradient", "transposed"]
)
def test_fused_programs_move_little_more_than_they_must(name):
    assert 1.0 <= explained(name).excess <= 1.25


#: Accesses at computed positions are counted as if they never met; LLVM may know what a load would find.
UPPER_BOUNDS = {"attention_gradient", "take", "take_gradient", "embedding_gradient", "scatter_set", "recurrences"}


@pytest.mark.parametrize("name", [name for name in programs() if name != "argsort_long"])
def test_traffic_is_what_the_emulator_sees(name):
    function, args = programs()[name]
    compiled = graphad.jit(function, device="cuda:emulated")
    steps = [s for s in compiled.explain(*args).steps if s.blocks]
    with allocator(parse("cuda:emulated")).runtime.watch() as seen:
        compiled(*args)
    for step, (kernel, report) in zip(steps, seen, strict=True):
        assert kernel == step.name or step.kind == "matrix product"
        counted, moved = (
            [step.read_bytes, step.written_bytes],
            [report.distinct_read_bytes, report.distinct_written_bytes],
        )
        assert counted == moved or (name in UPPER_BOUNDS and np.all(np.greater_equal(counted, moved)))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_operations(device):
    def count(function, *args):
        return graphad.jit(function).explain(*args, device=device).operations

    assert count(lambda x: x * 2 + 1, ROWS) == 2 * ROWS.size
    assert count(lambda x: x.sum(1), ROWS) == ROWS.size
    assert count(lambda x: x @ x.T, ROWS) == 2 * 64 * 48 * 64
    assert count(lambda x: x.T.reshape(-1), ROWS) == 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_bytes(device):
    def moved(function, *args):
        found = graphad.jit(function).explain(*args, device=device)
        return found.moved_bytes, found.minimum_bytes

    assert moved(lambda x: x + 1, ROWS) == (2 * ROWS.nbytes, 2 * ROWS.nbytes)
    assert moved(lambda x: x[:4] + 1, ROWS) == (2 * ROWS[:4].nbytes,) * 2
    assert moved(lambda x: x[::2, 1] + x[::2, 0], ROWS) == (3 * 32 * 4,) * 2
    assert moved(lambda x, y: x + y, np.ones(7), np.ones(7)) == (3 * 56,) * 2
    assert moved(lambda x: x > 0, ROWS) == (ROWS.nbytes + ROWS.size,) * 2
    assert moved(lambda x: x + 1, np.ones((0, 3))) == (0, 0)
    assert moved(lambda x: x @ x.T, ROWS) == (ROWS.nbytes + 64 * 64 * 4,) * 2  # one matrix, read once
    assert moved(lambda x: (x @ x.T) * 2, ROWS) == (ROWS.nbytes + 3 * 64 * 64 * 4, ROWS.nbytes + 64 * 64 * 4)


def test_temporaries():
    found = graphad.jit(lambda x: gnp.exp(x @ x.T) @ x).explain(ROWS)
    assert (found.temporaries, found.scratch_bytes) == (2, 2 * 64 * 64 * 4)
    assert found.peak_bytes == 2 * ROWS.nbytes + found.scratch_bytes
    assert str(found).splitlines()[0].endswith("57.3 kB at the peak")
    assert graphad.jit(gnp.exp).explain(ROWS).temporaries == 0


# --- launches


def test_how_the_work_is_shared():
    (gelu,) = explained("gelu").steps
    assert (gelu.blocks, gelu.threads, gelu.group, gelu.lanes) == (6, 128, 1, 4)
    (softmax,) = explained("softmax").steps
    assert (softmax.blocks, softmax.threads, softmax.group, softmax.lanes) == (16, 128, 32, 1)
    assert softmax.shared_bytes == 4 * 48 * 4  # a row for each warp


def test_products_are_launches_only_where_no_library_computes_them():
    function, args = lambda x: x @ x.T, (ROWS,)
    (library,) = graphad.jit(function).explain(*args, device="cuda").steps
    (own,) = graphad.jit(function).explain(*args, device="cuda:emulated").steps
    assert library.name == own.name == "64x48 @ 48x64"
    assert library.blocks == library.shared_bytes == 0
    assert own.blocks > 0
    assert own.shared_bytes > 0
    assert "cuBLASLt" in repr(graphad.jit(function).explain(*args, device="cuda"))


def test_what_is_done_to_the_elements_of_a_product_is_part_of_it():
    function, args = lambda x, w, b: nn.relu(x @ w + b) @ w.T, (ROWS, ROWS.T.copy(), ROWS[:, 0].copy())
    names = {
        device: [step.name for step in graphad.jit(function).explain(*args, device=device).steps]
        for device in ("cuda", "cuda:emulated")
    }
    assert names["cuda:emulated"] == ["64x48 @ 48x64 + bias, relu", "64x64 @ 64x48"]
    assert len(names["cuda"]) == 3, "a library's relu may lose nan"
    with config.override(fast_math=True):
        assert graphad.jit(function).explain(*args, device="cuda").count("kernel") == 0


def test_steps_without_work_are_left_out():
    assert graphad.jit(lambda x: x + 1).explain(np.ones((0, 3)), device="cuda").steps == ()
    assert "nothing to run" in repr(graphad.jit(lambda x: x + 1).explain(np.ones((0, 3)), device="cuda"))


def test_guards_are_steps():
    function = graphad.jit(lambda x: x * 2 if x.sum() > 0 else x)
    for device in ("cpu", "cuda"):
        assert function.explain(ROWS, device=device).count("guard") == 1


def test_without_the_assembler_the_rest_is_known(no_assembler):
    found = explained("softmax")
    (kernel,) = found.steps
    assert kernel.registers is kernel.spill_bytes is kernel.occupancy is None
    assert kernel.shared_bytes == 768
    assert "pip install graphad[cuda-assemble]" in found.notes[0]
    assert "registers " not in repr(found).splitlines()[1]


@pytest.mark.skipif(not HAS_ASSEMBLER, reason="needs nvidia-nvjitlink and cuda-bindings")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100"])
def test_what_the_assembler_says(architecture):
    (kernel,) = explained("softmax", architecture=architecture).steps
    assert 0 < kernel.registers <= 64
    assert kernel.spill_bytes == 0
    assert 0 < kernel.occupancy.fraction <= 1


# --- of which program


def test_the_program_is_that_of_the_device_where_a_call_would_run():
    function = graphad.jit(lambda x: x + 1, device="cuda:emulated")
    assert function.explain(ROWS).target == "an emulated sm_90"
    assert function.explain(ROWS, device="cpu").target == "the CPU"
    assert graphad.jit(gnp.exp).explain(graphad.device_put(ROWS, "cuda:emulated")).target == "an emulated sm_90"
    assert graphad.jit(gnp.exp).explain(ROWS).target == "the CPU"
    with graphad.default_device("cuda:emulated"):
        assert graphad.jit(gnp.exp).explain(ROWS).target == "an emulated sm_90"


def test_the_source_is_that_of_the_device_as_well():
    assert "@cuda.jit" in graphad.jit(gnp.exp, device="cuda:emulated").kernel_source(ROWS)
    assert "@njit" in graphad.jit(gnp.exp).kernel_source(ROWS)


def test_compiled_gradients():
    @graphad.compile_grad(with_value=True)
    def loss(x):
        return gnp.sum(gnp.tanh(x))

    found = loss.explain(ROWS, device="cuda")
    assert found.name == "value_and_grad_loss"
    assert {line.partition(":")[0] for s in found.steps for line in s.lines} == {"test_explain.py"}


def test_types_are_enough_for_inspection():
    found = inspection.explain(lambda x: gnp.exp(x).sum(), inspection.parse_arguments("f32[100]"), device="cuda")
    assert found.name == "lambda_adjoint"
    assert found.minimum_bytes == 400 + 400 + 4
    function = inspection.explain(gnp.exp, inspection.parse_arguments("f32[100]"), of="batched", batch_size=3)
    assert function.minimum_bytes == 2 * 3 * 400


def test_wrong_uses():
    exp = graphad.jit(gnp.exp)
    with pytest.raises(ValueError, match=r"test_explain\.py:\d+: the architecture 'sm_80' is that of a GPU"):
        exp.explain(ROWS, architecture="sm_80")
    with pytest.raises(LoweringError, match="no code can be generated for 'sm_91'; architectures are sm_75"):
        exp.explain(ROWS, device="cuda", architecture="sm_91")
    with pytest.raises(ValueError, match=r"test_explain\.py:\d+: there is no device 'tpu'"):
        exp.explain(ROWS, device="tpu")


# --- how it is written


MODEL = """
import graphad, graphad.numpy as gnp

@graphad.compile_grad
def loss(params, x, y):
    (w, b), v = params
    hidden = gnp.tanh(x @ w + b)
    error = hidden @ v - y
    return gnp.mean(error**2)
"""


def test_the_text_of_a_program(no_assembler, golden):
    names = {}
    exec(compile(MODEL, "model.py", "exec"), names)
    ones = [np.ones(shape, np.float32) for shape in ((48, 32), (32,), (32, 8), (64, 48), (64, 8))]
    text = repr(names["loss"].explain(((ones[0], ones[1]), ones[2]), ones[3], ones[4], device="cuda"))
    golden("explain_loss.txt", text)


def test_the_text_of_a_program_of_the_cpu():
    def distances(x):
        return gnp.exp(x @ x.T).sum(1)

    function, line = graphad.jit(distances), distances.__code__.co_firstlineno + 1
    headline, titles, *rows = repr(function.explain(ROWS)).splitlines()
    moved = r"1 matrix product \+ 1 loop nest, [\d.]+ kB moved \([\d.]+ x the least\)"
    memory = r"1 temporary in 16.4 kB, [\d.]+ kB at the peak"
    assert re.fullmatch(rf"distances on the CPU: {moved}, [\d.]+ k operations, {memory}", headline)
    assert titles.split() == ["step", "line", "read", "written", "operations"]
    assert [row.split(f"test_explain.py:{line}")[0].strip() for row in rows] == [
        "matrix product 64x48 @ 48x64",
        "loop nest",
    ]


def recurrent(w, xs):
    """Its adjoint adds up an outer product in every turn."""

    def step(h, x):
        return gnp.tanh(h @ w + x), None

    return gnp.sum(lax.scan(step, xs[0], xs)[0])


def test_products_that_leave_a_loop():
    xs, first = np.ones((5, 9)), recurrent.__code__.co_firstlineno
    (note,) = graphad.jit(graphad.grad(recurrent)).explain(np.eye(9), xs).notes
    loop, product = f"test_explain.py:{first + 6}", f"test_explain.py:{first + 4}"
    what = f"the outer products that it adds up, 9 x 9 ({product}), are products of matrices behind it"
    assert note == f"loop of 5 turns ({loop}): {what}"
    assert graphad.jit(recurrent).explain(np.eye(9), xs).notes == (), "its value adds up none"


def test_notes_of_a_loop_stand_in_the_order_of_the_passes():
    def both(w, xs, x):
        return recurrent(w, xs) + lax.scan(lambda c, _: (c * x / (c + x), None), x, None, 64)[0]

    notes = graphad.jit(graphad.grad(both, (0, 2))).explain(np.eye(9), np.ones((5, 9)), np.float64(1.0)).notes
    assert [note.partition(" turns")[0] for note in notes] == ["loop of 5", "loop of 64", "loop of 64"]


def test_columns_are_aligned_and_never_empty():
    found = explained("mlp_gradient")
    titles, *rows = found.table()
    assert all(any(row[k] for row in rows) for k in range(len(titles)))
    lines = repr(found).splitlines()[2 : 2 + len(rows)]
    assert len({line.index("programs.py") for line in lines}) == 1


def test_long_repetitions_are_folded():
    def sums_of_sums(x):
        for _ in range(40):
            x = gnp.cumsum(x)
        return x

    numbers = graphad.ShapeDtypeStruct((64,), "float32")
    found = inspection.explain(sums_of_sums, [numbers], of="simplified", device="cuda:emulated")
    text = repr(found)
    assert len(found.steps) > 30
    assert len(text.splitlines()) < len(found.steps)
    shown = sum(row[0].startswith("kernel ") for row in found.table()[1:])
    folded = sum(map(int, re.findall(r"and (\d+) more alike", text)))
    assert shown + folded == len(found.steps)


def test_the_table_in_html():
    found = explained("softmax")
    html = found._repr_html_()
    cells = [unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", html)]
    assert cells == [cell for row in found.table() for cell in row]
    assert unescape(re.findall("<caption>(.*)</caption>", html)[0]) == found.headline
    assert html.count("<tr>") == html.count("</tr>") == 2


def test_it_is_data():
    found = explained("softmax")
    assert dataclasses.asdict(found)["steps"][0]["name"] == "softmax_0"
    assert found == explained("softmax")
    assert found != explained("gelu")


def test_numbers_with_units():
    assert [format_bytes(n) for n in (0, 999, 1000, 999_499, 999_500, 2**40)] == [
        "0 B", "999 B", "1 kB", "999 kB", "1 MB", "1.1 TB",
    ]  # fmt: skip
    assert [format_count(n) for n in (0, 12_345, 7 * 10**12)] == ["0", "12.3 k", "7 T"]


# --- loops of steps


def test_a_loop_of_known_length():
    w, x = np.full((64, 64), 0.01), np.ones(64)
    forward = graphad.jit(lambda x: lax.scan(lambda h, t: (gnp.tanh(w @ h + t), None), x, np.arange(100.0))[0])
    found = forward.explain(x)
    (loop,) = [s for s in found.steps if s.inside]
    assert (loop.kind, loop.name) == ("loop", "of 100 turns")
    assert loop.operations == 100 * sum(s.operations for s in loop.inside) >= 100 * 2 * 64 * 64
    assert loop.lines
    rows = str(found).splitlines()
    (at,) = [k for k, row in enumerate(rows) if row.startswith("  loop of 100 turns")]
    assert rows[at + 1].startswith("    loop nest")


def test_a_loop_of_unknown_length():
    w, x = np.full((64, 64), 0.01), np.ones(64)

    def f(x):
        return lax.while_loop(lambda s: gnp.sum(s * s) > 1.0, lambda s: gnp.sin(w @ s), x).sum()

    found = graphad.jit(graphad.grad(f)).explain(x)
    (loop,) = [s for s in found.steps if s.kind == "loop"]
    (sized,) = [s for s in found.steps if s.kind == "run-time size"]
    assert loop.inside
    assert not loop.name
    assert [s.kind for s in sized.inside].count("loop") == 2
    assert 0 < sized.operations == sum(s.operations for s in sized.inside)  # of one turn
    assert sized.written_bytes < 100 * x.nbytes
    assert all([s.lines for s in (loop, sized, *loop.inside, *sized.inside)])


def test_branches():
    def f(p, x):
        return lax.cond(p, lambda x: (x @ x).sum(), lambda x: gnp.cumsum(x)[-1], x)

    found = graphad.jit(f).explain(True, np.ones((64, 64)))
    assert found.count("branch") == 2
    assert "2 branches" in found.headline
    assert all([s.inside for s in found.steps if s.kind == "branch"])
