"""Make the example clips: synthetic speech by espeak-ng, in four manners, by eight voices.

    python examples/audio/make_clips.py

rewrites every audio file beside this script, and two tables:

* ``clips.csv`` (file, label, speaker, text, seconds): 32 short utterances, 8 speakers by 4 manners;
* ``call.csv`` (start, end, speaker, label, text): who speaks when, and how, in the long ``call.mp3``.

It needs Debian's ``espeak-ng`` besides numpy, soundfile (0.13 or newer) and soxr. With the same versions of espeak-ng and
libsndfile, it writes the same bytes each time. The labels say how a clip was *made*; nobody felt anything.
"""

# ruff: noqa: E501 - the two tables of texts are easier to read with a text a line

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import soundfile as sf
import soxr

HERE = Path(__file__).resolve().parent
INSTALL = """espeak-ng is not installed, and these clips are made with it. Install it, then run this script again:
    Debian, Ubuntu:  sudo apt-get install espeak-ng
    Fedora:          sudo dnf install espeak-ng
    macOS:           brew install espeak-ng
(Only for making the clips anew: the ones in the repository work without it.)"""

CEILING = 0.95  # no sample is larger than this, so nothing clips, not even after a lossy codec
MAX_FILE, MAX_FOLDER = 600_000, 2_500_000  # bytes
SHORT_TEXT = 35  # letters; a clip of fewer is to be 1.5 to 4 s long, any other 5.1 to 14 s


# --------------------------------------------------------------------------------------------------------------- voices


@dataclass(frozen=True)
class Manner:
    """How a text is said."""

    speed: int  # words a minute
    pitch: int  # espeak-ng's 0 to 99; 50 is the voice's own
    pitch_range: int  # 0 (monotonous) to 100 (lively)
    level: float  # dBFS RMS, pauses included
    tilt: float  # > 0: brighter, as a raised voice is; < 0: duller


MANNERS = {
    "angry": Manner(speed=195, pitch=68, pitch_range=60, level=-19.0, tilt=0.5),
    "happy": Manner(speed=172, pitch=66, pitch_range=100, level=-22.0, tilt=0.15),
    "neutral": Manner(speed=155, pitch=47, pitch_range=45, level=-25.0, tilt=0.0),
    "sad": Manner(speed=112, pitch=30, pitch_range=15, level=-30.0, tilt=-0.5),
}


@dataclass(frozen=True)
class Voice:
    """One speaker: an espeak-ng voice, and what this person adds to every manner."""

    name: str
    speed: float = 1.0
    pitch: int = 0
    level: float = 0.0  # dB


VOICES = {
    "maya": Voice("en-us+f2"),
    "ruth": Voice("en-us+f4", speed=0.95, pitch=-4, level=-1.0),
    "nora": Voice("en-us+linda", speed=1.04, level=0.5),
    "elin": Voice("en-us+steph", pitch=4, level=-1.5),
    "ben": Voice("en-us+m3", speed=1.02, level=0.5),
    "theo": Voice("en-us+m8", speed=0.94, pitch=3),
    "carl": Voice("en-us+paul", pitch=5, level=-0.5),
    "omar": Voice("en-us+rob", speed=1.05, pitch=-3, level=1.0),
}


# ---------------------------------------------------------------------------------------------------------------- forms


@dataclass(frozen=True)
class Form:
    """How a clip is stored."""

    suffix: str
    format: str
    subtype: str
    rate: int
    channels: int = 1
    compression: float | None = None  # soundfile's, 0 (large, good) to 1 (small)


FORMS = {
    "wav": Form("wav", "WAV", "PCM_16", 16_000),
    "wav-8k": Form("wav", "WAV", "PCM_16", 8_000),
    "wav-8k-stereo": Form("wav", "WAV", "PCM_16", 8_000, channels=2),
    "flac": Form("flac", "FLAC", "PCM_16", 16_000, compression=1.0),
    "flac-8k": Form("flac", "FLAC", "PCM_16", 8_000, compression=1.0),
    "vorbis": Form("ogg", "OGG", "VORBIS", 16_000, compression=0.8),
    "opus": Form("opus", "OGG", "OPUS", 16_000, compression=0.9),
    "opus-48k": Form("opus", "OGG", "OPUS", 48_000, compression=0.9),
    "mp3": Form("mp3", "MP3", "MPEG_LAYER_III", 16_000, compression=0.8),
    "mp3-44k": Form("mp3", "MP3", "MPEG_LAYER_III", 44_100, compression=0.8),
}


