"""Two directions on two streams: what is read must be there, with streams that a recorder plays."""

import contextlib
from collections import defaultdict

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convgru.torch import ConvGRU, ConvLSTM
from convgru_torch import streams


class Stream:
    """A stream that knows up to which of each stream's operations it has waited."""

    def __init__(self, cuda, name):
        self.cuda, self.device, self.cuda_stream, self.clock = cuda, "gpu", name, defaultdict(int)

    def record_event(self):
        return dict(self.clock)

    def wait_event(self, event):
        self._join(event)

    def wait_stream(self, other):
        self._join(other.record_event())

    def _join(self, event):
        for name, time in event.items():
            self.clock[name] = max(self.clock[name], time)


class Recorder(TorchDispatchMode):
    """torch.cuda with two streams, and every operation on tensors: which stream, reads and writes.

    ``faults`` says of each operation that ran too early, and of each tensor whose memory another
    stream used without a word about it (``record_stream``).
    """

    def __init__(self, free):
        super().__init__()
        self.main = self.current = Stream(self, 0)
        self.made, self.free = 0, {self._memory(a) for a in free}
        self.written, self.read = {}, defaultdict(dict)
        self.used, self.said, self.faults, self.alive = set(), set(), [], []

    def current_stream(self, device):
        return self.current

    def Stream(self, device):
        self.made += 1
        return Stream(self, self.made)

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def record_stream(self, tensor, stream):
        self.said.add((self._memory(tensor), stream.cuda_stream))

    def _memory(self, tensor):
        return tensor.untyped_storage()._cdata

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        results = function(*args, **(kwargs or {}))
        made = [a for a in tree_leaves(results) if isinstance(a, torch.Tensor)]
        self.alive += [a.untyped_storage() for a in (*given, *made)]  # memory is not used twice
        now, old = self.current, {self._memory(a) for a in given}
        writes = {self._memory(a) for a in made} - old
        if function._schema.is_mutable:
            writes |= {self._memory(a) for a in made}
        now.clock[now.cuda_stream] += 1
        for memory in old - self.free:
            self._check(function, memory, now, [self.written.get(memory, (0, 0))])
            self.read[memory][now.cuda_stream] = now.clock[now.cuda_stream]
            if self.written.get(memory, (0, 0))[0] != now.cuda_stream:
                self.used.add((memory, now.cuda_stream))
        for memory in writes - self.free:
            self._check(function, memory, now, [self.written.get(memory, (0, 0)), *self.read[memory].items()])
            self.written[memory] = now.cuda_stream, now.clock[now.cuda_stream]
        return results

    def _check(self, function, memory, now, others):
        for name, time in others:
            if now.clock[name] < time:
                self.faults.append(f"{function} on stream {now.cuda_stream} does not wait for stream {name}")

    def done(self):
        """What is wrong, after the user has read the results on the main stream."""
        return [*self.faults, *(f"nobody said that stream {name} uses memory" for _, name in self.used - self.said)]


NETS = {
    "layer": lambda: ConvGRU(2, [3, 3], bidirectional=True),
    "stack": lambda: ConvLSTM(2, [3, 2], bidirectional="stack", merge="sum", dropout=0.3),
    "lengths, in parts": lambda: ConvGRU(2, [3, 3], bidirectional=True, checkpoint_frames=2),
}


def played(monkeypatch, name, spoil=None):
    """Results of a network on two streams, what the recorder found, how many streams it made."""
    torch.manual_seed(0)
    net, x = NETS[name](), torch.randn(4, 2, 2, 5, 4)
    call = {"lengths": torch.tensor([4, 2])} if name.startswith("lengths") else {}
    torch.manual_seed(1)
    want = net(x, **call)
    cuda = Recorder(net.parameters())
    monkeypatch.setattr(streams, "TWO", True)
    monkeypatch.setattr(streams, "applies", lambda x: True)
    monkeypatch.setattr(streams, "CUDA", cuda)
    monkeypatch.setattr(streams, "_sides", {})
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: cuda.record_stream(tensor, stream))
    if spoil is not None:
        spoil(monkeypatch)
    torch.manual_seed(1)
    with cuda:
        got = net(x, **call)
        for a in tree_leaves(got):
            a.add(1)
    for a, b in zip(tree_leaves(got), tree_leaves(want), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    return cuda.done(), cuda.made


@pytest.mark.parametrize("name", NETS)
def test_it_changes_nothing_and_waits(name, monkeypatch):
    """The same stream beside the main one for all layers; nothing is read before it is there."""
    assert played(monkeypatch, name) == ([], 1)


SPOILT = {
    "the second direction does not wait for its input": lambda m: m.setattr(Stream, "wait_event", lambda *_: None),
    "nothing waits for the second direction": lambda m: m.setattr(Stream, "wait_stream", lambda *_: None),
    "nobody says who uses what": lambda m: m.setattr(streams, "keep", lambda *_: None),
}


@pytest.mark.parametrize("name", ["layer", "stack"])
@pytest.mark.parametrize("what", SPOILT)
def test_a_missing_event_is_seen(what, name, monkeypatch):
    found, _ = played(monkeypatch, name, SPOILT[what])
    assert found


def test_where_it_does_not_apply(monkeypatch):
    """Switched off, on a CPU, in traces and transforms the layers are called as they are."""
    layers, x = [[len], [len, len]], torch.zeros(1)
    assert streams.beside(layers, x) is layers
    monkeypatch.setattr(streams, "TWO", True)
    assert streams.beside(layers, x) is layers
    monkeypatch.setattr(streams, "applies", lambda x: True)
    (one,), two = streams.beside(layers, x)
    assert one is len
    assert len not in two
