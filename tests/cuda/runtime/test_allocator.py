"""Device memory: given back, handed out again at settled addresses, accounted for."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest

from graphad.backends.cuda.runtime.allocator import Allocator, BorrowedMemory, block_size
from graphad.backends.cuda.runtime.emulated import Emulated


class Counting(Emulated):
    """A device with little memory that rounds up like a real one."""

    def __init__(self, total=1 << 20):
        super().__init__()
        self.device = type("Real", (), {"is_emulated": False, "name": "cuda:0"})()
        self.total, self.sizes = total, {}

    def allocate(self, nbytes):
        if sum(self.sizes.values()) + nbytes > self.total:
            raise MemoryError("full")
        address = super().allocate(nbytes)
        self.sizes[address] = nbytes
        return address

    def free(self, address):
        super().free(address)
        del self.sizes[address]


@pytest.fixture
def memory():
    return Allocator(Counting())


def test_round_trip(rng):
    memory = Allocator(Emulated())
    for x in (rng.random((3, 4)), np.float32(2.5), np.zeros((0, 3)), np.arange(10)[::-2], np.array([True, False])):
        held = memory.upload(np.asarray(x))
        result = np.empty(np.shape(x), np.asarray(x).dtype)
        held.download(result)
        np.testing.assert_array_equal(result, x)


def test_a_target_of_the_wrong_size(memory):
    with pytest.raises(ValueError, match="must be C-contiguous and have 24 bytes, but has 16"):
        memory.upload(np.zeros(3)).download(np.zeros(2))


def test_blocks_waste_little():
    for n in [1, 255, 256, 257, 16_000, 16_385, 100_000, 1_234_567, 10**9]:
        assert n <= block_size(n) <= max(n + 255, n * 9 / 8)
        assert block_size(n) % 256 == 0
        assert block_size(block_size(n)) == block_size(n)


def test_dropped_memory_is_used_again(memory):
    held = memory.allocate(1000)
    address = held.address
    del held
    assert memory.allocate(900).address == address
    assert len(memory.runtime.sizes) == 1


def test_a_loop_settles(memory, rng):
    """Buffers dropped in any order: after two rounds the same addresses come in the same order every second round."""
    state, rounds = [memory.allocate(500) for _ in range(7)], []
    for _ in range(12):
        new = [memory.allocate(500) for _ in state]
        state = [state[k] for k in rng.permutation(7)]
        state.clear()
        state = new
        rounds.append([m.address for m in state])
    assert len({tuple(r) for r in rounds[2:]}) == 2
    assert rounds[2] == rounds[4] == rounds[10]
    assert len(memory.runtime.sizes) == 14


def test_use(memory):
    a, b = memory.allocate(256), memory.allocate(512)
    del a
    use = memory.use()
    assert (use.in_use, use.peak, use.reserved) == (512, 768, 768)
    memory.empty_cache()
    assert memory.use().reserved == 512
    del b
    assert memory.use().in_use == 0


def test_a_full_device_gives_up_its_free_blocks_first(memory):
    held = [memory.allocate(200_000) for _ in range(4)]
    del held
    whole = memory.allocate(900_000)
    assert memory.use().reserved == block_size(900_000)
    with pytest.raises(MemoryError):
        memory.allocate(300_000)
    del whole
    assert memory.allocate(300_000).nbytes == 300_000


def test_a_cycle_collected_while_allocating(memory):
    """`__del__` may run at any time, within `allocate` for one."""

    class Node:
        pass

    node = Node()
    node.own, node.memory = node, memory.allocate(256)
    address = node.memory.address
    del node
    gc.collect()
    assert memory.allocate(256).address == address


def test_scratch_is_shared_and_grows(memory):
    small = memory.scratch(1000)
    assert memory.scratch(500) is small
    large = memory.scratch(5000)
    assert large is not small
    assert memory.scratch(1000) is large


def test_emulated_blocks_end_with_the_last_word_of_the_array():
    memory = Allocator(Emulated())
    assert memory.allocate(5).nbytes == 5
    assert memory.use().reserved == 8


def test_borrowed_memory():
    memory = Allocator(Emulated())
    lent = memory.upload(np.arange(4.0))
    part = BorrowedMemory(memory.runtime, lent.address + 8, 16, lent)
    result = np.empty(2)
    part.download(result)
    np.testing.assert_array_equal(result, [1.0, 2.0])
    assert part.device == lent.device


def test_memory_held_at_the_end_of_the_process():
    code = (
        "import numpy as np\n"
        "from graphad.backends.cuda.runtime.allocator import Allocator\n"
        "from graphad.backends.cuda.runtime.emulated import Emulated\n"
        "class Holder: pass\n"
        "h = Holder(); h.own = h; h.memory = Allocator(Emulated()).upload(np.zeros(3))\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_memory_that_was_lent_waits_for_the_work_of_others(memory, monkeypatch):
    waited = []
    monkeypatch.setattr("graphad.backends.cuda.runtime.allocator.wait_for_all", waited.append)
    own, lent = memory.allocate(100), memory.allocate(100)
    lent.lend()
    address = lent.address
    del own
    assert memory.allocate(100).address != address
    assert not waited
    del lent
    again = memory.allocate(100), memory.allocate(100)
    assert address in [m.address for m in again]
    assert waited == [memory.runtime]
    again[0].download(np.empty(100, np.uint8))
    del again
    memory.allocate(100)
    assert len(waited) == 1