# ---------------------------------------------------------------------------------------------------------------- texts
# speaker, manner, form, text. Each speaker says one short thing (under 5 s), each time in another manner. Every manner has
# the same mix of forms, as near as can be, so that no form gives a label away.

CLIPS = [
    ("maya", "angry", "wav", "No! I told you already!"),
    ("maya", "happy", "flac-8k", "Oh, that is wonderful news, thank you! I was hoping you could find it. You made my day."),
    ("maya", "neutral", "flac", "Good morning, I am calling about my bill. The number ends in seven, two."),
    ("maya", "sad", "flac", "I suppose it does not matter. It was all I had of her."),
    ("ruth", "angry", "vorbis", "This is the third time I have called, and every single time somebody promises me a refund! Where is it? I want to speak to your manager, and I want to speak to him now!"),
    ("ruth", "happy", "wav", "It works, it works!"),
    ("ruth", "neutral", "wav", "I would like to change the delivery address. It should go to my office, please."),
    ("ruth", "sad", "vorbis", "I am sorry to trouble you. I just do not know who else to ask. The letter says that we have to leave by Friday."),
    ("nora", "angry", "flac", "You charged me twice, and you call that a small mistake? I have been on hold for more than forty minutes!"),
    ("nora", "happy", "opus-48k", "Hello! Yes, the parcel came this morning, and my daughter loves it! She has not put it down all day. Please tell everybody in your shop how happy we are!"),
    ("nora", "neutral", "wav-8k", "My appointment is on Tuesday."),
    ("nora", "sad", "flac-8k", "They said that my contract would not be renewed. I was there nineteen years."),
    ("elin", "angry", "wav", "I do not want another voucher! I want the heating repaired, today, as you promised me on Monday!"),
    ("elin", "happy", "flac", "You found my suitcase? Fantastic! I had nearly given up. I will be there in ten minutes!"),
    ("elin", "neutral", "mp3", "The meeting has moved from nine to ten o'clock. The room stays the same, second floor, at the end of the corridor. Please bring the printed list with you."),
    ("elin", "sad", "wav", "I miss him very much."),
    ("ben", "angry", "wav-8k", "Stop sending me these letters!"),
    ("ben", "happy", "wav", "We got the house! They called an hour ago, and I still cannot believe it. Thank you!"),
    ("ben", "neutral", "opus", "Please hold the line. I am checking the status of your order now. It left the warehouse yesterday evening, and it should arrive between two and four this afternoon."),
    ("ben", "sad", "vorbis", "We will have to cancel the trip. My father is in hospital again. He does not know my name any more."),
    ("theo", "angry", "mp3-44k", "Listen to me! I have paid this bill! I have the receipt here in my hand! Why do you people keep on threatening to cut off my line? It is an outrage!"),
    ("theo", "happy", "wav-8k", "Great, I will be there at six!"),
    ("theo", "neutral", "flac-8k", "My first name is Theodore, with an H. I have been a customer with you since two thousand eleven."),
    ("theo", "sad", "opus", "Nobody came. I had set the table for eight, and I waited, and nobody came. I should have known."),
    ("carl", "angry", "flac-8k", "Do not tell me to calm down! Your driver left the gate open, and my dog ran into the road! I want his name!"),
    ("carl", "happy", "vorbis", "What a lovely surprise! The whole team is here, and they are all cheering! We never thought that we could win the prize, and now look at us! Oh, this is the best day of the year!"),
    ("carl", "neutral", "wav", "The form is on the website."),
    ("carl", "sad", "wav-8k-stereo", "It was my own fault, and I know it. I should have called."),
    ("omar", "angry", "vorbis", "Again the line went dead! Are you doing this on purpose? Give me a straight answer, for once! I am sick of all these stupid excuses, and I am sick of your music!"),
    ("omar", "happy", "mp3", "Hi there! I just wanted to say that your technician was brilliant! He fixed it in ten minutes, he explained everything, and he even made my grandmother laugh! Ten out of ten!"),
    ("omar", "neutral", "vorbis", "The next train to the airport leaves from platform five at twelve minutes past three. It stops at the old harbour, and at the university."),
    ("omar", "sad", "wav-8k", "I had really hoped for more."),
]  # fmt: skip

