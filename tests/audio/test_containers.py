"""Containers read with PyAV: real audio only, and no file or address but the bytes themselves."""

from __future__ import annotations

import ctypes
import io
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import voice
from valence_integrations import errors
from valence_integrations._audio import files, wav
from valence_integrations._audio.open import open_clip

WAVE = voice(1.5, 48_000)
_IN_OPEN = 0x20


def encoded(container: str, codec: str, wave: np.ndarray = WAVE) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=48_000, layout="mono")
        stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(format=stream.codec_context.format, frame_size=stream.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "aac"),
        ("ipod", "alac"),
        ("mov", "pcm_s16le"),
        ("webm", "libopus"),
        ("matroska", "aac"),
        ("adts", "aac"),
        ("asf", "wmav2"),
        ("caf", "alac"),
        ("ogg", "libspeex"),
        ("wav", "wmav2"),
        ("3gp", "aac"),
    ],
)
@pytest.mark.parametrize("on_disk", [False, True])
def test_real_containers(
    container: str, codec: str, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if codec == "libspeex" and codec not in av.codecs_available:
        codec = "libopus"
    monkeypatch.setattr(files, "_IN_MEMORY", 100 if on_disk else 10**9)
    path = tmp_path / "clip.bin"
    path.write_bytes(encoded(container, codec))
    clip = open_clip(path)
    assert clip is not None
    pcm = clip.pcm()
    assert clip.sampling_rate == 48_000
    assert len(pcm) == pytest.approx(72_000, abs=5_000)
    assert np.sqrt(np.mean(np.square(pcm / 32768))) == pytest.approx(np.sqrt(np.mean(WAVE**2)), rel=0.15)


class Canary:
    """A file and an address that nothing may open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(wav.encode(np.full(48_000, 12_345, dtype=np.int16), 48_000))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.port = self._server.getsockname()[1]
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._watch, os.fsencode(path), _IN_OPEN) >= 0

    @property
    def touched(self) -> bool:
        try:
            return bool(os.read(self._watch, 4096))
        except BlockingIOError:
            pass
        try:
            self._server.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._watch)
        self._server.close()


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    made = Canary(tmp_path / "canary.wav")
    yield made
    made.close()


def test_canary_notices_what_ffmpeg_opens(canary: Canary, tmp_path: Path) -> None:
    assert not canary.touched
    script = tmp_path / "clip.wav"
    script.write_text(f"ffconcat version 1.0\nfile '{canary.path}'\n")
    with av.open(str(script), options={"safe": "0"}) as container:
        assert next(container.decode(audio=0)).to_ndarray()[0, 0] == 12_345
    assert canary.touched
    with pytest.raises((av.FFmpegError, OSError)):
        av.open(f"http://127.0.0.1:{canary.port}/a.wav", timeout=0.2)
    assert canary.touched


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{path}'\n",
    "ffconcat of an address": "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/a.wav'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    "hls of addresses": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
    "hls key": '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,URI="{path}"\n#EXTINF:9,\n{path}\n',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>http://127.0.0.1:{port}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "rtsp": "RTSPtext\nrtsp://127.0.0.1:{port}/a\n",
    "asx": '<asx version="3.0"><entry><ref href="http://127.0.0.1:{port}/a.wma"/></entry></asx>',
    "m3u": "{path}\nhttp://127.0.0.1:{port}/a.mp3\n",
    "pls": "[playlist]\nFile1={path}\nNumberOfEntries=1\n",
    "smil": '<smil><body><audio src="{path}"/></body></smil>',
    "vfwredirect": "[Reference]\nRef1=http://127.0.0.1:{port}/a.asf\n",
    "lavfi": "amovie={path}\n",
    "ffmetadata": ";FFMETADATA1\ntitle={path}\n",
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("form", ["bytes", "path", "file", "large path", "large file"])
def test_scripts_and_playlists_open_nothing(
    script: str, form: str, canary: Canary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SCRIPTS[script].format(path=canary.path, port=canary.port).encode()
    if "large" in form:
        monkeypatch.setattr(files, "_IN_MEMORY", 10)
    for extension in ("wav", "m4a", "m3u8", "mpd", "sdp", "ffconcat", "%03d.wav"):
        path = tmp_path / f"clip.{extension}"
        path.write_bytes(text)
        with path.open("rb") as file:
            item = {"bytes": text, "path": path, "large path": path}.get(form, file)
            with pytest.raises(errors.UnreadableAudioError) as caught:
                open_clip(item)
        assert caught.value.code in ("audio_format_unknown", "audio_damaged")
    assert not canary.touched


@pytest.mark.parametrize(
    "name",
    [
        "concat:{path}",
        "subfile,,start,0,end,0,,:{path}",
        "file:{path}",
        "crypto:{path}",
        "data:audio/wav;base64,UklGRg==",
        "pipe:0",
        "tcp://127.0.0.1:{port}",
        "http://127.0.0.1:{port}/a.wav",
        "async:file:{path}",
    ],
)
def test_protocols_are_not_paths(name: str, canary: Canary) -> None:
    with pytest.raises(errors.UnreadableAudioError) as caught:
        open_clip(name.format(path=canary.path, port=canary.port))
    assert caught.value.code in ("audio_not_found", "url_not_fetched", "audio_open_failed")
    assert not canary.touched


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def edited(data: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    """Rewrite the boxes of an MP4 or QuickTime file."""
    result, position = b"", 0
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + size]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            body = edited(body, change)
        result += box(kind, change(kind, body))
        position += size
    return result


def external(path: Path) -> bytes:
    """Data reference to another file: an alias record of the Macintosh, as FFmpeg reads it."""
    name = os.fsencode(path)
    record = bytes(10) + bytes(28) + bytes(12) + bytes([4]) + b"name".ljust(63, b"\0") + bytes(16)
    record += struct.pack(">HH", 1, 1) + bytes(16) + struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2)
    return bytes(4) + struct.pack(">I", 1) + box(b"alis", bytes(4) + record + struct.pack(">HH", 0xFFFF, 0))


def test_reference_to_another_file_is_not_followed(canary: Canary, tmp_path: Path) -> None:
    own = encoded("mov", "pcm_s16le")
    hostile = edited(own, lambda kind, body: external(canary.path) if kind == b"dref" else body)
    path = tmp_path / "clip.mov"
    path.write_bytes(hostile)
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        next(container.decode(audio=0))
    assert canary.touched, "the file would be opened if that were allowed"
    clip = open_clip(path)
    assert clip is not None
    with pytest.raises(errors.UnreadableAudioError) as caught:
        clip.pcm()
    assert caught.value.code == "audio_empty"
    assert not canary.touched


@pytest.mark.parametrize("container", ["mp4", "webm", "adts", "asf", "caf"])
def test_cut_and_damaged_containers_are_clips_or_errors(container: str) -> None:
    whole = encoded(container, {"webm": "libopus", "asf": "wmav2", "caf": "alac"}.get(container, "aac"))
    rng = np.random.default_rng(0)
    for number in range(40):
        data = bytearray(whole[: rng.integers(1, len(whole))] if number % 2 else whole)
        for position in rng.integers(0, len(data), 5):
            data[position] = rng.integers(256)
        try:
            clip = open_clip(bytes(data))
            assert clip is not None
            clip.wav()
        except errors.AudioError:
            pass
