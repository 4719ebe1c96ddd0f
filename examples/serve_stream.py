"""Serving streams: frames in, answers out, over HTTP, with one state for each stream.

A web service of Python's standard library in front of a PyTorch network. ``POST /`` opens a stream
and returns its name; ``POST /NAME`` takes its next frame and returns the network's output. Frames
and outputs are .npy files of float32, (channels, height, width). The number of streams is limited,
a stream that stays silent is forgotten, and what is wrong with a request is said in a sentence.

Run, it sends itself frames, and compares the answers with one call on the whole sequence.

To change: ``network``, for your own from a file; ``limit`` and ``seconds`` of ``Streams``. It
listens on this machine alone: TLS, and who may ask, are the work of a server in front of it.
"""

import io
import secrets
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import torch

import convgru

SHAPE = (1, 24, 32)  # of a frame
WANTED = f"expected a .npy file of float32 {SHAPE}"


def network() -> torch.nn.Module:
    """Make the network to serve: ``convgru.build(convgru.read("model.safetensors"), "torch")``."""
    return convgru.build(convgru.init(convgru.network("gru", SHAPE[0], [8, 4]), seed=0), "torch")


class Refused(Exception):
    """Why a request is refused: a status of HTTP, and a sentence."""


class Streams:
    """The state of each stream by its name; the one that was silent for longest comes first."""

    def __init__(self, net: torch.nn.Module, limit: int = 100, seconds: float = 60.0) -> None:
        self.net, self.limit, self.seconds = net.eval(), limit, seconds
        self.states: OrderedDict[str, tuple[float, tuple[torch.Tensor, ...]]] = OrderedDict()
        self.lock = threading.Lock()  # the server has a thread for each request

    def open(self) -> str:
        with self.lock:
            self.forget()
            if len(self.states) >= self.limit:
                raise Refused(503, f"all {self.limit} streams are taken: try again later")
            name = secrets.token_urlsafe(16)  # which nobody guesses
            self.states[name] = time.monotonic(), self.net.zero_state(1, SHAPE[1:])
            return name

    def step(self, name: str, frame: np.ndarray) -> np.ndarray:
        with self.lock, torch.inference_mode():
            self.forget()
            if name not in self.states:
                raise Refused(404, f"there is no such stream, or it was silent for {self.seconds:g} seconds")
            output, state = self.net.step(torch.from_numpy(frame)[None], self.states.pop(name)[1])
            self.states[name] = time.monotonic(), state
            return output[0].numpy()

    def forget(self) -> None:
        while self.states and next(iter(self.states.values()))[0] < time.monotonic() - self.seconds:
            self.states.popitem(last=False)


def frame_of(body: bytes) -> np.ndarray:
    """Read a frame. Nothing is allocated by what the file says of its size."""
    file = io.BytesIO(body)
    try:
        np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0(file)
    except ValueError:
        raise Refused(400, f"{WANTED}, got {len(body)} bytes of something else") from None
    if header != (SHAPE, False, np.float32) or len(body) - file.tell() != 4 * np.prod(SHAPE):
        raise Refused(400, f"{WANTED} in C order, got {header[2]} {header[0]} in {len(body)} bytes")
    frame = np.frombuffer(body, np.float32, offset=file.tell()).reshape(SHAPE)
    if not np.isfinite(frame).all():
        raise Refused(400, f"{WANTED}, got NaN or infinity in it, which the state would keep")
    return frame.copy()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def server(streams: Streams, port: int = 0) -> ThreadingHTTPServer:
    """Make the service, on a free port unless one is given."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds in which a client must have said what it wants

        def do_POST(self) -> None:
            name, length = self.path.strip("/"), self.headers.get("Content-Length", "0")
            try:
                if not length.isdecimal() or int(length) > 4 * np.prod(SHAPE) + 1000:
                    raise Refused(413, f"{WANTED}, got a body of {length} bytes")
                frame = self.rfile.read(int(length))
                status, body = 200, npy(streams.step(name, frame_of(frame))) if name else streams.open().encode()
            except Refused as refused:
                status, body = refused.args[0], refused.args[1].encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None: ...

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def post(address: str, body: bytes = b"") -> bytes:
    with urlopen(Request(address, body, method="POST"), timeout=10) as answer:
        return answer.read()


def main(frames: int = 20) -> float:
    x = np.random.default_rng(0).standard_normal((frames, *SHAPE)).astype("float32")
    streams = Streams(network())
    with server(streams) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{service.server_port}/"
        stream = address + post(address).decode()
        answers = [np.load(io.BytesIO(post(stream, npy(frame)))) for frame in x]
        try:
            post(stream, b"a photograph")
        except HTTPError as error:
            print(f"{error.code}: {error.read().decode()}")
        service.shutdown()

    with torch.no_grad():
        whole, _ = streams.net(torch.from_numpy(x))
    difference = float(abs(whole.numpy() - np.stack(answers)).max())
    print(f"{frames} frames served; largest difference from one call on the whole sequence: {difference:.1g}")
    return difference


if __name__ == "__main__":
    main()