# seconds of silence before the turn, speaker, manner, text
CALL = [
    (0.6, "elin", "neutral", "Thank you for calling Northwind Energy. My name is Elin. How can I help you?"),
    (0.9, "theo", "neutral", "Yes, hello. I am calling about the electricity bill that came on Thursday."),
    (0.7, "elin", "neutral", "Of course. May I have your customer number, please?"),
    (1.4, "theo", "neutral", "It is six, one, eight, eight, four, zero, two."),
    (1.8, "elin", "neutral", "Thank you, I can see the bill. It is for nine hundred and forty dollars. Is that the one?"),
    (0.5, "theo", "angry", "Nine hundred and forty dollars! For one month! I live alone, in two rooms! That is four times what I paid last year, and nobody there can tell me why!"),
    (0.8, "elin", "neutral", "I understand. Let me look at the meter readings."),
    (0.4, "theo", "angry", "I have told all this to your colleague, twice! She promised to call me back, and she never did! Then you sent me a reminder, with a fee on top of it! What kind of company does that?"),
    (1.0, "elin", "sad", "I am very sorry about that. It should not have happened."),
    (1.6, "theo", "sad", "I have not slept properly for a week. I do not have that kind of money. My wife used to take care of these things."),
    (1.3, "elin", "neutral", "Please stay with me for a moment. I am comparing the two last readings now."),
    (2.6, "elin", "happy", "I think I have found it! Two digits were swapped when the meter was read. You used far less than the bill says!"),
    (1.1, "theo", "neutral", "Two digits. And what does that mean for me?"),
    (0.6, "elin", "happy", "It means that you owe us nothing at all! In fact, we owe you thirty one dollars. The fee is gone as well!"),
    (1.2, "theo", "happy", "Really? Oh, that is wonderful! You have no idea what a relief that is! Thank you, thank you so much!"),
    (0.7, "elin", "happy", "You are very welcome! The new bill will be with you by Monday."),
    (0.9, "theo", "happy", "Then I can go and buy a cake! Have a lovely day, Elin!"),
    (0.8, "elin", "neutral", "And you. Thank you for calling Northwind Energy. Good bye."),
]  # fmt: skip
CALL_FORM = Form("mp3", "MP3", "MPEG_LAYER_III", 16_000, compression=0.98)


# ------------------------------------------------------------------------------------------------------------ synthesis


def say(espeak: str, text: str, speaker: str, label: str) -> tuple[np.ndarray, int]:
    """Speak a text; return samples (float64, at the manner's level) and their rate."""
    voice, manner = VOICES[speaker], MANNERS[label]
    ssml = f'<speak><prosody range="{manner.pitch_range}">{escape(text)}</prosody></speak>'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        options = {
            "-v": voice.name,
            "-s": round(manner.speed * voice.speed),
            "-p": manner.pitch + voice.pitch,
            "-w": path,
        }
        command = [espeak, "-m", *(str(part) for option in options.items() for part in option), ssml]
        subprocess.run(command, check=True, timeout=60)  # noqa: S603 - our own texts, and no shell
        samples, rate = sf.read(path)
    voiced = np.flatnonzero(np.abs(samples) > 0.003)
    samples = samples[voiced[0] : voiced[-1] + 1]
    samples = samples - manner.tilt * np.concatenate(([0.0], samples[:-1]))
    gain = 10 ** ((manner.level + voice.level) / 20) / np.sqrt(np.mean(samples**2))
    return samples * min(gain, CEILING / np.abs(samples).max()), rate


def silence(seconds: float, rate: int) -> np.ndarray:
    return np.zeros(round(seconds * rate))


def at_rate(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    samples = soxr.resample(samples, old, new, quality="VHQ")
    return samples * min(1.0, CEILING / np.abs(samples).max())


def make_clip(espeak: str, text: str, speaker: str, label: str, form: Form) -> bytes:
    samples, rate = say(espeak, text, speaker, label)
    samples = np.concatenate((silence(0.15, rate), samples, silence(0.2, rate)))
    samples = at_rate(samples, rate, form.rate)
    if form.channels == 2:  # as a microphone pair hears somebody who sits on the left
        samples = np.column_stack((samples, 0.6 * samples))
    return encode(samples, form)


def make_call(espeak: str) -> tuple[bytes, list[list[object]]]:
    """Return the encoded call, and one row for each turn."""
    pieces, rows, done, rate = [], [], 0, 0
    for pause, speaker, label, text in CALL:
        samples, rate = say(espeak, text, speaker, label)
        start = done + round(pause * rate)
        done = start + len(samples)
        pieces += [silence(pause, rate), samples]
        rows.append([f"{start / rate:.2f}", f"{done / rate:.2f}", speaker, label, text])
    pieces.append(silence(0.4, rate))
    call = at_rate(np.concatenate(pieces), rate, CALL_FORM.rate)
    call += 10 ** (-66 / 20) * np.random.default_rng(0).standard_normal(len(call))  # the line is never wholly silent
    return encode(call, CALL_FORM), rows


# ------------------------------------------------------------------------------------------------------------- encoding


def encode(samples: np.ndarray, form: Form) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, samples, form.rate, format=form.format, subtype=form.subtype, compression_level=form.compression)
    data = buffer.getvalue()
    return with_fixed_serial(data) if form.format == "OGG" else data


def with_fixed_serial(ogg: bytes) -> bytes:
    """Replace the random stream number that libsndfile gives an Ogg file, so that a second run writes the same bytes."""
    pages, at = bytearray(ogg), 0
    while at < len(pages):
        table = pages[at + 27 : at + 27 + pages[at + 26]]
        end = at + 27 + len(table) + sum(table)
        pages[at + 14 : at + 18] = (1).to_bytes(4, "little")
        pages[at + 22 : at + 26] = bytes(4)
        pages[at + 22 : at + 26] = ogg_crc(pages[at:end]).to_bytes(4, "little")
        at = end
    return bytes(pages)


def ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc


# ---------------------------------------------------------------------------------------------------------------- check


def check(name: str, data: bytes, shortest: float, longest: float) -> float:
    """Read an encoded clip back, and return its seconds; stop if it is not what it should be."""
    samples, rate = sf.read(io.BytesIO(data), always_2d=True)
    seconds, peak = len(samples) / rate, np.abs(samples).max()
    level = 20 * np.log10(np.sqrt(np.mean(samples**2)))
    kind = f"{rate} Hz, {samples.shape[1]} ch"
    print(f"{name:18} {kind:14} {seconds:7.2f} s {len(data) / 1000:6.0f} kB  peak {peak:.2f}  {level:6.1f} dBFS")
    if not (shortest <= seconds <= longest and peak < 0.999 and -36 < level < -15 and len(data) <= MAX_FILE):
        raise SystemExit(f"{name}: length (wanted {shortest} to {longest} s), level or size is out of bounds")
    return seconds


def write_table(path: Path, header: str, rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header.split(","), *rows])


def main() -> None:
    espeak = shutil.which("espeak-ng")
    if espeak is None:
        sys.exit(INSTALL)
    files: dict[str, bytes] = {}
    rows: list[list[object]] = []
    spoke: set[str] = set()
    for speaker, label, form_name, text in CLIPS:
        form = FORMS[form_name]
        name = f"{speaker}_{label}.{form.suffix}"
        files[name] = make_clip(espeak, text, speaker, label, form)
        bounds = (1.5, 4.0) if len(text) < SHORT_TEXT else (5.1, 14.0)
        rows.append([name, label, speaker, text, f"{check(name, files[name], *bounds):.3f}"])
        spoke.add(speaker)
    files["call.mp3"], turns = make_call(espeak)
    check("call.mp3", files["call.mp3"], 100, 140)
    total = sum(map(len, files.values()))
    if total > MAX_FOLDER:
        print(f"{total} bytes in all; the limit is {MAX_FOLDER}")
    for name, data in files.items():  # only now: a run that fails leaves the folder as it was
        (HERE / name).write_bytes(data)
    write_table(HERE / "clips.csv", "file,label,speaker,text,seconds", rows)
    write_table(HERE / "call.csv", "start,end,speaker,label,text", turns)
    print(
        f"{len(rows)} clips by {len(spoke)} speakers and a call of {len(turns)} turns: {total / 1e6:.2f} MB in {HERE}"
    )


if __name__ == "__main__":
    main()
